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
    """A watched directory, or a file: who listens, the kernel's number for it, and how it looked when there is none."""

    __slots__ = ("bells", "is_file", "look", "number", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self.bells: dict[object, Bell] = {}
        self.number: int | None = None
        self.is_file = False
        self.look: tuple[int, ...] | None = None


class Watched:
    """One listener's watch on some directories (model/loop.Watching)."""

    __slots__ = ("_watch", "bell", "paths")

    def __init__(self, watch: "Watch", paths: Sequence[str], bell: Bell) -> None:
        self._watch: Watch | None = watch
        self.paths = paths
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
        places = [self._place(path) for path in dict.fromkeys(paths)]
        watched = Watched(self, tuple([place.path for place in places]), bell)  # one text for all who listen there
        for place in places:
            place.bells[watched] = bell
        return watched

    def _place(self, path: str) -> Place:
        place = self._places.get(path)
        if place is None:
            place = self._places[path] = Place(path)
            self._begin(place)
        return place

    def remove(self, watched: Watched) -> None:
        for path in watched.paths:
            place = self._places.get(path)
            if place is None or place.bells.pop(watched, None) is None or place.bells:
                continue
            del self._places[path]
            self._end(place)

    def close(self) -> None:
        """End all watches."""
        for greenlet in (self._ringer, self._poller):
            if greenlet is not None:
                greenlet.kill(block=False)
        self._places.clear()
        self._numbers.clear()
        if self._inotify is not None:
            self._reader.stop()
            self._reader.close()
            self._inotify.close()
            self._inotify = None

    def _begin(self, place: Place) -> None:
        if self._inotify is not None and not is_blind(place.path):
            try:
                place.is_file = os.path.isfile(place.path)
                number = self._inotify.add_watch(place.path, FILE_MASK if place.is_file else MASK)
            except OSError as error:
                logger.debug("no inotify watch on %s (%s); looking every %g s", place.path, error, self._poll)
            else:
                # Two paths may lead to one directory, and the kernel has one number for it: the newer place takes
                # the events over, the older one is looked at.
                older = self._numbers.get(number)
                if older is not None:
                    older.number = None
                    self._look_at(older)
                place.number = number
                self._numbers[number] = place
                return
        self._look_at(place)

    def _end(self, place: Place) -> None:
        number, place.number = place.number, None
        if number is None or self._numbers.pop(number, None) is None:
            return
        try:
            if self._inotify is not None:
                self._inotify.rm_watch(number)
        except OSError:
            pass  # the kernel ended it already, the directory being gone

    def _look_at(self, place: Place) -> None:
        place.look = look(place.path)
        if self._poller is None:
            self._poller = gevent.spawn(self._keep_looking)

    def _read(self) -> None:
        """Take the kernel's events; runs in the hub, so it only notes and leaves."""
        if self._inotify is None:
            return
        for event in self._inotify.read(timeout=0):
            if event.mask & flags.Q_OVERFLOW:
                self._changed.update(self._places.values())
                continue
            place = self._numbers.get(event.wd)
            if place is None or event.name.startswith(OWN):
                continue
            self._changed.add(place)
            was_file = place.is_file
            if event.mask & (~flags.MODIFY if was_file else GONE):
                self._end(place)  # perhaps another one is there now
                self._begin(place)
                if was_file and place.number is None:
                    gevent.spawn(self._await, place)
        self._ring_soon()

    def _await(self, place: Place) -> None:
        """Look often for a file that somebody is replacing."""
        for pause in RETURNS:
            gevent.sleep(pause)
            if self._places.get(place.path) is not place or place.number is not None:
                return
            if os.path.lexists(place.path):
                self._begin(place)
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
        bells = {watched: bell for place in changed for watched, bell in place.bells.items()}
        for bell in bells.values():
            try:
                bell()
            except Exception:
                logger.exception("a bell failed")

    def _keep_looking(self) -> None:
        while True:
            gevent.sleep(self._poll)
            places = [place for place in self._places.values() if place.number is None]
            if not places:
                self._poller = None
                return
            began = time.monotonic()
            for place in places:
                seen = look(place.path)
                if seen != place.look:
                    was_missing, place.look = place.look is None, seen
                    self._changed.add(place)
                    if was_missing:
                        self._begin(place)
                if time.monotonic() - began > 0.002:
                    gevent.sleep(1e-6)
                    began = time.monotonic()
            if self._changed:
                self._ring()


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


_blind_mounts: tuple[float, list[tuple[str, bool]]] = (float("-inf"), [])


def is_blind(path: str) -> bool:
    """Whether the path is on a file system whose changes elsewhere the kernel does not see."""
    global _blind_mounts
    read_at, mounts = _blind_mounts
    if time.monotonic() - read_at > 60:
        mounts = _mounts()
        _blind_mounts = time.monotonic(), mounts
    real = os.path.realpath(path) + "/"
    for mount, blind in mounts:  # the longest first
        if real.startswith(mount):
            return blind
    return False


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
