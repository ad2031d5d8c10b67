"""The sample mail of `imapd demo`: a mailbox tree as somebody's real one might look, written for the purpose.

Folders in several scripts, threads, multiparts, attachments, forwarded messages, encoded words, flags. The dates are
relative to the day of the demonstration, so that mail programs sort it as a living mailbox.
"""

from __future__ import annotations

import base64
import datetime
import email.policy
import email.utils
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from email.headerregistry import Address
from email.message import EmailMessage, MIMEPart

ANNA = Address("Anna Lindqvist", "anna", "example.org")
BEN = Address("Ben Okafor", "ben", "example.org")
CHIARA = Address("Chiara Moretti", "chiara", "example.org")
YUKI = Address("山田 雪", "yuki", "example.jp")
OLGA = Address("Ольга Смирнова", "olga", "example.net")
NIKOS = Address("Νίκος Παππάς", "nikos", "example.gr")
SHOP = Address("Seed & Spade", "orders", "seedandspade.example")

HOUR, DAY = 3600, 86400
POLICY = email.policy.SMTP.clone(linesep="\n")  # as a delivery agent on this machine writes it


@dataclass(frozen=True)
class Sample:
    """One message: the mailbox it lies in, the letters of its Maildir flags, its date and its text."""

    mailbox: str
    flags: str
    date: int
    text: bytes


def sample_mail(now: int) -> Iterator[Sample]:
    """All the sample mail, oldest first within each mailbox. now: seconds since the epoch."""
    for mailbox, flags, age, message in [*_garden(), *_scripts(), *_everyday(), *_other_mailboxes()]:
        date = now - int(age)
        message["Date"] = email.utils.format_datetime(email.utils.localtime(_when(date)))
        yield Sample(mailbox, flags, date, message.as_bytes(policy=POLICY))
    for mailbox, flags, age, text in _hand_made():
        date = now - int(age)
        stamp = email.utils.formatdate(date)
        yield Sample(mailbox, flags, date, text.replace(b"@DATE@", stamp.encode()))


def _when(seconds: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)


Letter = tuple[str, str, float, EmailMessage]


def _letter(
    sender: Address, to: Address | list[Address], subject: str, text: str, ident: str, reply_to: str = "", **more: str
) -> EmailMessage:
    message = EmailMessage()
    message["From"] = sender
    message["To"] = to
    message["Subject"] = subject
    message["Message-ID"] = f"<{ident}@{sender.domain}>"
    if reply_to:
        chain = reply_to.split()
        message["In-Reply-To"] = chain[-1]
        message["References"] = " ".join(chain)
    for name, value in more.items():
        message[name.replace("_", "-")] = value
    message.set_content(text)
    return message


def _garden() -> list[Letter]:
    """A thread of five about a shared garden, with a picture and a table."""
    first = "<garden-1@example.org>"
    second = f"{first} <garden-2@example.org>"
    plan = _letter(
        CHIARA,
        ANNA,
        "Re: The garden behind the library",
        "Here is the plan, as a picture and as a table.\n\nChiara\n",
        "garden-3",
        second,
    )
    plan.add_attachment(_picture(), maintype="image", subtype="png", filename="plan.png")
    plan.add_attachment(
        "bed,what,who\n1,tomatoes,Anna\n2,beans,Ben\n3,sunflowers,Chiara\n", subtype="csv", filename="beds.csv"
    )
    html = _letter(
        BEN,
        [ANNA, CHIARA],
        "Re: The garden behind the library",
        "Beans it is. I bring *two* shovels.\n",
        "garden-4",
        second,
    )
    html.add_alternative("<p>Beans it is. I bring <b>two</b> shovels.</p>\n", subtype="html")
    return [
        ("INBOX", "S", 9 * DAY, _letter(ANNA, [BEN, CHIARA], "The garden behind the library", "Dear both,\n\nthe library lets us have the strip behind the bicycle stands.\nShall we begin with raised beds?\n\nAnna\n", "garden-1")),
        ("INBOX", "RS", 8.5 * DAY, _letter(BEN, [ANNA, CHIARA], "Re: The garden behind the library", "Anna wrote:\n> Shall we begin with raised beds?\n\nYes! Who draws a plan?\n\nBen\n", "garden-2", first)),
        ("INBOX", "FS", 8 * DAY, plan),
        ("INBOX", "S", 7.9 * DAY, html),
        ("INBOX", "", 2 * HOUR, _letter(CHIARA, ANNA, "Re: The garden behind the library", "Saturday at ten? It is said not to rain.\n", "garden-5", f"{second} <garden-4@example.org>")),
    ]  # fmt: skip


def _scripts() -> list[Letter]:
    """Names, subjects and texts in several scripts."""
    greek = _letter(
        NIKOS,
        ANNA,
        "Καλημέρα από τη Θεσσαλονίκη",
        "Καλημέρα Άννα,\n\nτα βιβλία έφτασαν. Ευχαριστώ πολύ!\n\nΝίκος\n",
        "greek-1",
    )
    return [
        ("INBOX", "S", 6 * DAY, _letter(OLGA, ANNA, "Встреча в четверг", "Привет, Анна!\n\nЖдём тебя в четверг в семь часов у входа в театр.\n\nОльга\n", "russian-1")),
        ("INBOX", "", 5 * DAY, greek),
        ("INBOX", "S", 4.5 * DAY, _letter(YUKI, ANNA, "来週の打ち合わせについて", "アンナさん\n\n来週の水曜日、午後三時はいかがでしょうか。\n\n山田\n", "japanese-1")),
        ("INBOX", "F", 3 * DAY, _letter(Address("عمر حداد", "omar", "example.com"), ANNA, "صور من الرحلة 🏔️", "مرحبا آنا،\n\nالصور في المجلد المشترك.\n\nعمر\n", "arabic-1")),
    ]  # fmt: skip


def _everyday() -> list[Letter]:
    """A receipt with attachments, an invitation, a forwarded message, a list."""
    order = _letter(
        SHOP,
        ANNA,
        "Your order 4711 is on its way",
        "Thank you for your order.\n\n  6 x tomato seedlings\n  1 x watering can\n",
        "order-4711",
    )
    order.add_alternative(
        '<html><body><h1>Thank you</h1><p>6 tomato seedlings, 1 watering can <img src="cid:logo@seedandspade.example"></p></body></html>\n',
        subtype="html",
    )
    related = order.get_body(("html",))
    assert isinstance(related, MIMEPart)
    related.add_related(_picture(), "image", "png", cid="<logo@seedandspade.example>")
    order.add_attachment(
        _pdf("Invoice 4711"), maintype="application", subtype="pdf", filename="Invoice 4711 – März.pdf"
    )

    invitation = _letter(BEN, ANNA, "Invitation: digging", "Saturday, 10 to 13, behind the library.\n", "digging-1")
    invitation.add_alternative(
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//example//EN\r\nMETHOD:REQUEST\r\nBEGIN:VEVENT\r\nUID:digging-1@example.org\r\nSUMMARY:Digging\r\nDTSTART:20260328T100000Z\r\nDTEND:20260328T130000Z\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n",
        subtype="calendar",
        params={"method": "REQUEST"},
    )

    forwarded = _letter(CHIARA, ANNA, "Fwd: Compost", "See below.\n", "compost-2")
    forwarded.add_attachment(_letter(OLGA, CHIARA, "Компост", "Листья, трава и терпение.\n", "compost-1"))

    news = _letter(
        Address("Library News", "news", "library.example"),
        Address("Readers", "readers", "library.example"),
        "[readers] Late opening on Thursdays",
        "From next week on we are open until 21:00 on Thursdays.\n",
        "news-99",
        List_Id="Readers of the library <readers.library.example>",
        List_Unsubscribe="<mailto:readers-leave@library.example>",
    )
    return [("INBOX", "S", 2 * DAY, order), ("INBOX", "", DAY, invitation), ("INBOX", "PS", 20 * HOUR, forwarded), ("INBOX", "", 5 * HOUR, news)]  # fmt: skip


def _other_mailboxes() -> list[Letter]:
    """What lies in the other mailboxes."""
    draft = _letter(ANNA, YUKI, "Re: 来週の打ち合わせについて", "山田さん\n\n水曜日で大丈夫です。\n", "draft-1")
    spam = _letter(
        Address("Prize Office", "win", "prizes.example"), ANNA, "=> YOU have WON <=", "Claim now.\n", "spam-1"
    )
    return [
        ("Sent", "S", 8.9 * DAY, _letter(ANNA, NIKOS, "Βιβλία", "Dear Nikos, the books left today.\n", "sent-1")),
        ("Sent", "S", 3.2 * DAY, _letter(ANNA, SHOP, "A question about seedlings", "Do they mind a cold night?\n\nAnna Lindqvist\n", "sent-2")),
        ("Drafts", "DS", 1 * DAY, draft),
        ("Junk", "", 1.5 * DAY, spam),
        ("Trash", "ST", 12 * DAY, _letter(BEN, ANNA, "Wrong attachment", "Please forget the last mail.\n", "trash-1")),
        ("Projects/Garden 2026", "S", 30 * DAY, _letter(CHIARA, ANNA, "Who has the key to the shed?", "I have not.\n", "shed-1")),
        ("Projects/Garden 2026/Plants & Tools", "FS", 29 * DAY, _letter(BEN, ANNA, "List of tools", "Two shovels, one rake, no wheelbarrow.\n", "tools-1")),
        ("Reisen/Österreich", "S", 200 * DAY, _letter(Address("Jürgen Weiß", "juergen", "example.at"), ANNA, "Hüttenübernachtung bestätigt – zwei Nächte", "Grüß Gott,\n\nzwei Nächte im Lager sind für Sie vorgemerkt.\n", "huette-1")),
        ("旅行/京都", "S", 400 * DAY, _letter(YUKI, ANNA, "京都の宿", "予約できました。\n", "kyoto-1")),
        ("Архив/2025", "S", 330 * DAY, _letter(OLGA, ANNA, "С новым годом!", "Счастья и здоровья!\n", "newyear-1")),
    ]  # fmt: skip


def _hand_made() -> list[tuple[str, str, float, bytes]]:
    """Mail as other programs write it, which a library would not: old charsets, a bounce, no MIME at all."""
    japanese = base64.b64encode("会議の資料".encode("iso-2022-jp")).decode()
    old_charset = (
        f"From: =?ISO-2022-JP?B?{base64.b64encode('山田'.encode('iso-2022-jp')).decode()}?= <yuki@example.jp>\n"
        f"To: anna@example.org\nSubject: =?ISO-2022-JP?B?{japanese}?=\nDate: @DATE@\nMessage-ID: <old-1@example.jp>\n"
        "MIME-Version: 1.0\nContent-Type: text/plain; charset=ISO-2022-JP\nContent-Transfer-Encoding: 7bit\n\n"
    ).encode() + "資料を送ります。\n".encode("iso-2022-jp")
    plain = (
        b"From: ben@example.org (Ben Okafor)\nTo: anna@example.org\nSubject: no MIME here\nDate: @DATE@\n"
        b"Message-ID: <plain-1@example.org>\n\nJust text, as it was in 1982.\nFrom here on it is all the same.\n"
    )
    bounce = (
        b"From: MAILER-DAEMON@example.org (Mail Delivery System)\nTo: anna@example.org\nSubject: Undelivered Mail Returned to Sender\n"
        b'Date: @DATE@\nMessage-ID: <bounce-1@example.org>\nMIME-Version: 1.0\nContent-Type: multipart/report; report-type=delivery-status; boundary="b1"\n\n'
        b"--b1\nContent-Type: text/plain\n\nYour message could not be delivered to tom@example.invalid.\n\n"
        b"--b1\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mail.example.org\n\nFinal-Recipient: rfc822; tom@example.invalid\nAction: failed\nStatus: 5.1.2\n\n"
        b"--b1\nContent-Type: message/rfc822\n\nFrom: anna@example.org\nTo: tom@example.invalid\nSubject: Hello Tom\nMessage-ID: <lost-1@example.org>\n\nAre you there?\n\n--b1--\n"
    )
    return [("INBOX", "", 4 * DAY, old_charset), ("INBOX", "S", 3.5 * DAY, plain), ("INBOX", "", 3 * HOUR, bounce)]


def _picture() -> bytes:
    """A small PNG: a green bed on brown soil."""
    width, height = 48, 32
    rows = b"".join(
        b"\0"
        + b"".join(b"\x3c\x9a\x41" if 6 < x < 42 and 6 < y < 26 and y % 4 else b"\x6b\x4a\x2b" for x in range(width))
        for y in range(height)
    )

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def _pdf(text: str) -> bytes:
    """The smallest PDF that shows a line of text."""
    stream = f"BT /F1 24 Tf 72 720 Td ({text}) Tj ET".encode()
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    out, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    return (
        out
        + b"xref\n0 6\n0000000000 65535 f \n"
        + table
        + b"trailer << /Size 6 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % len(out)
    )
