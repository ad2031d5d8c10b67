"""`imapd lockout`: who has failed, who is locked, and how that ends."""

from tests.verbs.test_explain import locked

DN = "uid=ben,ou=people,dc=acme,dc=example"


def test_nobody_has_failed_yet(site):
    assert site.imapd("lockout", "list") == (0, "Nobody has failed to log in.\n")
    assert site.imapd("lockout", "purge")[0] == 0


def test_locks_and_failures_are_listed(site):
    locked(site)
    code, said = site.imapd("lockout", "list")
    lock, failure = said.splitlines()
    assert code == 0
    assert lock.startswith(f"{DN}\t192.0.2.7\t3 failures since ") and "\tLOCKED until " in lock
    assert failure.startswith(f"{DN}\t2001:db8::/64\t1 failures since ") and "\tnot locked" in failure


def test_somebody_is_unlocked_by_any_of_his_names(site):
    for name in ("ben", "BEN", DN):
        locked(site)
        assert site.imapd("lockout", "unlock", name) == (0, f"{DN} may try again.\n")
        assert site.imapd("lockout", "list") == (0, "Nobody has failed to log in.\n")


def test_a_lock_is_lifted_for_one_network(site):
    locked(site)
    code, said = site.imapd("lockout", "unlock", "ben", "--network", "192.0.2.7")
    assert code == 0 and "from 192.0.2.7" in said
    assert "LOCKED" not in site.imapd("lockout", "list")[1]
    assert "2001:db8::/64" in site.imapd("lockout", "list")[1]
    assert site.imapd("lockout", "unlock", "ben", "--network", "192.0.2.9")[0] == 1


def test_somebody_about_whom_there_is_nothing_is_said_to_be_so(site):
    locked(site)
    code, said = site.imapd("lockout", "unlock", "ada")
    assert code == 1 and "there is nothing about ada" in said


def test_without_a_state_directory_there_is_no_file(site):
    site.write()
    text = (site.folder / "imapd.ini").read_text().replace("state_directory = state", "")
    (site.folder / "imapd.ini").write_text(text)
    code, said = site.imapd("lockout", "list")
    assert code == 1 and "state_directory is not set" in said
