"""What is told of a login's steps, to an administrator who asks why somebody gets in or does not.

The path of every login is told as it is walked; usually nobody listens, and then it costs a call with a constant text.
A step is one sentence without its arguments, in %-style, which are put in only where somebody listens. A password or
another secret is never an argument.
"""

from collections.abc import Callable


class Trace:
    """Takes the steps of one login; silent unless it is given somebody to tell."""

    __slots__ = ("_tell",)

    def __init__(self, tell: Callable[[str], None] | None = None) -> None:
        self._tell = tell

    def __call__(self, step: str, *arguments: object) -> None:
        """One step: `trace("%s: %d entries for %s", directory.name, count, text)`."""
        if self._tell is not None:
            self._tell(step % arguments if arguments else step)


SILENT = Trace()
