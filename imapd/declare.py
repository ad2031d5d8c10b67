"""How a setting is declared: what the table says of a key besides its name.

A value that this version knows and does not act upon is declared with `later`; settings.py says what becomes of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import Field, dataclass, field, fields
from typing import Any

from imapd.kinds import Kind


@dataclass(frozen=True)
class Later:
    """What a later version brings to life.

    applies: whether a value switches it on; refuse: whether that value keeps the daemon from starting.
    """

    what: str
    applies: Callable[[Any], bool] = bool
    refuse: Callable[[Any], bool] = lambda value: False


@dataclass(frozen=True)
class Declaration:
    """What the table says of one key besides its name and default."""

    kind: Kind
    help: str
    required: bool = False
    later: Later | None = None
    example: str | None = None  # what the sample file shows, where the default would not help


def setting(kind: Kind, default: Any, help: str, later: Later | None = None, example: str | None = None) -> Any:
    """Declare a key with a default."""
    return field(default=default, metadata={"declared": Declaration(kind, help, later=later, example=example)})


def required(kind: Kind, help: str, later: Later | None = None, example: str | None = None) -> Any:
    """Declare a key that must be there. (The default None never reaches a reader: the parser insists.)"""
    return field(
        default=None, metadata={"declared": Declaration(kind, help, required=True, later=later, example=example)}
    )


def inner(default: Any) -> Any:
    """A field that is filled by the reader, not by a key."""
    return field(default=default)


def declared(section: type) -> dict[str, tuple[Field[Any], Declaration]]:
    """The keys of a section: name to field and declaration, in the order of the table."""
    return {f.name: (f, f.metadata["declared"]) for f in fields(section) if "declared" in f.metadata}
