"""What a client is told, and in which numbers."""

from array import array
from time import perf_counter

import pytest

from imapd.mailstore.errors import Expunged, Gone
from imapd.mailstore.store import Snapshot
from imapd.mailstore.view import NOTHING, View
from imapd.model.errors import BadSyntax
from imapd.model.flags import FlagChange
from imapd.model.sets import RangeSet, SequenceSet

ADD, REMOVE, REPLACE = FlagChange.ADD, FlagChange.REMOVE, FlagChange.REPLACE
MAIL = b"Subject: hello\r\n\r\nHow are you?\r\n"
SEEN = frozenset({"\\Seen"})
FLAGGED = frozenset({"\\Flagged"})
DELETED = frozenset({"\\Deleted"})


@pytest.fixture
def house(memory_house):
    """INBOX holds the messages 1 to 5."""
    memory_house.put("INBOX", *[MAIL] * 5)
    return memory_house


@pytest.fixture
def view(house):
    return View(house.ann.open("INBOX"), read_only=False)


@pytest.fixture
def other(house):
    """Somebody else at work on the same mailbox."""
    return house.open("ann").open("INBOX")


def expunge(mailbox, *uids):
    mailbox.change_flags(uids, ADD, DELETED)
    mailbox.expunge(uids)


def seqs(text):
    return SequenceSet.parse(text)


# EXISTS and EXPUNGE


def test_nothing_happened_nothing_is_told(view):
    assert view.sync(True) is NOTHING
    assert not view.sync(False)
    assert list(view.uids) == [1, 2, 3, 4, 5]
    assert view.exists == 5


def test_arrivals_are_told_by_the_new_number(house, view):
    house.put("INBOX", MAIL, MAIL)
    changes = view.sync(False)
    assert (changes.arrived, changes.vanished, changes.reflagged) == (7, (), ())
    assert list(view.uids) == [1, 2, 3, 4, 5, 6, 7]


def test_expunges_are_told_from_the_highest_down(view, other):
    expunge(other, 1, 3, 4)
    changes = view.sync(True)
    assert changes.vanished == (4, 3, 1)
    assert changes.arrived is None
    assert list(view.uids) == [2, 5]


def test_expunges_and_arrivals_in_one(house, view, other):
    expunge(other, 5)
    house.put("INBOX", MAIL)
    changes = view.sync(True)
    assert (changes.vanished, changes.arrived) == ((5,), 5)
    assert list(view.uids) == [1, 2, 3, 4, 6]


def test_numbers_stand_still_while_expunge_may_not_be_told(house, view, other):
    expunge(other, 2)
    house.put("INBOX", MAIL)
    changes = view.sync(False)
    assert (changes.vanished, changes.arrived) == ((), 6)
    assert list(view.uids) == [1, 2, 3, 4, 5, 6]
    assert list(view.resolve(seqs(b"2,6"), by_uid=False)) == [(2, 2), (6, 6)]
    with pytest.raises(Expunged):
        view.flags(2)
    assert not view.sync(False)
    changes = view.sync(True)
    assert (changes.vanished, changes.arrived) == ((2,), None)
    assert list(view.uids) == [1, 3, 4, 5, 6]
    assert view.sync(True) is NOTHING


def test_flags_of_messages_behind_a_ghost_are_told_by_the_number_the_client_knows(view, other):
    expunge(other, 1)
    other.change_flags([4], ADD, SEEN)
    assert view.sync(False).reflagged == ((4, 4),)
    other.change_flags([4], ADD, FLAGGED)
    changes = view.sync(True)
    assert changes.vanished == (1,)
    assert changes.reflagged == ((3, 4),)


def test_what_came_and_went_between_is_never_seen(house, view, other):
    house.put("INBOX", MAIL)
    expunge(other, 6)
    assert not view.sync(True)
    house.put("INBOX", MAIL, MAIL)
    expunge(other, 7)
    assert view.sync(True).arrived == 6
    assert list(view.uids) == [1, 2, 3, 4, 5, 8]


def test_a_message_told_while_expunge_must_wait_and_expunged_then_is_a_ghost(house, view, other):
    house.put("INBOX", MAIL)
    assert view.sync(False).arrived == 6
    expunge(other, 6)
    assert not view.sync(False)
    assert view.exists == 6
    assert view.sync(True).vanished == (6,)


def test_everything_goes_and_something_comes(house, view, other):
    expunge(other, 1, 2, 3, 4, 5)
    house.put("INBOX", MAIL)
    changes = view.sync(True)
    assert (changes.vanished, changes.arrived) == ((5, 4, 3, 2, 1), 1)
    assert list(view.uids) == [6]


def test_an_empty_mailbox(house):
    house.ann.create("empty")
    view = View(house.ann.open("empty"), read_only=False)
    assert view.sync(True) is NOTHING
    assert list(view.resolve(seqs(b"1:*"), by_uid=False)) == []
    assert list(view.resolve(seqs(b"*"), by_uid=True)) == []
    house.put("empty", MAIL)
    assert view.sync(True).arrived == 1


def test_a_deleted_mailbox_is_gone(house):
    house.ann.create("b")
    view = View(house.ann.open("b"), read_only=False)
    house.ann.delete("b")
    with pytest.raises(Gone):
        view.sync(True)


# Flags


def test_changes_of_others_are_told_once(view, other):
    other.change_flags([2, 4], ADD, SEEN)
    assert view.sync(False).reflagged == ((2, 2), (4, 4))
    assert view.flags(2) == SEEN | {"\\Recent"}
    assert view.sync(True) is NOTHING


def test_what_is_as_before_in_the_end_is_not_told(view, other):
    other.change_flags([2], ADD, SEEN)
    other.change_flags([2], REMOVE, SEEN)
    assert not view.sync(False)


def test_flags_of_messages_not_told_yet_are_not_told(house, view, other):
    house.put("INBOX", MAIL)
    other.change_flags([6], ADD, SEEN)
    changes = view.sync(False)
    assert (changes.arrived, changes.reflagged) == (6, ())
    other.change_flags([6], ADD, FLAGGED)
    assert view.sync(False).reflagged == ((6, 6),)


def test_an_own_store_is_not_told_again(view):
    view.mailbox.change_flags([1, 2], ADD, SEEN)
    view.told([1, 2])
    assert view.flags(1) >= SEEN
    assert not view.sync(False)


def test_an_own_silent_store_is_not_told(view):
    view.mailbox.change_flags([1, 2], ADD, SEEN)
    view.assumed([1, 2], ADD, SEEN)
    assert not view.sync(False)


def test_an_own_change_that_nobody_was_told_of_is_told(view):
    view.mailbox.change_flags([1], ADD, SEEN)
    assert view.sync(False).reflagged == ((1, 1),)


def test_a_later_change_of_others_to_the_same_message_is_told(view, other):
    view.mailbox.change_flags([1], ADD, SEEN)
    view.told([1])
    other.change_flags([1], ADD, FLAGGED)
    assert view.sync(False).reflagged == ((1, 1),)
    view.mailbox.change_flags([1], REMOVE, SEEN)
    view.told([1])
    assert not view.sync(False)
    other.change_flags([1], ADD, SEEN)
    assert view.sync(False).reflagged == ((1, 1),)


def test_an_own_change_is_forgotten_when_others_went_on(view, other):
    view.mailbox.change_flags([1], ADD, SEEN)
    view.told([1])
    view.sync(False)
    for how in (REMOVE, ADD, REMOVE):
        other.change_flags([1], how, SEEN)
        assert view.sync(False).reflagged == ((1, 1),)


def test_a_silent_store_hides_nothing_that_others_did_before(view, other):
    # RFC 9051 section 6.4.6: with .SILENT the client assumes its own change alone.
    other.change_flags([1], ADD, FLAGGED)
    view.mailbox.change_flags([1], ADD, SEEN)
    view.assumed([1], ADD, SEEN)
    assert view.sync(False).reflagged == ((1, 1),)


def test_two_silent_stores_in_a_row(view, other):
    for how, flags in ((ADD, SEEN), (ADD, FLAGGED), (REMOVE, SEEN)):
        view.mailbox.change_flags([1], how, flags)
        view.assumed([1], how, flags)
    assert not view.sync(False)
    other.change_flags([1], ADD, SEEN)
    assert view.sync(False).reflagged == ((1, 1),)


def test_a_silent_store_undone_by_another_is_told(view, other):
    view.mailbox.change_flags([1], ADD, SEEN)
    view.assumed([1], ADD, SEEN)
    other.change_flags([1], REMOVE, SEEN)
    assert view.sync(False).reflagged == ((1, 1),)


def test_the_case_of_a_keyword_is_no_change(view, other):
    other.change_flags([2], ADD, frozenset({"Work"}))
    view.sync(False)
    view.mailbox.change_flags([1], ADD, frozenset({"work"}))
    view.assumed([1], ADD, frozenset({"work"}))
    assert not view.sync(False)


def test_new_keywords_are_told(view, other):
    other.change_flags([1], ADD, frozenset({"work"}))
    changes = view.sync(False)
    assert changes.keywords == ("work",)
    other.change_flags([2], ADD, frozenset({"work"}))
    assert view.sync(False).keywords is None


def test_flags_of_vanished_messages_are_not_told(view, other):
    other.change_flags([2, 3], ADD, SEEN)
    expunge(other, 2)
    changes = view.sync(True)
    assert (changes.vanished, changes.reflagged) == ((2,), ((2, 3),))


def test_told_and_assumed_pass_over_ghosts(view, other):
    expunge(other, 2)
    view.told([1, 2, 77])
    view.assumed([2, 77], ADD, SEEN)
    assert view.sync(True).vanished == (2,)


# \Recent


def test_the_first_view_gets_recent_messages(house, view):
    assert list(view.recent) == [1, 2, 3, 4, 5]
    assert "\\Recent" in view.flags(1)
    second = View(house.open("ann").open("INBOX"), read_only=False)
    assert not second.recent
    assert "\\Recent" not in second.flags(1)


def test_a_view_that_looks_leaves_recent_to_others(house):
    looking = View(house.ann.open("INBOX", read_only=True), read_only=True)
    assert len(looking.recent) == 5
    house.put("INBOX", MAIL)
    assert looking.sync(True).recent == 6
    assert len(View(house.ann.open("INBOX"), read_only=False).recent) == 6
    assert not View(house.ann.open("INBOX", read_only=True), read_only=True).recent


def test_a_client_that_knows_no_recent_claims_none(house):
    modern = View(house.ann.open("INBOX"), read_only=False, keeps_recent=False)
    house.put("INBOX", MAIL)
    assert modern.sync(True).recent is None
    assert modern.flags(6) == frozenset()
    assert house.ann.status("INBOX").recent == 6


def test_recent_goes_with_every_arrival(house, view):
    house.put("INBOX", MAIL)
    assert view.sync(False).recent == 6
    second = View(house.open("ann").open("INBOX"), read_only=False)
    house.put("INBOX", MAIL)
    assert second.sync(False).recent == 1
    changes = view.sync(False)
    assert (changes.arrived, changes.recent) == (7, 6)


def test_recent_is_told_when_recent_messages_vanish(view, other):
    expunge(other, 1)
    assert view.sync(False).recent is None
    assert view.sync(True).recent == 4


# Naming messages


@pytest.mark.parametrize(
    "text, found",
    [
        (b"1", [(1, 1)]),
        (b"2:3", [(2, 3), (3, 5)]),
        (b"*", [(3, 5)]),
        (b"1:*", [(1, 1), (2, 3), (3, 5)]),
        (b"3,1,1:2", [(1, 1), (2, 3), (3, 5)]),
        (b"3:2", [(2, 3), (3, 5)]),
        (b"9:*", [(3, 5)]),
    ],
)
def test_sequence_numbers_name_messages(view, other, text, found):
    expunge(other, 2, 4)
    view.sync(True)
    assert list(view.resolve(seqs(text), by_uid=False)) == found


@pytest.mark.parametrize("text", [b"4", b"1:4", b"4:1", b"1,7", b"4294967295"])
def test_sequence_numbers_above_exists_are_errors(view, other, text):
    expunge(other, 2, 4)
    view.sync(True)
    with pytest.raises(BadSyntax):
        view.resolve(seqs(text), by_uid=False)


@pytest.mark.parametrize(
    "text, found",
    [
        (b"1:4294967295", [(1, 1), (2, 3), (3, 5)]),
        (b"2", []),
        (b"2:4", [(2, 3)]),
        (b"*", [(3, 5)]),
        (b"9:*", [(3, 5)]),
        (b"9:12", []),
    ],
)
def test_uids_that_name_nothing_are_passed_over(view, other, text, found):
    expunge(other, 2, 4)
    view.sync(True)
    named = view.resolve(seqs(text), by_uid=True)
    assert list(named) == found
    assert len(named) == len(found) and bool(named) == bool(found)
    assert list(named.uids) == [uid for _, uid in found]
    assert view.number(3) == 2 and view.number(2) is None and view.number(9) is None


def test_what_was_named_stays_as_it_was(house, view, other):
    named = view.resolve(seqs(b"1:*"), by_uid=False)
    expunge(other, 1, 2)
    house.put("INBOX", MAIL)
    view.sync(True)
    assert [uid for _, uid in named] == [1, 2, 3, 4, 5]


def test_the_saved_result_loses_what_is_expunged(view, other):
    view.saved = RangeSet.of([1, 3, 5])
    assert list(view.resolve(seqs(b"$"), by_uid=True)) == [(1, 1), (3, 3), (5, 5)]
    expunge(other, 1)
    view.sync(True)
    assert list(view.resolve(seqs(b"$"), by_uid=False)) == [(2, 3), (4, 5)]
    assert list(view.saved) == [3, 5]


# Bells


def test_one_bell_at_a_time(house, view):
    rings = []
    view.listen(lambda: rings.append("first"))
    view.listen(lambda: rings.append("second"))
    house.put("INBOX", MAIL)
    assert rings == ["second"]
    view.listen_no_more()
    house.put("INBOX", MAIL)
    assert rings == ["second"]
    view.listen(lambda: rings.append("third"))
    view.close()
    house.put("INBOX", MAIL)
    assert rings == ["second"]


# Size


class Still:
    """A mailbox that is whatever snapshot it is given."""

    read_only = True

    def __init__(self, uids, changed=(), modseq=1):
        self.show(uids, changed, modseq)

    def show(self, uids, changed=(), modseq=1):
        changed = set(changed)
        self.now = Snapshot(
            uidvalidity=1,
            uidnext=(uids[-1] if uids else 0) + 1,
            highestmodseq=modseq,
            uids=array("I", uids),
            masks=array("Q", [8 if uid in changed else 0 for uid in uids]),
            modseqs=array("Q", [modseq if uid in changed else 1 for uid in uids]),
            sizes=array("Q", [100] * len(uids)),
            dates=array("q", [0] * len(uids)),
            keywords=(),
        )

    def snapshot(self):
        return self.now

    def unclaimed_recent(self):
        return 1 << 31


@pytest.mark.parametrize("gone", [1, 3, 199, 200, 201, 5_000, 99_999, 100_000])
def test_any_number_of_expunges_among_many_messages(gone):
    every = list(range(1, 200_001, 2))
    lost = set(every[:: max(1, 100_000 // gone)][:gone])
    mailbox = Still(every)
    view = View(mailbox, read_only=True)
    left = [uid for uid in every if uid not in lost]
    mailbox.show([*left, 300_001], modseq=2)
    start = perf_counter()
    changes = view.sync(True)
    taken = perf_counter() - start
    assert changes.vanished == tuple([row + 1 for row in range(99_999, -1, -1) if every[row] in lost])
    assert list(view.uids) == [*left, 300_001]
    assert taken < 1.0  # a few ms; generous, for machines that do other things as well


def test_one_changed_flag_among_many_messages_is_found_fast():
    mailbox = Still(range(1, 100_001))
    view = View(mailbox, read_only=True)
    mailbox.show(range(1, 100_001), changed=[70_000], modseq=2)
    start = perf_counter()
    assert view.sync(True).reflagged == ((70_000, 70_000),)
    assert perf_counter() - start < 10


def test_views_share_the_columns_of_the_snapshot():
    mailbox = Still(range(1, 1_001))
    view = View(mailbox, read_only=True)
    assert view.uids is mailbox.now.uids
    mailbox.show(range(1, 1_011), modseq=2)
    view.sync(True)
    assert view.uids is mailbox.now.uids


# What FETCH tells


def test_flags_that_were_fetched_and_changed_back_are_told(view, other):
    other.change_flags([2], ADD, FLAGGED)
    view.refresh()
    assert view.flags(2) == FLAGGED | {"\\Recent"}  # and FETCH told them
    other.change_flags([2], REMOVE, FLAGGED)
    assert view.sync(False).reflagged == ((2, 2),)


def test_flags_that_were_fetched_are_not_told_again(view, other):
    other.change_flags([2, 3], ADD, FLAGGED)
    view.refresh()
    view.flags(2)
    assert view.sync(False).reflagged == ((3, 3),)


def test_a_sync_of_many_changes_breathes(house, other):
    house.put("INBOX", *[MAIL] * 5_000)
    breaths = []
    view = View(house.ann.open("INBOX"), read_only=False, breathe=lambda: breaths.append(1))
    other.change_flags(range(1, 5_006), ADD, FLAGGED)
    assert len(view.sync(False).reflagged) == 5_005
    assert len(breaths) >= 9


def test_a_long_set_is_resolved_with_breaths(house):
    breaths = []
    view = View(house.ann.open("INBOX"), read_only=False, breathe=lambda: breaths.append(1))
    assert len(view.resolve(seqs(b"1,3,5," * 10_000 + b"1"), by_uid=False)) == 3
    assert len(breaths) >= 10
