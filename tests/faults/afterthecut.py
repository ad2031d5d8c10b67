"""What a disk has after a power cut, by the system calls of a process that strace wrote down.

A sync that fails is told once (https://lwn.net/Articles/752063): Linux takes the pages that could not be written for
clean, so that the next sync says that all is well, and they can be read until the machine stops; then they are gone.
Here a file has, after the cut, the pages that were written before a sync of it that went well, but not those that an
earlier sync had failed for, unless they were written again. Of what was never synced, nothing is there, or a part.

Names are made, changed and removed for good by a sync of their directory, all that were until then, and by nothing else.
Where one fails they are not yet: file systems with a journal do not go on when it cannot be written, and so do not forget
that they owe it.
"""

from __future__ import annotations

import ast
import os
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path

CALLS = "openat,write,pwrite64,fsync,fdatasync,rename,linkat,unlink,mkdir,ftruncate,lseek,fallocate"
PAGE = 4096
_FAILED = re.compile(r"\) += -1 E")
_FD = r"(\d+)<([^>]*)>"
_TEXT = r'"((?:[^"\\]|\\.)*)"'


class File:
    """What is in a file, and what is on the disk of it."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = bytearray(data)
        self.kept = bytearray(data)
        self._dirty: set[int] = set()

    def write(self, offset: int, data: bytes) -> None:
        if len(self.data) < offset + len(data):
            self.resize(offset + len(data))
        self.data[offset : offset + len(data)] = data
        self._dirty.update(range(offset // PAGE, (offset + len(data) - 1) // PAGE + 1))

    def resize(self, octets: int) -> None:
        del self.data[octets:]
        self.data += bytes(octets - len(self.data))

    def sync(self, went_well: bool) -> None:
        if went_well:
            self._keep(self._dirty)
        self._dirty.clear()

    def lose(self, chance: random.Random | None) -> None:
        """The power is cut. chance: a part of what was not synced is there."""
        if chance:
            self._keep({page for page in sorted(self._dirty) if chance.random() < 0.5})

    def _keep(self, pages: set[int]) -> None:
        del self.kept[len(self.data) :]
        self.kept += bytes(len(self.data) - len(self.kept))
        for page in pages:
            part = slice(page * PAGE, min((page + 1) * PAGE, len(self.data)))
            self.kept[part] = self.data[part]


Names = dict[str, File]


class Disk:
    """A folder and what became of it. Paths are absolute."""

    def __init__(self, folder: Path) -> None:
        """As it is now, all of it durable."""
        self._folder = folder
        paths = [path for path in folder.rglob("*") if path.is_file() and not path.name.endswith("-shm")]
        self._names: Names = {str(path): File(path.read_bytes()) for path in paths}
        self._kept = dict(self._names)
        self._changes: list[tuple[set[str], Callable[[Names], None]]] = []  # not durable: directories, and what is done
        self._at: dict[str, int] = {}  # the place of descriptors

    def follow(self, log: str) -> None:
        """Do what strace wrote down: -y -x, the whole strings, and the CALLS at least."""
        for line in log.splitlines():
            call, _, rest = line.partition("(")
            if (step := getattr(self, "_" + call, None)) and str(self._folder) in line:
                step(rest, not _FAILED.search(rest, len(rest) - 200))

    def power_cut(self, place: Path, chance: random.Random | None = None) -> None:
        """Write down what is there afterwards. chance: with a part of what was not synced."""
        shutil.rmtree(place, ignore_errors=True)
        for directory in [self._folder, *[path for path in self._folder.rglob("*") if path.is_dir()]]:
            (place / directory.relative_to(self._folder)).mkdir(parents=True)
        for name, file in sorted(self._kept.items()):
            file.lose(chance)
            (place / Path(name).relative_to(self._folder)).write_bytes(file.kept)

    def _openat(self, rest: str, went_well: bool) -> None:
        if not went_well:
            return
        path, flags = _texts(rest)[0], rest.rpartition('"')[2]
        fd = rest.rpartition(" = ")[2].partition("<")[0]
        if "O_CREAT" in flags and path not in self._names:
            self._change(path, File())
        if path in self._names:
            if "O_TRUNC" in flags:
                self._names[path].resize(0)
            self._at[fd] = -1 if "O_APPEND" in flags else 0

    def _lseek(self, rest: str, went_well: bool) -> None:
        if went_well:
            self._at[rest.partition("<")[0]] = int(rest.rpartition(" = ")[2])

    def _write(self, rest: str, went_well: bool) -> None:
        fd, path = _fd(rest)
        if went_well and path in self._names:
            at = self._at.get(fd, -1)
            data = _data(rest)
            self._names[path].write(len(self._names[path].data) if at < 0 else at, data)
            self._at[fd] = at if at < 0 else at + len(data)

    def _pwrite64(self, rest: str, went_well: bool) -> None:
        path = _fd(rest)[1]
        if went_well and path in self._names:
            offset = int(rest.rpartition(")")[0].rpartition(", ")[2])
            self._names[path].write(offset, _data(rest))

    def _ftruncate(self, rest: str, went_well: bool) -> None:
        path = _fd(rest)[1]
        if went_well and path in self._names:
            self._names[path].resize(int(rest.partition(", ")[2].partition(")")[0]))

    def _fallocate(self, rest: str, went_well: bool) -> None:
        path = _fd(rest)[1]
        if went_well and path in self._names:
            offset, octets = rest.partition(")")[0].split(", ")[2:]
            self._names[path].resize(max(len(self._names[path].data), int(offset) + int(octets)))

    def _fsync(self, rest: str, went_well: bool) -> None:
        path = _fd(rest)[1]
        if "= -1 EINTR" in rest:
            return  # nothing was tried
        if path in self._names:
            self._names[path].sync(went_well)
            return
        if went_well:
            for directories, change in self._changes:
                if path in directories:
                    change(self._kept)
            self._changes = [change for change in self._changes if path not in change[0]]

    _fdatasync = _fsync

    def _rename(self, rest: str, went_well: bool) -> None:
        old, new = _texts(rest)[:2]
        if went_well and old in self._names:
            self._change(new, self._names[old], old)

    def _linkat(self, rest: str, went_well: bool) -> None:
        old, new = _texts(rest)[:2]
        if went_well and old in self._names:
            self._change(new, self._names[old])

    def _unlink(self, rest: str, went_well: bool) -> None:
        (path,) = _texts(rest)
        if went_well and path in self._names:
            self._change(None, None, path)

    def _change(self, new: str | None, file: File | None, old: str | None = None) -> None:
        def change(names: Names) -> None:
            if old:
                names.pop(old, None)
            if new and file:
                names[new] = file

        change(self._names)
        self._changes.append(({os.path.dirname(path) for path in (new, old) if path}, change))


def _fd(rest: str) -> tuple[str, str]:
    match = re.match(_FD, rest)
    return (match[1], match[2]) if match else ("", "")


def _texts(rest: str) -> list[str]:
    return re.findall(_TEXT, rest)


def _data(rest: str) -> bytes:
    """What a call wrote, as much as was taken."""
    match = re.search(_TEXT, rest)
    assert match and not rest[match.end() :].startswith("..."), "strace cut the data short"
    data: bytes = ast.literal_eval(f'b"{match[1]}"')
    return data[: int(rest.rpartition(" = ")[2].split()[0])]
