"""What every store promises about accounts and the tree of mailboxes."""

import pytest

from imapd.mailstore.errors import (
    BadMailboxName,
    Denied,
    Gone,
    HasChildren,
    MailboxExists,
    NoSuchMailbox,
    StoreError,
)
from imapd.model.flags import FlagChange

MAIL = b"Subject: hello\r\n\r\nHow are you?\r\n"


def names_of(account):
    return [entry.name for entry in account.mailboxes()]


def entry(account, name):
    return next((entry for entry in account.mailboxes() if entry.name == name), None)


def test_a_new_account_has_an_inbox(house):
    assert "INBOX" in names_of(house.ann)
    assert entry(house.ann, "INBOX").selectable
    assert house.ann.exists("INBOX")
    assert house.ann.status("INBOX").messages == 0


def test_two_sessions_of_a_person_share_the_account(house):
    other = house.open("ann")
    house.ann.create("Plans")
    house.ann.subscribe("Plans")
    assert entry(other, "Plans").subscribed
    assert other.exists("Plans")
    other.close()


def test_two_people_share_nothing(house):
    bob = house.open("bob")
    house.ann.create("Plans")
    assert not bob.exists("Plans")
    house.put("INBOX", MAIL)
    assert bob.status("INBOX").messages == 0
    bob.close()


def test_a_closed_account_can_be_opened_again(house):
    house.put("INBOX", MAIL)
    other = house.open("ann")
    other.close()
    again = house.open("ann")
    assert again.status("INBOX").messages == 1
    assert house.ann.status("INBOX").messages == 1
    again.close()


# CREATE


def test_create_makes_a_selectable_mailbox(house):
    house.ann.create("Plans")
    assert entry(house.ann, "Plans").selectable
    assert not entry(house.ann, "Plans").subscribed
    assert house.ann.status("Plans").messages == 0


def test_create_makes_the_parents_as_names(house):
    house.ann.create("a/b/c")
    assert names_of(house.ann) == ["INBOX", "a", "a/b", "a/b/c"]
    assert house.ann.exists("a/b")
    assert entry(house.ann, "a/b/c").selectable


def test_a_parent_that_is_a_name_only_can_be_created(house):
    house.ann.create("a/b")
    if not entry(house.ann, "a").selectable:
        house.ann.create("a")
    assert entry(house.ann, "a").selectable
    assert entry(house.ann, "a/b").selectable


def test_create_refuses_what_is_there(house):
    house.ann.create("Plans")
    with pytest.raises(MailboxExists):
        house.ann.create("Plans")
    with pytest.raises(MailboxExists):
        house.ann.create("INBOX")


@pytest.mark.parametrize("name", ["", "a//b", "/a", "a/", "a/../b", ".", "a\x00b", "a\nb", "a*", "a%", "x" * 300])
def test_create_refuses_names_that_no_mailbox_can_have(house, name):
    with pytest.raises(BadMailboxName):
        house.ann.create(name)
    assert names_of(house.ann) == ["INBOX"]


@pytest.mark.parametrize(
    "name",
    [
        "Entwürfe",
        "a.b",
        "a.b/c.d",
        ".hidden",
        "日本語/メール",
        "a&b",
        "a b",
        "~x",
        "A",
        "cur",
        "new/tmp",
        "INBOX/x",
        "a\\b",
        "-_=,:;'\"()[]{}",
    ],
)
def test_any_other_name_is_kept_as_it_is(house, name):
    house.ann.create(name)
    assert name in names_of(house.ann)
    house.put(name, MAIL)
    assert house.ann.status(name).messages == 1
    house.ann.delete(name)
    assert name not in names_of(house.ann)


def test_names_differ_by_case(house):
    house.ann.create("Plans")
    house.ann.create("plans")
    house.put("plans", MAIL)
    assert house.ann.status("Plans").messages == 0


def test_special_uses_are_kept(house):
    house.ann.create("Out", ("\\Sent",))
    assert entry(house.ann, "Out").special_use == ("\\Sent",)
    house.ann.rename("Out", "Gone out")
    assert entry(house.ann, "Gone out").special_use == ("\\Sent",)


# DELETE


def test_delete_removes_a_mailbox_and_its_messages(house):
    house.ann.create("Plans")
    house.put("Plans", MAIL)
    house.ann.delete("Plans")
    assert not house.ann.exists("Plans")
    with pytest.raises(NoSuchMailbox):
        house.ann.status("Plans")
    with pytest.raises(NoSuchMailbox):
        house.ann.open("Plans")


def test_a_name_that_is_used_again_has_a_higher_uidvalidity(house):
    house.ann.create("Plans")
    house.put("Plans", MAIL)
    before = house.ann.status("Plans")
    house.ann.delete("Plans")
    house.ann.create("Plans")
    after = house.ann.status("Plans")
    assert after.uidvalidity > before.uidvalidity
    assert after.messages == 0


def test_delete_keeps_the_name_where_it_has_children(house):
    house.ann.create("a")
    house.ann.create("a/b")
    house.put("a", MAIL)
    house.put("a/b", MAIL)
    house.ann.delete("a")
    assert house.ann.exists("a")
    assert not entry(house.ann, "a").selectable
    assert house.ann.status("a/b").messages == 1
    with pytest.raises(NoSuchMailbox):
        house.ann.open("a")
    with pytest.raises(HasChildren):
        house.ann.delete("a")


def test_a_mailbox_made_anew_above_its_children_is_empty(house):
    house.ann.create("a")
    house.ann.create("a/b")
    house.put("a", MAIL)
    before = house.ann.status("a")
    house.ann.delete("a")
    house.ann.create("a")
    assert house.ann.status("a").messages == 0
    assert house.ann.status("a").uidvalidity > before.uidvalidity


def test_inbox_cannot_be_deleted(house):
    with pytest.raises(Denied):
        house.ann.delete("INBOX")
    assert house.ann.status("INBOX").messages == 0


def test_delete_refuses_what_is_not_there(house):
    with pytest.raises(NoSuchMailbox):
        house.ann.delete("Plans")


def test_delete_leaves_names_that_begin_alike(house):
    house.ann.create("a")
    house.ann.create("ab")
    house.ann.create("a-b")
    house.ann.delete("a")
    assert names_of(house.ann) == ["INBOX", "a-b", "ab"]


def test_an_open_mailbox_that_is_deleted_is_gone(house):
    house.ann.create("Plans")
    house.put("Plans", MAIL)
    mailbox = house.ann.open("Plans")
    house.open("ann").delete("Plans")
    with pytest.raises(Gone):
        mailbox.snapshot()
    with pytest.raises(StoreError):
        mailbox.expunge(None)
    house.ann.create("Plans")
    with pytest.raises(Gone):
        mailbox.snapshot()
    mailbox.close()


# RENAME


def test_rename_takes_everything_below_along(house):
    for name in ("a", "a/b", "a/b/c", "ab"):
        house.ann.create(name)
    house.put("a/b", MAIL)
    house.ann.rename("a", "z/y")
    assert names_of(house.ann) == ["INBOX", "ab", "z", "z/y", "z/y/b", "z/y/b/c"]
    assert house.ann.status("z/y/b").messages == 1


def test_rename_keeps_uids_or_changes_uidvalidity(house):
    house.ann.create("a")
    house.put("a", MAIL, MAIL)
    mailbox = house.ann.open("a")
    mailbox.change_flags([1], FlagChange.ADD, frozenset({"\\Deleted"}))
    mailbox.expunge(None)
    mailbox.close()
    before = house.ann.status("a")
    house.ann.rename("a", "b")
    after = house.ann.status("b")
    assert after.messages == 1
    assert (after.uidvalidity, after.uidnext) == (
        before.uidvalidity,
        before.uidnext,
    ) or after.uidvalidity != before.uidvalidity


def test_rename_of_a_name_without_a_mailbox_moves_what_is_below(house):
    house.ann.create("a/b")
    house.ann.rename("a", "c")
    assert names_of(house.ann) == ["INBOX", "c", "c/b"]


def test_rename_refuses_what_is_there_or_is_not(house):
    house.ann.create("a")
    house.ann.create("b")
    with pytest.raises(NoSuchMailbox):
        house.ann.rename("nowhere", "c")
    with pytest.raises(MailboxExists):
        house.ann.rename("a", "b")
    with pytest.raises(MailboxExists):
        house.ann.rename("a", "INBOX")
    with pytest.raises(MailboxExists):
        house.ann.rename("a", "a")
    with pytest.raises(BadMailboxName):
        house.ann.rename("a", "c//d")
    with pytest.raises(BadMailboxName):
        house.ann.rename("a", "a/b")
    assert names_of(house.ann) == ["INBOX", "a", "b"]


def test_rename_of_inbox_moves_its_messages_and_nothing_else(house):
    house.ann.create("INBOX/child")
    uidvalidity = house.ann.status("INBOX").uidvalidity
    house.put("INBOX", MAIL, MAIL, flags=frozenset({"\\Seen", "work"}), date=123_456)
    house.ann.rename("INBOX", "old/mail")
    assert names_of(house.ann) == ["INBOX", "INBOX/child", "old", "old/mail"]
    inbox = house.ann.status("INBOX")
    assert (inbox.messages, inbox.uidnext, inbox.uidvalidity) == (0, 3, uidvalidity)
    moved = house.ann.open("old/mail").snapshot()
    assert list(moved.dates) == [123_456, 123_456]
    assert moved.flags_of(0) == {"\\Seen", "work"}
    assert house.put("INBOX", MAIL).uids == (3,)


# Subscriptions


def test_subscriptions_need_no_mailbox(house):
    house.ann.subscribe("nowhere/yet")
    found = entry(house.ann, "nowhere/yet")
    assert found.subscribed and not found.selectable
    assert not house.ann.exists("nowhere/yet")
    house.ann.unsubscribe("nowhere/yet")
    assert entry(house.ann, "nowhere/yet") is None
    house.ann.unsubscribe("nowhere/yet")


def test_subscribing_twice_is_subscribing_once(house):
    house.ann.create("a")
    house.ann.subscribe("a")
    house.ann.subscribe("a")
    assert names_of(house.ann) == ["INBOX", "a"]
    house.ann.unsubscribe("a")
    assert not entry(house.ann, "a").subscribed


def test_a_deleted_mailbox_stays_subscribed(house):
    # RFC 9051 section 6.3.7: a server must not take a name off the list by itself.
    house.ann.create("a")
    house.ann.subscribe("a")
    house.ann.delete("a")
    assert entry(house.ann, "a").subscribed


def test_inbox_comes_first_and_each_name_once(house):
    for name in ("B", "A", "Z/y"):
        house.ann.create(name)
    house.ann.subscribe("A")
    assert names_of(house.ann) == ["INBOX", "A", "B", "Z", "Z/y"]


# STATUS


def test_status_counts(house):
    house.put("INBOX", MAIL, MAIL, MAIL)
    mailbox = house.ann.open("INBOX")
    mailbox.change_flags([1, 2], FlagChange.ADD, frozenset({"\\Seen"}))
    mailbox.change_flags([3], FlagChange.ADD, frozenset({"\\Deleted"}))
    status = house.ann.status("INBOX")
    snapshot = mailbox.snapshot()
    assert (status.messages, status.unseen, status.deleted, status.recent) == (3, 1, 1, 3)
    assert status.size == 3 * len(MAIL)
    assert status.uidnext == 4 == snapshot.uidnext
    assert status.uidvalidity == snapshot.uidvalidity
    assert status.highestmodseq == snapshot.highestmodseq
    mailbox.close()


def test_status_refuses_what_is_no_mailbox(house):
    with pytest.raises(NoSuchMailbox):
        house.ann.status("nowhere")
    with pytest.raises(NoSuchMailbox):
        house.ann.open("nowhere")
