"""What the lower floors ask of the event loop, as a type.

Only server/ knows gevent. A room below that has to wait, to keep others alive during long work or to be told of
changed files gets an object of this shape handed down when the worker builds the house; tests hand in a plain one.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from ssl import SSLContext  # not when it runs: a name that is taken from ssl could not be patched any more

Result = TypeVar("Result")


class Watching(Protocol):
    """A watch on directories that lasts until it is closed."""

    def close(self) -> None:
        """End the watch; the bell is not rung any more. Closing twice does nothing."""


class Loop(Protocol):
    """The services of the event loop; every method may let other connections run unless it says otherwise."""

    def monotonic(self) -> float:
        """Seconds of a clock that never goes back. Does not yield."""

    def time(self) -> float:
        """Seconds since the epoch, as the machine's clock has it. Does not yield."""

    def sleep(self, seconds: float) -> None:
        """Wait; other connections go on."""

    def deadline(self, seconds: float) -> AbstractContextManager[None]:
        """Within this context the caller has that long: then model.errors.Overdue is raised wherever he waits.

        Deadlines may nest; the one that comes first is raised. Work that does not wait is not interrupted.
        """

    def spawn(self, work: Callable[[], None]) -> None:
        """Begin work in the background and go on; what it raises is logged. It ends with the process at the latest."""

    def breathe(self) -> None:
        """Let other connections run if this one has kept the loop for more than about 2 ms; cheap to call often."""

    def offload(self, work: Callable[..., Result], *arguments: object) -> Result:
        """Run blocking disk work (fsync, a long SQLite statement) in the disk thread pool and wait for its result."""

    def offload_each(self, works: Sequence[Callable[[], Result]]) -> list[Result]:
        """Run blocking disk works beside each other in the disk thread pool and wait for all of their results. Raises
        what one of them raised."""

    def offload_hash(self, work: Callable[..., Result], *arguments: object) -> Result:
        """Run a password hash in the small thread pool that is kept for hashes, and wait for its result."""

    def lock(self) -> AbstractContextManager[object]:
        """A new mutual exclusion between the connections of this process; waiting for it lets others run."""

    def slots(self, count: int) -> AbstractContextManager[object]:
        """A lock that as many may hold at a time; waiting for it lets others run."""

    def connect(self, host: str, port: int | None, seconds: float) -> Any:
        """A socket, connected, whose waiting lets others run; port None: the host is the path of a Unix socket.

        seconds is the bound for each of the host's addresses. Raises OSError.
        """

    def tls_context(self, ca_file: str | None) -> "SSLContext":
        """What wraps such a socket as a TLS client that trusts these authorities, or the system's, and no others.

        The server's name is checked. Raises OSError (ssl.SSLError is one) where the file is not good.
        """

    def watch(self, directories: Sequence[str], bell: Callable[[], None]) -> Watching:
        """Ring the bell soon after an entry of one of the directories comes, goes or is renamed, or after the times or
        mode of a directory itself change. Rings are gathered; one may come for nothing. The bell must not block.
        """
