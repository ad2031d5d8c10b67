"""Mail to read: our own, and the corpus of real mail where it lies beside the checkout; always with CRLF line ends."""

import re

from tests.conftest import CORPUS, OWN_MAIL


def crlf(data):
    """The octets with CRLF line ends, as a mail store gives them."""
    return data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def messages_of_mbox(data):
    """The messages of an mbox file, cut before every From_ line; good enough to have something to read."""
    starts = [match.start() for match in re.finditer(rb"^From .*\n", data, re.MULTILINE)]
    for start, end in zip(starts, [*starts[1:], len(data)], strict=True):
        yield data[data.index(b"\n", start) + 1 : end]


def mails():
    """Pairs of a name and a message."""
    for path in sorted(OWN_MAIL.glob("*.eml")) + sorted((CORPUS / "messages").glob("*.eml")):
        yield path.name, crlf(path.read_bytes())
    for path in sorted((CORPUS / "mbox").glob("*.mbox")):
        for number, message in enumerate(messages_of_mbox(path.read_bytes())):
            yield f"{path.name}:{number}", crlf(message)
