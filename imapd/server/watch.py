"""Rings bells when directories change: inotify where the kernel sees every change, a slow look where it does not.

1. One inotify instance per worker (a machine has few), and one kernel watch per directory however many listen to it.
2. Events are gathered for a moment, so that a delivery (create, rename, utime) rings once; longer where it has rung
   again and again, so that a storm of deliveries does not become a storm of looks.
3. When the kernel's queue overflows, every bell rings: nobody knows what was lost.
4. Files whose names begin with "imapd-" are the store's own and ring nothing; what it changed, it says by the time of
   the directory.
5. A file may be watched too (an mbox), and what takes its place after it, at once or a moment later.
6. Directories on network and user-space file systems change behind the kernel's back; these, and those for which the
   kernel gives no more watches, are looked at every few seconds.

A bell is rung in a greenlet of this room and must not block; one that fails is logged and does not hinder the others.
"""

import logging
import os
import stat
import time
from collections import deque
from collections.abc import Callable, Sequence

import gevent
from inotify_simple import INotify, flags

logger = logging.getLogger("imapd.server.watch")

Bell = Callable[[], None]

# The steps of a delivery come within a ms of one another. In a storm, which is so many rings in so many seconds, 20 ms
# are far below what a person notices. What the store itself does to a delivery, such as its rename into cur/, rings
# once more: 30 deliveries a second are no storm.
GATHER = 0.001
STORM = 0.02
STORM_RINGS, STORM_SECONDS = 6, 0.06
# What an IDLE client behind NFS waits at most; NFS itself caches attributes for 3 to 60 s.
POLL = 5.0
# When somebody who replaces a file has put the old one aside, the new one comes soon; later the slow look sees it.
RETURNS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
MASK = (
    flags.CREATE | flags.DELETE | flags.MOVED_FROM | flags.MOVED_TO | flags.ATTRIB
    | flags.DELETE_SELF | flags.MOVE_SELF | flags.ONLYDIR
)  # fmt: skip
# What the store keeps for itself beside the mail comes and goes without anything having happened to the mail.
OWN = "imapd-"
# A mail file that is a file: what is written to it counts, and that another one takes its place.
# A directory that is removed or moved away.
GONE = flags.MOVE_SELF | flags.DELETE_SELF | flags.IGNORED
FILE_MASK = flags.MODIFY | flags.ATTRIB | flags.MOVE_SELF | flags.DELETE_SELF
BLIND = ("nfs", "cifs", "smb", "9p", "ceph", "gluster", "lustre", "afs", "gpfs", "ocfs2", "gfs2", "fuse", "virtiofs")


class Place:
    """Directories and files that are watched together: who listens, the kernel's number for each, and how those looked
    for which there is none. There are thousands of places; so one text has all paths, and most have no looks."""

    __slots__ = ("listeners", "looks", "numbers", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.listeners: list[Watched] = []
        self.numbers: list[int | None] = [None] * len(self.paths)
        self.looks: dict[int, tuple[int, ...] | None] | None = None

    @property
    def paths(self) -> list[str]:
        return self.text.split("\0")


class Watched:
    """One listener's watch on a place (model/loop.Watching)."""

    __slots__ = ("_watch", "bell", "place")

    def __init__(self, watch: "Watch", place: Place, bell: Bell) -> None:
        self._watch: Watch | None = watch
        self.place = place
        self.bell = bell

    def close(self) -> None:
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.remove(self)


class Watch:
    """All the watches of a worker."""

    def __init__(self, use_inotify: bool = True, poll: float = POLL) -> None:
        self._places: dict[str, Place] = {}
        self._numbers: dict[int, Place] = {}
        self._others: dict[int, list[Place]] = {}  # places that lie there too: mboxes share a directory
        self._files: set[int] = set()  # the numbers of files
        self._changed: set[Place] = set()
        self._poll = poll
        self._ringer: gevent.Greenlet | None = None
        self._rings: deque[float] = deque([float("-inf")] * STORM_RINGS, maxlen=STORM_RINGS)
        self._poller: gevent.Greenlet | None = None
        self._inotify = _instance() if use_inotify else None
        if self._inotify is not None:
            self._reader = gevent.get_hub().loop.io(self._inotify.fileno(), 1)
            self._reader.start(self._read)

    def add(self, paths: Sequence[str], bell: Bell) -> Watched:
        """Ring the bell when one of the directories changes, until the returned watch is closed."""
        text = "\0".join(dict.fromkeys(paths))
        place = self._places.get(text)
        if place is None:
            place = self._places[text] = Place(text)
            for row in range(len(place.numbers)):
                self._begin(place, row)
        watched = Watched(self, place, bell)
        place.listeners.append(watched)
        return watched

    def remove(self, watched: Watched) -> None:
        place = watched.place
        if self._places.get(place.text) is not place or watched not in place.listeners:
            return
        place.listeners.remove(watched)
        if not place.listeners:
            del self._places[place.text]
            for row in range(len(place.numbers)):
                self._end(place, row)

    def close(self) -> None:
        """End all watches."""
        for greenlet in (self._ringer, self._poller):
            if greenlet is not None:
                greenlet.kill(block=False)
        self._places.clear()
        self._numbers.clear()
        self._others.clear()
        if self._inotify is not None:
            self._reader.stop()
            self._reader.close()
            self._inotify.close()
            self._inotify = None

    def _begin(self, place: Place, row: int) -> None:
        path = place.paths[row]
        try:
            number = self._number(path)
        except OSError as error:
            logger.debug("no inotify watch on %s (%s); looking every %g s", path, error, self._poll)
            number = None
        if number is None:
            self._look_at(place, row)
            return
        place.numbers[row] = number
        if place.looks is not None:
            place.looks.pop(row, None)
        if self._numbers.setdefault(number, place) is not place:
            self._others.setdefault(number, []).append(place)

    def _number(self, path: str) -> int | None:
        """The kernel's number for a path; None where the kernel does not see what happens there. Raises OSError."""
        if self._inotify is None:
            return None
        status = os.stat(path)
        if is_blind(path, status.st_dev):
            return None
        is_file = stat.S_ISREG(status.st_mode)
        number: int = self._inotify.add_watch(path, FILE_MASK if is_file else MASK)
        if is_file:
            self._files.add(number)
        return number

    def _end(self, place: Place, row: int) -> None:
        number, place.numbers[row] = place.numbers[row], None
        if number is None or number in place.numbers:
            return
        others = self._others.pop(number, None)
        if others is not None:
            left = [other for other in (self._numbers[number], *others) if other is not place]
            self._numbers[number] = left[0]
            if left[1:]:
                self._others[number] = left[1:]
            return
        self._files.discard(number)
        if self._numbers.pop(number, None) is None:
            return
        try:
            if self._inotify is not None:
                self._inotify.rm_watch(number)
        except OSError:
            pass  # the kernel ended it already, the directory being gone

    def _look_at(self, place: Place, row: int) -> None:
        if place.looks is None:
            place.looks = {}
        place.looks[row] = look(place.paths[row])
        if self._poller is None:
            self._poller = gevent.spawn(self._keep_looking)

    def _read(self) -> None:
        """Take the kernel's events; runs in the hub, so it only notes and leaves."""
        if self._inotify is None:
            return
        for event in self._inotify.read(timeout=0):
            if event.mask & flags.Q_OVERFLOW:
                self._changed.update(self._places.values())
            elif event.wd in self._numbers and not event.name.startswith(OWN):
                places = [self._numbers[event.wd], *self._others.get(event.wd, ())]
                self._changed.update(places)
                was_file = event.wd in self._files
                if event.mask & (~flags.MODIFY if was_file else GONE):
                    for place in places:
                        self._begin_anew(place, place.numbers.index(event.wd), was_file)
        self._ring_soon()

    def _begin_anew(self, place: Place, row: int, was_file: bool) -> None:
        """What was watched is gone, or may be: perhaps another one is there now."""
        self._end(place, row)
        self._begin(place, row)
        if was_file and place.numbers[row] is None:
            gevent.spawn(self._await, place, row)

    def _await(self, place: Place, row: int) -> None:
        """Look often for a file that somebody is replacing."""
        for pause in RETURNS:
            gevent.sleep(pause)
            if self._places.get(place.text) is not place or place.numbers[row] is not None:
                return
            if os.path.lexists(place.paths[row]):
                self._begin(place, row)
                self._changed.add(place)
                self._ring_soon()
                return

    def _ring_soon(self) -> None:
        if self._changed and self._ringer is None:
            self._ringer = gevent.spawn_later(self._pause(), self._ring)

    def _pause(self) -> float:
        """How long to gather before the next ring, in seconds."""
        now = time.monotonic()
        if now - self._rings[0] > STORM_SECONDS:
            return GATHER
        return GATHER + max(0.0, STORM - (now - self._rings[-1]))

    def _ring(self) -> None:
        self._ringer = None
        self._rings.append(time.monotonic())
        changed, self._changed = self._changed, set()
        for watched in [each for place in changed for each in place.listeners]:
            try:
                watched.bell()
            except Exception:
                logger.exception("a bell failed")

    def _keep_looking(self) -> None:
        while True:
            gevent.sleep(self._poll)
            unseen = [(place, row) for place in self._places.values() for row in place.looks or ()]
            if not unseen:
                self._poller = None
                return
            began = time.monotonic()
            for place, row in unseen:
                self._look_again(place, row)
                if time.monotonic() - began > 0.002:
                    gevent.sleep(1e-6)
                    began = time.monotonic()
            if self._changed:
                self._ring()

    def _look_again(self, place: Place, row: int) -> None:
        if self._places.get(place.text) is not place or place.looks is None or row not in place.looks:
            return  # nobody listens any more, or the kernel tells meanwhile
        before, seen = place.looks[row], look(place.paths[row])
        if seen != before:
            place.looks[row] = seen
            self._changed.add(place)
            if before is None:
                self._begin(place, row)


def look(path: str) -> tuple[int, ...] | None:
    """How a directory looks: anything that changes with its entries."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns


def _instance() -> INotify | None:
    try:
        return INotify(nonblocking=True)
    except OSError as error:
        logger.warning("inotify is not to be had (%s): mailboxes are looked at every %g s instead", error, POLL)
        return None


_blind_devices: tuple[float, dict[int, bool]] = (float("-inf"), {})


def is_blind(path: str, device: int) -> bool:
    """Whether the path, which lies on that device, is on a file system whose changes elsewhere the kernel does not
    see."""
    global _blind_devices
    read_at, known = _blind_devices
    if time.monotonic() - read_at > 60:
        known = {}
        _blind_devices = time.monotonic(), known
    if device not in known:
        real = os.path.realpath(path) + "/"
        known[device] = next((blind for mount, blind in _mounts() if real.startswith(mount)), False)
    return known[device]


def _mounts() -> list[tuple[str, bool]]:
    """Mount points with a slash at their end, longest first, and whether inotify is blind there (proc(5))."""
    found = []
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
            for line in lines:
                fields = line.split(" ")
                kind = fields[fields.index("-") + 1]
                point = fields[4].replace("\\040", " ").rstrip("/") + "/"
                found.append((point, kind.startswith(BLIND)))
    except (OSError, ValueError, IndexError):
        return []
    found.reverse()  # of two mounts on one point the later one is on top; the sort keeps their order
    return sorted(found, key=lambda mount: len(mount[0]), reverse=True)
