"""The indexer: the process for work that would hold the loop of those who serve. It has no listeners and no clients.

- Workers tell it of mailboxes of which much is to be rendered (mailstore/background); it renders them, newest message
  first, some at a time. Their wishes come by one channel, which all workers write to and which lasts as long as the
  master: what was not read when an indexer ended is read by the next one. A channel that is full is no harm, for the
  worker does the work itself then; nor is what an indexer that is killed had begun, for what is not rendered is when
  it is asked for.
- It looks at all accounts in the background (mailstore/audit), and writes into the log what is wrong.

At rest it takes 13 to 15 MB (PSS, with its workers beside it), of which 4 are its own.

It is niced, by which the kernel lets others go before it at the disk too (ioprio_set(2): the class best-effort, and a
priority that follows the nice value). It opens accounts as one more worker would, and asks no directory.

Its life: built, ready (the master is told), working. What ends it: SIGTERM; "R" on the link to the master, for the
indexer of the new configuration is there already; the link's end.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import gevent
from gevent.event import Event

from imapd.log import event
from imapd.mailstore.audit import Audit, Round, Terms
from imapd.mailstore.background import Ask, Wish
from imapd.mailstore.errors import StoreError
from imapd.mailstore.findings import Finding
from imapd.mailstore.local import LocalStore
from imapd.server import house, memory, owners, process

if TYPE_CHECKING:
    from imapd.server.loop import GeventLoop
    from imapd.settings import Settings

logger = logging.getLogger("imapd.server.indexer")

NICE = 10
# After a start everybody connects again; the audit can wait.
AUDIT_AFTER = 60.0
# Mailboxes that are rendered at the same time, a piece of each in turn, so that small ones are not behind a huge one.
AT_ONCE = 8
# Wishes that may wait, and those that are remembered as fulfilled; some hundred octets each.
MOST_WISHES = 10_000
# Findings of an account that are told one by one, in one round.
MOST_TOLD = 20
_LONGEST = 16 * 1024
STATE = "audit"
"""The file in the state directory that says how far the audit has got."""


def make_channel() -> tuple[socket.socket, socket.socket]:
    """The ends for the indexer, and for those who wish."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in (ours, theirs):
        end.setblocking(False)
    return ours, theirs


def asking(channel: socket.socket) -> Ask:
    """What tells the indexer a wish."""

    def ask(wish: Wish) -> bool:
        told = json.dumps(wish).encode("ascii")
        try:
            return len(told) <= _LONGEST and channel.send(told) > 0
        except OSError:  # it is full
            return False

    return ask


@dataclass(frozen=True)
class Plan:
    """All that the indexer is made of, handed down by the master."""

    settings: Settings
    wishes: socket.socket

    name = "indexer"
    listening = ()

    def run(self, number: int, link: socket.socket) -> int:
        """The indexer's whole life, in its process; the exit status."""
        return Indexer(self, link).run()


class Indexer:
    """This process' work."""

    def __init__(self, plan: Plan, link: socket.socket) -> None:
        self._plan = plan
        self._link = link
        self._ended = Event()
        self._audit: Audit | None = None

    def run(self) -> int:
        """Work until told to end; returns the exit status."""
        with contextlib.suppress(OSError):  # where a filter of system calls does not let us, we are as others
            os.nice(NICE)
        loop = process.begin("imapd-indexer", self._ended)
        settings = self._plan.settings
        store = LocalStore(loop, create=False, kinds=house.kinds(settings), awake=AT_ONCE)
        gevent.spawn(self._listen_to_master)
        gevent.spawn(_Rendering(loop, store, self._plan.wishes).run)
        if settings.audit.budget:
            # Not patched: sleep is the thread's own, and the loop's threads are where the audit waits.
            self._audit = Audit(audit_terms(settings), loop, time.sleep, _Log())
            gevent.spawn_later(AUDIT_AFTER, self._audit.run)
        gevent.spawn(memory.give_back, loop.sleep, loop.offload)
        event(logger, logging.DEBUG, "indexer_ready", pid=os.getpid())
        self._ended.wait()
        # Nothing is left half done: who is killed in a step leaves what a crash would, and most steps are reading.
        with gevent.Timeout(max(0.2, settings.service.shutdown_timeout * 0.5), False):
            try:
                store.close()
            finally:
                loop.close()
        return 0

    def _listen_to_master(self) -> None:
        for word in process.words_of_master(self._link):
            if word == process.RETIRE:
                break
        self._ended.set()


class _Rendering:
    """What is to be rendered."""

    def __init__(self, loop: GeventLoop, store: LocalStore, wishes: socket.socket) -> None:
        self._loop = loop
        self._store = store
        self._wishes = wishes
        self._waiting: dict[tuple[str, str], Wish] = {}  # by mail file and mailbox
        self._done: dict[tuple[str, str], tuple[int, int]] = {}  # UIDVALIDITY and UIDNEXT, likewise
        self._come = Event()

    def run(self) -> None:
        """Go on for ever; the work of a greenlet."""
        gevent.spawn(self._listen)
        active: deque[tuple[Wish, Iterator[int]]] = deque()
        while True:
            if not active:
                self._come.wait()
            while self._waiting and len(active) < AT_ONCE:
                wish = self._waiting.pop(next(iter(self._waiting)))
                active.append((wish, self._rendering(wish)))
            self._come.clear()
            if active:
                wish, work = active.popleft()
                if next(work, None) is not None:
                    active.append((wish, work))
            self._loop.breathe()

    def _rendering(self, wish: Wish) -> Iterator[int]:
        count = 0
        try:
            for rendered in self._store.rendering(wish):
                count += rendered
                yield count
        except (StoreError, OSError) as error:
            reason = error.reason if isinstance(error, StoreError) else error.strerror
            event(logger, logging.INFO, "not_rendered", mail_file=wish.mail_file, mailbox=wish.mailbox, reason=reason)
            return
        except Exception as error:  # of ours: the other mailboxes are rendered all the same
            logger.error("rendering %s of %s failed", wish.mailbox, wish.mail_file, exc_info=error)
            return
        if len(self._done) >= MOST_WISHES:
            self._done.clear()
        self._done[wish.mail_file, wish.mailbox] = wish.uidvalidity, wish.uidnext
        event(logger, logging.DEBUG, "rendered", mail_file=wish.mail_file, mailbox=wish.mailbox, messages=count)

    def _listen(self) -> None:
        while True:
            gevent.socket.wait_read(self._wishes.fileno())
            try:
                wish = Wish(*json.loads(self._wishes.recv(_LONGEST)))
            except BlockingIOError:
                continue  # the indexer of an earlier configuration was quicker
            key = wish.mail_file, wish.mailbox
            if self._done.get(key) == (wish.uidvalidity, wish.uidnext) or len(self._waiting) >= MOST_WISHES:
                continue
            self._waiting[key] = wish
            self._come.set()


def audit_terms(settings: Settings) -> Terms:
    """What the settings say about the audit."""
    folder, audit = settings.service.state_directory, settings.audit
    return Terms(
        root=settings.mail.root,
        kinds=house.kinds(settings),
        every=audit.every,
        budget=audit.budget,
        text_budget=audit.text_budget,
        state=None if folder is None else os.path.join(folder, STATE),
    )


class _Log:
    """Tells the log what the audit comes to."""

    def found(self, mail_file: str, place: str, found: list[Finding]) -> None:
        whose = {"mail_file": mail_file, "owner": owners.owner_of(place)}
        for finding in found[:MOST_TOLD]:
            hint = f"{finding.fault.advice}; say: imapd repair {mail_file}"
            event(
                logger,
                logging.WARNING,
                "audit_found",
                **whose,
                mailbox=finding.mailbox or None,
                uid=finding.uid or None,
                path=finding.path,
                fault=finding.fault.what,
                detail=finding.detail or None,
                hint=finding.fault.advice if finding.fault.is_left else hint,
            )
        if len(found) > MOST_TOLD:
            hint = f"imapd verify {mail_file} says them all"
            event(logger, logging.WARNING, "audit_found_more", **whose, count=len(found) - MOST_TOLD, hint=hint)

    def mended(self, mail_file: str, finding: Finding) -> None:
        fault = finding.fault.what
        event(logger, logging.INFO, "audit_mended", mail_file=mail_file, path=finding.path, fault=fault)

    def not_looked_at(self, mail_file: str, reason: str) -> None:
        event(logger, logging.WARNING, "audit_failed", mail_file=mail_file, reason=reason)

    def ended(self, done: Round) -> None:
        took = round(time.time() - done.began)
        counts = {"accounts": done.accounts, "messages": done.messages, "found": done.found, "mended": done.mended}
        event(logger, logging.INFO, "audit_ended", seconds=took, **counts)
