"""Where in its file an octet of a message's wire form stands, for clients that fetch large messages in pieces.

Line ends become CRLF on the way, so nobody knows the place of an octet without having read what stands before it. While
a message is read, some places are noted down; the next piece begins at the last one before it. Messages do not change,
and of one that another program has changed in place the places are as wrong as its announced size.
"""

from array import array
from bisect import bisect_right
from typing import Final, NamedTuple

KEPT: Final = 8
"""Messages of a mailbox whose places are kept: those that were read last."""


class Place(NamedTuple):
    """An octet on the wire, the one in the file that it comes from, and the octet before that (-1: none)."""

    wire: int
    file: int
    last: int


BEGINNING: Final = Place(0, 0, -1)


class Places:
    """The places that are known of one message, ascending. 17 octets each, and one for each piece that is read."""

    __slots__ = ("_files", "_lasts", "_wires")

    def __init__(self) -> None:
        self._wires = array("Q")
        self._files = array("Q")
        self._lasts = bytearray()

    def note(self, place: Place) -> None:
        """Remember a place that stands behind all that are known."""
        if place.wire > (self._wires[-1] if self._wires else 0):
            self._wires.append(place.wire)
            self._files.append(place.file)
            self._lasts.append(place.last)

    def before(self, wire: int) -> Place:
        """The last known place that stands not behind that octet."""
        row = bisect_right(self._wires, wire) - 1
        return Place(self._wires[row], self._files[row], self._lasts[row]) if row >= 0 else BEGINNING


class KnownPlaces:
    """The places of the messages of a mailbox that were read last.

    counted: by UID, the octets of messages whose octets were counted and are as many as their names tell.
    """

    __slots__ = ("_messages", "counted")

    def __init__(self) -> None:
        self.counted: dict[int, int] = {}
        self._messages: dict[tuple[int, int], Places] = {}

    def of(self, uid: int, octets: int) -> Places:
        """Those of a message, which has so many octets in its file."""
        places = self._messages.pop((uid, octets), None) or Places()
        self._messages[uid, octets] = places
        if len(self._messages) > KEPT:
            del self._messages[next(iter(self._messages))]
        return places
