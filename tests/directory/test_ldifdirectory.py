"""The LDIF directory: who is found, what happens when the file changes, what is refused."""

import logging
import os
import shutil
from pathlib import Path

import pytest

from imapd.directory.chain import Ambiguous
from imapd.directory.ldif import LdifError
from imapd.directory.names import Level, LoginName
from imapd.directory.scram import ScramVerifier
from imapd.directory.verdict import Verdict
from tests.directory.conftest import ALICE, BOB

EXAMPLE = Path(__file__).parent / "people.ldif"


def who(directory, name):
    found = directory.find(LoginName.parse(name))
    return found.short_name if found is not None and not isinstance(found, Ambiguous) else found


FOUND = [
    ("alice", "alice"),
    (" ALICE ", "alice"),
    ("Alice  Martin", "alice"),
    ("alice@EXAMPLE.org", "alice"),
    ("uid=alice", "alice"),
    ("cn=alice martin", "alice"),
    ("cn=alice", None),
    ("uid=alice martin", None),
    ("UID=Alice, OU=People, DC=Example, DC=Org", "alice"),
    ("uid=alice/ou=people/dc=example/dc=org", "alice"),
    ("uid=alice,ou=people,dc=example", None),
    ("robert stone", "bob"),
    ("stone@example.org", "bob"),
    ("stone", None),
    ("bob*", None),
    ("bo)(uid=*", None),
    ("\\2a", None),
    ("carol", None),
]


@pytest.mark.parametrize(("name", "short_name"), FOUND)
def test_names_are_found_as_in_ldap(open_directory, people_file, name, short_name):
    assert who(open_directory(people_file), name) == short_name


def test_more_variations_are_first_and_last_names(open_directory, people_file):
    more = open_directory(people_file, level=Level.MORE)
    assert who(more, "stone") == "bob"
    assert who(more, "martin") == "alice"


def test_an_abbreviated_name_is_one_of_the_more_variations(open_directory, tmp_path):
    path = tmp_path / "domino.ldif"
    path.write_text("dn: cn=Jo Doe,ou=West,o=Acme\nobjectClass: inetOrgPerson\nuid: jo\ncn: Jo Doe\n")
    assert who(open_directory(path, level=Level.MORE), "Jo Doe/West/Acme") == "jo"
    assert who(open_directory(path), "Jo Doe/West/Acme") is None
    assert who(open_directory(path), "CN=Jo Doe/OU=West/O=Acme") == "jo"


def test_names_that_people_share_are_ambiguous(open_directory, people_file):
    people_file.write_text(ALICE + "\n" + BOB.replace("Bob Stone", "Alice Martin"))
    found = open_directory(people_file).find(LoginName.parse("alice martin"))
    assert isinstance(found, Ambiguous)
    assert found.dns == ("uid=alice,ou=people,dc=example,dc=org", "uid=bob,ou=people,dc=example,dc=org")
    assert [person.short_name for person in found.persons] == ["alice", "bob"]


def test_somebodys_common_name_may_not_take_anothers_uid(open_directory, people_file):
    people_file.write_text(ALICE + "\n" + BOB.replace("cn: Robert Stone", "cn: alice"))
    assert isinstance(open_directory(people_file).find(LoginName.parse("alice")), Ambiguous)
    assert who(open_directory(people_file), "uid=alice") == "alice"


def test_entries_that_are_no_persons_are_not_found(open_directory, tmp_path):
    path = tmp_path / "f.ldif"
    path.write_text("dn: ou=people\nobjectClass: organizationalUnit\nou: people\nuid: people\n")
    directory = open_directory(path)
    assert len(directory) == 0 and who(directory, "people") is None


DUPLICATES = [
    ("uid: bob", "uid: ALICE", "'alice'"),
    ("mail: bob@example.org", "mail: Alice@example.org", "'alice@example.org'"),
    ("uid: bob", "uid: alice@example.org", "'alice@example.org'"),
    ("dn: uid=bob,", "dn: uid=ALICE,", "dn"),
]


@pytest.mark.parametrize(("old", "new", "words"), DUPLICATES)
def test_a_file_in_which_two_share_a_login_name_is_refused(open_directory, people_file, old, new, words):
    people_file.write_text(ALICE + "\n" + BOB.replace(old, new, 1))
    with pytest.raises(LdifError, match=r"people\.ldif:10: ") as error:
        open_directory(people_file)
    assert words in str(error.value)


def test_a_file_in_which_two_have_one_unique_id_is_refused(open_directory, people_file):
    people_file.write_text(f"{ALICE}entryUUID: 1-2-A\n\n{BOB}entryUUID: 1-2-a\n")
    with pytest.raises(LdifError, match="unique id"):
        open_directory(people_file)


def test_a_missing_file_is_refused_by_name(open_directory, tmp_path):
    with pytest.raises(LdifError, match=r"none\.ldif: it cannot be read"):
        open_directory(tmp_path / "none.ldif")


def test_a_changed_file_is_seen_at_the_next_look_up(open_directory, people_file):
    directory = open_directory(people_file)
    people_file.write_text(ALICE)
    assert who(directory, "bob") is None
    people_file.write_text(f"{ALICE}\n{BOB}")
    assert who(directory, "bob") == "bob"


def test_a_replaced_file_is_seen_though_time_and_size_are_the_same(open_directory, people_file, tmp_path):
    directory = open_directory(people_file)
    status = people_file.stat()
    other = tmp_path / "new"
    other.write_text(people_file.read_text().replace("uid: bob", "uid: rob"))
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.rename(people_file)
    assert (who(directory, "bob"), who(directory, "rob")) == (None, "rob")


def test_an_unchanged_file_is_not_read_again(open_directory, people_file, loop):
    directory = open_directory(people_file)
    for _ in range(5):
        who(directory, "alice")
    assert loop.offloaded == []


def test_a_file_written_just_now_is_read_once_more(open_directory, people_file, loop):
    os.utime(people_file, (loop.time(), loop.time()))
    directory = open_directory(people_file)
    who(directory, "alice")
    assert loop.offloaded
    loop.advance(1)
    who(directory, "alice")
    loop.offloaded.clear()
    who(directory, "alice")
    assert loop.offloaded == []


def test_a_broken_file_keeps_the_people_and_logs_one_line(open_directory, people_file, caplog):
    directory = open_directory(people_file)
    people_file.write_text(ALICE.replace("uid: alice", "uid alice"))
    with caplog.at_level(logging.DEBUG):
        assert who(directory, "alice") == "alice"
        assert who(directory, "bob") == "bob"
        assert who(directory, "bob") == "bob"
    assert len(caplog.records) == 1
    assert "people.ldif:3:" in caplog.text and "stay as they were" in caplog.text


def test_duplicates_in_a_changed_file_keep_the_people(open_directory, people_file):
    directory = open_directory(people_file)
    people_file.write_text(ALICE + "\n" + BOB.replace("uid: bob", "uid: alice"))
    assert who(directory, "bob") == "bob"


def test_a_removed_file_keeps_the_people_until_it_is_back(open_directory, people_file, caplog):
    directory = open_directory(people_file)
    people_file.unlink()
    assert who(directory, "alice") == "alice" and who(directory, "bob") == "bob"
    assert len(caplog.records) == 1
    people_file.write_text(ALICE)
    assert who(directory, "bob") is None


def test_a_half_written_file_is_left_alone_until_it_is_whole(open_directory, people_file, loop):
    directory = open_directory(people_file)
    whole = f"{ALICE}\n{BOB.replace('uid: bob', 'uid: rob')}"
    people_file.write_text(whole[: len(ALICE) + 60])
    os.utime(people_file, (loop.time(), loop.time()))
    assert who(directory, "bob") == "bob"
    people_file.write_text(whole)
    assert (who(directory, "bob"), who(directory, "rob")) == (None, "rob")


def test_a_file_without_a_last_line_end_counts_once_it_is_old(open_directory, people_file, loop):
    directory = open_directory(people_file)
    people_file.write_text(ALICE.rstrip("\n"))
    os.utime(people_file, (loop.time(), loop.time()))
    assert who(directory, "bob") == "bob"
    loop.advance(3)
    assert who(directory, "bob") is None


def test_passwords_are_verified(open_directory, people_file, loop):
    directory = open_directory(people_file)
    alice = directory.find(LoginName.parse("alice"))
    assert directory.verify(alice, b"wonderland") is Verdict.RIGHT
    assert directory.verify(alice, b"Wonderland") is Verdict.WRONG
    assert directory.verify(alice, b"") is Verdict.WRONG
    assert directory.verify(directory.find(LoginName.parse("bob")), b"builder") is Verdict.RIGHT
    assert loop.hashed == []


def test_a_file_that_everybody_may_read_works_with_a_warning(open_directory, tmp_path, caplog):
    path = tmp_path / "people.ldif"
    shutil.copy(EXAMPLE, path)
    path.chmod(0o644)
    directory = open_directory(path)
    assert directory.verify(directory.find(LoginName.parse("alice")), b"wonderland") is Verdict.RIGHT
    assert directory.verify(directory.find(LoginName.parse("bob")), b"builder") is Verdict.RIGHT
    assert "everybody may read it" in caplog.text


def test_several_passwords_are_tried_and_hashes_run_in_their_pool(open_directory, people_file, loop):
    people_file.write_text(
        f"{ALICE}authPassword: {ScramVerifier.make('second', 10).written()}\nuserPassword: {{ROT13}}x\nuserPassword: third\n"
    )
    directory = open_directory(people_file)
    alice = directory.find(LoginName.parse("alice"))
    assert directory.verify(alice, b"second") is Verdict.RIGHT and len(loop.hashed) == 1
    assert directory.verify(alice, b"wonderland") is Verdict.RIGHT
    assert directory.verify(alice, b"third") is Verdict.RIGHT
    assert directory.verify(alice, b"fourth") is Verdict.WRONG


def test_a_password_that_cannot_be_used_is_logged_with_the_entry_and_without_secrets(
    open_directory, people_file, caplog
):
    people_file.write_text(ALICE.replace("wonderland", "{ROT13}jbaqreynaq"))
    directory = open_directory(people_file)
    assert directory.verify(directory.find(LoginName.parse("alice")), b"wonderland") is Verdict.WRONG
    assert "uid=alice" in caplog.text and "ROT13" in caplog.text
    assert "jbaq" not in caplog.text and "wonderland" not in caplog.text


def test_only_so_many_passwords_are_tried(open_directory, people_file, loop):
    verifier = ScramVerifier.make("x", 10).written()
    people_file.write_text(ALICE + f"authPassword: {verifier}\n" * 50)
    directory = open_directory(people_file)
    assert directory.verify(directory.find(LoginName.parse("alice")), b"y") is Verdict.WRONG
    assert len(loop.hashed) == 10


def test_nobody_costs_a_hash(open_directory, people_file, loop):
    assert open_directory(people_file).verify(None, b"wonderland") is Verdict.WRONG
    assert len(loop.hashed) == 1


def test_nobody_never_gets_in_even_with_a_password_of_somebody(open_directory, people_file):
    people_file.write_text(
        ALICE.replace("userPassword: wonderland", f"authPassword: {ScramVerifier.make('wonderland', 10).written()}")
    )
    assert open_directory(people_file).verify(None, b"wonderland") is Verdict.WRONG


def test_a_private_file_is_not_warned_about(open_directory, people_file, caplog):
    open_directory(people_file)
    assert caplog.text == ""


def test_a_large_file_is_indexed_quickly(open_directory, tmp_path):
    path = tmp_path / "large.ldif"
    path.write_text("\n".join(ALICE.replace("alice", f"a{n}") for n in range(3000)))
    directory = open_directory(path, level=Level.MORE)
    assert who(directory, "a2999@example.org") == "a2999"
    assert isinstance(directory.find(LoginName.parse("martin")), Ambiguous)
