"""Whose an address is, into which mailbox a message goes, and what is said where it does not."""

from dataclasses import replace

import pytest

from imapd.delivery import outcome
from imapd.delivery.draft import IN_MEMORY, Draft
from imapd.delivery.outcome import Undelivered
from imapd.directory.person import Status
from imapd.mailstore import errors
from imapd.model.errors import Refused, Unreachable
from tests.delivery.office import Office
from tests.support.people import person

TEXT = b"Subject: x\r\n\r\nx\r\n"


def deliver(office, address, text=TEXT, **options):
    draft = office.draft()
    draft.write(text)
    try:
        return office.deliver(office.recipient(address), draft, b"Above: it\r\n", **options)
    finally:
        draft.close()


def refused(office, address, **options):
    with pytest.raises(Undelivered) as caught:
        deliver(office, address, **options)
    return caught.value.verdict


def test_a_message_comes_in_with_the_lines_above_it(tmp_path):
    office = Office(tmp_path)
    assert deliver(office, "anna@example.org") == "INBOX"
    assert office.texts("anna") == [b"Above: it\r\n" + TEXT]


def test_a_detail_is_a_mailbox_that_is_there(tmp_path):
    office = Office(tmp_path)
    office.account("anna").create("lists")
    office.account("anna").create("only/below")
    assert deliver(office, "anna+lists@example.org") == "lists"
    assert deliver(office, "anna+other@example.org") == "INBOX"
    assert deliver(office, "anna+only@example.org") == "INBOX"
    assert deliver(office, "anna+inbox@example.org") == "INBOX"
    assert len(office.texts("anna", "lists")) == 1


def test_a_detail_is_made_where_that_is_wanted_and_possible(tmp_path):
    office = Office(tmp_path, create=True)
    assert deliver(office, "anna+a/b@example.org") == "a/b"
    assert deliver(office, "anna+a//b@example.org") == "INBOX"
    assert deliver(office, "anna+100%@example.org") == "INBOX"
    subscribed = {entry.name for entry in office.account("anna").mailboxes() if entry.subscribed}
    assert "a/b" in subscribed


def test_a_mailbox_that_is_named_has_to_be_there_or_be_made(tmp_path):
    office = Office(tmp_path)
    assert refused(office, "anna@example.org", mailbox="Junk") == outcome.NO_SUCH_MAILBOX
    assert deliver(office, "anna@example.org", mailbox="Junk", create=True) == "Junk"
    assert refused(office, "anna@example.org", mailbox="a//b", create=True) == outcome.NO_SUCH_MAILBOX


def test_somebody_whose_address_has_the_separator_is_found_first(tmp_path):
    office = Office(tmp_path)
    office.people.people["ben+x@example.org"] = person("anna")
    assert office.recipient("ben+x@example.org").person.short_name == "anna"
    assert office.recipient("ben+y@example.org").person.short_name == "ben"
    assert Office(tmp_path, separator="-").recipient("ben-x@example.org").detail == "x"
    assert refused(Office(tmp_path, separator=""), "ben+y@example.org") == outcome.NO_SUCH_USER


def test_who_is_found_and_who_is_not(tmp_path):
    office = Office(tmp_path, local_domains=frozenset({"example.com"}))
    office.people.people |= {"ben": person("ben")}
    assert office.recipient("ben@Example.com").person.short_name == "ben"
    assert refused(office, "nobody@example.org") == outcome.NO_SUCH_USER
    assert refused(office, "ben@example.net") == outcome.NO_SUCH_USER
    office.people.elsewhere.add("ben")
    assert refused(office, "ben") == outcome.MOVED


def test_a_directory_that_is_down_or_in_doubt_is_asked_again_later(tmp_path):
    office = Office(tmp_path)
    office.people.people |= {"anna@example.org": Unreachable("ldap1 is down"), "ben@example.org": Refused("Twins.")}
    assert refused(office, "anna@example.org") == outcome.DIRECTORY_DOWN
    assert refused(office, "anna+x@example.org") == outcome.DIRECTORY_DOWN
    assert refused(office, "ben@example.org") == outcome.AMBIGUOUS
    assert outcome.DIRECTORY_DOWN.is_temporary and outcome.AMBIGUOUS.is_temporary


@pytest.mark.parametrize("closed", [{"status": Status.DISABLED}, {"expires": 1}])
def test_closed_accounts(tmp_path, closed):
    for rule, verdict in ((False, None), (True, outcome.CLOSED)):
        office = Office(tmp_path, refuse_closed=rule)
        office.people.people["anna@example.org"] = replace(person("anna"), **closed)
        if verdict is None:
            assert deliver(office, "anna@example.org") == "INBOX"
        else:
            assert refused(office, "anna@example.org") == verdict


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (errors.OverQuota(), outcome.FULL_FOR_NOW),
        (errors.NoSpace(), outcome.FULL_DISK),
        (errors.NoSuchAccount(), outcome.NOT_YET),
        (errors.Denied(), outcome.TROUBLE),
        (errors.Retry(), outcome.TROUBLE),
        (errors.UnknownOutcome(), outcome.TROUBLE),
        (errors.Corrupt(), outcome.TROUBLE),
        (Refused("Yours is none.", code="CANNOT"), outcome.NO_MAIL_FILE),
        (Refused("It is somebody else's.", code="CONTACTADMIN"), outcome.NOT_YET),
        (Unreachable("no disk"), outcome.DIRECTORY_DOWN),
    ],
)
def test_what_the_store_says_is_told_and_what_may_pass_is_temporary(tmp_path, error, verdict):
    office = Office(tmp_path)

    def no(owner):
        raise error

    office.store.open_account = no
    assert refused(office, "anna@example.org") == verdict
    assert verdict.is_temporary == (verdict is not outcome.NO_MAIL_FILE)


def test_a_message_that_is_in_stays_delivered_whatever_happens_then(tmp_path):
    """Told otherwise, the agent would bring it again."""
    office = Office(tmp_path)
    opened = office.store.open_account

    def open_account(owner):
        account = opened(owner)

        def close():
            raise errors.Retry

        account.close = close
        return account

    office.store.open_account = open_account
    assert deliver(office, "anna@example.org") == "INBOX"


def test_over_quota_may_go_back(tmp_path):
    office = Office(tmp_path, bounce_over_quota=True)

    def no(owner):
        raise errors.OverQuota

    office.store.open_account = no
    assert refused(office, "anna@example.org") == outcome.FULL


def test_an_empty_message_and_one_that_is_too_large(tmp_path):
    office = Office(tmp_path, limit=100)
    assert refused(office, "anna@example.org", text=b"") == outcome.EMPTY
    assert refused(office, "anna@example.org", text=b"x" * 101) == outcome.TOO_LARGE
    assert deliver(office, "anna@example.org", text=b"x" * 100) == "INBOX"


def test_a_large_message_waits_in_a_file_without_a_name(tmp_path):
    office = Office(tmp_path)
    text = b"Subject: x\r\n\r\n" + b"0123456\r\n" * (IN_MEMORY // 3)
    draft = office.draft()
    for start in range(0, len(text), 10_000):
        draft.write(text[start : start + 10_000])
        assert len(draft._buffer) <= IN_MEMORY
    assert list(tmp_path.iterdir()) == []
    for _ in range(2):
        assert b"".join(draft.pieces()) == text
    draft.close()


def test_a_draft_that_cannot_be_kept_says_so_in_the_end(tmp_path):
    draft = Draft(Office(tmp_path).loop, str(tmp_path / "nowhere"))
    draft.write(b"x" * IN_MEMORY)
    draft.require()
    draft.write(b"x")
    draft.write(b"x")
    with pytest.raises(Undelivered) as caught:
        draft.require()
    assert caught.value.verdict == outcome.TROUBLE
