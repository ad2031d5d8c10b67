"""`imapd auth flush`: has the running daemon forget the logins that it remembers, so that a password that has just been
changed, or a person who has just been shut out, counts at once."""

from __future__ import annotations

import argparse
import sys

from imapd.config import load
from imapd.server.control import ask


def run(options: argparse.Namespace) -> int:
    """Tell the daemon; returns the exit code."""
    path = load(options.config).service.control_socket
    if path is None:
        print("imapd auth: [service] control_socket is not set; the daemon cannot be told", file=sys.stderr)
        return 1
    wish = {"verb": "auth flush"} | ({"user": options.name} if options.name else {})
    try:
        answer = ask(path, wish)
    except (OSError, ValueError) as error:
        print(f"imapd auth: {path}: {_why(error)}", file=sys.stderr)
        return 1
    if "error" in answer:
        print(f"imapd auth: {answer['error']}", file=sys.stderr)
        return 1
    whose = f" of {options.name}" if options.name else ""
    print(f"{answer['logins']} remembered logins{whose} are forgotten, by {answer['workers']} workers.")
    return 0


def _why(error: OSError | ValueError) -> str:
    if isinstance(error, FileNotFoundError | ConnectionRefusedError):
        return "the daemon does not run, or runs with other settings"
    if isinstance(error, PermissionError):
        return "only root and the daemon's own user may give commands"
    if isinstance(error, TimeoutError):
        return "the daemon does not answer"
    return getattr(error, "strerror", None) or "the daemon's answer makes no sense"
