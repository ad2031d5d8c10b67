"""The administrator's work on a file: what changes, and that nothing else does."""

import os
import stat
import threading

import pytest

from imapd.directory import ldif, users
from imapd.directory.names import LoginName
from imapd.directory.passwords import check
from imapd.directory.users import NewUser, UserError
from imapd.directory.verdict import Verdict
from tests.directory.conftest import ALICE, BOB


def stored(path, name):
    return next(person for person in users.list_people(str(path)) if person.short_name == name).passwords


def add(path, name, password="secret", **fields):
    return users.add(str(path), NewUser(name, password, **fields), iterations=10)


def test_adding_to_no_file_makes_one_that_a_server_could_load(tmp_path, open_directory):
    path = tmp_path / "new.ldif"
    dn = add(path, "carol", full_name="Carol King", mail="carol@example.org")
    assert dn == "uid=carol,ou=people,dc=example,dc=org"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes().startswith(b"version: 1\n\ndn: dc=example,dc=org\nobjectClass: domain\n")
    directory = open_directory(path)
    carol = directory.find(LoginName.parse("carol"))
    assert directory.verify(carol, b"secret") is Verdict.RIGHT
    assert directory.verify(carol, b"Secret") is Verdict.WRONG
    assert (carol.user_name, carol.internet_address, carol.mail_file) == ("Carol King", "carol@example.org", "carol")
    assert os.listdir(tmp_path) == ["new.ldif"]


def test_a_file_without_addresses_gets_a_base_too(tmp_path):
    assert add(tmp_path / "f.ldif", "carol") == "uid=carol,ou=people,dc=localdomain"
    assert add(tmp_path / "f.ldif", "dave") == "uid=dave,ou=people,dc=localdomain"


def test_adding_keeps_what_was_there(people_file):
    before = people_file.read_bytes()
    people_file.chmod(0o640)
    assert add(people_file, "carol", last_name="King", given_name="Carol") == "uid=carol,ou=people,dc=example,dc=org"
    after = people_file.read_bytes()
    assert after.startswith(before)
    assert b"secret" not in after
    assert stat.S_IMODE(people_file.stat().st_mode) == 0o640
    entry = ldif.read(after, "f")[-1]
    attributes = entry.attributes()
    assert attributes["objectclass"] == [b"inetOrgPerson", b"authPasswordObject"]
    assert (attributes["cn"], attributes["sn"], attributes["givenname"]) == ([b"Carol King"], [b"King"], [b"Carol"])
    assert attributes["authpassword"][0].startswith(b"SCRAM-SHA-256$10:")


def test_the_classes_of_the_others_are_taken_where_we_can_fill_them(people_file):
    classes = "objectClass: top\nobjectClass: posixAccount\nobjectClass: INETorgPerson"
    people_file.write_text(ALICE.replace("objectClass: inetOrgPerson", classes))
    add(people_file, "carol")
    found = ldif.read(people_file.read_bytes(), "f")[-1].attributes()["objectclass"]
    assert found == [b"top", b"INETorgPerson", b"authPasswordObject"]


BASES = [
    ("dn: dc=x\nobjectClass: domain\ndc: x\n", "dc=x"),
    ("dn: o=Acme\nobjectClass: organization\no: Acme\n\ndn: ou=Staff, o=Acme\nobjectClass: organizationalUnit\nou: S\n",
     "ou=Staff, o=Acme"),
    (ALICE + "\n" + ALICE.replace("uid=alice,ou=people", "uid=a,OU=Other").replace("alice", "a")
     + "\n" + BOB.replace("ou=people", "ou=other"), "OU=Other,dc=example,dc=org"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "base"), BASES)
def test_a_new_person_goes_where_the_others_are(tmp_path, text, base):
    path = tmp_path / "f.ldif"
    path.write_text(text)
    assert add(path, "carol") == f"uid=carol,{base}"


def test_line_ends_are_kept(tmp_path):
    path = tmp_path / "f.ldif"
    path.write_bytes(ALICE.replace("\n", "\r\n").encode().rstrip(b"\r\n"))
    add(path, "carol")
    users.passwd(str(path), "alice", "other", iterations=10)
    text = path.read_bytes()
    assert text.count(b"\n") == text.count(b"\r\n")
    assert [person.short_name for person in users.list_people(str(path))] == ["alice", "carol"]


REFUSED = [
    ({"name": "alice"}, "already"),
    ({"name": "ALICE "}, "login name"),
    ({"name": "Alice"}, "already"),
    ({"name": "carol", "mail": "Bob@example.org"}, "already"),
    ({"name": "stone@example.org"}, "already"),
    ({"name": "carol", "full_name": "Bob"}, "already"),
    ({"name": ""}, "empty"),
    ({"name": "../boss"}, "login name"),
    ({"name": "a/b"}, "login name"),
    ({"name": ".hidden"}, "login name"),
    ({"name": "uid=x"}, "login name"),
    ({"name": "a\nb"}, "control"),
    ({"name": "*"}, "bare"),
    ({"name": "{short_name}"}, "login name"),
    ({"name": "carol", "mail": "carol"}, "address"),
    ({"name": "carol", "mail": "carol@a\nuserPassword: x"}, "address"),
    ({"name": "carol", "full_name": "a\nb"}, "name"),
    ({"name": "carol", "password": ""}, "empty"),
    ({"name": "carol", "password": "a\nb"}, "password"),
    ({"name": "carol", "password": "x" * 1025}, "longer"),
    ({"name": "carol", "base": "nonsense"}, "DN"),
]


@pytest.mark.parametrize(("fields", "words"), REFUSED)
def test_nobody_is_added_who_could_not_log_in_or_would_take_a_name(people_file, fields, words):
    before = people_file.read_bytes()
    with pytest.raises(UserError, match=words):
        add(people_file, **fields)
    assert people_file.read_bytes() == before
    assert os.listdir(people_file.parent) == ["people.ldif"]


def test_hostile_but_possible_names_are_escaped(people_file):
    for name in ("a,b", "#x", "jörg", 'q"uote', "a+b;<c>"):
        dn = add(people_file, name)
        assert ldif.read(people_file.read_bytes(), "f")[-1].dn == dn
        assert stored(people_file, name)


PASSWORD_PLACES = [
    ("userPassword: wonderland\n", 1),
    ("userPassword:: d29uZGVybGFuZA==\n", 1),
    ("userPassword: {SSHA}abc\n def\n# comment\nUSERPASSWORD: two\nauthPassword: x\n", 1),
    ("", 1),
    ("description: behind\nuserPassword: a\nou: last\n", 1),
]


@pytest.mark.parametrize(("lines", "count"), PASSWORD_PLACES)
def test_a_new_password_replaces_all_others_and_nothing_else(people_file, lines, count):
    text = "# top\n" + BOB + "\n" + ALICE.replace("userPassword: wonderland\n", lines) + "\n\n# end\n"
    people_file.write_text(text)
    assert users.passwd(str(people_file), "alice@example.org", "other", iterations=10).startswith("uid=alice")
    after = people_file.read_text()
    passwords = stored(people_file, "alice")
    assert len(passwords) == count and check(passwords[0], b"other")
    kept = [line for line in text.splitlines() if not line.lower().startswith(("userpassword", "authpassword", " def"))]
    kept.append("userPassword: {SSHA}JEN9ZRSNnpYRKEaDbI2ksOgKEehtYWlsYm94MQ==")
    left = [
        line for line in after.splitlines() if not line.startswith((" ", "authPassword: SCRAM", "objectClass: auth"))
    ]
    assert sorted(left) == sorted(kept)
    assert after.startswith("# top\n" + BOB) and after.endswith("\n\n# end\n")


def test_changing_a_password_twice_changes_one_value(people_file):
    users.passwd(str(people_file), "alice", "one", iterations=10)
    first = people_file.read_text()
    users.passwd(str(people_file), "alice", "two", iterations=10)
    assert len(first) == len(people_file.read_text())
    assert [check(value, b"two") for value in stored(people_file, "alice")] == [True]


def test_the_last_entry_of_a_file_without_a_last_line_end(tmp_path):
    path = tmp_path / "f.ldif"
    for text in (
        "dn: uid=a,o=x\nuid: a\nobjectClass: inetOrgPerson",
        ALICE.rstrip("\n"),
        "dn: uid=a,o=x\nobjectClass: inetOrgPerson\nuid: a",
    ):
        path.write_text(text)
        name = users.list_people(str(path))[0].short_name
        users.passwd(str(path), name, "other", iterations=10)
        assert len(ldif.read(path.read_bytes(), "f")) == 1
        assert check(stored(path, name)[0], b"other")


def test_whom_a_password_is_for_has_to_be_clear(people_file):
    people_file.write_text(ALICE + "\n" + BOB.replace("Bob Stone", "Alice Martin"))
    with pytest.raises(UserError, match="uid=alice.* or uid=bob"):
        users.passwd(str(people_file), "alice martin", "x")
    with pytest.raises(UserError, match="nobody"):
        users.passwd(str(people_file), "carol", "x")
    with pytest.raises(UserError, match="empty"):
        users.passwd(str(people_file), "", "x")


def test_a_file_that_cannot_be_understood_is_not_touched(people_file):
    people_file.write_text(ALICE + "nonsense\n")
    with pytest.raises(UserError, match=r"people\.ldif:9"):
        add(people_file, "carol")
    assert people_file.read_text() == ALICE + "nonsense\n"


def test_what_is_not_there_cannot_be_changed(tmp_path):
    with pytest.raises(UserError, match="not there"):
        users.passwd(str(tmp_path / "none.ldif"), "alice", "x")
    with pytest.raises(UserError, match="cannot be made"):
        add(tmp_path / "no" / "f.ldif", "alice")
    with pytest.raises(UserError, match="cannot be read"):
        users.list_people(str(tmp_path / "none.ldif"))


def test_a_link_stays_a_link(people_file, tmp_path):
    link = tmp_path / "link.ldif"
    link.symlink_to(people_file)
    add(link, "carol")
    assert link.is_symlink() and "uid=carol" in people_file.read_text()


@pytest.mark.parametrize("call", ["fsync", "rename", "fchmod"])
def test_a_failure_leaves_the_old_file_and_no_litter(people_file, monkeypatch, call):
    before = people_file.read_bytes()

    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(UserError, match="No space left"):
        add(people_file, "carol")
    assert people_file.read_bytes() == before
    assert os.listdir(people_file.parent) == ["people.ldif"]


def test_the_file_is_on_the_disk_before_the_name_and_the_folder_after(people_file, monkeypatch):
    calls = []
    for name in ("fsync", "rename"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *args, name=name, real=real: (calls.append(name), real(*args))[1])
    add(people_file, "carol")
    assert calls == ["fsync", "rename", "fsync"]


@pytest.mark.parametrize("exists", [True, False])
def test_changes_at_once_do_not_lose_one(tmp_path, exists):
    path = tmp_path / "f.ldif"
    if exists:
        path.write_text(ALICE)
    threads = [threading.Thread(target=add, args=(path, f"user{n}")) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    names = {person.short_name for person in users.list_people(str(path))}
    assert {f"user{n}" for n in range(12)} <= names


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_the_owner_stays(people_file):
    os.chown(people_file, 65534, 65534)
    add(people_file, "carol")
    status = people_file.stat()
    assert (status.st_uid, status.st_gid) == (65534, 65534)


def test_new_users_hide_their_password():
    assert "secret" not in repr(NewUser("a", "secret"))
