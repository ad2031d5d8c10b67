"""`imapd verify NAME|--all`: whether mail files, index and what stands beside them agree; and `imapd repair`, which
makes good what does not.

verify reads only, and takes no lock. repair works as one more worker would, whether or not the daemon runs.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable

from imapd.config import load
from imapd.log import escape
from imapd.mailstore.errors import StoreError
from imapd.mailstore.store import Owner
from imapd.mailstore.verify import Manner, Report, verify
from imapd.verbs.accounts import Accounts
from imapd.verbs.become import Stop
from imapd.verbs.quota import in_units


def run(options: argparse.Namespace) -> int:
    """Look; returns the exit code: 0 where nothing was found."""
    return _each("verify", options, lambda accounts, home: _verify(accounts, home, options.hashes))


def run_repair(options: argparse.Namespace) -> int:
    """Mend; returns the exit code: 0 where nothing is wrong any more."""
    if options.accept and not options.hashes:
        print("imapd repair: --accept goes with --hashes", file=sys.stderr)
        return 2
    return _each("repair", options, lambda accounts, home: _repair(accounts, home, options.hashes, options.accept))


def _each(verb: str, options: argparse.Namespace, work: Callable[[Accounts, str], int]) -> int:
    try:
        accounts = Accounts(load(options.config), None if options.all else options.name)
    except Stop as error:
        print(f"imapd {verb}: {error}", file=sys.stderr)
        return 1
    if accounts.remark is not None:
        print(f"imapd {verb}: {accounts.remark}", file=sys.stderr)
    code = 0
    for home in accounts.homes:
        try:
            code = max(code, work(accounts, home))
        except StoreError as error:
            print(f"imapd {verb}: {escape(home)}: {escape(error.reason)}", file=sys.stderr)
            code = 1
        except OSError as error:
            print(f"imapd {verb}: {escape(home)}: {escape(str(error))}", file=sys.stderr)
            code = 1
    return code


def _look(accounts: Accounts, home: str, hashing: bool) -> Report:
    if not os.path.lexists(home):
        raise FileNotFoundError(f"there is no mail file {home}")
    root, mail_format = accounts.kinds.find(os.fsencode(home))
    return verify(root, mail_format, accounts.loop.time(), accounts.loop.sleep, Manner(hashing))


def _verify(accounts: Accounts, home: str, hashing: bool) -> int:
    report = _look(accounts, home, hashing)
    for finding in report.findings:
        print(f"{escape(home)}: {finding}")
    print(_summary(home, report, f"{len(report.findings)} found wrong", hashing))
    return 1 if report.findings else 0


def _repair(accounts: Accounts, home: str, hashing: bool, accept: bool) -> int:
    before = _look(accounts, home, hashing=False)
    with (
        contextlib.closing(accounts.store()) as store,
        contextlib.closing(store.open_account(Owner(home, home, home))) as account,
    ):
        repaired = account.repair(before, hashing, accept)
    for finding in repaired.mended:
        print(f"{escape(home)}: mended: {finding.fact()}")
    report = repaired.report
    for finding in report.findings:
        print(f"{escape(home)}: left: {finding}")
    print(_summary(home, report, f"{len(repaired.mended)} mended, {len(report.findings)} left", hashing))
    return 1 if report.findings else 0


def _summary(home: str, report: Report, result: str, hashing: bool) -> str:
    if not report.is_used:
        return f"{escape(home)}: has not been opened here yet"
    said = f"{escape(home)}: {report.messages} messages in {report.mailboxes} mailboxes, {in_units(report.octets)}"
    if report.waiting:
        said += f", {report.waiting} new"
    if hashing and report.unhashed:
        said += f", {report.unhashed} had no hash"
    return f"{said}: {result}"
