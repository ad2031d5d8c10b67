"""The locks of an mbox and its replacement, with other programs as real processes."""

import fcntl
import os
import subprocess
import sys
import time

import pytest

from imapd.mailstore import mboxrewrite
from imapd.mailstore.errors import Denied, FileLocked
from imapd.mailstore.mboxlock import STALE_AFTER, locked
from imapd.mailstore.mboxrewrite import carry_over, old_paths, rewrite
from tests.mailstore.maildirhouse import Crash, Faults

WORDS = ("fcntl", "dotlock")
OLD = b"From a Mon Nov 23 10:00:00 2026\n\none\n\n"
NEW = b"From b Mon Nov 23 10:00:00 2026\n\ntwo\n\n"
LATE = b"From c Mon Nov 23 10:00:00 2026\n\nthree\n\n"


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "mbox"
    file.write_bytes(OLD)
    return os.fsencode(file)


def read(path: bytes) -> bytes:
    with open(path, "rb") as file:
        return file.read()


class Other:
    """Another program: it does what it is told when a line comes in, and says a line when it has done it."""

    def __init__(self, code: str, *arguments: bytes) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", "import fcntl, os, sys\n" + code, *map(os.fsdecode, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def hear(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def last_word(self) -> str:
        word = self.hear()
        self.end()
        return word

    def end(self) -> None:
        self.process.communicate("\n", timeout=20)
        assert self.process.returncode == 0


HOLDS = """
file = open(sys.argv[1], "r+b")
getattr(fcntl, sys.argv[2])(file, int(sys.argv[3]))
print("locked", flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize(("word", "call"), [("fcntl", b"lockf"), ("flock", b"flock")])
def test_the_lock_of_another_program_keeps_us_out(path, word, call):
    other = Other(HOLDS, path, call, b"%d" % fcntl.LOCK_EX)
    assert other.hear() == "locked"
    for write in (True, False):
        with pytest.raises(FileLocked), locked(path, (word,), write):
            pass
    other.end()
    with locked(path, (word,), write=True):
        pass


def test_readers_share_the_file_with_readers(path):
    other = Other(HOLDS, path, b"lockf", b"%d" % fcntl.LOCK_EX)
    other.hear()
    other.end()
    with (
        locked(path, WORDS, write=False),
        locked(path, WORDS, write=False),
        pytest.raises(FileLocked),
        locked(path, WORDS, write=True),
    ):
        pass


TRIES = """
file = open(sys.argv[1], "r+b")
try:
    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    print("taken")
except OSError:
    print("refused")
"""


def test_our_lock_keeps_others_out_also_when_another_descriptor_of_ours_is_closed(path):
    with locked(path, WORDS, write=True):
        os.close(os.open(path, os.O_RDWR))  # a POSIX lock would go with this
        assert Other(TRIES, path).last_word() == "refused"
    assert Other(TRIES, path).last_word() == "taken"


def test_a_writer_makes_a_dotlock_and_removes_it(path):
    with locked(path, WORDS, write=True):
        assert read(path + b".lock").startswith(b"%d:" % os.getpid())
        with pytest.raises(FileLocked), locked(path, ("dotlock",), write=True):
            pass
    assert not os.path.exists(path + b".lock")


def test_somebody_elses_dotlock_keeps_us_out_until_it_is_stale(path):
    with open(path + b".lock", "wb") as lock:
        lock.write(b"0")  # as procmail writes it
    with pytest.raises(FileLocked), locked(path, WORDS, write=True):
        pass
    assert read(path + b".lock") == b"0"
    old = time.time() - STALE_AFTER - 10
    os.utime(path + b".lock", (old, old))
    with pytest.raises(FileLocked), locked(path, WORDS, write=True):  # the mail file is written to meanwhile
        pass
    os.utime(path, (old, old))
    with locked(path, WORDS, write=True):
        pass


def test_the_dotlock_of_a_process_that_has_ended_is_stale_at_once(path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    with open(path + b".lock", "wb") as lock:
        lock.write(b"%d:%s" % (ended.pid, os.fsencode(os.uname().nodename)))
    with locked(path, WORDS, write=True):
        pass


def test_a_directory_without_rights_is_an_error_or_done_without(path, monkeypatch):
    made = os.open

    def refused(name, flags, *rest, **named):
        if name == path + b".lock":
            raise PermissionError(13, "Permission denied", name)
        return made(name, flags, *rest, **named)

    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(Denied, match="mbox_locks"), locked(path, WORDS, write=True):
        pass
    with locked(path, ("fcntl", "dotlock_try"), write=True) as mail:
        assert os.fstat(mail.fd).st_size == len(OLD)


def test_a_link_and_a_directory_are_no_mail_files(path, tmp_path):
    os.symlink(path, path + b"-link")
    for name in (path + b"-link", os.fsencode(tmp_path)):
        with pytest.raises(FileNotFoundError), locked(name, WORDS, write=False):
            pass


# Replacing


def test_a_new_version_takes_the_place_with_owner_mode_and_times(path):
    os.chmod(path, 0o640)
    os.utime(path, (1_000, 2_000))
    with locked(path, WORDS, write=True) as mail:
        rewrite(mail, [NEW, (0, len(OLD))])
    seen = os.stat(path)
    assert read(path) == NEW + OLD
    assert (seen.st_mode & 0o777, seen.st_atime, seen.st_mtime) == (0o640, 1_000, 2_000)
    assert sorted(os.listdir(os.path.dirname(path)))[-1] == b"mbox"


WAITS = """
file = open(sys.argv[1], "r+b")
print("open", flush=True)
fcntl.lockf(file, fcntl.LOCK_EX)
file.seek(0, os.SEEK_END)
file.write(sys.argv[2].encode())
file.flush()
os.fsync(file.fileno())
fcntl.lockf(file, fcntl.LOCK_UN)
print("delivered", flush=True)
"""


def test_what_a_waiting_program_writes_to_the_old_file_is_carried_over(path):
    with locked(path, ("fcntl",), write=True) as mail:
        agent = Other(WAITS, path, LATE)
        assert agent.hear() == "open"
        rewrite(mail, [NEW])
    assert agent.last_word() == "delivered"
    assert read(path) == NEW
    with locked(path, WORDS, write=True) as mail:
        assert carry_over(mail, WORDS, time.time())
        assert carry_over(mail, WORDS, time.time())
    assert read(path) == NEW + LATE
    with locked(path, WORDS, write=True) as mail:
        assert not carry_over(mail, WORDS, time.time() + 121)
        assert old_paths(path) == []
    assert read(path) == NEW + LATE


def test_an_old_file_is_kept_also_if_it_was_replaced_while_we_waited(path):
    before = time.time() - 5
    with locked(path, WORDS, write=True) as mail:
        rewrite(mail, [NEW])
    with locked(path, WORDS, write=True) as mail:
        assert carry_over(mail, WORDS, before)
    assert len(old_paths(path)) == 1


def test_a_program_that_writes_to_the_old_file_at_this_moment_is_waited_for(path):
    with locked(path, WORDS, write=True) as mail:
        rewrite(mail, [NEW])
    [(old, _)] = old_paths(path)
    other = Other(HOLDS, old, b"lockf", b"%d" % fcntl.LOCK_EX)
    other.hear()
    with locked(path, WORDS, write=True) as mail, pytest.raises(FileLocked):
        carry_over(mail, WORDS, time.time())
    other.end()
    assert read(path) == NEW


@pytest.mark.parametrize("error", [Crash, lambda: OSError(28, "No space left on device")])
def test_whatever_happens_the_old_file_or_the_new_one_is_there(path, monkeypatch, error):
    for at in range(1, 12):
        with open(path, "wb") as file:
            file.write(OLD)
        for old, _ in old_paths(path):
            os.unlink(old)
        with monkeypatch.context() as context:
            faults = Faults(context, error)
            faults.arm(at)
            try:
                with locked(path, ("fcntl",), write=True) as mail:
                    rewrite(mail, [NEW])
                done = True
            except (Crash, OSError):
                done = False
            faults.disarm()
        assert read(path) in ((NEW,) if done else (OLD, NEW))
        if done:
            break
    assert done and at > 4


def test_nothing_is_carried_over_twice_after_a_crash(path, monkeypatch):
    with locked(path, WORDS, write=True) as mail:
        rewrite(mail, [NEW])
    [(old, octets)] = old_paths(path)
    with open(old, "ab") as file:
        file.write(LATE)

    def crash(*_):
        raise Crash

    with monkeypatch.context() as context:
        context.setattr(os, "ftruncate", crash)
        with pytest.raises(Crash), locked(path, WORDS, write=True) as mail:
            carry_over(mail, WORDS, time.time())
    with locked(path, WORDS, write=True) as mail:
        carry_over(mail, WORDS, time.time())
    assert read(path) == NEW + LATE
    assert os.stat(old).st_size == octets


def test_what_lacks_a_line_end_gets_one_before_more_comes(path):
    with open(path, "wb") as file:
        file.write(b"From x\n\nno end")
    with open(path, "rb") as file:
        assert mboxrewrite.separated(file.fileno(), 14) == b"\n\n"
        assert mboxrewrite.separated(file.fileno(), 7) == b"\n"
        assert mboxrewrite.separated(file.fileno(), 8) == b""
        assert mboxrewrite.separated(file.fileno(), 0) == b""
