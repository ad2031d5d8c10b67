"""What every store promises about how much an account may hold (mailstore/quota)."""

import pytest

from imapd.mailstore.errors import NoSuchMailbox, OverQuota
from imapd.mailstore.quota import NO_LIMITS, Limits, QuotaState
from imapd.mailstore.store import Owner
from imapd.model.flags import FlagChange
from tests.mailstore.maildirhouse import WIRE, Worker, deliver, files

MAIL = b"Subject: x\r\n\r\n" + b"x" * 86  # 100 octets
DELETED = frozenset({"\\Deleted"})


def limited(house, *limits):
    """One more session of Ann, with limits by her directory."""
    return house.store.open_account(Owner("id-ann", "ann", str(house.directory / "ann"), Limits(*limits)))


def used(account):
    state = account.quota()
    return state.octets, state.messages


def count(account, name="INBOX"):
    return account.status(name).messages


def test_what_counts_is_the_messages_of_all_mailboxes(house):
    assert house.ann.quota() == QuotaState(0, 0, NO_LIMITS)
    house.ann.create("Plans")
    house.put("INBOX", MAIL, MAIL.replace(b"\r\n", b"\n"))
    house.put("Plans", MAIL)
    assert used(house.ann) == (300, 3)
    assert house.ann.status("INBOX").deleted_size == 0
    inbox = house.ann.open("INBOX")
    assert len(inbox.copy([1, 2], "Plans").uids) == 2
    assert used(house.ann) == (500, 5)
    assert len(inbox.move([1, 2], "Plans").uids) == 2
    assert used(house.ann) == (500, 5)
    inbox.close()
    plans = house.ann.open("Plans")
    plans.change_flags([1, 2], FlagChange.ADD, DELETED)
    assert house.ann.status("Plans").deleted_size == 200
    plans.expunge(None)
    assert used(house.ann) == (300, 3)
    plans.close()
    house.ann.rename("Plans", "Schemes")
    assert used(house.ann) == (300, 3)
    house.ann.delete("Schemes")
    assert used(house.ann) == (0, 0)


def test_what_fits_exactly_fits_and_the_rest_is_refused_whole(house):
    ann = limited(house, 300)
    house.put("INBOX", MAIL, MAIL, account=ann)
    with pytest.raises(OverQuota):
        house.put("INBOX", MAIL, MAIL, account=ann)
    assert count(ann) == 2
    house.put("INBOX", MAIL, account=ann)
    with pytest.raises(OverQuota):
        house.put("INBOX", b"x", account=ann)
    assert used(ann) == (300, 3)
    ann.close()


def test_the_number_of_messages_is_limited_for_itself(house):
    ann = limited(house, None, 2)
    house.put("INBOX", MAIL * 50, MAIL, account=ann)
    with pytest.raises(OverQuota):
        house.put("INBOX", b"x", account=ann)
    ann.close()


def test_copies_are_refused_whole_and_leave_nothing_behind(house):
    house.ann.create("Plans")
    house.put("INBOX", MAIL, MAIL, MAIL)
    ann = limited(house, 500)
    inbox = ann.open("INBOX")
    with pytest.raises(OverQuota):
        inbox.copy([1, 2, 3], "Plans")
    assert (count(ann), count(ann, "Plans")) == (3, 0)
    assert inbox.copy([1, 2, 99], "Plans").sources == (1, 2)
    with pytest.raises(OverQuota):
        inbox.copy([1], "INBOX")
    with pytest.raises(NoSuchMailbox):
        inbox.copy([1], "Nowhere")
    assert inbox.copy([99], "Plans").uids == ()
    inbox.close()
    ann.close()


def test_who_has_too_much_may_do_everything_that_does_not_grow(house):
    house.ann.create("Plans")
    house.put("INBOX", MAIL, MAIL, MAIL)
    ann = limited(house, 1, 1)
    assert used(ann) == (300, 3)
    inbox = ann.open("INBOX")
    assert inbox.move([1], "Plans").uids == (1,)
    assert inbox.change_flags([2], FlagChange.ADD, DELETED) == (2,)
    assert inbox.expunge(None) == (2,)
    ann.create("More")
    ann.rename("Plans", "Schemes")
    ann.rename("INBOX", "Old")
    ann.delete("Schemes")
    assert used(ann) == (100, 1)
    inbox.close()
    ann.close()


def test_what_was_freed_may_be_used_again(house):
    ann = limited(house, 200)
    for _ in range(3):
        house.put("INBOX", MAIL, MAIL, flags=DELETED, account=ann)
        with pytest.raises(OverQuota):
            house.put("INBOX", MAIL, account=ann)
        inbox = ann.open("INBOX")
        inbox.expunge(None)
        inbox.close()
        assert used(ann) == (0, 0)
    ann.close()


def test_what_an_administrator_sets_stands_above_the_owners_limits(house):
    ann = limited(house, 300, 3)
    assert ann.limits() == Limits(300, 3)
    ann.set_quota(Limits(100))
    assert ann.limits() == ann.quota().limits == Limits(100)
    house.put("INBOX", MAIL, account=ann)
    with pytest.raises(OverQuota):
        house.put("INBOX", MAIL, account=ann)
    again = limited(house, 500)
    assert again.limits() == Limits(100)
    ann.set_quota(NO_LIMITS)
    house.put("INBOX", *[MAIL] * 9, account=again)
    assert again.limits() == NO_LIMITS
    again.set_quota(None)
    assert again.limits() == Limits(500)
    for limits in (Limits(0, 0), Limits((1 << 63) - 1, (1 << 63) - 1)):
        ann.set_quota(limits)
        assert again.limits() == limits
    again.close()
    ann.close()


def test_the_newest_word_of_the_directory_counts_for_all_sessions(house):
    limited(house, 100).close()
    limited(house, 700).close()
    assert house.ann.limits() == Limits(700)


@pytest.mark.parametrize(
    ("octets", "messages", "limits", "percent"),
    [
        (0, 0, Limits(), 0),
        (10, 10, Limits(), 0),
        (0, 0, Limits(100, 100), 0),
        (89, 1, Limits(100, 100), 89),
        (8999, 1, Limits(10000), 89),
        (10, 95, Limits(100, 100), 95),
        (250, 1, Limits(100), 250),
        (0, 0, Limits(0), 100),
    ],
)
def test_how_full_an_account_is(octets, messages, limits, percent):
    assert QuotaState(octets, messages, limits).percent == percent


@pytest.mark.parametrize(
    ("said", "limits"),
    [((None, None), Limits(7, 8)), ((0, None), Limits(None, 8)), ((5, 6), Limits(5, 6)), ((None, 0), Limits(7, None))],
)
def test_nothing_said_is_the_default_and_0_is_no_limit(said, limits):
    assert Limits.said(*said, Limits(7, 8)) == limits


def test_two_processes_share_the_room(tmp_path):
    workers = [Worker(tmp_path / "ann") for _ in range(2)]
    for worker in workers:
        worker.store.open_account(Owner("id-ann", "ann", str(tmp_path / "ann"), Limits(300)))
    one, other = workers
    one.put("INBOX", MAIL)
    other.put("INBOX", MAIL)
    one.put("INBOX", MAIL)
    for worker in workers:
        with pytest.raises(OverQuota):
            worker.put("INBOX", b"x")
    one.ann.set_quota(Limits(400))
    other.put("INBOX", MAIL)
    assert used(one.ann) == used(other.ann) == (400, 4)


def test_what_other_programs_deliver_is_counted_and_not_refused(tmp_path):
    worker = Worker(tmp_path / "ann")
    worker.ann.create("Plans")
    worker.ann.set_quota(Limits(None, 1))
    for folder in (worker.home, worker.home / ".Plans"):
        deliver(folder)
    assert used(worker.ann)[1] == 0
    worker.ann.catch_up()
    assert used(worker.ann) == (2 * len(WIRE), 2)
    with pytest.raises(OverQuota):
        worker.put()
    assert len(worker.texts()) == 1


def test_a_refusal_leaves_no_file_behind(tmp_path):
    worker = Worker(tmp_path / "ann")
    worker.put()
    worker.ann.set_quota(Limits(0))
    with pytest.raises(OverQuota):
        worker.put()
    with pytest.raises(OverQuota):
        worker.open().copy([1], "INBOX")
    assert files(worker.home)["tmp"] == [] and len(files(worker.home)["cur"]) == 1


def test_limits_outlive_the_process_and_other_names_in_the_index(tmp_path):
    Worker(tmp_path / "ann").ann.set_quota(Limits(5, None))
    worker = Worker(tmp_path / "ann")
    assert worker.ann.limits() == Limits(5, None)
    worker.ann.create("Plans")
    assert worker.ann.status("INBOX").uidvalidity < worker.ann.status("Plans").uidvalidity


def again(home, prepare) -> Limits:
    """The limits that hold when the index was put away and something else was done."""
    for path in home.glob("imapd-index.sqlite*"):
        path.unlink()
    prepare()
    worker = Worker(home)
    limits = worker.ann.limits()
    assert limits == Worker(home).ann.limits()
    worker.store.close()
    return limits


def test_limits_outlive_the_index(tmp_path):
    home = tmp_path / "ann"
    worker = Worker(home)
    for limits in (Limits(5, None), Limits(0, 0), NO_LIMITS, Limits((1 << 63) - 1, 7)):
        worker.ann.set_quota(limits)
        worker.store.close()
        assert again(home, lambda: None) == limits
        worker = Worker(home)
    file = home / "imapd-quota"
    whole = file.read_bytes()
    for damaged in (b"", whole[:-1], whole.replace(b"7", b"8"), b"1 2 00000000\n", b"x" * 10_000):
        assert again(home, lambda text=damaged: file.write_bytes(text)) == NO_LIMITS
    assert again(home, lambda: file.write_bytes(whole)) == limits
    worker.store.close()
    worker = Worker(home)
    worker.ann.set_quota(None)
    assert not file.exists()
    worker.ann.set_quota(None)
    assert worker.ann.limits() == NO_LIMITS


def test_an_older_file_says_nothing_to_an_index_that_knows(tmp_path):
    worker = Worker(tmp_path / "ann")
    worker.ann.set_quota(Limits(5))
    older = (tmp_path / "ann" / "imapd-quota").read_bytes()
    worker.ann.set_quota(Limits(6))
    worker.store.close()
    (tmp_path / "ann" / "imapd-quota").write_bytes(older)
    assert Worker(tmp_path / "ann").ann.limits() == Limits(6)


def test_a_limit_that_another_process_sets_or_takes_away_is_seen_with_the_next_mailbox(tmp_path):
    ours, theirs = (Worker(tmp_path / "ann") for _ in range(2))
    for limits, is_limited in ((None, False), (Limits(100_000), True), (None, False)):
        theirs.ann.set_quota(limits)
        assert ours.look() == {}
        assert ours.ann.is_limited() is is_limited
