"""Who may not stay loses his sessions, with a daemon: disabled, gone, or taken off the access lists by a reload."""

import signal
import time

import pytest

from tests.support.daemon import Daemon

GOODBYE = b"* BYE You are not let in here any more\r\n"


@pytest.fixture
def daemon(tmp_path):
    made = Daemon(tmp_path / "site", workers=1)
    yield made
    made.stop()
    assert made.tracebacks() == []


def with_settings(daemon, recheck, access=""):
    path = daemon.folder / "imapd.ini"
    original = daemon.folder / "imapd.ini.first"
    if not original.exists():
        original.write_text(path.read_text())
    text = original.read_text().replace("[authentication]\n", f"[authentication]\nrecheck = {recheck}\n")
    path.write_text(text + access)
    return daemon


def idling(daemon, name):
    client = daemon.login(name)
    client.ok("SELECT INBOX")
    client.begin("IDLE")
    assert client.response().startswith(b"+ ")
    return client


def change_people(daemon, change):
    path = daemon.folder / "people.ldif"
    path.write_text(change(path.read_text()))


def locked(name):
    return lambda text: text.replace(f"uid: {name}\n", f"uid: {name}\npwdAccountLockedTime: 000001010000Z\n")


def gone(name):
    return lambda text: "\n\n".join(entry for entry in text.split("\n\n") if f"uid={name}," not in entry)


@pytest.mark.parametrize("change", [locked, gone])
def test_a_person_who_is_disabled_or_gone_loses_the_sessions_he_has(daemon, change):
    with_settings(daemon, "0.5s").start()
    with idling(daemon, "anna") as first, daemon.login("anna") as second, idling(daemon, "ben") as other:
        change_people(daemon, change("anna"))
        assert first.response() == GOODBYE and second.response() == GOODBYE
        assert first.response() == b""
        other.send(b"DONE\r\n")
        assert b" OK " in other.response()
    assert "thrown_out" in daemon.log() and "sessions=2" in daemon.log()


def test_a_file_that_is_damaged_throws_nobody_out(daemon):
    with_settings(daemon, "0.2s").start()
    with daemon.login("anna") as client:
        change_people(daemon, lambda text: "nonsense\n")
        time.sleep(1)
        client.ok("NOOP")


def test_a_reload_with_other_access_lists_ends_the_sessions_of_those_who_are_off_them(daemon):
    with_settings(daemon, "1h").start()
    with idling(daemon, "anna") as anna, daemon.login("ben") as ben:
        with_settings(daemon, "1h", '[access]\nenforce = yes\ndeny = "uid=anna,dc=example,dc=org",\n')
        daemon.process.send_signal(signal.SIGHUP)
        assert anna.response() == GOODBYE
        ben.ok("NOOP")
        with daemon.connect() as again:
            assert again.command("LOGIN anna secret")[1].startswith(b"NO [AUTH")
        # A second reload takes Ben off as well, whose worker has been retired since the first one.
        with_settings(daemon, "1h", '[access]\nenforce = yes\nallow = "uid=anna,dc=example,dc=org",\n')
        daemon.process.send_signal(signal.SIGHUP)
        assert ben.response() == GOODBYE


def test_with_recheck_0_nobody_is_looked_at_again(daemon):
    with_settings(daemon, "0s").start()
    with daemon.login("anna") as client:
        change_people(daemon, locked("anna"))
        time.sleep(0.7)
        client.ok("NOOP")
