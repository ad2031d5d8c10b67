"""The locks of an mbox and its replacement, with other programs as real processes."""

import fcntl
import os
import random
import subprocess
import sys
import time

import pytest

from imapd.mailstore import mboxlock, mboxrewrite
from imapd.mailstore.errors import Denied, FileLocked
from imapd.mailstore.mboxlock import STALE_AFTER
from imapd.mailstore.mboxrewrite import locked, redo_path, rewrite
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


def leave_dotlock(path: bytes) -> None:
    """The dotlock of a worker that was killed."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    with open(path + b".lock", "wb") as lock:
        lock.write(b"%d:%s" % (ended.pid, os.fsencode(os.uname().nodename)))


def test_the_dotlock_of_a_process_that_has_ended_is_stale_at_once(path):
    leave_dotlock(path)
    with locked(path, WORDS, write=True):
        pass


@pytest.mark.parametrize("write", [True, False])
def test_who_waits_with_the_kernel_s_lock_for_a_dotlock_that_is_nobody_s_is_set_free(path, write):
    other = Other(HOLDS, path, b"lockf", b"%d" % fcntl.LOCK_EX)
    other.hear()
    with pytest.raises(FileLocked) as found, locked(path, WORDS, write):
        pass
    leave_dotlock(path)
    assert found.value.is_free()  # it is worth a try
    with pytest.raises(FileLocked) as found, locked(path, WORDS, write):
        pass
    assert not os.path.exists(path + b".lock") and not found.value.is_free()
    other.end()


def test_a_dotlock_that_another_thread_is_about_to_have_is_not_taken_from_it(path):
    other = Other(HOLDS, path, b"lockf", b"%d" % fcntl.LOCK_EX)
    other.hear()
    with open(path + b".lock", "wb") as lock:
        lock.write(b"%d:%s" % (os.getpid(), os.fsencode(os.uname().nodename)))
    with pytest.raises(FileLocked) as found, locked(path, WORDS, write=False):
        pass
    assert os.path.exists(path + b".lock") and not found.value.is_free()
    other.end()
    with locked(path, WORDS, write=True):  # of this process nobody else writes now
        pass


def test_a_dotlock_of_this_host_from_before_its_boot_is_stale_also_if_its_process_id_is_in_use_again(path, monkeypatch):
    for host, is_stale in ((os.uname().nodename, True), ("elsewhere", False), ("", False)):
        with open(path + b".lock", "wb") as lock:
            lock.write(b"%d:%s" % (os.getppid(), os.fsencode(host)) if host else b"%d" % os.getppid())
        with pytest.raises(FileLocked), locked(path, WORDS, write=True):
            pass
        with monkeypatch.context() as context:
            context.setattr(time, "clock_gettime", lambda clock: -1.0)  # booted a second from now
            if is_stale:
                with locked(path, WORDS, write=True):
                    pass
            else:
                with pytest.raises(FileLocked), locked(path, WORDS, write=True):
                    pass


def test_a_directory_without_rights_is_an_error_or_done_without(path, monkeypatch):
    made = os.open

    def refused(name, flags, *rest, **named):
        if name in (path + b".lock", os.path.dirname(path)):
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


def test_a_new_version_is_written_over_the_old_one_with_owner_mode_and_times(path):
    os.chmod(path, 0o640)
    os.utime(path, (1_000, 2_000))
    before = os.stat(path)
    with locked(path, WORDS, write=True) as mail:
        rewrite(mail, [NEW, (0, len(OLD))])
    seen = os.stat(path)
    assert read(path) == NEW + OLD
    assert (seen.st_mode & 0o777, seen.st_atime, seen.st_mtime) == (0o640, 1_000, 2_000)
    assert seen.st_ino == before.st_ino
    assert os.listdir(os.path.dirname(path)) == [b"mbox"]


WAITS = """
file = open(sys.argv[1], "r+b")
print("open", flush=True)
fcntl.lockf(file, fcntl.LOCK_EX)
file.seek(os.stat(sys.argv[1]).st_size)  # as mutt asks for the length of what has that name
file.write(sys.argv[2].encode())
file.flush()
os.fsync(file.fileno())
fcntl.lockf(file, fcntl.LOCK_UN)
print("delivered", flush=True)
"""


@pytest.mark.parametrize("parts", [[NEW], [NEW * 3], [(0, len(OLD)), NEW]])
def test_a_program_that_opened_the_file_and_waits_for_its_lock_goes_on_with_the_new_version(path, parts):
    with locked(path, ("fcntl",), write=True) as mail:
        agent = Other(WAITS, path, LATE)
        assert agent.hear() == "open"
        rewrite(mail, parts)
    assert agent.last_word() == "delivered"
    assert read(path) == b"".join([OLD if part == (0, len(OLD)) else part for part in parts]) + LATE


BEFORE = b"".join(
    b"From %c Mon Nov 23 10:00:00 2026\n\n%s\n\n" % (97 + number, b"%d" % number * 40) for number in range(3)
)
FIRST = BEFORE.index(b"\n\n" + b"1") + 2
VERSIONS = {
    "longer": [(0, FIRST), b"X" * 100, (FIRST, len(BEFORE))],
    "longer by all": [NEW * 20],
    "shorter": [(0, FIRST), (FIRST + 60, len(BEFORE))],
    "cut off": [(0, FIRST)],
    "as long": [(0, FIRST), BEFORE[FIRST:].replace(b"1", b"9")],
    "the same": [(0, FIRST), BEFORE[FIRST:]],
}
MORE = ("pwrite", "ftruncate", "posix_fallocate")


def _after(parts) -> bytes:
    return b"".join([part if isinstance(part, bytes) else BEFORE[part[0] : part[1]] for part in parts])


@pytest.mark.parametrize("late", [b"", LATE, LATE * 10])
@pytest.mark.parametrize("error", [Crash, lambda: OSError(28, "No space left on device")])
@pytest.mark.parametrize("version", VERSIONS)
def test_whatever_happens_the_old_version_or_the_new_one_is_there_with_what_came_in_then(
    path, monkeypatch, version, error, late
):
    monkeypatch.setattr(mboxrewrite, "_PIECE", 16)
    found = set()
    for at in range(1, 200):
        with open(path, "wb") as file:
            file.write(BEFORE)
        with monkeypatch.context() as context:
            faults = Faults(context, error, more=MORE)
            faults.arm(at)
            try:
                with mboxlock.locked(path, ("fcntl",), write=True) as mail:
                    rewrite(mail, VERSIONS[version])
                done = True
            except (Crash, OSError):
                done = False
            faults.disarm()
        with open(path, "ab") as file:
            file.write(late)
        with locked(path, ("fcntl",), write=False):
            pass
        assert read(path) in [one + late for one in {_after(VERSIONS[version]), *([] if done else [BEFORE])}], at
        found.add(read(path))
        assert {entry for entry in os.listdir(os.path.dirname(path)) if entry.endswith(b"-redo")} == set(), at
        if done:
            break
    assert done and at > 4
    assert found == {_after(VERSIONS[version]) + late, BEFORE + late}


@pytest.mark.parametrize("version", VERSIONS)
def test_whichever_blocks_a_power_cut_left_of_the_new_version_it_is_there_in_the_end(path, monkeypatch, version):
    new, chance = _after(VERSIONS[version]), random.Random(7)
    for number in range(40):
        with open(path, "wb") as file:
            file.write(BEFORE)
        with monkeypatch.context() as context:
            context.setattr(mboxrewrite, "_forget", lambda path: None)
            with locked(path, ("fcntl",), write=True) as mail:
                rewrite(mail, VERSIONS[version])
        # It was not cut yet, and of its blocks the old ones, zeros where it had grown, or the new ones are on the disk.
        room = max(len(BEFORE), len(new))
        old, written = BEFORE.ljust(room, b"\0"), new + BEFORE[len(new) :]
        begun = (len(BEFORE) // 16, 0)[number % 2]  # so that half of them show none of what changed before the room
        blocks = [(old, written)[at >= begun * 16 and chance.random() < 0.5][at : at + 16] for at in range(0, room, 16)]
        left = bytearray(b"".join(blocks))
        if len(new) < len(BEFORE) and number % 4 > 1:  # it was about to be cut, and its last block is so already
            left[len(new) : (len(new) // 4096 + 1) * 4096] = bytes(min(len(left), 4096) - len(new))
        late = LATE * (number % 3)
        with open(path, "r+b") as file:
            file.write(left + late)
        with locked(path, ("fcntl",), write=True):
            pass
        assert read(path) == new + late, number


def test_a_crash_while_what_a_crash_left_is_finished_harms_nothing(path, monkeypatch):
    monkeypatch.setattr(mboxrewrite, "_PIECE", 16)
    for at in range(1, 200):
        with open(path, "wb") as file:
            file.write(BEFORE)
        with monkeypatch.context() as context:
            context.setattr(os, "ftruncate", _crash)
            with pytest.raises(Crash), mboxlock.locked(path, ("fcntl",), write=True) as mail:
                rewrite(mail, VERSIONS["shorter"])
        with open(path, "ab") as file:
            file.write(LATE)
        with monkeypatch.context() as context:
            faults = Faults(context, Crash, more=MORE)
            faults.arm(at)
            try:
                with locked(path, ("fcntl",), write=True):
                    done = True
            except Crash:
                done = False
            faults.disarm()
        with locked(path, ("fcntl",), write=True):
            pass
        assert read(path) == _after(VERSIONS["shorter"]) + LATE, at
        if done:
            break
    assert done and at > 4


def _crash(*_):
    raise Crash


def test_a_redo_file_of_another_file_or_a_torn_one_is_thrown_away(path, monkeypatch):
    with monkeypatch.context() as context:
        context.setattr(mboxrewrite, "_apply", lambda *_: None)
        with locked(path, WORDS, write=True) as mail:
            rewrite(mail, [NEW])
    redo = read(redo_path(path))
    os.rename(path, path + b"-kept")
    with open(path, "wb") as file:
        file.write(OLD)
    with locked(path, WORDS, write=True):
        pass
    assert read(path) == OLD and not os.path.lexists(redo_path(path))
    for torn in (redo[:-1], redo[:100], b"", redo[:-1] + b"?", redo + b"more"):
        with open(redo_path(path + b"-kept"), "wb") as file:
            file.write(torn)
        with locked(path + b"-kept", WORDS, write=True):
            pass
        assert read(path + b"-kept") == OLD and not os.path.lexists(redo_path(path + b"-kept"))


def test_reading_does_not_change_the_access_time_for_which_procmail_would_wait(path):
    os.utime(path, (1_000, 2_000))
    with locked(path, WORDS, write=False) as mail:
        os.read(mail.fd, 100)
    assert os.stat(path).st_atime == 1_000


def test_who_found_a_file_locked_can_ask_when_it_is_free_without_taking_it(path):
    other = Other(HOLDS, path, b"lockf", b"%d" % fcntl.LOCK_EX)
    other.hear()
    with pytest.raises(FileLocked) as found, locked(path, WORDS, write=True):
        pass
    assert not found.value.is_free()
    other.end()
    assert found.value.is_free()
    with open(path + b".lock", "wb") as lock:
        lock.write(b"0")
    assert not found.value.is_free()
    os.unlink(path + b".lock")
    assert found.value.is_free()


def test_what_lacks_a_line_end_gets_one_before_more_comes(path):
    with open(path, "wb") as file:
        file.write(b"From x\n\nno end")
    with open(path, "rb") as file:
        assert mboxrewrite.separated(file.fileno(), 14) == b"\n\n"
        assert mboxrewrite.separated(file.fileno(), 7) == b"\n"
        assert mboxrewrite.separated(file.fileno(), 8) == b""
        assert mboxrewrite.separated(file.fileno(), 0) == b""


def test_who_dies_while_he_makes_his_dotlock_keeps_nobody_out(path):
    process = os.fork()
    if not process:
        os.write = lambda *_: os._exit(0)  # in the child alone
        try:
            with locked(path, WORDS, write=True):
                pass
        finally:
            os._exit(1)
    assert os.waitpid(process, 0)[1] == 0
    with locked(path, WORDS, write=True):
        pass


def test_where_files_have_names_from_the_first_a_dotlock_is_made_all_the_same(path, monkeypatch):
    monkeypatch.setattr(os, "O_TMPFILE", -1)
    with locked(path, WORDS, write=True):
        assert read(path + b".lock").startswith(b"%d:" % os.getpid())
    with locked(path, WORDS, write=True):
        pass
