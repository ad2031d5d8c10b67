"""`imapd user add|passwd|list`: the people of an LDIF directory, from the command line."""

from __future__ import annotations

import argparse
import getpass
import sys

from imapd.config import load
from imapd.directory import users


def run(options: argparse.Namespace) -> int:
    """Do the deed of the command line; returns the exit code."""
    try:
        path = _ldif_file(options)
        if options.deed == "list":
            for person in users.list_people(path):
                print(f"{person.short_name}\t{person.user_name}\t{person.internet_address or ''}")
            return 0
        password = _password(options)
        if options.deed == "add":
            new = users.NewUser(options.name, password, full_name=options.full_name, mail=options.mail)
            print(f"{users.add(path, new)} was added to {path}.")
        else:
            print(f"The password of {users.passwd(path, options.name, password)} was set in {path}.")
    except (users.UserError, OSError) as error:
        print(f"imapd user: {error}", file=sys.stderr)
        return 1
    return 0


def _ldif_file(options: argparse.Namespace) -> str:
    if options.file:
        return str(options.file)
    found = [
        directory
        for directory in load(options.config).directories
        if directory.file and options.directory in (None, directory.name)
    ]
    if len(found) != 1:
        names = ", ".join(directory.name for directory in found) or "none"
        raise users.UserError(f"which directory? Say -d NAME; of type ldif are: {names}")
    assert found[0].file is not None
    return found[0].file


def _password(options: argparse.Namespace) -> str:
    if options.password_file == "-":  # noqa: S105 - standard input
        password = sys.stdin.readline()
    elif options.password_file:
        with open(options.password_file, encoding="utf-8") as file:
            password = file.readline()
    else:
        password = getpass.getpass("Password: ")
        if getpass.getpass("Once more: ") != password:
            raise users.UserError("the two passwords are not the same")
    return password.rstrip("\r\n")
