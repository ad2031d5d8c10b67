"""A disk that writes down what is written to it, so that a power cut at any moment can be tried afterwards.

A FUSE file system of two files: `disk`, made a block device by a loop device and given an ext4, and `mark`, into which a
trial writes what it was told. Every write, flush and mark goes into one log in the order of coming. The loop device turns
the flushes of the file system into fsync on `disk`, so what a program could rely on is known: at a power cut everything
before the last flush is there, and of what was written since, each block of 4 kB is there or not.

Run as a program it is the server of such a disk: `python -m tests.faults.loggeddisk IMAGE LOG MOUNTPOINT`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import random
import shutil
import stat
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
BLOCK = 4096
_RECORD = struct.Struct("<cQI")
_BLKFLSBUF = 0x1261
WRITE, FLUSH, MARK = b"W", b"F", b"M"


def what_is_missing() -> str:
    """Why there can be no such disk on this machine, or nothing."""
    if os.geteuid():
        return "only root can mount a file system"
    if not os.path.exists("/dev/fuse"):
        return "there is no /dev/fuse"
    if not os.path.exists("/dev/loop-control"):
        return "there are no loop devices"
    # Containers often show the devices and forbid their use.
    with contextlib.suppress(OSError):
        os.close(os.open("/dev/fuse", os.O_RDWR))
        with open("/dev/loop-control", "rb"):
            pass
        if subprocess.run(["losetup", "-f"], capture_output=True, check=False).returncode == 0:
            return ""
    return "FUSE and loop devices may not be used here"


def run(*command: str | Path) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(map(str, command))}: {done.stderr.strip()}")
    return done.stdout.strip()


@contextlib.contextmanager
def mounted(file: Path, place: Path, options: str = "") -> Iterator[Path]:
    """An ext4 in a file, mounted by a loop device; both are given back, whatever happens."""
    place.mkdir(exist_ok=True)
    device = run("losetup", "-f", "--show", file)
    try:
        _forget_earlier_disks(device, file)
        run("mount", "-t", "ext4", "-o", "noatime" + options, device, place)
        try:
            yield place
        finally:
            _unmount(place)
    finally:
        _detach(device, file)


def _forget_earlier_disks(device: str, file: Path) -> None:
    """Linux throws the pages of a loop device away when it is detached, but not the ones that are busy at that moment:
    now and then a disk showed blocks of the one before it, which looks like damage of every kind."""
    for _ in range(100):
        with open(device, "rb") as blocks, open(file, "rb") as image:
            if all(blocks.read(1 << 20) == piece for piece in iter(lambda: image.read(1 << 20), b"")):
                return
            fcntl.ioctl(blocks, _BLKFLSBUF)
        time.sleep(0.01)
    raise OSError(f"{device} does not show what is in {file}")


def _unmount(place: Path) -> None:
    for _ in range(100):
        if subprocess.run(["umount", place], capture_output=True, check=False).returncode == 0:
            return
        time.sleep(0.05)  # the last file is being closed by a process that ends
    print(f"{place} is busy, and unmounted later", flush=True)
    run("umount", "-l", place)


def _detach(device: str, file: Path) -> None:
    """Linux does it later where somebody looks at the device at this moment, and until then may write to the file."""
    run("losetup", "-d", device)
    attached = Path("/sys/block", os.path.basename(device), "loop/backing_file")
    for _ in range(1000):
        try:
            if attached.read_text().strip() != str(file):
                return  # somebody else has it already
        except OSError:
            return
        time.sleep(0.01)
    raise OSError(f"{device} stays attached")


class LoggedDisk:
    """A mounted disk with its log, as a context: `place` is the file system, `mark` says what was acknowledged."""

    def __init__(self, folder: Path, megabytes: int) -> None:
        self.image, self.log, self.place = folder / "image", folder / "disk.log", folder / "live"
        self._fuse = folder / "fuse"
        self._size = megabytes << 20
        self._stack = contextlib.ExitStack()
        self._marks = 0

    def __enter__(self) -> LoggedDisk:
        with self._stack as stack:
            self._fuse.mkdir()
            with open(self.image, "wb") as image:
                image.truncate(self._size)
            command = [sys.executable, "-m", "tests.faults.loggeddisk", self.image, self.log, self._fuse]
            server = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL)
            stack.callback(server.wait, 30)
            stack.callback(subprocess.run, ["fusermount", "-u", "-z", self._fuse], check=False)
            deadline = time.monotonic() + 30
            while not (self._fuse / "disk").exists():
                if server.poll() is not None or time.monotonic() > deadline:
                    raise OSError("the FUSE server does not serve (is libfuse2 installed?)")
                time.sleep(0.02)
            run("mkfs.ext4", "-q", "-F", "-b", str(BLOCK), "-J", "size=4", "-m", "0", self._fuse / "disk")
            # ext4 writes its tree every second by itself, so that a rename may be durable before anybody asked.
            stack.enter_context(mounted(self._fuse / "disk", self.place, ",commit=1,lazytime"))
            self._mark = os.open(self._fuse / "mark", os.O_WRONLY)
            stack.callback(os.close, self._mark)
            self._stack = stack.pop_all()
        return self

    def mark(self) -> None:
        """The number of marks is all that a mark says: what was acknowledged so far."""
        os.write(self._mark, b"%d" % self._marks)
        self._marks += 1

    def __exit__(self, *nothing: object) -> None:
        self._stack.close()


@dataclass(frozen=True, slots=True)
class Record:
    """An entry of the log."""

    kind: bytes
    offset: int
    data: bytes


def read_log(path: Path) -> list[Record]:
    log, records, at = path.read_bytes(), [], 0
    while at + _RECORD.size <= len(log):
        kind, offset, size = _RECORD.unpack_from(log, at)
        records.append(Record(kind, offset, log[at + _RECORD.size : at + _RECORD.size + size]))
        at += _RECORD.size + size
    return records


class Replay:
    """Makes the images of power cuts, which must be asked for in ascending order."""

    def __init__(self, records: list[Record], size: int, chance: random.Random) -> None:
        self._records = records
        self._chance = chance
        self._base = bytearray(size)  # what was flushed
        self._pending: list[tuple[int, bytes]] = []
        self._at = 0
        self.marks = 0

    def cut(self, at: int, file: Path) -> None:
        """Write the image of a disk whose power was cut before record `at`; `marks` were made until then."""
        for record in self._records[self._at : at]:
            if record.kind == WRITE:
                self._pending += [
                    (record.offset + start, record.data[start : start + BLOCK])
                    for start in range(0, len(record.data), BLOCK)
                ]
            elif record.kind == FLUSH:
                for offset, data in self._pending:
                    self._base[offset : offset + len(data)] = data
                self._pending.clear()
            else:
                self.marks += 1
        self._at = at
        with open(file, "wb") as image:
            image.write(self._base)
            for offset, data in self._pending:
                if self._chance.random() < 0.5:
                    image.seek(offset)
                    image.write(data)


def free_folder() -> Path:
    """A folder in memory, where there is one: images are written often."""
    memory = Path("/dev/shm")
    if os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 1 << 30:
        return memory
    return Path(os.environ.get("TMPDIR", "/tmp"))


def serve(image: str, log: str, mountpoint: str) -> None:
    """The FUSE server."""
    from fuse import FUSE, FuseOSError, Operations

    class Disk(Operations):
        """`disk` and `mark`."""

        def __init__(self) -> None:
            self.fd = os.open(image, os.O_RDWR)
            self.size = os.fstat(self.fd).st_size
            self.log = open(log, "wb", buffering=1 << 20)  # noqa: SIM115 - closed at the unmount
            self.turn = threading.Lock()

        def getattr(self, path, fh=None):
            if path == "/":
                return {"st_mode": stat.S_IFDIR | 0o755, "st_nlink": 2}
            if path in ("/disk", "/mark"):
                size = self.size if path == "/disk" else 0
                return {"st_mode": stat.S_IFREG | 0o600, "st_nlink": 1, "st_size": size}
            raise FuseOSError(errno.ENOENT)

        def readdir(self, path, fh):
            return [".", "..", "disk", "mark"]

        def open(self, path, flags):
            return 0

        def truncate(self, path, length, fh=None):
            return 0

        def read(self, path, size, offset, fh):
            return os.pread(self.fd, size, offset)

        def write(self, path, data, offset, fh):
            with self.turn:
                if path == "/mark":
                    self._note(MARK, 0, data)
                    return len(data)
                self._note(WRITE, offset, data)
                return os.pwrite(self.fd, data, offset)

        def fsync(self, path, datasync, fh):
            if path == "/disk":
                with self.turn:
                    self._note(FLUSH, 0, b"")
            return 0

        def flush(self, path, fh):
            return 0

        def release(self, path, fh):
            return 0

        def destroy(self, path):
            self.log.close()

        def _note(self, kind, offset, data):
            self.log.write(_RECORD.pack(kind, offset, len(data)) + data)

    FUSE(Disk(), mountpoint, foreground=True, nothreads=True)


if __name__ == "__main__":
    serve(*sys.argv[1:])
