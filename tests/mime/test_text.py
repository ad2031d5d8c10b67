"""Decoded text: transfer encodings, charsets, encoded words, what SEARCH looks at."""

import pytest

from imapd.mime.parser import parse
from imapd.mime.text import (
    UnknownEncoding,
    body_texts,
    decode_charset,
    decode_text,
    decode_transfer,
    decode_words,
    header_texts,
    html_text,
    parameter_text,
)
from tests.mime.mails import mails


@pytest.mark.parametrize(
    ("data", "encoding", "expected"),
    [
        (b"as it is\r\n", b"7bit", b"as it is\r\n"),
        (b"\x00\xff", b"BINARY", b"\x00\xff"),
        (b"\xff", b" 8Bit ", b"\xff"),
        (b"x", b"", b"x"),
        (b"aGVsbG8g\r\nd29ybGQ=\r\n", b"base64", b"hello world"),
        (b"aGVs*bG8g d29y\nbGQ", b"Base64", b"hello world"),
        (b"aGVsbG8gd29ybGQ", b"base64", b"hello world"),
        (b"aGVsbG8gd29yb", b"base64", b"hello wor"),
        (b"aGVsbG8=\r\n-- \r\nlist footer", b"base64", b"hello"),
        (b"", b"base64", b""),
        (b"A", b"base64", b""),
        (b"=====", b"base64", b""),
        (b"a=3Db=20\r\nsoft=\r\nline", b"quoted-printable", b"a=b \r\nsoftline"),
        (b"no hex =ZZ at =", b"Quoted-Printable", b"no hex =ZZ at "),
    ],
)
def test_transfer_encodings_are_taken_off(data, encoding, expected):
    assert decode_transfer(data, encoding) == expected


@pytest.mark.parametrize("encoding", [b"x-uuencode", b"base 64", b"\xff", b"rot13"])
def test_an_unknown_encoding_is_said(encoding):
    with pytest.raises(UnknownEncoding):
        decode_transfer(b"x", encoding)
    assert decode_text(b"x", encoding, None) == "x"


@pytest.mark.parametrize(
    ("text", "charset", "codec"),
    [
        ("grün", b"utf-8", "utf-8"),
        ("grün", b"UTF8", "utf-8"),
        ("grün €", b"ISO-8859-1", "cp1252"),
        ("grün €", b"iso-8859-15", "iso-8859-15"),
        ("ключ", b"koi8-r", "koi8-r"),
        ("ключ", b"windows-1251", "cp1251"),
        ("κλειδί", b"ISO_8859-7:1987", "iso-8859-7"),
        ("門の鍵", b"ISO-2022-JP", "iso-2022-jp"),
        ("門の鍵①", b"Shift_JIS", "cp932"),
        ("門の鍵", b"x-sjis", "cp932"),
        ("钥匙 鑰", b"gb2312", "gb18030"),
        ("鑰匙", b"Big5", "big5"),
        ("열쇠", b"ks_c_5601-1987", "cp949"),
        ("מפתח", b"iso-8859-8-i", "iso-8859-8"),
        ("กุญแจ", b"windows-874", "cp874"),
        ("ключ", b"utf-7", "utf-7"),
        ("grün", None, "utf-8"),
        ("grün", None, "latin-1"),
        ("grün", b"us-ascii", "utf-8"),
        ("grün", b"x-unknown", "utf-8"),
        ("grün", b"", "latin-1"),
    ],
)
def test_charsets_are_decoded(text, charset, codec):
    assert decode_charset(text.encode(codec), charset) == text


@pytest.mark.parametrize(
    "charset",
    [
        b"idna",
        b"punycode",
        b"unicode_escape",
        b"rot13",
        b"zip",
        b"hex",
        b"undefined",
        b"\x00",
        b"a" * 10_000,
        b"../utf-8",
    ],
)
def test_what_is_no_charset_is_not_tried(charset):
    assert decode_charset(b"a\\u0041-b\xc3\xa4", charset) == "a\\u0041-bä"


def test_octets_that_do_not_decode_are_replaced():
    assert decode_charset(b"a\xffb", b"utf-8") == "a\ufffdb"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"plain", "plain"),
        (b" folded\r\n text ", "folded text"),
        (b"=?utf-8?Q?gr=C3=BCn?=", "grün"),
        (b"=?UTF-8?b?Z3LDvG4=?=", "grün"),
        (b"a =?utf-8?Q?b_c?= d", "a b c d"),
        (b"=?utf-8?Q?a?= =?utf-8?Q?b?=\r\n =?utf-8?Q?c?=", "abc"),
        (b"=?utf-8?Q?gr=C3?= =?utf-8?Q?=BCn?=", "grün"),
        (b"=?koi8-r?B?y8zA3g==?= =?iso-2022-jp?B?GyRCODAbKEI=?=", "ключ鍵"),
        (b"=?gb2312?B?1L+z1w==?= / =?euc-kr?B?v63h?=", "钥匙 / 열\ufffd"),
        (b"=?iso-8859-8?B?7vTn?=", "מפח"),
        (b"=?iso-8859-1*de?Q?gr=FCn?=", "grün"),
        (b'"=?utf-8?Q?M=C3=BCller?=" <m@x>', '"Müller" <m@x>'),
        (b"(=?utf-8?Q?a?=)", "(a)"),
        (b"=?x-none?Q?gr=FCn?=", "grün"),
        (b"=?utf-8?Q?with blanks?=", "with blanks"),
        (b"=?utf-8?B?Z3LDvG4?= x", "grün x"),
        (b"=?utf-8?X?abc?=", "=?utf-8?X?abc?="),
        (b"=?utf-8?Q?not closed", "=?utf-8?Q?not closed"),
        (b"gr\xc3\xbcn", "grün"),
        (b"gr\xfcn", "grün"),
        (b"", ""),
    ],
)
def test_encoded_words_are_decoded(value, expected):
    assert decode_words(value) == expected


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        (((b"name", b"a b"),), "a b"),
        (((b"NAME", b"=?utf-8?Q?gr=C3=BCn?="),), "grün"),
        (((b"name*", b"utf-8'de'gr%C3%BCn%20x"),), "grün x"),
        (((b"name*1*", b"%BCn"), (b"name*2", b"%20.txt"), (b"name*0*", b"utf-8''gr%C3")), "grün%20.txt"),
        (((b"name*0", b"a"), (b"name*1", b"b")), "ab"),
        (((b"name*", b"no quotes %zz%41"),), "no quotes %zzA"),
        (((b"name*", b"x-none''%FC"),), "ü"),
        (((b"name*x", b"a"), (b"name*99999", b"b"), (b"other", b"c")), None),
        ((), None),
    ],
)
def test_parameters_are_put_together(params, expected):
    assert parameter_text(params, b"name") == expected


def test_html_is_read_as_a_reader_sees_it():
    assert html_text("<p>Key &amp; <b>lo</b>ck 1 < 2</p") == "Key & lock 1 < 2</p"
    assert html_text("&#" + "9" * 5_000) == "&#" + "9" * 5_000


def test_headers_are_given_as_text():
    header = b"Subject: =?utf-8?Q?gr=C3=BCn?=\r\nno field\r\nX-\xff: y\r\n\r\n"
    assert list(header_texts(header)) == [("subject", "grün"), ("x-\ufffd", "y")]


def texts(name):
    message = dict(mails())[name]
    return "\n".join(body_texts(parse(message), message))


@pytest.mark.parametrize(
    ("name", "there", "not_there"),
    [
        ("plain.eml", ["tools on Saturday"], ["garden gate", "Message-ID"]),
        ("alternative.eml", ["Of course – I come", "come at ten o'clock", "<b>ten</b>", "small\xa0saw"], ["epilogue"]),
        (
            "attachments.eml",
            ["Größe der Schrauben", "gate.png", "rechnung für schrauben.bin", "after the repair"],
            ["AAEC"],
        ),
        (
            "forwarded.eml",
            ["For the archive", "subject: Done", "cake was excellent", "subject: The innermost", "One line"],
            ["Fwd"],
        ),
        ("digest.eml", ["Oil them", "Schlösser", "A note that is no letter"], ["=F6"]),
        ("latin1-raw.eml", ["Tür quietscht"], ["Rückfrage"]),
        ("utf8-raw.eml", ["ключи от калитки", "鍵はどこ"], []),
        ("many-scripts.eml", ["門の鍵をください"], []),
        ("base64-message.eml", ["Secret sauce", "subject: Ключ", "Здравствуйте"], []),
        ("report.eml", ["full of cake", "Final-Recipient: rfc822", "More cake"], []),
        ("encodings-broken.eml", ["The gate is open.\n", "The gate is ope", "Half a character", "Nobody takes"], []),
        ("windows-crlf.eml", ["kostet 100 €", "winmail.dat"], []),
    ],
)
def test_search_sees_the_decoded_text_of_a_body(name, there, not_there):
    found = texts(name)
    assert [text for text in there if text not in found] == []
    assert [text for text in not_there if text in found] == []
