"""What stands between the brackets of BODY[...], as a value (RFC 9051 section 9, section-spec).

The scanner reads it.
"""

from dataclasses import dataclass

from imapd.wire.writer import astring, paren


@dataclass(frozen=True, slots=True)
class SectionSpec:
    """What stands between the brackets of BODY[...]: the path to a part, and which text of it; `fields` as sent.

    text: "HEADER", "HEADER.FIELDS", "HEADER.FIELDS.NOT", "TEXT", "MIME", or None for the part's body or, without
    parts, the whole message.
    """

    parts: tuple[int, ...] = ()
    text: str | None = None
    fields: tuple[bytes, ...] = ()

    def __bytes__(self) -> bytes:
        """The spelling for the answer, without the brackets: keywords in capitals."""
        words = [b"%d" % part for part in self.parts]
        if self.text is not None:
            words.append(self.text.encode("ascii"))
        spelled = b".".join(words)
        return spelled + b" " + paren(*map(astring, self.fields)) if self.fields else spelled
