"""ENVELOPE, BODY and BODYSTRUCTURE as they go over the wire."""

import pytest

from imapd.mailstore.render import describe, envelope_of
from imapd.mime.parser import MAX_DEPTH, MAX_PARTS
from tests.mailstore.fetchtexts import check_body, check_envelope, read
from tests.mime.mails import crlf

# The example dialogue of RFC 3501 section 8.
GRAY = crlf(
    b"""\
Date: Wed, 17 Jul 1996 02:23:25 -0700 (PDT)
From: Terry Gray <gray@cac.washington.edu>
Subject: IMAP4rev1 WG mtg summary and minutes
To: imap@cac.washington.edu
cc: minutes@CNRI.Reston.VA.US, John Klensin <KLENSIN@MIT.EDU>
Message-Id: <B27397-0100000@cac.washington.edu>
MIME-Version: 1.0
Content-Type: TEXT/PLAIN; CHARSET=US-ASCII
Content-Transfer-Encoding: 7BIT

"""
    + b"x" * 2844
    + b"\n" * 92
)


def test_the_example_dialogue_of_the_rfc():
    found = describe(GRAY)
    assert found.envelope == (
        b'("Wed, 17 Jul 1996 02:23:25 -0700 (PDT)" "IMAP4rev1 WG mtg summary and minutes" '
        b'(("Terry Gray" NIL "gray" "cac.washington.edu")) (("Terry Gray" NIL "gray" "cac.washington.edu")) '
        b'(("Terry Gray" NIL "gray" "cac.washington.edu")) ((NIL NIL "imap" "cac.washington.edu")) '
        b'((NIL NIL "minutes" "CNRI.Reston.VA.US")("John Klensin" NIL "KLENSIN" "MIT.EDU")) NIL NIL '
        b'"<B27397-0100000@cac.washington.edu>")'
    )
    assert found.body == b'("TEXT" "PLAIN" ("CHARSET" "US-ASCII") NIL NIL "7BIT" 3028 92)'
    assert found.bodystructure == b'("TEXT" "PLAIN" ("CHARSET" "US-ASCII") NIL NIL "7BIT" 3028 92 NIL NIL NIL NIL)'


def test_the_two_parts_of_the_rfc():
    message = (
        b"Content-Type: MULTIPART/MIXED; BOUNDARY=b\r\n\r\n"
        b"--b\r\nContent-Type: TEXT/PLAIN; CHARSET=US-ASCII\r\nContent-Transfer-Encoding: 7BIT\r\n\r\n"
        + b"x\r\n" * 23
        + b"x" * (1152 - 3 * 23)
        + b"\r\n--b\r\nContent-Type: TEXT/PLAIN; CHARSET=US-ASCII; NAME=cc.diff\r\nContent-Transfer-Encoding: BASE64\r\n"
        b"Content-ID: <960723163407.20117h@cac.washington.edu>\r\nContent-Description: Compiler diff\r\n\r\n"
        + b"y\r\n" * 73
        + b"y" * (4554 - 3 * 73)
        + b"\r\n--b--\r\n"
    )
    assert describe(message).body == (
        b'(("TEXT" "PLAIN" ("CHARSET" "US-ASCII") NIL NIL "7BIT" 1152 23)'
        b'("TEXT" "PLAIN" ("CHARSET" "US-ASCII" "NAME" "cc.diff") "<960723163407.20117h@cac.washington.edu>" '
        b'"Compiler diff" "BASE64" 4554 73) "MIXED")'
    )


def test_everything_that_a_structure_can_say():
    message = crlf(b"""\
Content-Type: multipart/mixed; boundary=b
Content-Disposition: inline
Content-Language: de
Content-Location: here

--b
Content-Type: image/png; name="a\\"b"
Content-Transfer-Encoding: base64
Content-ID: <i@d>
Content-Description: a picture
Content-MD5: sum==
Content-Disposition: attachment; filename=x.png; size=3
Content-Language: de, en
Content-Location: there

QUJD
--b
Content-Type: message/rfc822

From: a@b
Subject: inner

one
two
--b--
""")
    found = describe(message)
    assert found.body == (
        b'(("image" "png" ("name" "a\\"b") "<i@d>" "a picture" "base64" 4)'
        b'("message" "rfc822" NIL NIL NIL "7bit" 37 '
        b'(NIL "inner" ((NIL NIL "a" "b")) ((NIL NIL "a" "b")) ((NIL NIL "a" "b")) NIL NIL NIL NIL NIL) '
        b'("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 8 1) 4) "mixed")'
    )
    assert found.bodystructure == (
        b'(("image" "png" ("name" "a\\"b") "<i@d>" "a picture" "base64" 4 "sum==" '
        b'("attachment" ("filename" "x.png" "size" "3")) ("de" "en") "there")'
        b'("message" "rfc822" NIL NIL NIL "7bit" 37 '
        b'(NIL "inner" ((NIL NIL "a" "b")) ((NIL NIL "a" "b")) ((NIL NIL "a" "b")) NIL NIL NIL NIL NIL) '
        b'("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 8 1 NIL NIL NIL NIL) 4 NIL NIL NIL NIL) '
        b'"mixed" ("boundary" "b") ("inline" NIL) "de" "here")'
    )


@pytest.mark.parametrize(
    ("header", "envelope"),
    [
        (b"", b"(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)"),
        (b"Subject:\r\nIn-Reply-To: \r\nTo:\r\n\r\n", b'(NIL "" NIL NIL NIL NIL NIL NIL "" NIL)'),
        (b"Subject: a\r\n\tb\r\nSubject: c\r\n\r\n", b'(NIL "a\tb" NIL NIL NIL NIL NIL NIL NIL NIL)'),
        (b"To: a@b\r\nto: c@d\r\n\r\n", b'(NIL NIL NIL NIL NIL ((NIL NIL "a" "b")(NIL NIL "c" "d")) NIL NIL NIL NIL)'),
        (b"Cc: G: a@b;\r\n\r\n", b'(NIL NIL NIL NIL NIL NIL ((NIL NIL "G" NIL)(NIL NIL "a" "b")(NIL NIL NIL NIL)) NIL NIL NIL)'),
        (b"Bcc: lonely\r\n\r\n", b'(NIL NIL NIL NIL NIL NIL NIL ((NIL NIL "lonely" "")) NIL NIL)'),
        (b"To: x <@r:a@b>\r\n\r\n", b'(NIL NIL NIL NIL NIL (("x" "@r" "a" "b")) NIL NIL NIL NIL)'),
        (b"Subject: gr\xc3\xbcn\r\n\r\n", b"(NIL {5}\r\ngr\xc3\xbcn NIL NIL NIL NIL NIL NIL NIL NIL)"),
        (b"Subject: a\rb\r\n\r\n", b"(NIL {3}\r\na\rb NIL NIL NIL NIL NIL NIL NIL NIL)"),
        (b"Subject: a\x00b\r\n\r\n", b'(NIL "ab" NIL NIL NIL NIL NIL NIL NIL NIL)'),
        (b'Subject: "\\\r\n\r\n', b'(NIL "\\"\\\\" NIL NIL NIL NIL NIL NIL NIL NIL)'),
        (
            b"From: f@x\r\nSender: s@x\r\nReply-To: \r\n\r\n",
            b'(NIL NIL ((NIL NIL "f" "x")) ((NIL NIL "s" "x")) ((NIL NIL "f" "x")) NIL NIL NIL NIL NIL)',
        ),
    ],
)  # fmt: skip
def test_envelopes(header, envelope):
    assert envelope_of(header) == envelope
    check_envelope(read(envelope))
    assert describe(header).envelope == envelope


@pytest.mark.parametrize(
    ("message", "body"),
    [
        (b"", b'("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 0 0)'),
        (b"Content-Type: text/html\r\n\r\nx", b'("text" "html" NIL NIL NIL "7bit" 1 0)'),
        (b"Content-Type: text\r\n\r\nx", b'("text" "plain" NIL NIL NIL "7bit" 1 0)'),
        (
            b"Content-Type: multipart/mixed\r\n\r\nx\r\n",
            b'(("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 3 1) "mixed")',
        ),
        (
            b"Content-Type: message/rfc822; name=x\r\nContent-Transfer-Encoding: base64\r\n\r\nQQ==",
            b'("application" "octet-stream" ("name" "x") NIL NIL "base64" 4)',
        ),
        (
            b"Content-Type: message/global\r\n\r\n\r\n",
            b'("message" "global" NIL NIL NIL "7bit" 2 (NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL) '
            b'("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 0 0) 1)',
        ),
        (
            b"Content-Type: multi\0part/mixed\r\n\r\n",
            b'(("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 0 0) "mixed")',
        ),
        (b"Content-Type: message/partial; id=1\r\n\r\nx", b'("message" "partial" ("id" "1") NIL NIL "7bit" 1)'),
        (b"Content-Type: a\xff/b; c=\xfe\r\n\r\n", b'({2}\r\na\xff "b" ("c" {1}\r\n\xfe) NIL NIL "7bit" 0)'),
        (b"Content-Type: a/b; c*0*=x''%41\r\n\r\n", b'("a" "b" ("c*0*" "x\'\'%41") NIL NIL "7bit" 0)'),
        (b"Content-Type: a/b\r\nContent-Disposition: ; x=y\r\n\r\n", b'("a" "b" NIL NIL NIL "7bit" 0)'),
    ],
)
def test_bodies(message, body):
    found = describe(message)
    assert found.body == body
    check_body(read(found.body), extended=False)
    check_body(read(found.bodystructure), extended=True)


def test_a_tree_that_is_cut_at_the_limits_is_still_a_structure():
    deep = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(MAX_DEPTH + 10)
    )
    wide = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\nx\r\n" * (MAX_PARTS + 10)
    boxes = b"Content-Type: message/rfc822\r\n\r\n" * (MAX_DEPTH + 10)
    for message in (deep, wide, boxes):
        found = describe(message)
        check_body(read(found.body), extended=False)
        check_body(read(found.bodystructure), extended=True)
    assert b'"application" "octet-stream"' in describe(deep).body
    assert describe(wide).body.count(b"us-ascii") == MAX_PARTS - 1


def test_others_may_run_while_a_message_is_described():
    breaths = []
    describe(b"To: " + b"a@b, " * 5_000 + b"\r\n\r\n", lambda: breaths.append(1))
    assert len(breaths) > 20
