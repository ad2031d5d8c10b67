"""FETCH and UID FETCH: every item, and what happens around them."""

import pytest

from imapd.imap.commands.fetch import Fetch
from imapd.mailstore.errors import NoSpace
from imapd.mailstore.memory import MemoryMailbox, MemoryMessage
from imapd.model.flags import FlagChange
from imapd.wire.framer import Line
from imapd.wire.scanner import Scanner
from tests.support.talk import Talk

PLAIN = b"From: Fred <fred@example.org>\r\nSubject: hello\r\nX-Long: one\r\n two\r\n\r\nLine one.\r\nLine two.\r\n"

INNER = b"Subject: inner\r\nFrom: in@example.org\r\n\r\nInner text.\r\n"

MIXED = (
    b'From: a@example.org\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="cut"\r\n\r\n'
    b"Preamble.\r\n"
    b"--cut\r\nContent-Type: text/plain\r\n\r\nPart one.\r\n"
    b"--cut\r\nContent-Type: message/rfc822\r\n\r\n" + INNER + b"\r\n"
    b"--cut\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\niVBORw==\r\n"
    b"--cut--\r\n"
)


def with_mail(*messages: bytes, flags: str = "(\\Seen)") -> Talk:
    talk = Talk().login()
    for message in messages or (PLAIN,):
        talk.append(message, flags=flags)
    return talk.select()


def asked(talk: Talk, command: str) -> str:
    """All that is answered before the tagged OK, with the line ends that it has."""
    said = "\r\n".join(talk.say(f"a {command}"))
    answer, _, tagged = said.rpartition("a OK")
    assert tagged, said
    return answer


def literal(octets: bytes) -> str:
    return f"{{{len(octets)}}}\r\n{octets.decode()}"


HEADER, TEXT = PLAIN[: PLAIN.index(b"Line")], PLAIN[PLAIN.index(b"Line") :]

SECTIONS = [
    ("BODY[]", "BODY[]", PLAIN),
    ("BODY.PEEK[]", "BODY[]", PLAIN),
    ("body.peek[header]", "BODY[HEADER]", HEADER),
    ("BODY[HEADER]", "BODY[HEADER]", HEADER),
    ("BODY[TEXT]", "BODY[TEXT]", TEXT),
    ("BODY[1]", "BODY[1]", TEXT),
    ("BODY[1.MIME]", "BODY[1.MIME]", HEADER),
    ("RFC822", "RFC822", PLAIN),
    ("RFC822.HEADER", "RFC822.HEADER", HEADER),
    ("RFC822.TEXT", "RFC822.TEXT", TEXT),
    ("BODY[HEADER.FIELDS (subject)]", "BODY[HEADER.FIELDS (subject)]", b"Subject: hello\r\n\r\n"),
    (
        "BODY[HEADER.FIELDS (X-Long FROM)]",
        "BODY[HEADER.FIELDS (X-Long FROM)]",
        b"From: Fred <fred@example.org>\r\nX-Long: one\r\n two\r\n\r\n",
    ),
    ('BODY[HEADER.FIELDS ("Absent")]', "BODY[HEADER.FIELDS (Absent)]", b"\r\n"),
    (
        "BODY[HEADER.FIELDS.NOT (From X-Long)]",
        "BODY[HEADER.FIELDS.NOT (From X-Long)]",
        b"Subject: hello\r\n\r\n",
    ),
    ("BODY[]<0.4>", "BODY[]<0>", PLAIN[:4]),
    ("BODY[]<5.10>", "BODY[]<5>", PLAIN[5:15]),
    ("BODY[]<0.100000>", "BODY[]<0>", PLAIN),
    ("BODY.PEEK[TEXT]<5.3>", "BODY[TEXT]<5>", TEXT[5:8]),
    ("BODY[HEADER.FIELDS (SUBJECT)]<2.4>", "BODY[HEADER.FIELDS (SUBJECT)]<2>", b"bjec"),
    ("BODY[HEADER]<0.18446744073709>", "BODY[HEADER]<0>", HEADER),
]


@pytest.mark.parametrize(("item", "label", "octets"), SECTIONS, ids=[section[0] for section in SECTIONS])
def test_a_section_is_the_octets_of_the_message(item: str, label: str, octets: bytes) -> None:
    assert asked(with_mail(), f"FETCH 1 {item}") == f"* 1 FETCH ({label} {literal(octets)})\r\n"


PARTS = [
    ("1", b"Part one."),
    ("1.MIME", b"Content-Type: text/plain\r\n\r\n"),
    ("2", INNER),
    ("2.HEADER", INNER[: INNER.index(b"Inner text")]),
    ("2.TEXT", b"Inner text.\r\n"),
    ("2.1", b"Inner text.\r\n"),
    ("2.MIME", b"Content-Type: message/rfc822\r\n\r\n"),
    ("2.HEADER.FIELDS (Subject)", b"Subject: inner\r\n\r\n"),
    ("2.HEADER.FIELDS.NOT (Subject)", b"From: in@example.org\r\n\r\n"),
    ("3", b"iVBORw=="),
]


@pytest.mark.parametrize(("section", "octets"), PARTS, ids=[part[0] for part in PARTS])
def test_parts_have_numbers(section: str, octets: bytes) -> None:
    answer = asked(with_mail(MIXED), f"FETCH 1 BODY.PEEK[{section}]")
    assert answer == f"* 1 FETCH (BODY[{section}] {literal(octets)})\r\n"


@pytest.mark.parametrize(
    ("item", "answer"),
    [
        ("BODY[4]", "BODY[4] NIL"),
        ("BODY[1.1]", "BODY[1.1] NIL"),
        ("BODY[1.HEADER]", "BODY[1.HEADER] NIL"),
        ("BODY[9.HEADER.FIELDS (To)]", "BODY[9.HEADER.FIELDS (To)] NIL"),
        ("BODY[4]<0.10>", "BODY[4]<0> NIL"),
        ("BODY[]<100000.5>", 'BODY[]<100000> ""'),
        ("BODY[1]<9.5>", 'BODY[1]<9> ""'),
    ],
)
def test_what_is_not_there_is_nil_and_what_is_beyond_the_end_is_empty(item: str, answer: str) -> None:
    assert asked(with_mail(MIXED), f"FETCH 1 {item}") == f"* 1 FETCH ({answer})\r\n"


def test_columns_and_descriptions() -> None:
    talk = Talk().login()
    head = f'x APPEND INBOX (\\Flagged) "01-Feb-1994 12:00:00 +0000" {{{len(PLAIN)}+}}\r\n'
    talk.send(head.encode() + PLAIN + b"\r\n")
    talk.select()
    fast = f'FLAGS (\\Flagged \\Recent) INTERNALDATE "01-Feb-1994 12:00:00 +0000" RFC822.SIZE {len(PLAIN)}'
    person = '(("Fred" NIL "fred" "example.org"))'
    envelope = f'ENVELOPE (NIL "hello" {person} {person} {person} NIL NIL NIL NIL NIL)'
    structure = f'("TEXT" "PLAIN" ("CHARSET" "US-ASCII") NIL NIL "7BIT" {len(TEXT)} 2'
    assert asked(talk, "FETCH 1 FAST") == f"* 1 FETCH ({fast})\r\n"
    assert asked(talk, "FETCH 1 all") == f"* 1 FETCH ({fast} {envelope})\r\n"
    assert asked(talk, "FETCH 1 FULL").upper() == f"* 1 FETCH ({fast} {envelope} BODY {structure}))\r\n".upper()
    assert asked(talk, "FETCH 1 BODYSTRUCTURE").upper().startswith(f"* 1 FETCH (BODYSTRUCTURE {structure} ")
    assert asked(talk, "FETCH 1 (RFC822.SIZE UID)") == f"* 1 FETCH (RFC822.SIZE {len(PLAIN)} UID 1)\r\n"


def test_items_come_in_the_order_of_the_request() -> None:
    answer = asked(with_mail(), "FETCH 1 (RFC822.SIZE BODY.PEEK[TEXT]<0.4> UID FLAGS)")
    assert (
        answer == f"* 1 FETCH (RFC822.SIZE {len(PLAIN)} BODY[TEXT]<0> {{4}}\r\nLine UID 1 FLAGS (\\Seen \\Recent))\r\n"
    )


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [("1", "1"), ("2:3", "23"), ("3:2", "23"), ("*", "4"), ("3:*", "34"), ("9:*", "4"), ("*:3", "34"), ("2,1,2:2", "12"), ("1:*", "1234")],
)  # fmt: skip
def test_sets_are_answered_in_order(numbers: str, expected: str) -> None:
    talk = with_mail(PLAIN, PLAIN, PLAIN, PLAIN)
    for command in ("FETCH", "UID FETCH"):
        said = talk.say(f"a {command} {numbers} UID")
        assert "".join(line.split()[1] for line in said[:-1]) == expected


def test_uids_that_name_nothing_are_passed_over() -> None:
    talk = with_mail(PLAIN, PLAIN, PLAIN)
    for line in ("STORE 2 +FLAGS (\\Deleted)", "EXPUNGE"):
        talk.say(f"a {line}")
    assert talk.say("a UID FETCH 2:3,77,4294967295 UID") == ["* 2 FETCH (UID 3)", "a OK UID FETCH completed."]
    assert talk.say("a UID FETCH 2 FLAGS") == ["a OK UID FETCH completed."]
    assert talk.say("a UID FETCH 1:4294967295 FLAGS") == [
        "* 1 FETCH (UID 1 FLAGS (\\Seen \\Recent))",
        "* 2 FETCH (UID 3 FLAGS (\\Seen \\Recent))",
        "a OK UID FETCH completed.",
    ]


def test_an_empty_mailbox_has_nothing_to_fetch() -> None:
    talk = Talk().login().select()
    assert talk.say("a FETCH 1:* FLAGS") == ["a OK FETCH completed."]
    assert talk.say("a UID FETCH 1:* FLAGS") == ["a OK UID FETCH completed."]


@pytest.mark.parametrize(
    "command",
    [
        "FETCH", "FETCH 1", "FETCH 1 ()", "FETCH 0 FLAGS", "FETCH 2 FLAGS", "FETCH 1:2 FLAGS", "FETCH x FLAGS", "FETCH 1 UNHEARD",
        "FETCH 1 (FLAGS UNHEARD)", "FETCH 1 (ALL)", "FETCH 1 FLAGS UID", "FETCH 1 BODY[", "FETCH 1 BODY[UNHEARD]",
        "FETCH 1 BODY[MIME]", "FETCH 1 BODY[0]", "FETCH 1 BODY[1.]", "FETCH 1 BODY[HEADER.FIELDS]",
        "FETCH 1 BODY[HEADER.FIELDS ()]", "FETCH 1 BODY[]<0>", "FETCH 1 BODY[]<0.0>", "FETCH 1 BODY[]<.5>",
        "FETCH 1 BODY[]<-1.5>", "FETCH 1 BODY.PEEK", "FETCH 1 RFC822[]", "FETCH 1 (FLAGS", "UID FETCH 0 FLAGS",
    ],
)  # fmt: skip
def test_what_is_no_fetch_is_bad(command: str) -> None:
    talk = with_mail()
    assert talk.say(f"a {command}")[-1].startswith("a BAD")
    assert talk.say("b NOOP") == ["b OK NOOP completed."]


# --- \Seen -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("item", ["BODY[]", "BODY[TEXT]", "BODY[HEADER]", "BODY[1]<0.1>", "RFC822", "RFC822.TEXT"])
def test_reading_sets_seen_and_says_so_once(item: str) -> None:
    talk = with_mail(flags="()")
    other = Talk(store=talk.store, loop=talk.loop).login().select()
    assert asked(talk, f"FETCH 1 {item}").endswith(" FLAGS (\\Seen \\Recent))\r\n")
    assert "FLAGS" not in asked(talk, f"FETCH 1 {item}")
    assert other.say("b NOOP") == ["* 1 FETCH (FLAGS (\\Seen))", "b OK NOOP completed."]


@pytest.mark.parametrize("item", ["BODY.PEEK[]", "RFC822.HEADER", "ENVELOPE", "BODY", "BODYSTRUCTURE", "RFC822.SIZE"])
def test_looking_does_not_set_seen(item: str) -> None:
    talk = with_mail(flags="()")
    asked(talk, f"FETCH 1 {item}")
    assert asked(talk, "FETCH 1 FLAGS") == "* 1 FETCH (FLAGS (\\Recent))\r\n"


def test_flags_that_were_asked_for_show_seen_once() -> None:
    answer = asked(with_mail(flags="()"), "FETCH 1 (FLAGS BODY[1]<0.4>)")
    assert answer == "* 1 FETCH (FLAGS (\\Seen \\Recent) BODY[1]<0> {4}\r\nLine)\r\n"


def test_examine_changes_nothing() -> None:
    talk = Talk().login().append(PLAIN)
    talk.say("a EXAMINE INBOX")
    assert "FLAGS" not in asked(talk, "FETCH 1 BODY[]")
    assert asked(talk, "FETCH 1 FLAGS") == "* 1 FETCH (FLAGS (\\Recent))\r\n"


def test_seen_is_one_write_for_many_messages(monkeypatch) -> None:
    writes: list[int] = []
    change = MemoryMailbox.change_flags

    def counted(self, uids, how, flags):  # type: ignore[no-untyped-def]
        writes.append(len(uids))
        return change(self, uids, how, flags)

    talk = with_mail(*[PLAIN] * 600, flags="()")
    monkeypatch.setattr(MemoryMailbox, "change_flags", counted)
    assert asked(talk, "FETCH 1:* BODY[1]<0.1>").count("\\Seen") == 600
    assert writes == [512, 88]


def test_a_full_disk_does_not_stop_reading(monkeypatch) -> None:
    def full(*_: object) -> None:
        raise NoSpace

    talk = with_mail(flags="()")
    monkeypatch.setattr(MemoryMailbox, "change_flags", full)
    assert asked(talk, "FETCH 1 BODY[1]<0.4>") == "* 1 FETCH (BODY[1]<0> {4}\r\nLine)\r\n"
    assert talk.logged("seen_not_set")


# --- other clients -----------------------------------------------------------------------------------------------


def two_clients() -> tuple[Talk, Talk]:
    """Three messages; the second client has removed the second message, and the first has not been told."""
    talk = with_mail(PLAIN, PLAIN, PLAIN)
    other = Talk(store=talk.store, loop=talk.loop).login().select()
    for line in ("STORE 2 +FLAGS.SILENT (\\Deleted)", "EXPUNGE"):
        assert other.say(f"a {line}")[-1].startswith("a OK")
    return talk, other


@pytest.mark.parametrize("item", ["FLAGS", "UID", "ENVELOPE", "BODY.PEEK[1]", "BODY[]", "RFC822.SIZE"])
def test_an_expunged_message_has_no_answer_and_keeps_its_number(item: str) -> None:
    talk, _ = two_clients()
    said = talk.say(f"a FETCH 1:3 {item}")
    assert [line.split()[1] for line in said if line.startswith("* ")] == ["1", "3"]
    assert said[-1] == "a NO [EXPUNGEISSUED] Some of the messages do not exist any more."
    assert talk.say("b NOOP")[0] == "* 2 EXPUNGE"


def test_uid_fetch_passes_over_an_expunged_message_and_tells_of_it() -> None:
    talk, _ = two_clients()
    assert talk.say("a UID FETCH 1:3 UID") == [
        "* 1 FETCH (UID 1)",
        "* 3 FETCH (UID 3)",
        "* 2 EXPUNGE",
        "* 2 RECENT",
        "a OK [EXPUNGEISSUED] UID FETCH completed.",
    ]


def test_a_message_that_goes_while_it_is_being_fetched_is_left_out(monkeypatch) -> None:
    talk = with_mail(PLAIN, PLAIN)
    mailbox = talk.session.account.open("INBOX")
    opening = MemoryMailbox.message

    def open_and_expunge(self, uid):  # type: ignore[no-untyped-def]
        if uid == 2:
            mailbox.change_flags([2], FlagChange.ADD, frozenset({"\\Deleted"}))
            mailbox.expunge([2])
        return opening(self, uid)

    monkeypatch.setattr(MemoryMailbox, "message", open_and_expunge)
    said = talk.say("a FETCH 1:2 BODY.PEEK[1]<0.1>")
    assert said[0].startswith("* 1 FETCH") and said[-1].startswith("a NO [EXPUNGEISSUED]")


# --- effort ------------------------------------------------------------------------------------------------------


def test_a_message_is_read_and_parsed_once_for_all_its_sections(monkeypatch) -> None:
    reads: list[int] = []
    read = MemoryMessage.read

    def counted(self):  # type: ignore[no-untyped-def]
        reads.append(1)
        return read(self)

    monkeypatch.setattr(MemoryMessage, "read", counted)
    talk = with_mail(MIXED)
    asked(talk, "FETCH 1 (BODY.PEEK[1] BODY.PEEK[2] BODY.PEEK[2.HEADER] BODY.PEEK[TEXT] BODY.PEEK[3.MIME])")
    assert len(reads) == 1
    asked(talk, "FETCH 1 (BODY.PEEK[] BODY.PEEK[HEADER] BODY.PEEK[HEADER.FIELDS (From)] BODY.PEEK[]<10.20>)")
    assert len(reads) == 1, "the whole message is streamed, and a header needs the header alone"


def test_messages_are_closed_whatever_happens(monkeypatch) -> None:
    closed: list[int] = []
    monkeypatch.setattr(MemoryMessage, "close", lambda self: closed.append(1))
    asked(with_mail(PLAIN, PLAIN), "FETCH 1:2 BODY.PEEK[TEXT]")
    assert len(closed) == 2


def test_a_large_mailbox_is_answered_by_pieces() -> None:
    talk = with_mail(*[PLAIN] * 1200)
    for items, at_once in (("ENVELOPE", 512), ("BODY.PEEK[TEXT]", 1)):
        running = Fetch.parse(Scanner(Line((b" 1:* (UID %b)" % items.encode(),))), talk.session).run(talk.session)
        breaths = talk.loop.breaths
        answers = [b"".join(response.chunks(False)) for response in running]
        assert answers[0].startswith(b"* 1 FETCH (UID 1 ")
        assert [answer.count(b" FETCH (UID") for answer in answers[:2]] == [at_once] * 2
        assert sum(answer.count(b" FETCH (UID") for answer in answers) == 1200
        assert talk.loop.breaths - breaths >= 1200


def test_a_large_message_is_never_held_whole(monkeypatch) -> None:
    big = b"Subject: big\r\n\r\n" + b"0123456789abcdef" * 65_536

    def refuse(self):  # type: ignore[no-untyped-def]
        raise AssertionError("read() takes the whole message into memory")

    talk = with_mail(PLAIN)
    talk.session.account._tree.boxes["INBOX"].add([(big, 0, frozenset())])
    talk.say("a NOOP")
    monkeypatch.setattr(MemoryMessage, "read", refuse)
    assert (
        asked(talk, "FETCH 2 BODY.PEEK[]<393216.5>") == f"* 2 FETCH (BODY[]<393216> {literal(big[393216:393221])})\r\n"
    )
    assert len(asked(talk, "FETCH 2 BODY.PEEK[]")) > len(big)
