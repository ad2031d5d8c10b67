"""The shape of a directory, for the chain that asks it and the kinds of directories that answer.

One rule is above all others: a directory that is not certain raises Unreachable. None means that the directory was
asked, was whole, and knows nobody; a person or a verdict means what it says. Everything may let other connections run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from imapd.directory.trace import SILENT, Trace

if TYPE_CHECKING:
    from imapd.directory.certificate import ClientCertificate
    from imapd.directory.names import LoginName, Scope
    from imapd.directory.person import Person
    from imapd.directory.scram import ScramVerifier
    from imapd.directory.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """More than one entry has the name; their DNs, as many as were looked at.

    persons: the same entries, where the directory read them; a password may decide between them.
    """

    dns: tuple[str, ...]
    persons: tuple[Person, ...] = ()


@dataclass(frozen=True, slots=True)
class ReplicaState:
    """One server, or file, of a directory: whether it is asked now, and what there is to say about it."""

    address: str
    up: bool
    remark: str = ""


class Directory(Protocol):
    """One directory of persons. Every method but close() and status() may raise Unreachable."""

    @property
    def name(self) -> str:
        """The configured name, part of a person's identity."""

    @property
    def order(self) -> int:
        """Its place in the chain; the least is the primary directory."""

    @property
    def scope(self) -> Scope:
        """Which names it may answer for, and what it is trusted for."""

    @property
    def offers_scram(self) -> bool:
        """Whether people here have verifiers for SCRAM; where some have none it would shut them out to offer it."""

    def find(self, name: LoginName, trace: Trace = SILENT) -> Person | Ambiguous | None:
        """The person with this name; None only where it is certain that there is none."""

    def find_certificate(self, certificate: ClientCertificate, trace: Trace = SILENT) -> Person | Ambiguous | None:
        """The person whose entry holds this very certificate, octet by octet."""

    def verify(self, person: Person | None, password: bytes, trace: Trace = SILENT) -> Verdict:
        """What the directory says of the password. None is nobody: takes as long as for somebody, and is WRONG."""

    def scram(self, person: Person) -> ScramVerifier | None:
        """The person's verifier for SCRAM, where the directory gives one."""

    def member(self, person: Person, group: str, trace: Trace = SILENT) -> bool:
        """Whether the person is in the group with this DN, directly or by groups in it. The person may be another
        directory's: groups name people by their DNs. A group that is not there has no members."""

    def again(self, person: Person) -> Person | None:
        """The same entry as it is now, by its unchanging id; None where it is certain that it is gone."""

    def status(self) -> Sequence[ReplicaState]:
        """The servers or files behind it. Does not ask them anything."""

    def close(self) -> None:
        """Give back what is held."""
