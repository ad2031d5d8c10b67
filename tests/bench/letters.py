"""The text of the corpus' messages: number n is always the same octets, and like mail that people get.

Of a hundred messages 40 are plain text, 30 text and HTML, 8 HTML alone, 9 from mailing lists, 4 Chinese or Japanese,
5 have attachments, 2 forward another message, 2 invite to a meeting. Two in five answer an earlier one; one subject in five
has encoded words. The mean is about 8 kB, of which the header is 1.7 kB. Lines end with LF, as delivery agents write
them, and no line begins with `From `, so that mbox files hold the same octets.
"""

from __future__ import annotations

import base64
import binascii
import random
import time

SEED = 20261122
HOST = "bench.example.org"
KINDS = ("plain", "alternative", "html", "list", "cjk", "attachment", "forward", "invitation")
WEIGHTS = (40, 30, 8, 9, 4, 5, 2, 2)


def _vocabulary() -> tuple[list[str], list[str]]:
    """Words as a language has them, few in every sentence and most of them rare; and names."""
    chance = random.Random(SEED)
    syllables = [a + b for a in "bcdfghjklmnprstvwz" for b in ("a", "e", "i", "o", "u", "an", "er", "ti", "on")]
    common = [
        "the",
        "of",
        "and",
        "to",
        "in",
        "is",
        "that",
        "for",
        "it",
        "with",
        "as",
        "was",
        "on",
        "be",
        "at",
        "by",
        "this",
        "have",
        "with",
        "or",
        "had",
        "not",
        "but",
        "what",
        "all",
    ]
    rare = ["".join(chance.choices(syllables, k=chance.randint(2, 4))) for _ in range(40_000)]
    return common * 500 + rare[:800] * 25 + rare, rare[1000:6000]


WORDS, NAMES = _vocabulary()
CJK = [chr(code) for code in range(0x4E00, 0x4E00 + 2500)] + [chr(code) for code in range(0x3042, 0x3093)] * 20
ACCENTED = ("Größe", "façade", "naïve", "Žižek", "coração", "mañana", "Łódź", "été", "Übersicht")
NOISE = base64.encodebytes(random.Random(SEED + 1).randbytes(600_000)).decode()  # 77 octets a line


def message(number: int) -> bytes:
    """Message number n, from 0, with line ends LF."""
    chance = random.Random(SEED * 1_000_003 + number)
    kind = chance.choices(KINDS, WEIGHTS)[0]
    fields, body = BODIES[kind](chance)
    head = _header(chance, number, kind)
    return f"{head}MIME-Version: 1.0\n{fields}\n{body}".encode()


def came(number: int) -> int:
    """When message number n came, in seconds since 1970."""
    return 1_600_000_000 + number * 977


def from_line_date(number: int) -> str:
    """When it came, as the From line of an mbox gives it."""
    return time.asctime(time.gmtime(came(number)))


def flags(number: int) -> str:
    """Its flags, in the letters of Maildir."""
    chance = random.Random(number)
    seen, share = chance.random() < 0.7, chance.random()
    return ("F" if share < 0.05 else "") + ("R" if seen and share > 0.8 else "") + ("S" if seen else "")


# -- the header --------------------------------------------------------------------------------------------------------


def _header(chance: random.Random, number: int, kind: str) -> str:
    date = _date(came(number))
    lines = [f"Return-Path: <{_address(chance)}>"]
    for hop in range(chance.randint(2, 5)):
        lines.append(
            f"Received: from mx{hop}.{chance.choice(NAMES)}.example ([192.0.2.{chance.randrange(256)}])\n"
            f"\tby relay{hop}.{HOST} with ESMTPS id {chance.getrandbits(64):016x}\n\tfor <anna@example.org>; {date}"
        )
    lines.append(
        f"Authentication-Results: mx.{HOST}; dkim=pass header.d=example.com;\n\tspf=pass smtp.mailfrom=example.com"
    )
    if chance.random() < 0.6:
        begin = chance.randrange(9000) * 77
        lines.append(
            "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.com; s=s2020;\n"
            f"\th=from:to:subject:date:message-id; bh={NOISE[begin : begin + 44]};\n"
            f"\tb={NOISE[begin + 77 : begin + 77 * 5]}".replace("\n", "\n\t")
            .replace("\t\t", "\t")
            .rstrip()
        )
    lines.append(f"Date: {date}")
    lines.append(f"From: {_people(chance, 1)}")
    lines.append(f"To: {_people(chance, 60 if chance.random() < 0.01 else chance.randint(1, 3))}")
    if chance.random() < 0.3:
        lines.append(f"Cc: {_people(chance, chance.randint(1, 5))}")
    lines.append(f"Message-ID: {_message_id(number)}")
    lines += _thread(chance, number, kind)
    lines.append(f"User-Agent: Example Mail {chance.randint(1, 9)}.{chance.randint(0, 20)}")
    if chance.random() < 0.05:
        lines.append("X-Priority: 1 (Highest)")
    return "\n".join(lines) + "\n"


def _thread(chance: random.Random, number: int, kind: str) -> list[str]:
    """Subject, what is answered, and what a list adds."""
    lines, words = [], _subject(chance, kind)
    if number > 50 and chance.random() < 0.4:
        earlier = number - chance.randint(1, 50)
        before = [_message_id(max(0, earlier - 13 * step)) for step in range(chance.randint(0, 6), 0, -1)]
        lines.append("References: " + "\n ".join([*before, _message_id(earlier)]))
        lines.append(f"In-Reply-To: {_message_id(earlier)}")
        words = f"Re: {words}"
    if kind == "list":
        name = NAMES[number % 40]
        lines += [f"List-Id: <{name}.{HOST}>", f"List-Post: <mailto:{name}@{HOST}>", "Precedence: list"]
        lines.append(f"List-Unsubscribe: <https://{HOST}/lists/{name}>,\n <mailto:{name}-leave@{HOST}>")
        words = f"[{name}] {words}"
    return [f"Subject: {words}", *lines]


def _subject(chance: random.Random, kind: str) -> str:
    if kind == "cjk":
        return _encoded("".join(chance.choices(CJK, k=chance.randint(6, 22))))
    words = _sentence(chance, chance.randint(2, 9)).capitalize()
    return _encoded(f"{chance.choice(ACCENTED)} {words}") if chance.random() < 0.2 else words


def _encoded(text: str) -> str:
    """Encoded words of RFC 2047, of at most 75 octets, none of which parts a character."""
    pieces = [text[begin : begin + 14] for begin in range(0, len(text), 14)]
    return "\n ".join(f"=?utf-8?B?{base64.b64encode(piece.encode()).decode()}?=" for piece in pieces)


def _people(chance: random.Random, how_many: int) -> str:
    found = []
    for _ in range(how_many):
        number = int(chance.paretovariate(0.7)) % len(NAMES)
        first, last = NAMES[number].title(), NAMES[number * 7 % len(NAMES)].title()
        address = f"{first}.{last}@{'example.com' if number % 3 else HOST}".lower()
        if number % 11 == 0:
            found.append(f"{_encoded(f'{first} {last}ß')} <{address}>")
        elif number % 5 == 0:
            found.append(address)
        else:
            found.append(f'"{last}, {first}" <{address}>')
    return ",\n ".join(found)


def _address(chance: random.Random) -> str:
    return f"{chance.choice(NAMES)}@example.com"


def _message_id(number: int) -> str:
    return f"<{number * 2654435761 % 2**32:08x}.{number}@{HOST}>"


def _date(when: int) -> str:
    parts = time.gmtime(when)
    day, month = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"][parts.tm_wday], _MONTHS[parts.tm_mon - 1]
    return f"{day}, {parts.tm_mday:02} {month} {parts.tm_year} {parts.tm_hour:02}:{parts.tm_min:02}:{parts.tm_sec:02} +0000"


_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]

# -- bodies: (fields of the content, body) -----------------------------------------------------------------------------


def _sentence(chance: random.Random, how_many: int) -> str:
    return " ".join(chance.choices(WORDS, k=how_many))


def _text(chance: random.Random) -> str:
    """Paragraphs in lines of twelve words; ends with a line end."""
    paragraphs = []
    for _ in range(chance.randint(1, 8)):
        words = chance.choices(WORDS, k=chance.randint(10, 90))
        paragraphs.append("\n".join(" ".join(words[begin : begin + 12]) for begin in range(0, len(words), 12)))
    if chance.random() < 0.3:
        paragraphs.append("> " + paragraphs[0].replace("\n", "\n> "))
    return "\n\n".join(paragraphs) + "\n"


def _html(chance: random.Random, text: str) -> str:
    rows = text.replace("\n\n", '</p>\n<p class="MsoNormal" style="margin:0cm;font-size:11.0pt">')
    link = f'<a href="https://example.com/{chance.getrandbits(64):x}">{chance.choice(WORDS)}</a>'
    return f"<html><head><style>p {{ margin: 0 }}</style></head>\n<body>\n<p>{rows}</p>\n{link}\n</body></html>\n"


def _quoted(text: str) -> str:
    return binascii.b2a_qp(text.encode()).decode()


def _base64(text: str) -> str:
    return base64.encodebytes(text.encode()).decode()


def _plain(chance: random.Random) -> tuple[str, str]:
    text = _text(chance)
    if chance.random() < 0.4:
        text = f"{chance.choice(ACCENTED)}, {text}"
        return "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n", _quoted(text)
    return "Content-Type: text/plain; charset=us-ascii\nContent-Transfer-Encoding: 7bit\n", text


def _html_alone(chance: random.Random) -> tuple[str, str]:
    fields = "Content-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: "
    text = _html(chance, _text(chance))
    return (
        (fields + "base64\n", _base64(text))
        if chance.random() < 0.5
        else (
            fields + "quoted-printable\n",
            _quoted(text),
        )
    )


def _cjk(chance: random.Random) -> tuple[str, str]:
    lines = ["".join(chance.choices(CJK, k=chance.randint(10, 40))) for _ in range(chance.randint(3, 30))]
    return "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64\n", _base64(
        "\n".join(lines) + "\n"
    )


def _parts(chance: random.Random, subtype: str, parts: list[tuple[str, str]]) -> tuple[str, str]:
    boundary = f"=_{chance.getrandbits(96):024x}"
    inner = "".join(f"--{boundary}\n{fields}\n{body}\n" for fields, body in parts)
    fields = f'Content-Type: multipart/{subtype};\n boundary="{boundary}"\n'
    return fields, f"This is a multi-part message in MIME format.\n{inner}--{boundary}--\n"


def _alternative(chance: random.Random) -> tuple[str, str]:
    text = _text(chance)
    plain = ("Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n", _quoted(text))
    html = (
        "Content-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n",
        _quoted(_html(chance, text)),
    )
    return _parts(chance, "alternative", [plain, html])


def _attached(chance: random.Random) -> tuple[str, str]:
    parts = [_alternative(chance) if chance.random() < 0.6 else _plain(chance)]
    for _ in range(1 if chance.random() < 0.8 else 3):
        lines = int(chance.choice((4, 12, 25, 40, 80, 150)) * 1000 / 77)
        begin = chance.randrange(len(NOISE) // 77 - lines) * 77
        name = f"{chance.choice(NAMES)}.{chance.choice(('pdf', 'docx', 'png', 'xlsx', 'zip'))}"
        fields = (
            f'Content-Type: application/octet-stream;\n name="{name}"\nContent-Transfer-Encoding: base64\n'
            f'Content-Disposition: attachment;\n filename="{name}"\n'
        )
        parts.append((fields, NOISE[begin : begin + lines * 77]))
    return _parts(chance, "mixed", parts)


def _forward(chance: random.Random) -> tuple[str, str]:
    fields, body = _alternative(chance)
    inside = f"{_header(chance, -chance.randrange(10**6), 'plain')}MIME-Version: 1.0\n{fields}\n{body}"
    return _parts(chance, "mixed", [_plain(chance), ("Content-Type: message/rfc822\n", inside)])


def _invitation(chance: random.Random) -> tuple[str, str]:
    calendar = (
        "BEGIN:VCALENDAR\nMETHOD:REQUEST\nBEGIN:VEVENT\nDTSTART:20261122T100000Z\n"
        f"SUMMARY:{_sentence(chance, 4)}\nEND:VEVENT\nEND:VCALENDAR\n"
    )
    fields = "Content-Type: text/calendar; charset=utf-8; method=REQUEST\nContent-Transfer-Encoding: base64\n"
    return _parts(chance, "alternative", [_plain(chance), (fields, _base64(calendar))])


BODIES = {
    "plain": _plain, "alternative": _alternative, "html": _html_alone, "list": _plain, "cjk": _cjk,
    "attachment": _attached, "forward": _forward, "invitation": _invitation,
}  # fmt: skip
