"""The stores that the conformance suite runs on, and a house with one of them in it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from imapd.mailstore.store import Account, Incoming, Owner, Placed, Store
from imapd.model.flags import Flags
from tests.support.loop import PlainLoop


def _memory(loop: PlainLoop, _directory: Path) -> Store:
    from imapd.mailstore.memory import MemoryStore

    return MemoryStore(loop)


def _local(loop: PlainLoop, _directory: Path) -> Store:
    from imapd.mailstore.local import LocalStore

    return LocalStore(loop)


def _mbox(loop: PlainLoop, _directory: Path) -> Store:
    from imapd.mailstore.choice import Kinds
    from imapd.mailstore.local import LocalStore

    return LocalStore(loop, kinds=Kinds("mbox"))


# Each store by its name: how it is made, given a loop and a directory that is its own and empty. A store is imported
# when it is made, so that the tests of one do not need the others.
FACTORIES: dict[str, Callable[[PlainLoop, Path], Store]] = {
    "local": _local,
    "mbox": _mbox,
    "memory": _memory,
}


@dataclass
class House:
    """A store and what a test needs around it; `ann` is one session of one person."""

    store: Store
    loop: PlainLoop
    directory: Path
    ann: Account

    def open(self, user_name: str) -> Account:
        """One more session of a person."""
        owner = Owner(f"id-{user_name}", user_name, str(self.directory / user_name))
        return self.store.open_account(owner)

    def put(
        self,
        name: str,
        *texts: bytes,
        flags: Flags = frozenset(),
        date: int | None = None,
        account: Account | None = None,
    ) -> Placed:
        """Append messages; their texts are spooled in two pieces."""
        account = account or self.ann
        messages = []
        for text in texts:
            spool = account.spool()
            spool.write(text[:10])
            spool.write(text[10:])
            messages.append(Incoming(spool, flags, date))
        return account.append(name, messages)


@pytest.fixture
def loop() -> PlainLoop:
    return PlainLoop()


@pytest.fixture(params=sorted(FACTORIES))
def store(request: pytest.FixtureRequest, loop: PlainLoop, tmp_path: Path):
    made = FACTORIES[request.param](loop, tmp_path)
    yield made
    made.close()


@pytest.fixture
def house(store: Store, loop: PlainLoop, tmp_path: Path):
    made = House(store, loop, tmp_path, None)  # type: ignore[arg-type]
    made.ann = made.open("ann")
    yield made
    made.ann.close()


@pytest.fixture
def memory_house(loop: PlainLoop, tmp_path: Path):
    """A house with the store in memory, for tests of rooms that work on any store."""
    made = House(_memory(loop, tmp_path), loop, tmp_path, None)  # type: ignore[arg-type]
    made.ann = made.open("ann")
    return made
