"""The text of DATA as it was before dots were put in (RFC 5321 section 4.5.2), piece by piece.

The text ends with CRLF "." CRLF and with nothing else: where a lone LF or CR counts as a line end as well, a message
can be made of which another server sees the end elsewhere, and what is behind it as commands. Nothing is held but the
last four octets, however long a line is.
"""

_BOUNDARY = b"\r\n."


class Dots:
    """Undoes the dots of one text."""

    def __init__(self) -> None:
        self._held = b"\r\n"  # the line end of the command, behind which a "." may end an empty text
        self._borrowed = 2

    def feed(self, data: bytes) -> tuple[bytes, bytes | None]:
        """The text that is sure now; and, once it has ended, the octets behind its end, else None."""
        text = self._held + data
        out: list[bytes] = []
        start = 0
        while (found := text.find(_BOUNDARY, start)) >= 0:
            behind = text[found + 3 : found + 5]
            if behind == b"\r\n":
                out.append(text[start : found + 2])
                return self._returned(out), text[found + 5 :]
            if behind in (b"", b"\r"):
                out.append(text[start:found])
                self._held = text[found:]
                return self._returned(out), None
            out.append(text[start : found + 2])
            start = found + 3
        keep = 2 if text.endswith(b"\r\n") else 1 if text.endswith(b"\r") else 0
        end = max(start, len(text) - keep)
        out.append(text[start:end])
        self._held = text[end:]
        return self._returned(out), None

    def _returned(self, out: list[bytes]) -> bytes:
        """The pieces, without the line end that we put in front."""
        text = b"".join(out)
        if self._borrowed:
            taken = min(self._borrowed, len(text))
            self._borrowed -= taken
            text = text[taken:]
        return text
