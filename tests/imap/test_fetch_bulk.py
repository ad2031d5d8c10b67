"""What FETCH says of many messages at once is, octet for octet, what it says of them one by one."""

import random
from itertools import count

import pytest

from imapd.imap.commands import fetch
from imapd.imap.commands.fetch import Fetch
from imapd.mailstore import contents
from imapd.mailstore.local import LocalStore
from imapd.mailstore.memory import MemoryStore
from imapd.wire.framer import Line
from imapd.wire.responses import Block
from imapd.wire.scanner import Scanner
from tests.support.loop import PlainLoop
from tests.support.people import People
from tests.support.talk import Talk

ITEMS = [
    "UID",
    "FLAGS",
    "INTERNALDATE",
    "RFC822.SIZE",
    "ENVELOPE",
    "BODYSTRUCTURE",
    "BODY",
    "BODY.PEEK[HEADER.FIELDS (From To Subject Date)]",
    "BODY.PEEK[HEADER.FIELDS (SUBJECT %d%)]",
    "BODY.PEEK[HEADER.FIELDS (Subject)]<3.5>",
    "BODY.PEEK[HEADER.FIELDS.NOT (Received)]",
    "BODY.PEEK[1.MIME]",
    "BODY.PEEK[]",
    "BODY.PEEK[]<0.30>",
    "BODY.PEEK[]<0.100000>",
    "BODY.PEEK[]<7.30>",
    "BODY.PEEK[HEADER]",
    "RFC822.HEADER",
]
HABITS = [
    "(UID FLAGS)",
    "FAST",
    "ALL",
    "FULL",
    "(UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE)",
    "(INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE)",
    "(BODYSTRUCTURE ENVELOPE RFC822.SIZE INTERNALDATE)",
    "(UID RFC822.SIZE FLAGS INTERNALDATE BODYSTRUCTURE BODY.PEEK[HEADER.FIELDS (DATE FROM TO SUBJECT)])",
    "(UID FLAGS BODY.PEEK[])",
    "(UID BODY.PEEK[]<0.60>)",
]
SETS = ["1:*", "1:20", "2,4:7,30:*", "*", "39:1"]
KEYWORDS = ["", "\\Seen", "\\Flagged \\Seen", "Work", "\\Draft $Junk"]
_names = count(1)


def message(chance: random.Random, number: int) -> bytes:
    header = [b"From: =?utf-8?q?J=C3=B6rg?= <j@example.org>", b"Subject: %d %b" % (number, b"x" * chance.randrange(40))]
    if chance.random() < 0.3:
        header.append(b'To: "a \\"b\\" c" <c@example.org>,\r\n\td@example.org')
    if chance.random() < 0.2:
        header.append(b"Subject: \xc3\xa4 in eight bits")
    if chance.random() < 0.2:
        header.append(b"X-Empty:")
    if chance.random() < 0.3:
        header += [
            b'Content-Type: multipart/mixed; boundary="b"',
            b"",
            b"--b",
            b"",
            b"one",
            b"--b",
            b"",
            b"two",
            b"--b--",
            b"",
        ]
    return b"\r\n".join(header) + b"\r\n\r\nText.\r\n"


@pytest.fixture(params=["memory", "local"])
def talk(request, tmp_path) -> Talk:
    loop = PlainLoop()
    people = People(alice="secret")
    people.others = {"mail_file": str(tmp_path / "alice")}
    store = MemoryStore(loop) if request.param == "memory" else LocalStore(loop)
    talk = Talk(store, people, loop=loop).login()
    chance = random.Random(3)
    for number in range(40):
        loop.advance(chance.randrange(100_000))
        talk.append(message(chance, number), flags=f"({chance.choice(KEYWORDS)})")
    return talk.select()


def answered(talk: Talk, command: str) -> bytes:
    return "\r\n".join(talk.say(f"x{next(_names)} {command}")).partition(" OK ")[0].rpartition("\r\n")[0].encode()


def one_by_one(monkeypatch, talk: Talk, command: str) -> bytes:
    with monkeypatch.context() as patch:
        patch.setattr(fetch, "answer", lambda *_: None)
        return answered(talk, command)


def in_blocks(talk: Talk, command: str) -> bool:
    """Whether all of the answer comes at once."""
    running = Fetch.parse(Scanner(Line((b" " + command.encode(),))), talk.session).run(talk.session)
    return all(isinstance(response, Block) for response in running)


@pytest.mark.parametrize("items", HABITS)
def test_what_clients_ask_for_is_answered_at_once(monkeypatch, talk, items) -> None:
    assert in_blocks(talk, f"1:* {items}")
    for numbers in SETS:
        for command in (f"FETCH {numbers} {items}", f"UID FETCH {numbers} {items}"):
            expected = one_by_one(monkeypatch, talk, command)
            assert expected and answered(talk, command) == expected
            assert answered(talk, command) == expected  # and out of what was kept


def test_any_items_in_any_order(monkeypatch, talk) -> None:
    chance = random.Random(5)
    for _ in range(40):
        items = " ".join(chance.sample(ITEMS, chance.randrange(1, 6)))
        command = f"{chance.choice(['', 'UID '])}FETCH {chance.choice(SETS)} ({items})"
        expected = one_by_one(monkeypatch, talk, command)
        assert answered(talk, command) == expected, command


def test_a_message_that_is_gone_is_passed_over_as_ever(talk) -> None:
    other = Talk(talk.store, talk.session.directory, loop=talk.loop).login().select()
    other.say("a STORE 3 +FLAGS (\\Deleted)")
    other.say("b EXPUNGE")
    said = talk.say("c FETCH 2:4 (UID FLAGS ENVELOPE)")
    assert [line.split()[1] for line in said if "FETCH (" in line] == ["2", "4"]
    assert said[-1].startswith("c NO [EXPUNGEISSUED]")


def test_flags_that_were_told_are_not_told_again(talk) -> None:
    other = Talk(talk.store, talk.session.directory, loop=talk.loop).login().select()
    other.say("a STORE 3 +FLAGS (\\Answered)")
    assert any("\\Answered" in line for line in talk.say("c FETCH 1:5 (UID FLAGS)"))
    assert talk.say("d NOOP") == ["d OK NOOP completed."]
    other.say("b STORE 3 -FLAGS (\\Answered)")
    assert any("* 3 FETCH (FLAGS" in line for line in talk.say("e NOOP"))


def test_recent_is_told(monkeypatch, talk) -> None:
    talk.say("a UNSELECT")
    talk.append(b"Subject: new\r\n\r\n")
    talk.select()
    assert "\\Recent" in one_by_one(monkeypatch, talk, "FETCH 41 FLAGS").decode()
    for numbers in ("41", "35:41", "1:*"):
        assert answered(talk, f"FETCH {numbers} FLAGS") == one_by_one(monkeypatch, talk, f"FETCH {numbers} FLAGS")


def test_a_text_that_is_too_large_to_be_kept(monkeypatch, talk) -> None:
    talk.append(b"Subject: " + b"x" * 70_000 + b"\r\n\r\n").say("a NOOP")
    for items in ("(ENVELOPE BODYSTRUCTURE)", "BODY.PEEK[HEADER.FIELDS (Subject)]"):
        expected = one_by_one(monkeypatch, talk, f"FETCH 1:* {items}")
        assert len(expected) > 70_000 and answered(talk, f"FETCH 1:* {items}") == expected


def test_messages_of_all_sizes(monkeypatch, talk) -> None:
    chance = random.Random(9)
    monkeypatch.setattr(contents, "TOGETHER", 30_000)
    for size in (100, 20_000, 10, 90_000, 5_000, 29_000, 25_000, 25_000, 2):
        talk.append(b"Subject: large\r\n\r\n" + chance.randbytes(size // 2).hex().encode())
    talk.say("a NOOP")
    for items in ("BODY.PEEK[]", "(UID BODY.PEEK[]<0.5000> FLAGS)", "(BODY.PEEK[]<0.100> BODY.PEEK[])"):
        for numbers in ("1:*", "45", "40:44,47:*"):
            expected = one_by_one(monkeypatch, talk, f"FETCH {numbers} {items}")
            assert answered(talk, f"FETCH {numbers} {items}") == expected


def test_what_is_seen_by_reading_is_told_once(talk) -> None:
    talk.say("a STORE 1:* -FLAGS (\\Seen)")
    talk.say("b STORE 3 +FLAGS (\\Seen)")
    said = [line for line in talk.say("c FETCH 1:5 BODY[]") if " FETCH (BODY[]" in line or "FLAGS" in line]
    assert sum("\\Seen" in line for line in said) == 4
    assert in_blocks(talk, "1:5 BODY[]")
    assert not any("FLAGS" in line for line in talk.say("d FETCH 1:* BODY[]<0.1>")[:5])
