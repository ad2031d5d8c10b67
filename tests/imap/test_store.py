"""STORE and UID STORE."""

import pytest

from imapd.mailstore.memory import MemoryMailbox
from tests.support.talk import Talk


def with_mail(*flags: str) -> Talk:
    talk = Talk().login()
    for each in flags:
        talk.append(flags=each)
    return talk.select()


@pytest.fixture
def talk() -> Talk:
    return with_mail("()", "(\\Seen)", "(\\Seen $Work)")


@pytest.mark.parametrize(
    ("change", "after"),
    [
        ("+FLAGS (\\Deleted)", "\\Deleted \\Seen $Work"),
        ("-FLAGS (\\Seen)", "$Work"),
        ("FLAGS (\\Draft)", "\\Draft"),
        ("FLAGS ()", ""),
        ("+FLAGS ()", "\\Seen $Work"),
        ("+FLAGS \\Deleted", "\\Deleted \\Seen $Work"),
        ("+flags \\deleted \\FLAGGED", "\\Flagged \\Deleted \\Seen $Work"),
        ("+FLAGS ($New)", "\\Seen $New $Work"),
        ("-FLAGS ($wORK)", "\\Seen"),
        ("+FLAGS ($work)", "\\Seen $Work"),
        ("FLAGS (\\Recent \\Seen)", "\\Seen"),
    ],
)
def test_the_answer_has_all_flags(talk: Talk, change: str, after: str) -> None:
    flags = f"({' '.join(filter(None, [*[f for f in after.split() if f[0] != '$'], chr(92) + 'Recent', *[f for f in after.split() if f[0] == '$']]))})"
    said = [line for line in talk.say(f"a STORE 3 {change}") if not line.startswith("* FLAGS")]
    assert said == [f"* 3 FETCH (FLAGS {flags})", "a OK STORE completed."]
    assert talk.say("b NOOP") == ["b OK NOOP completed."], "what was answered is not told again"


def test_silent_says_nothing(talk: Talk) -> None:
    assert talk.say("a STORE 1:2 +FLAGS.SILENT (\\Deleted)") == ["a OK STORE completed."]
    assert talk.say("b FETCH 1 FLAGS")[0] == "* 1 FETCH (FLAGS (\\Deleted \\Recent))"
    assert talk.say("c STORE 1:2 -flags.silent \\Deleted") == ["c OK STORE completed."]
    assert talk.say("d NOOP") == ["d OK NOOP completed."]


def test_silent_still_tells_what_others_did(talk: Talk) -> None:
    other = Talk(store=talk.store, loop=talk.loop).login().select()
    other.say("a STORE 1 +FLAGS.SILENT (\\Flagged)")
    assert talk.say("a STORE 1 +FLAGS.SILENT (\\Seen)") == [
        "* 1 FETCH (FLAGS (\\Flagged \\Seen \\Recent))",
        "a OK STORE completed.",
    ]


def test_uid_store_answers_with_uids(talk: Talk) -> None:
    talk.say("a STORE 1 +FLAGS.SILENT (\\Deleted)")
    talk.say("b EXPUNGE")
    assert talk.say("c UID STORE 2,77 +FLAGS (\\Flagged)") == [
        "* 1 FETCH (UID 2 FLAGS (\\Flagged \\Seen \\Recent))",
        "c OK UID STORE completed.",
    ]
    assert talk.say("d UID STORE 77 +FLAGS (\\Flagged)") == ["d OK UID STORE completed."]


def test_a_new_keyword_is_announced_before_it_is_used(talk: Talk) -> None:
    said = talk.say("a STORE 1 +FLAGS ($New)")
    assert said[0].startswith("* FLAGS (") and "$New" in said[0]
    assert said[1:] == ["* 1 FETCH (FLAGS (\\Recent $New))", "a OK STORE completed."]
    assert talk.say("b STORE 2 +FLAGS ($New)")[0].startswith("* 2 FETCH")


def test_other_clients_are_told(talk: Talk) -> None:
    other = Talk(store=talk.store, loop=talk.loop).login().select()
    talk.say("a STORE 2 +FLAGS (\\Answered)")
    assert other.say("b NOOP") == ["* 2 FETCH (FLAGS (\\Answered \\Seen))", "b OK NOOP completed."]


def test_a_mailbox_for_reading_only_is_not_changed(talk: Talk) -> None:
    talk.say("a EXAMINE INBOX")
    assert talk.say("b STORE 1 +FLAGS (\\Seen)") == ["b NO [READ-ONLY] The mailbox is open for reading only."]


def expunged(talk: Talk, number: int) -> None:
    """Another client removes the message; this one is not told."""
    other = Talk(store=talk.store, loop=talk.loop).login().select()
    for line in (f"STORE {number} +FLAGS.SILENT (\\Deleted)", "EXPUNGE"):
        assert other.say(f"x {line}")[-1].startswith("x OK")


GONE = "[EXPUNGEISSUED] Some of the messages do not exist any more."


def test_expunged_messages_are_passed_over(talk: Talk) -> None:
    """RFC 2180 section 4.2."""
    expunged(talk, 2)
    assert talk.say("a STORE 1:3 +FLAGS.SILENT (\\Seen)") == ["a OK [EXPUNGEISSUED] STORE completed."]
    assert talk.say("b STORE 2 +FLAGS (\\Flagged)") == [f"b NO {GONE}"]
    assert talk.say("c STORE 1:3 +FLAGS (\\Flagged)") == [
        "* 1 FETCH (FLAGS (\\Flagged \\Seen \\Recent))",
        "* 3 FETCH (FLAGS (\\Flagged \\Seen \\Recent $Work))",
        f"c NO {GONE}",
    ]
    assert talk.say("d NOOP")[0] == "* 2 EXPUNGE"


def test_uid_store_tells_of_expunged_messages(talk: Talk) -> None:
    expunged(talk, 2)
    said = talk.say("a UID STORE 2:3 -FLAGS ($Work)")
    assert said == [
        "* 3 FETCH (UID 3 FLAGS (\\Seen \\Recent))",
        "* 2 EXPUNGE",
        "* 2 RECENT",
        "a OK [EXPUNGEISSUED] UID STORE completed.",
    ]


def test_many_messages_are_few_writes(monkeypatch) -> None:
    writes: list[int] = []
    change = MemoryMailbox.change_flags

    def counted(self, uids, how, flags):  # type: ignore[no-untyped-def]
        writes.append(len(uids))
        return change(self, uids, how, flags)

    talk = with_mail(*["()"] * 2500)
    monkeypatch.setattr(MemoryMailbox, "change_flags", counted)
    assert len(talk.say("a STORE 1:* +FLAGS (\\Seen)")) == 2501
    assert writes == [2048, 452]


@pytest.mark.parametrize(
    "command",
    ["STORE", "STORE 1", "STORE 1 FLAGS", "STORE 1 +FLAGS", "STORE 1 *FLAGS (\\Seen)", "STORE 1 FLAGS.LOUD (\\Seen)", "STORE 9 FLAGS (\\Seen)",
     "STORE 1 FLAGS (\\Bogus)", "STORE 1 FLAGS (\\*)", "STORE 1 FLAGS (\\Seen", "STORE x FLAGS ()", "STORE 1 FLAGS (\\Seen) x",
     "STORE 0 FLAGS ()", "STORE 1 UID 5"],
)  # fmt: skip
def test_what_is_no_store_is_bad(talk: Talk, command: str) -> None:
    assert talk.say(f"a {command}")[-1].startswith("a BAD")
