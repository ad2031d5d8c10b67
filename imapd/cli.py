"""The command `imapd`: its verbs, their arguments and exit codes, and nothing else.

    imapd -c FILE                 serve, in the foreground (the same as: imapd serve -c FILE)
    imapd check -c FILE           read the configuration and say what is wrong with it and with this machine
    imapd config [--man]          print the sample configuration, or its manual page
    imapd demo                    serve sample mail on this machine, to try things out
    imapd user add|passwd|list    the people of an LDIF directory
    imapd explain NAME -c FILE    say what a login of somebody would come to, step by step
    imapd quota NAME -c FILE      say how much mail somebody has and may have, and change that
    imapd lockout list|unlock|purge -c FILE    who has failed to log in, and who is locked
    imapd auth flush [NAME] -c FILE            have the running daemon forget the logins that it remembers
    imapd deliver USER -c FILE    put a message from standard input into somebody's mailbox, for a mail transfer agent
    imapd export-uidlist NAME|--all -c FILE    write down UIDs for Dovecot, which then takes over without downloads
    imapd verify NAME|--all [--hashes] -c FILE          say where mail files, index and the rest do not agree
    imapd repair NAME|--all [--hashes] -c FILE          make that good, and say what was done

Exit codes: 0 done; 1 something is wrong, and it was said what; 2 the command line is wrong. Those of deliver are others
(delivery/outcome).
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
from collections.abc import Sequence

import imapd
from imapd.config import ConfigError, load
from imapd.settings import Settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    words = _with_verb(list(sys.argv[1:] if arguments is None else arguments))
    options = _deliver_options(words) if words[:1] == ["deliver"] else _parser().parse_args(words)
    if isinstance(options, int):
        return options
    try:
        code: int = options.run(options)
        return code
    except ConfigError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 1
    except BrokenPipeError:
        return 1


def _with_verb(arguments: list[str]) -> list[str]:
    """`imapd -c FILE` is `imapd serve -c FILE`."""
    if arguments and arguments[0].startswith("-") and arguments[0] not in ("-h", "--help", "--version"):
        return ["serve", *arguments]
    return arguments


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="imapd", description="An IMAP server for mail files. Without a verb: serve.")
    parser.add_argument("--version", action="version", version=f"imapd {imapd.__version__}")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)

    serve = verbs.add_parser("serve", help="serve mail, in the foreground")
    _with_file(serve)
    serve.set_defaults(run=_serve)

    check = verbs.add_parser("check", help="say what is wrong with the configuration and with this machine")
    _with_file(check)
    check.add_argument("--local", action="store_true", help="do not ask the directories, which may be down just now")
    check.set_defaults(run=_check)

    config = verbs.add_parser("config", help="print the sample configuration")
    config.add_argument("--man", action="store_true", help="print the manual page imapd.ini(5) instead")
    config.set_defaults(run=_config)

    demo = verbs.add_parser("demo", help="serve sample mail on this machine, to try things out")
    demo.add_argument("--folder", default="demo", help="where the sample mail and settings lie (default: ./demo)")
    demo.add_argument("--port", type=int, default=1143, help="the port for STARTTLS (default: 1143)")
    demo.add_argument("--tls-port", type=int, default=1993, help="the port for TLS (default: 1993)")
    demo.set_defaults(run=_demo)

    _user_verb(verbs)
    _explain_verb(verbs)
    _quota_verb(verbs)
    _lockout_verb(verbs)
    _auth_verb(verbs)
    _deliver_verb(verbs)
    _export_verb(verbs)
    _verify_verbs(verbs)
    return parser


def _user_verb(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    user = verbs.add_parser("user", help="the people of an LDIF directory: add, passwd, list")
    deeds = user.add_subparsers(title="deeds", metavar="DEED", required=True)
    for deed, help in (("add", "add a person"), ("passwd", "set a person's password"), ("list", "list the people")):
        parser = deeds.add_parser(deed, help=help)
        where = parser.add_mutually_exclusive_group(required=True)
        where.add_argument("-c", "--config", metavar="FILE", help="the configuration file that names the directory")
        where.add_argument("-f", "--file", metavar="LDIF", help="the LDIF file itself")
        parser.add_argument(
            "-d", "--directory", metavar="NAME", help="with -c: which directory, where there are several"
        )
        parser.set_defaults(run=_user, deed=deed)
        if deed != "list":
            parser.add_argument("name", help="the name to log in with (uid)")
            parser.add_argument(
                "--password-file",
                metavar="FILE",
                help="read the password from the file's first line (- is standard input) instead of asking",
            )
        if deed == "add":
            parser.add_argument("--full-name", metavar="TEXT", help="the person's full name (default: the login name)")
            parser.add_argument("--mail", metavar="ADDRESS", help="the person's mail address")


def _explain_verb(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    explain = verbs.add_parser("explain", help="say what a login would come to, step by step, and why")
    explain.add_argument("name", metavar="NAME", help="the name as it is typed at login")
    _with_file(explain)
    explain.add_argument(
        "--password-file",
        metavar="FILE",
        help="try the password in the file's first line (- asks for it); without: as if the password were right",
    )
    explain.add_argument("--certificate", metavar="FILE", help="log in by this client certificate, PEM or DER")
    explain.add_argument("--listener", metavar="LISTENER", help="at which port of the configuration (default: for TLS)")
    explain.add_argument("--from", dest="address", metavar="ADDRESS", help="the client's address (default: 127.0.0.1)")
    explain.set_defaults(run=_explain)


def _quota_verb(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    quota = verbs.add_parser("quota", help="say how much mail somebody has and may have, and change that")
    quota.add_argument("name", metavar="NAME", help="the name as it is typed at login")
    _with_file(quota)
    quota.add_argument("--storage", metavar="SIZE", help="the most that all messages may come to, as 5G; or none")
    quota.add_argument("--messages", metavar="NUMBER", help="the most messages; or none")
    quota.add_argument(
        "--unset", action="store_true", help="what the entry says, or else the configuration, counts again"
    )
    quota.set_defaults(run=_quota)


def _lockout_verb(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    lockout = verbs.add_parser("lockout", help="who has failed to log in, and who is locked: list, unlock, purge")
    deeds = lockout.add_subparsers(title="deeds", metavar="DEED", required=True)
    for deed, help in (
        ("list", "list the locks and the failures that count"),
        ("unlock", "forget the locks and failures of somebody"),
        ("purge", "forget what does not count any more"),
    ):
        parser = deeds.add_parser(deed, help=help)
        if deed == "unlock":
            parser.add_argument("name", metavar="NAME", help="the entry's login name, its DN, or its identity")
            parser.add_argument("--network", metavar="NETWORK", help="only for this network, as list gives it")
        _with_file(parser)
        parser.set_defaults(run=_lockout, deed=deed)


def _auth_verb(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    auth = verbs.add_parser("auth", help="the logins that the running daemon remembers: flush")
    deeds = auth.add_subparsers(title="deeds", metavar="DEED", required=True)
    flush = deeds.add_parser("flush", help="forget them, so that the directories are asked again")
    flush.add_argument("name", metavar="NAME", nargs="?", help="only those of whoever is called so")
    _with_file(flush)
    flush.set_defaults(run=_auth)


def _deliver_verb(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    deliver = verbs.add_parser("deliver", help="put a message from standard input into somebody's mailbox")
    deliver.add_argument("user", metavar="USER", help="a login name or a mail address, with a +detail or without")
    _with_file(deliver)
    deliver.add_argument("-m", "--mailbox", metavar="MAILBOX", help="which one (default: the detail's, or INBOX)")
    deliver.add_argument("--create", action="store_true", help="make the mailbox if it is missing")
    deliver.add_argument("-f", "--sender", metavar="ADDRESS", help="the envelope's sender, for Return-Path:")
    deliver.add_argument(
        "-r", "--recipient", metavar="ADDRESS", help="the envelope's recipient, for Delivered-To: (default: USER)"
    )
    deliver.set_defaults(run=_deliver)


def _deliver_options(words: list[str]) -> argparse.Namespace | int:
    """The options of `imapd deliver`, or an exit code that a mail transfer agent understands."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return _parser().parse_args(words)
    except SystemExit as end:
        if not end.code:
            raise
    from imapd.verbs.deliver import misused

    return misused(said.getvalue())


def _export_verb(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    export = verbs.add_parser(
        "export-uidlist", help="write down the UIDs of mail for Dovecot, to leave without downloads"
    )
    _with_whose(export)
    _with_file(export)
    export.set_defaults(run=_export)


def _verify_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verify = verbs.add_parser("verify", help="say where mail files, index and what is beside them do not agree")
    verify.add_argument(
        "--hashes", action="store_true", help="read every message, and compare the hashes that are kept"
    )
    repair = verbs.add_parser("repair", help="make good what verify finds, and say what was done; no mail is removed")
    repair.add_argument("--hashes", action="store_true", help="read every message, and keep hashes for verify --hashes")
    repair.add_argument("--accept", action="store_true", help="with --hashes: changed texts are right as they are")
    for parser, run in ((verify, _verify), (repair, _repair)):
        _with_whose(parser)
        _with_file(parser)
        parser.set_defaults(run=run)


def _with_whose(parser: argparse.ArgumentParser) -> None:
    whose = parser.add_mutually_exclusive_group(required=True)
    whose.add_argument(
        "name", metavar="NAME", nargs="?", help="whose mail: a login name, address, or path of a mail file"
    )
    whose.add_argument("--all", action="store_true", help="all mail files below [mail] root that have been opened here")


def _with_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-c", "--config", metavar="FILE", required=True, help="the configuration file")


def _serve(options: argparse.Namespace) -> int:
    settings = load(options.config)
    return _start(settings, options.config)


def _start(settings: Settings, path: str) -> int:
    from imapd import log
    from imapd.server import master  # gevent is not loaded for the verbs that do not serve

    log.setup(settings.log.level, settings.log.format)
    return master.serve(settings, lambda: load(path))


def _check(options: argparse.Namespace) -> int:
    from imapd.check import check

    return check(options.config, options.local)


def _config(options: argparse.Namespace) -> int:
    from imapd.sample import manual_page, sample_file

    sys.stdout.write(manual_page() if options.man else sample_file())
    return 0


def _demo(options: argparse.Namespace) -> int:
    from imapd.demo import prepare, welcome

    path = prepare(options.folder, options.port, options.tls_port)
    print(welcome(options.folder, options.port, options.tls_port), flush=True)
    return _start(load(path), path)


def _user(options: argparse.Namespace) -> int:
    from imapd.people import run

    return run(options)


def _explain(options: argparse.Namespace) -> int:
    from imapd.verbs.explain import run

    return run(options)


def _quota(options: argparse.Namespace) -> int:
    from imapd.verbs.quota import run

    return run(options)


def _lockout(options: argparse.Namespace) -> int:
    from imapd.verbs.lockout import run

    return run(options)


def _export(options: argparse.Namespace) -> int:
    from imapd.verbs.export import run

    return run(options)


def _verify(options: argparse.Namespace) -> int:
    from imapd.verbs.verify import run

    return run(options)


def _repair(options: argparse.Namespace) -> int:
    from imapd.verbs.verify import run_repair

    return run_repair(options)


def _auth(options: argparse.Namespace) -> int:
    from imapd.verbs.auth import run

    return run(options)


def _deliver(options: argparse.Namespace) -> int:
    from imapd.verbs.deliver import run

    return run(options)


if __name__ == "__main__":
    sys.exit(main())
