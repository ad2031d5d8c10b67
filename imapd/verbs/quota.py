"""`imapd quota NAME`: what somebody's mail comes to, and how much it may be. `--storage`, `--messages` and `--unset`
change that, as SETQUOTA does; what is not named stays as it is.

It works on the mail file itself, in its own process and under the account's lock, whether or not the daemon runs; what
it sets counts at once, in sessions that are open too. It opens the mail file as a login does, and makes none.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from imapd.config import load
from imapd.imap.commands.login import owner
from imapd.kinds import SIZE, whole
from imapd.log import escape
from imapd.mailstore.errors import StoreError
from imapd.mailstore.quota import Limits, QuotaState
from imapd.model.errors import Refused, Unreachable
from imapd.settings import Settings
from imapd.verbs.become import Stop, own_house

if TYPE_CHECKING:
    from imapd.directory.person import Person
    from imapd.mailstore.store import Account
    from imapd.server.house import House

_MOST_MESSAGES = (1 << 32) - 1


def run(options: argparse.Namespace) -> int:
    """Show or set; returns the exit code."""
    try:
        settings = load(options.config)
        change = _change(options)
        remark, house = own_house(settings)
        if remark is not None:
            print(remark, file=sys.stderr)
        try:
            _work(settings, house, _person(house, options.name), change)
        finally:
            house.close()
        return 0
    except (Stop, Refused, StoreError, Unreachable) as error:
        reason = getattr(error, "reason", None) or str(error)
        print(f"imapd quota: {escape(reason)}", file=sys.stderr)
        return 1


Change = Callable[[Limits], Limits | None]
"""What becomes of the limits in force."""


def _change(options: argparse.Namespace) -> Change | None:
    """What the command line wants; None: only to look. Raises Stop."""
    if options.unset:
        if options.storage or options.messages:
            raise Stop("--unset takes the limits away that are set here; it goes without --storage and --messages")
        return lambda limits: None
    if options.storage is None and options.messages is None:
        return None
    storage = _limit("--storage", options.storage, SIZE.read)
    messages = _limit("--messages", options.messages, whole(0, _MOST_MESSAGES).read)
    return lambda limits: Limits(
        limits.storage_octets if options.storage is None else storage,
        limits.messages if options.messages is None else messages,
    )


def _limit(option: str, text: str | None, read: Callable[[str], int]) -> int | None:
    if text is None or text == "none":
        return None
    try:
        return read(text)
    except ValueError as error:
        raise Stop(f"{option}: {error}; none is no limit") from None


def _person(house: House, name: str) -> Person:
    person = house.chain.lookup(name)
    if person is None:
        raise Stop(f"nobody is called {name}")
    return person


def _work(settings: Settings, house: House, person: Person, change: Change | None) -> None:
    from imapd.server.house import home_below, limits

    path = home_below(settings.mail.root, person.mail_file)
    whose = owner(person, limits(settings))
    if not os.path.lexists(path):
        if change is not None:
            raise Stop(f"{path} is not there yet; limits are kept in the mail file")
        print(f"{escape(person.identity)}: {escape(path)} is not there yet")
        _print(QuotaState(0, 0, whose.limits), whose.limits)
        return
    account = house.store.open_account(whose)
    try:
        if change is not None:
            account.set_quota(change(account.limits()))
        print(f"{escape(person.identity)}: {escape(path)}")
        _show(account, whose.limits)
    finally:
        account.close()


def _show(account: Account, given: Limits) -> None:
    account.catch_up()
    _print(account.quota(), given)


def _print(state: QuotaState, given: Limits) -> None:
    for line in _lines(state, given):
        print("   " + line)


def _lines(state: QuotaState, given: Limits) -> Iterator[str]:
    """What there is and may be. given: the limits by the directory or the configuration."""
    limits = state.limits
    yield f"storage:   {in_units(state.octets)} of {_or_none(limits.storage_octets, in_units)}"
    yield f"messages:  {state.messages} of {_or_none(limits.messages, str)}"
    if limits != given:
        said = f"{_or_none(given.storage_octets, in_units)}, {_or_none(given.messages, str)}"
        yield f"set in the mail file; the entry and the configuration say: {said}"


def _or_none(limit: int | None, words: Callable[[int], str]) -> str:
    return "no limit" if limit is None else words(limit)


def in_units(octets: int) -> str:
    """A size as it is written in the configuration, to a tenth: 1.5M."""
    size, unit = float(octets), ""
    for unit in ("", "k", "M", "G", "T"):
        if size < 1024 or unit == "T":
            break
        size /= 1024
    return f"{size:.1f}".removesuffix(".0") + unit
