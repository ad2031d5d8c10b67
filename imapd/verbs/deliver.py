"""`imapd deliver USER`: a message from standard input into a mailbox, for the pipe of a mail transfer agent.

It needs no running daemon: it builds the same house as a worker, as the daemon's user, in its own process. Exit codes
are those of sysexits.h, and what is said on standard error begins with an enhanced status code, which Postfix believes
more than the exit code (pipe(8)). Whatever may pass by itself, or by an administrator's doing, is temporary.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, NoReturn

from imapd.config import ConfigError, load
from imapd.delivery.draft import Draft
from imapd.delivery.heading import LOOKED_AT, heading, unwrapped
from imapd.delivery.outcome import CONFIGURATION, MISTAKE, WRONG_USAGE, WRONG_USER, Exit, Undelivered, Verdict
from imapd.settings import Settings
from imapd.verbs.become import Stop, become_daemon, user_name

if TYPE_CHECKING:
    from imapd.server.house import House

logger = logging.getLogger("imapd.verbs.deliver")

_PIECE = 64 * 1024


def run(options: argparse.Namespace) -> int:
    """Deliver; returns the exit code."""
    signal.signal(signal.SIGTERM, _interrupted)
    everything = logging.getLogger("imapd")
    everything.handlers[:] = [_Kept()]  # the agent takes the first line of what is said for the reason
    everything.propagate = False
    try:
        return _deliver(options)
    except Undelivered as fault:
        return say(fault.verdict, fault.reason)
    except ConfigError as error:
        return say(CONFIGURATION, "; ".join(map(str, error.problems)))
    except Exception as error:
        code = say(MISTAKE, f"unforeseen error: {error!r}")
        sys.excepthook(type(error), error, error.__traceback__)
        return code


def say(verdict: Verdict, reason: str) -> int:
    """Say why, in one line that begins as Postfix wants it; returns the exit code.

    What goes back to the sender names no entries and no files.
    """
    more = f": {reason}" if verdict.is_temporary and reason != verdict.text else ""
    line = f"{verdict.status} imapd deliver: {verdict.text}{more}"
    print("".join(char if char.isprintable() else " " for char in line), file=sys.stderr, flush=True)
    return int(verdict.exit)


def misused(said: str) -> int:
    """The exit code for a command line that argparse did not take, which said why."""
    return say(WRONG_USAGE, said.strip().rpartition("\n")[2].rpartition("error: ")[2])


def _deliver(options: argparse.Namespace) -> int:
    for word in (options.user, options.mailbox, options.sender, options.recipient):
        if word is not None and not word.isprintable():
            raise Undelivered(WRONG_USAGE, f"{word!r} has characters that no name has")
    settings = load(options.config)
    house = _house(settings)
    draft = house.post.draft()
    try:
        sender = _read(draft, options.sender)  # first: an agent that cannot write on may not look why
        recipient = house.post.recipient(options.user)
        above = heading(sender, options.recipient or options.user)
        mailbox = house.post.deliver(recipient, draft, above, options.mailbox, options.create or None)
        with _harmless():
            house.post.describe(recipient, mailbox)
    finally:
        draft.close()
        with _harmless():
            house.close()
    return int(Exit.OK)


def _read(draft: Draft, sender: str | None) -> str | None:
    """Read the message; returns the envelope's sender, as far as anybody tells it."""
    beginning = b""
    while len(beginning) < LOOKED_AT and (piece := os.read(0, _PIECE)):
        beginning += piece
    beginning, told = unwrapped(beginning)
    draft.write(beginning)
    while piece := os.read(0, _PIECE):
        draft.write(piece)
    if sender is None:
        return told
    return "" if sender in ("<>", "MAILER-DAEMON") else sender.removeprefix("<").removesuffix(">")


def _house(settings: Settings) -> House:
    """The same house as a worker's. Raises Undelivered."""
    from imapd.server import patched

    patched.patch()  # before anything brings ldap3
    import imapd.directory.ldapconn  # noqa: F401, while there is still root's right to read it
    from imapd.server import house
    from imapd.server.loop import GeventLoop

    os.umask(0o077)
    try:
        if become_daemon(settings) is not None:
            text = f"it runs as {user_name()}, and mail files belong to {settings.service.user}; root may run it too"
            raise Undelivered(WRONG_USER, text)
        house.check(settings)
        return house.build(settings, GeventLoop())
    except (Stop, house.HouseError, ValueError, OSError) as error:
        raise Undelivered(CONFIGURATION, str(error)) from None


@contextlib.contextmanager
def _harmless() -> Iterator[None]:
    """What happens behind a delivery is no failure of it: told otherwise, the agent would bring the message again."""
    try:
        yield
    except Exception as error:
        logger.warning("the message is delivered; behind that: %s", error)


def _interrupted(number: int, frame: object) -> NoReturn:
    """Told to end before the message is in: it has to come again."""
    os._exit(say(MISTAKE, "told to end before the message was delivered"))


class _Kept(logging.Handler):
    """What the daemon would log is not said: the agent's log has the reason of a failure."""

    def emit(self, record: logging.LogRecord) -> None:
        pass
