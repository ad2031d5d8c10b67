"""SEARCHRES, RFC 5182: SEARCH RETURN (SAVE) keeps its result, and "$" means it in the commands that follow.

The result is kept as UIDs in the view (View.saved), which drops what is expunged and starts empty with each SELECT.
"$" itself is read with every sequence set and given its meaning by View.resolve.
"""

from __future__ import annotations

from collections.abc import Sequence

from imapd.imap.extension import Extension, SearchReturn


class Save(SearchReturn):
    """Keep what was found; says nothing itself."""

    name = "SAVE"
    saves = True

    def render(self, numbers: Sequence[int]) -> bytes | None:
        return None


extension = Extension(words=("SEARCHRES",), search_returns=(Save,))
