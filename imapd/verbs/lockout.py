"""`imapd lockout list|unlock|purge`: who has failed to log in, and who is locked. Works on the file that all workers
share, whether or not the daemon runs; what it changes counts at the next login."""

from __future__ import annotations

import argparse
import os
import sys
import time

from imapd.config import load
from imapd.directory import dn, lockout
from imapd.directory.tries import TROUBLE, Entry, Rules, TriesFile
from imapd.log import escape
from imapd.settings import Settings
from imapd.verbs.become import Stop, become_daemon


def run(options: argparse.Namespace) -> int:
    """Do the deed of the command line; returns the exit code."""
    try:
        settings = load(options.config)
        become_daemon(settings)
        file = _open(settings)
        if file is None:
            print("Nobody has failed to log in.")
            return 0
        try:
            return _DEEDS[options.deed](file, options)
        finally:
            file.close()
    except (Stop, *TROUBLE) as error:
        print(f"imapd lockout: {error}", file=sys.stderr)
        return 1


def show(file: TriesFile, options: argparse.Namespace) -> int:
    """The locks and failures that count."""
    found = file.entries(time.time())
    for entry in found:
        print("\t".join(escape(part) for part in line(entry).split("\t")))
    if not found:
        print("Nobody has failed to log in.")
    return 0


def unlock(file: TriesFile, options: argparse.Namespace) -> int:
    """Forget the locks and failures of somebody."""
    meant = {entry.subject: entry.label for entry in file.entries(time.time()) if _means(options.name, entry)}
    if len(meant) > 1:
        raise Stop(f"several people are called {options.name}; which one? " + ", ".join(sorted(meant.values())))
    if not meant:
        raise Stop(f"there is nothing about {options.name}; imapd lockout list shows whom there is something about")
    ((subject, label),) = meant.items()
    if not file.unlock(subject, options.network):
        raise Stop(f"there is nothing about {label} and {options.network}")
    print(f"{label} may try again" + (f" from {options.network}." if options.network else "."))
    return 0


def purge(file: TriesFile, options: argparse.Namespace) -> int:
    """Forget what does not count any more."""
    print(f"{file.purge(time.time())} rows that did not count any more are gone.")
    return 0


_DEEDS = {"list": show, "unlock": unlock, "purge": purge}


def line(entry: Entry) -> str:
    """One lock, or the failures of one person and network, with tabs between."""
    where = entry.network or "everywhere"
    if not entry.locked:
        state = f"not locked; the failures count until {_moment(entry.until)}"
    elif entry.until is None:
        state = "LOCKED until somebody unlocks it"
    else:
        state = f"LOCKED until {_moment(entry.until)}"
    return f"{entry.label}\t{where}\t{entry.failures} failures since {_moment(entry.since)}\t{state}"


def _moment(seconds: float | None) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def _means(name: str, entry: Entry) -> bool:
    """Whether a name is the identity, the DN, or the value that the DN begins with, as uid=anna."""
    if name == entry.subject:
        return True
    try:
        leaf = [value for _, value in dn.parse(entry.label)[0]]
    except (ValueError, IndexError):
        leaf = []
    return dn.text_key(name) in {dn.text_key(one) for one in (entry.label, *leaf)}


def _open(settings: Settings) -> TriesFile | None:
    state, locking = settings.service.state_directory, settings.lockout
    if state is None:
        raise Stop("[service] state_directory is not set, so each worker counts for itself, and forgets when it ends")
    path = os.path.join(state, lockout.FILE)
    if not os.path.exists(path):
        if not os.access(state, os.R_OK | os.X_OK):
            raise Stop(f"{state} cannot be looked into")
        return None
    rules = Rules(enforce=locking.enforce, tries_interval=locking.tries_interval, expiration=locking.expiration)
    return TriesFile(path, rules)
