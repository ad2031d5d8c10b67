"""What every store promises about the messages of a mailbox."""

import pytest

from imapd.mailstore.errors import Expunged, LimitExceeded, NoSuchMailbox, ReadOnly
from imapd.mailstore.store import Incoming
from imapd.model.flags import FlagChange

MAIL = b"Subject: hello\r\nFrom: <ann@example.org>\r\n\r\nHow are you?\r\n"
ADD, REMOVE, REPLACE = FlagChange.ADD, FlagChange.REMOVE, FlagChange.REPLACE


def flags(*words):
    return frozenset(words)


@pytest.fixture
def inbox(house):
    mailbox = house.ann.open("INBOX")
    yield mailbox
    mailbox.close()


@pytest.fixture
def five(house, inbox):
    """INBOX with the messages 1 to 5."""
    house.put("INBOX", *[b"Subject: %d\r\n\r\n%s\r\n" % (number, b"x" * number) for number in range(1, 6)], date=1_000)
    return inbox


def flags_of(mailbox, uid):
    snapshot = mailbox.snapshot()
    return snapshot.flags_of(snapshot.row(uid))


def text_of(mailbox, uid):
    message = mailbox.message(uid)
    try:
        return message.read()
    finally:
        message.close()


# APPEND


def test_append_gives_ascending_uids_and_the_uidvalidity(house):
    first = house.put("INBOX", MAIL)
    more = house.put("INBOX", MAIL, MAIL)
    assert (first.uids, more.uids) == ((1,), (2, 3))
    assert first.sources == more.sources == ()
    assert first.uidvalidity == house.ann.status("INBOX").uidvalidity


def test_append_keeps_flags_and_date(house, inbox):
    house.put("INBOX", MAIL, flags=flags("\\Seen", "\\Flagged", "$Forwarded"), date=-86_400)
    snapshot = inbox.snapshot()
    assert snapshot.flags_of(0) == {"\\Seen", "\\Flagged", "$Forwarded"}
    assert list(snapshot.dates) == [-86_400]
    assert list(snapshot.sizes) == [len(MAIL)]


def test_append_takes_the_present_time_without_a_date(house, inbox):
    house.put("INBOX", MAIL)
    assert abs(inbox.snapshot().dates[0] - house.loop.time()) <= 1


def test_append_to_nowhere_stores_nothing(house):
    with pytest.raises(NoSuchMailbox):
        house.put("nowhere", MAIL)
    assert not house.ann.exists("nowhere")


def test_append_is_all_or_none(house):
    with pytest.raises(LimitExceeded):
        house.put("INBOX", MAIL, MAIL, flags=flags(*[f"keyword{number}" for number in range(500)]))
    status = house.ann.status("INBOX")
    assert (status.messages, status.uidnext) == (0, 1)


def test_a_spool_can_be_abandoned_before_and_after(house):
    spool = house.ann.spool()
    spool.write(MAIL)
    spool.abandon()
    spool.abandon()
    used = house.ann.spool()
    used.write(MAIL)
    house.ann.append("INBOX", [Incoming(used)])
    used.abandon()
    assert house.ann.status("INBOX").messages == 1


@pytest.mark.parametrize(
    "sent, kept",
    [
        (b"Subject: a\r\n\r\nb\r\n", b"Subject: a\r\n\r\nb\r\n"),
        (b"Subject: a\n\nb\n", b"Subject: a\r\n\r\nb\r\n"),
        (b"Subject: a\r\n\r\nno end", b"Subject: a\r\n\r\nno end"),
        (b"Subject: a\r\n\r\nalone\rhere\r\n", b"Subject: a\r\n\r\nalone\rhere\r\n"),
        (b"\r\nno header", b"\r\nno header"),
        (b"Subject: no body\r\n", b"Subject: no body\r\n"),
        (b"Subject: 8 bit\r\n\r\n\xff\xfe\x80\r\n", b"Subject: 8 bit\r\n\r\n\xff\xfe\x80\r\n"),
        (b"From ann Mon Jan  1\r\n\r\nFrom here\r\n", b"From ann Mon Jan  1\r\n\r\nFrom here\r\n"),
        (
            b"Subject: big\r\n\r\n" + b"0123456789abcde\r\n" * 30_000,
            b"Subject: big\r\n\r\n" + b"0123456789abcde\r\n" * 30_000,
        ),
    ],
)
def test_what_was_appended_is_what_is_read(house, inbox, sent, kept):
    house.put("INBOX", sent)
    message = inbox.message(1)
    assert message.read() == kept
    assert b"".join(message.chunks()) == kept
    assert all(len(chunk) <= 256 * 1024 for chunk in message.chunks())
    assert message.size == len(kept) == inbox.snapshot().sizes[0]
    header, _, _ = kept.partition(b"\r\n\r\n") if not kept.startswith(b"\r\n") else (b"", b"", b"")
    assert message.header().rstrip(b"\r\n") == header.rstrip(b"\r\n")
    assert kept.startswith(message.header())
    message.close()


def test_a_line_end_between_two_pieces_is_one_line_end(house, inbox):
    spool = house.ann.spool()
    for piece in (b"Subject: a\r", b"\n\r", b"\nb\r", b"c\r\n"):
        spool.write(piece)
    house.ann.append("INBOX", [Incoming(spool)])
    assert text_of(inbox, 1) == b"Subject: a\r\n\r\nb\rc\r\n"


def test_an_empty_message_can_be_kept(house, inbox):
    house.put("INBOX", b"")
    assert text_of(inbox, 1) == b""
    assert list(inbox.snapshot().sizes) == [0]


# Snapshots


def test_a_snapshot_has_one_row_for_each_message(five):
    snapshot = five.snapshot()
    assert list(snapshot.uids) == [1, 2, 3, 4, 5]
    assert list(snapshot.dates) == [1_000] * 5
    assert snapshot.uidnext == 6
    assert [snapshot.row(uid) for uid in (0, 1, 5, 6)] == [None, 0, 4, None]
    for column, code in (("uids", "I"), ("masks", "Q"), ("modseqs", "Q"), ("sizes", "Q"), ("dates", "q")):
        assert getattr(snapshot, column).typecode == code
        assert len(getattr(snapshot, column)) == 5


def test_a_snapshot_never_changes(house, five):
    before = five.snapshot()
    house.put("INBOX", MAIL)
    five.change_flags([1], ADD, flags("\\Seen", "keyword"))
    assert len(before.uids) == 5
    assert before.flags_of(0) == frozenset()
    after = five.snapshot()
    assert len(after.uids) == 6
    assert after.highestmodseq > before.highestmodseq


def test_every_change_raises_the_highest_modseq_and_that_of_its_rows(house, five):
    seen = [five.snapshot()]
    five.change_flags([2, 4], ADD, flags("\\Seen"))
    seen.append(five.snapshot())
    five.change_flags([3], ADD, flags("\\Deleted"))
    seen.append(five.snapshot())
    five.expunge(None)
    seen.append(five.snapshot())
    house.put("INBOX", MAIL)
    seen.append(five.snapshot())
    highest = [snapshot.highestmodseq for snapshot in seen]
    assert highest == sorted(set(highest))
    assert all(max(snapshot.modseqs) <= snapshot.highestmodseq for snapshot in seen)
    changed = seen[1]
    assert [modseq > seen[0].highestmodseq for modseq in changed.modseqs] == [False, True, False, True, False]
    assert seen[4].modseqs[-1] > seen[3].highestmodseq


def test_snapshots_of_two_sessions_agree(house, five):
    other = house.open("ann").open("INBOX")
    five.change_flags([1], ADD, flags("\\Seen"))
    mine, theirs = five.snapshot(), other.snapshot()
    assert mine.uids == theirs.uids and mine.masks == theirs.masks and mine.highestmodseq == theirs.highestmodseq
    other.close()


# Reading


def test_a_message_that_is_gone_is_expunged(five):
    with pytest.raises(Expunged):
        five.message(6)
    five.change_flags([2], ADD, flags("\\Deleted"))
    five.expunge(None)
    with pytest.raises(Expunged):
        five.message(2)


def test_an_open_message_outlives_its_expunge(five):
    message = five.message(2)
    five.change_flags([2], ADD, flags("\\Deleted"))
    five.expunge(None)
    assert message.read() == b"Subject: 2\r\n\r\nxx\r\n"
    message.close()


def test_descriptions_come_in_order_and_leave_out_what_is_gone(five):
    five.change_flags([2], ADD, flags("\\Deleted"))
    five.expunge(None)
    found = list(five.descriptions([5, 2, 1, 99]))
    assert [uid for uid, _ in found] == [5, 1]
    assert b'"5"' in found[0][1].envelope
    assert found[0][1].body.upper().startswith(b'("TEXT" "PLAIN"')
    assert found[0][1].bodystructure.upper().startswith(b'("TEXT" "PLAIN"')
    assert list(five.descriptions([1])) == [found[1]]


# STORE


@pytest.mark.parametrize(
    "how, given, after",
    [
        (ADD, ("\\Seen",), {"\\Seen", "\\Flagged", "old"}),
        (ADD, ("\\Flagged", "new"), {"\\Flagged", "old", "new"}),
        (ADD, (), {"\\Flagged", "old"}),
        (REMOVE, ("\\Flagged", "\\Seen"), {"old"}),
        (REMOVE, ("OLD",), {"\\Flagged"}),
        (REMOVE, ("unknown",), {"\\Flagged", "old"}),
        (REPLACE, ("\\Draft", "\\Answered", "\\Deleted"), {"\\Draft", "\\Answered", "\\Deleted"}),
        (REPLACE, (), set()),
        (ADD, ("Old",), {"\\Flagged", "old"}),
        (ADD, ("\\Recent",), {"\\Flagged", "old"}),
    ],
)
def test_flags_change_in_three_ways(five, how, given, after):
    five.change_flags([3], REPLACE, flags("\\Flagged", "old"))
    assert five.change_flags([3], how, flags(*given)) == (3,)
    assert flags_of(five, 3) == after
    assert flags_of(five, 2) == frozenset()


def test_change_flags_says_which_messages_exist(five):
    five.change_flags([2], ADD, flags("\\Deleted"))
    five.expunge(None)
    assert five.change_flags([1, 2, 3, 99], ADD, flags("\\Seen")) == (1, 3)
    assert five.change_flags([], ADD, flags("\\Seen")) == ()


def test_keywords_are_seen_in_the_snapshot(house, five):
    five.change_flags([1, 2], ADD, flags("work", "$MDNSent"))
    five.change_flags([2], ADD, flags("WORK"))
    snapshot = five.snapshot()
    assert set(snapshot.keywords) >= {"work", "$MDNSent"}
    assert len({keyword.lower() for keyword in snapshot.keywords}) == len(snapshot.keywords)
    assert snapshot.flags_of(1) == {"work", "$MDNSent"}


def test_too_many_keywords_change_nothing(five):
    with pytest.raises(LimitExceeded):
        five.change_flags([1], ADD, flags(*[f"keyword{number}" for number in range(500)]))
    assert flags_of(five, 1) == frozenset()


def test_twenty_keywords_are_not_too_many(five):
    words = flags(*[f"keyword{number}" for number in range(20)])
    five.change_flags([1], ADD, words)
    assert flags_of(five, 1) == words


def test_a_read_only_mailbox_takes_no_writes(house, five):
    looking = house.ann.open("INBOX", read_only=True)
    assert looking.read_only and not five.read_only
    for write in (
        lambda: looking.change_flags([1], ADD, flags("\\Seen")),
        lambda: looking.expunge(None),
        lambda: looking.move([1], "INBOX"),
    ):
        with pytest.raises(ReadOnly):
            write()
    house.ann.create("b")
    assert looking.copy([1], "b").sources == (1,)
    assert text_of(looking, 1) == text_of(five, 1)
    looking.close()


# EXPUNGE


def test_expunge_takes_what_is_deleted(five):
    five.change_flags([2, 4], ADD, flags("\\Deleted"))
    assert five.expunge(None) == (2, 4)
    assert list(five.snapshot().uids) == [1, 3, 5]
    assert five.expunge(None) == ()


def test_expunge_of_uids_takes_only_those_that_are_deleted(five):
    five.change_flags([2, 4], ADD, flags("\\Deleted"))
    assert five.expunge([1, 4, 99]) == (4,)
    assert list(five.snapshot().uids) == [1, 2, 3, 5]
    assert five.expunge([]) == ()


def test_uids_are_never_used_again(house, five):
    five.change_flags([4, 5], ADD, flags("\\Deleted"))
    five.expunge(None)
    assert five.snapshot().uidnext == 6
    assert house.put("INBOX", MAIL).uids == (6,)


# COPY, MOVE


def test_copy_keeps_text_flags_and_date(house, five):
    house.ann.create("b")
    house.put("b", MAIL)
    five.change_flags([2], ADD, flags("\\Seen", "work"))
    placed = five.copy([2, 4], "b")
    target = house.ann.open("b")
    snapshot = target.snapshot()
    assert (placed.sources, placed.uids, placed.uidvalidity) == ((2, 4), (2, 3), snapshot.uidvalidity)
    assert snapshot.flags_of(1) == {"\\Seen", "work"}
    assert list(snapshot.dates)[1:] == [1_000, 1_000]
    assert text_of(target, 3) == text_of(five, 4)
    assert len(five.snapshot().uids) == 5
    target.close()


def test_copy_passes_over_what_is_gone(house, five):
    house.ann.create("b")
    five.change_flags([2], ADD, flags("\\Deleted"))
    five.expunge(None)
    assert five.copy([1, 2], "b").sources == (1,)
    nothing = five.copy([2, 77], "b")
    assert (nothing.sources, nothing.uids) == ((), ())


def test_copy_into_the_same_mailbox_doubles(five):
    placed = five.copy([1, 5], "INBOX")
    assert placed.uids == (6, 7)
    assert text_of(five, 7) == text_of(five, 5)


def test_a_copy_and_its_source_are_two_messages(house, five):
    house.ann.create("b")
    five.copy([1], "b")
    five.change_flags([1], ADD, flags("\\Deleted"))
    five.expunge(None)
    target = house.ann.open("b")
    assert flags_of(target, 1) == frozenset()
    assert text_of(target, 1) == b"Subject: 1\r\n\r\nx\r\n"
    target.close()


def test_move_takes_messages_away_whatever_their_flags(house, five):
    house.ann.create("b")
    five.change_flags([3], ADD, flags("\\Flagged"))
    placed = five.move([3, 5, 77], "b")
    assert (placed.sources, placed.uids) == ((3, 5), (1, 2))
    assert list(five.snapshot().uids) == [1, 2, 4]
    target = house.ann.open("b")
    assert flags_of(target, 1) == {"\\Flagged"}
    assert list(target.snapshot().dates) == [1_000, 1_000]
    assert text_of(target, 2) == b"Subject: 5\r\n\r\nxxxxx\r\n"
    target.close()


def test_copy_and_move_to_nowhere_change_nothing(house, five):
    with pytest.raises(NoSuchMailbox):
        five.copy([1], "nowhere")
    with pytest.raises(NoSuchMailbox):
        five.move([1], "nowhere")
    assert len(five.snapshot().uids) == 5
    assert not house.ann.exists("nowhere")


# \Recent


def test_messages_are_recent_to_the_first_who_claims_them(house, five):
    assert house.ann.status("INBOX").recent == 5
    assert five.unclaimed_recent() == 0
    assert five.claim_recent(5) == 0
    other = house.open("ann").open("INBOX")
    assert other.unclaimed_recent() == 5
    assert other.claim_recent(5) == 5
    assert house.ann.status("INBOX").recent == 0
    house.put("INBOX", MAIL)
    assert house.ann.status("INBOX").recent == 1
    assert other.claim_recent(6) == 5
    assert five.claim_recent(6) == 6
    other.close()


def test_a_claim_is_never_taken_back(five):
    five.claim_recent(5)
    assert five.claim_recent(2) == 5
    assert five.unclaimed_recent() == 5


def test_copies_are_recent(house, five):
    house.ann.create("b")
    five.claim_recent(5)
    five.copy([1, 2], "b")
    assert house.ann.status("b").recent == 2


# Bells


def rung(house, listening, bells):
    """How often the bell rang, the watch on files having been looked at."""
    house.loop.ring()
    count = len(bells)
    bells.clear()
    return count


def test_the_bell_rings_for_every_change_of_others(house, five):
    bells = []
    listening = five.listen(lambda: bells.append(1))
    other = house.open("ann").open("INBOX")
    house.put("INBOX", MAIL)
    assert rung(house, listening, bells)
    other.change_flags([1], ADD, flags("\\Deleted"))
    assert rung(house, listening, bells)
    other.expunge(None)
    assert rung(house, listening, bells)
    listening.close()
    listening.close()
    house.put("INBOX", MAIL)
    assert not rung(house, listening, bells)
    other.close()


def test_two_bells_at_one_mailbox_ring_each_by_itself(house, five):
    one, two = [], []
    first = five.listen(lambda: one.append(1))
    other = house.open("ann").open("INBOX")
    second = other.listen(lambda: two.append(1))
    first.close()
    house.put("INBOX", MAIL)
    house.loop.ring()
    assert two and not one
    second.close()
    other.close()
