"""The hands of a client: over IMAP, or by a store in this process."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from imapd.mailstore.choice import Kinds
from imapd.mailstore.errors import StoreError, UnknownOutcome
from imapd.mailstore.store import Incoming
from imapd.model.flags import FlagChange
from tests.faults.deeds import INBOX, Lost, Refused
from tests.faults.ledger import Box, Broken, Flags, Mail, Placed, State
from tests.mailstore.maildirhouse import WaitingLoop, Worker
from tests.mailstore.together import text_of, token_of
from tests.support.daemon import Client as Connection
from tests.support.daemon import Daemon

_FETCH = re.compile(rb"\* \d+ FETCH \((.*)", re.DOTALL)
_LITERAL = re.compile(rb"BODY\[\] \{(\d+)\}\r\n")


def is_ours(name: str, prefix: str) -> bool:
    return name == INBOX or name.startswith(prefix + "-")


class ImapHand:
    """One connection, logged in."""

    def __init__(self, daemon: Daemon, person: str) -> None:
        try:
            self._client: Connection = daemon.login(person)
        except (OSError, AssertionError) as error:
            raise Lost(str(error)) from None
        self._selected = ""

    def close(self) -> None:
        self._client.close()

    def _say(self, command: bytes) -> tuple[list[bytes], bytes]:
        try:
            untagged, tagged = self._client.command(command)
        except (OSError, AssertionError) as error:
            raise Lost(str(error)) from None
        if tagged.startswith(b"OK"):
            return untagged, tagged
        said = f"{command[:80]!r}: {tagged.decode()}"
        if b"SERVERBUG" in tagged or not tagged.startswith(b"NO"):
            raise Broken(said)
        raise Lost(said) if b"cannot tell" in tagged else Refused(said)

    def _select(self, name: str) -> None:
        if name != self._selected:
            self._selected = ""
            self._say(f"SELECT {name}".encode())
            self._selected = name

    def append(self, name: str, mails: Sequence[Mail]) -> Placed:
        command = b"APPEND " + name.encode()
        for mail in mails:
            text = text_of(mail.token)
            command += f" ({' '.join(sorted(mail.flags))}) {{{len(text)}+}}\r\n".encode() + text
        return _placed(rb"APPENDUID (\d+) ([\d:,]+)", self._say(command))

    def store(self, name: str, uids: Sequence[int], add: bool, flags: Flags) -> None:
        self._select(name)
        self._say(f"UID STORE {_set(uids)} {'+' if add else '-'}FLAGS.SILENT ({' '.join(sorted(flags))})".encode())

    def copy(self, name: str, uids: Sequence[int], target: str) -> Placed:
        return self._transfer("COPY", name, uids, target)

    def move(self, name: str, uids: Sequence[int], target: str) -> Placed:
        return self._transfer("MOVE", name, uids, target)

    def _transfer(self, verb: str, name: str, uids: Sequence[int], target: str) -> Placed:
        self._select(name)
        said = self._say(f"UID {verb} {_set(uids)} {target}".encode())
        return _placed(rb"COPYUID (\d+) [\d:,]+ ([\d:,]+)", said)

    def expunge(self, name: str, uids: Sequence[int]) -> None:
        self._select(name)
        self._say(f"UID EXPUNGE {_set(uids)}".encode())

    def create(self, name: str) -> None:
        self._say(f"CREATE {name}".encode())

    def delete(self, name: str) -> None:
        self._leave(name)
        self._say(f"DELETE {name}".encode())

    def rename(self, old: str, new: str) -> None:
        self._leave(old)
        self._say(f"RENAME {old} {new}".encode())

    def _leave(self, name: str) -> None:
        if name == self._selected:
            self._selected = ""
            self._say(b"UNSELECT")

    def look(self, prefix: str) -> State:
        """INBOX and the mailboxes of the prefix, with the messages whose tokens have it."""
        listed = [line.rpartition(b" ")[2].strip(b'"').decode() for line in self._say(b'LIST "" "*"')[0]]
        return {name: self._look_at(name, prefix) for name in listed if is_ours(name, prefix)}

    def _look_at(self, name: str, prefix: str) -> Box:
        self._selected = ""
        told = b"\n".join(self._say(f"EXAMINE {name}".encode())[0])
        found = re.search(rb"UIDVALIDITY (\d+)", told)
        assert found is not None, told
        mails = {}
        if re.search(rb"\* [1-9]\d* EXISTS", told):
            for line in self._say(b"UID FETCH 1:* (UID FLAGS BODY.PEEK[])")[0]:
                if (fetched := _FETCH.match(line)) is not None and b"BODY[]" in line:
                    uid, mail = _mail_of(fetched[1])
                    if mail.token.startswith(prefix + "."):
                        mails[uid] = mail
        return Box(int(found[1]), mails)


def _mail_of(fetched: bytes) -> tuple[int, Mail]:
    literal = _LITERAL.search(fetched)
    assert literal is not None, fetched[:200]
    start, end = literal.end(), literal.end() + int(literal[1])
    words = fetched[: literal.start()] + fetched[end:]
    uid, flags = re.search(rb"UID (\d+)", words), re.search(rb"FLAGS \(([^)]*)\)", words)
    assert uid is not None and flags is not None, words
    shown = frozenset(flags[1].decode().split()) - {"\\Recent"}
    try:
        return int(uid[1]), Mail(token_of(fetched[start:end]), shown)
    except (AssertionError, ValueError, UnicodeDecodeError) as error:
        raise Broken(f"UID {uid[1]!r} has another text: {fetched[start : start + 80]!r}") from error


def _placed(pattern: bytes, said: tuple[list[bytes], bytes]) -> Placed:
    code = re.search(pattern, b"\n".join([*said[0], said[1]]))
    if code is None:
        raise Broken(f"no UIDs were told: {said}")
    uids: list[int] = []
    for part in code[2].split(b","):
        low, _, high = part.partition(b":")
        uids += range(int(low), int(high or low) + 1)
    return Placed(int(code[1]), tuple(uids))


def _set(uids: Sequence[int]) -> str:
    return ",".join(map(str, uids))


class StoreHand:
    """A store of mail files in this process. A StoreError that says more than it should is the caller's to judge."""

    def __init__(self, home: Path, format: str = "") -> None:
        self.worker = Worker(home, WaitingLoop(), **({"kinds": Kinds(format)} if format else {}))
        self.errors: list[StoreError] = []

    def close(self) -> None:
        self.worker.store.close()

    def do_what_is_left(self) -> None:
        """Do what a commit has left for soon after the answer (mailstore/afterwork)."""
        afterwork = self.worker.ann._core._afterwork
        if afterwork is not None and afterwork.is_due:
            afterwork._work()

    def _try(self, deed):
        try:
            return deed()
        except UnknownOutcome as error:
            self.errors.append(error)
            raise Lost(error.reason) from error
        except StoreError as error:
            self.errors.append(error)
            raise Refused(error.reason) from error

    def append(self, name: str, mails: Sequence[Mail]) -> Placed:
        def deed():
            messages = []
            try:
                for mail in mails:
                    messages.append(Incoming(self.worker.ann.spool(), mail.flags))
                    messages[-1].spool.write(text_of(mail.token))
                return self.worker.ann.append(name, messages)
            finally:
                for message in messages:  # as the end of each command does
                    message.spool.abandon()

        placed = self._try(deed)
        return Placed(placed.uidvalidity, placed.uids)

    def _in(self, name: str, deed):
        def opened():
            mailbox = self.worker.open(name)
            try:
                return deed(mailbox)
            finally:
                mailbox.close()

        return self._try(opened)

    def store(self, name: str, uids: Sequence[int], add: bool, flags: Flags) -> None:
        how = FlagChange.ADD if add else FlagChange.REMOVE
        self._in(name, lambda mailbox: mailbox.change_flags(uids, how, flags))

    def copy(self, name: str, uids: Sequence[int], target: str) -> Placed:
        placed = self._in(name, lambda mailbox: mailbox.copy(uids, target))
        return Placed(placed.uidvalidity, placed.uids)

    def move(self, name: str, uids: Sequence[int], target: str) -> Placed:
        placed = self._in(name, lambda mailbox: mailbox.move(uids, target))
        return Placed(placed.uidvalidity, placed.uids)

    def expunge(self, name: str, uids: Sequence[int]) -> None:
        self._in(name, lambda mailbox: mailbox.expunge(uids))

    def create(self, name: str) -> None:
        self._try(lambda: self.worker.ann.create(name))

    def delete(self, name: str) -> None:
        self._try(lambda: self.worker.ann.delete(name))

    def rename(self, old: str, new: str) -> None:
        self._try(lambda: self.worker.ann.rename(old, new))

    def look(self, prefix: str) -> State:
        """INBOX and the mailboxes of the prefix, with all their messages."""
        names = [entry.name for entry in self.worker.ann.mailboxes() if entry.selectable]
        return {name: self._look_at(name) for name in names if is_ours(name, prefix)}

    def _look_at(self, name: str) -> Box:
        mailbox = self.worker.open(name, read_only=True)
        snapshot, mails = mailbox.snapshot(), {}
        for row, uid in enumerate(snapshot.uids):
            message = mailbox.message(uid)
            text = message.read()
            if len(text) != message.size:
                raise Broken(f"UID {uid} says {message.size} octets and has {len(text)}")
            message.close()
            try:
                mails[uid] = Mail(token_of(text), snapshot.flags_of(row))
            except (AssertionError, ValueError, UnicodeDecodeError) as error:
                raise Broken(f"UID {uid} has another text: {text[:80]!r}") from error
        mailbox.close()
        return Box(snapshot.uidvalidity, mails)
