"""`imapd quota`: how much mail somebody has and may have."""

import sqlite3

import pytest

LIMITS = "[quota]\ndefault = 2M\nmessages = 50"
MAIL = b"Subject: x\n\n" + b"x" * 1523  # 1,536 octets with their line ends whole


@pytest.fixture
def ada(site):
    """Ada's Maildir, with two messages that an agent has delivered."""
    site.write(more=LIMITS)
    maildir = site.folder / "mail" / "ada"
    for part in ("tmp", "new", "cur"):
        (maildir / part).mkdir(parents=True)
    for number in range(2):
        (maildir / "new" / f"{number}.x.y").write_bytes(MAIL)
    return maildir


def lines(said):
    return [line.strip() for line in said.splitlines()[1:]]


def test_use_and_limits_are_shown(site, ada):
    code, said = site.imapd("quota", "ada")
    assert code == 0 and said.startswith("acme/") and str(ada) in said
    assert lines(said) == ["storage:   3k of 2M", "messages:  2 of 50"]


def test_limits_are_set_one_by_one_and_taken_away(site, ada):
    set_here = "set in the mail file; the entry and the configuration say: 2M, 50"
    assert lines(site.imapd("quota", "ada", "--storage", "5G")[1]) == [
        "storage:   3k of 5G",
        "messages:  2 of 50",
        set_here,
    ]
    assert lines(site.imapd("quota", "ada", "--messages", "none")[1])[1] == "messages:  2 of no limit"
    assert lines(site.imapd("quota", "ada")[1]) == ["storage:   3k of 5G", "messages:  2 of no limit", set_here]
    assert lines(site.imapd("quota", "ada", "--unset")[1]) == ["storage:   3k of 2M", "messages:  2 of 50"]


def test_who_has_no_mail_file_yet_gets_none_by_this(site, ada):
    code, said = site.imapd("quota", "ben")
    assert code == 0 and "is not there yet" in said
    assert lines(said) == ["storage:   0 of 2M", "messages:  0 of 50"]
    assert site.imapd("quota", "ben", "--messages", "3")[0] == 1
    assert not (site.folder / "mail" / "ben").exists()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("nobody",), "nobody is called nobody"),
        (("twin",), "ambiguous"),
        (("ada", "--storage", "much"), "--storage: 'much' is not a size"),
        (("ada", "--messages", "-3"), "--messages"),
        (("ada", "--unset", "--storage", "1G"), "--unset"),
    ],
)
def test_what_cannot_be_done_is_said_and_changes_nothing(site, ada, arguments, reason):
    code, said = site.imapd("quota", *arguments)
    assert code in (1, 2) and reason in said
    assert lines(site.imapd("quota", "ada")[1])[0] == "storage:   3k of 2M"


def test_a_mail_file_that_is_somebody_elses_is_left_alone(site, ada):
    (ada / "imapd-owner").write_text("acme/somebody\n")
    code, said = site.imapd("quota", "ada", "--storage", "1G")
    assert code == 1 and "is that of acme/somebody" in said
    assert not (ada / "imapd-index.sqlite").exists()


def test_an_index_of_a_newer_version_is_not_written_to(site, ada):
    site.imapd("quota", "ada")
    with sqlite3.connect(ada / "imapd-index.sqlite") as index:
        index.execute("PRAGMA user_version = 99")
        index.execute("UPDATE meta SET value = 99 WHERE name = 'version'")
    index.close()
    assert site.imapd("quota", "ada", "--storage", "1G")[0] == 1
