"""Mail of the real world, delivered into a Maildir by another program, comes back byte for byte (with CRLF line ends)."""

import mailbox
import re

import pytest

from tests.clients.conftest import deliver
from tests.conftest import CORPUS, OWN_MAIL, mail_files


def crlf(data: bytes) -> bytes:
    return data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def texts():
    """Every message: our own, those of the corpus where it is, and those in its mbox files."""
    found = [path.read_bytes() for path in mail_files()]
    for path in sorted((CORPUS / "mbox").glob("*.mbox")):
        box = mailbox.mbox(path, create=False)
        found += [box.get_bytes(key) for key in box.keys()]  # noqa: SIM118 - iterating a mailbox gives messages
        box.close()
    return found


def fetched(client, items):
    """UID -> the whole response, of FETCH 1:*."""
    found = {}
    for response in client.ok(f"FETCH 1:* (UID {items})"):
        if match := re.match(rb"\* \d+ FETCH \(UID (\d+)", response):
            found[int(match[1])] = response
    return found


def literal(response: bytes) -> bytes:
    """The only literal or quoted string behind BODY[...]."""
    if match := re.search(rb"\] \{(\d+)\}\r\n", response):
        return response[match.end() : match.end() + int(match[1])]
    match = re.search(rb'\] "((?:[^"\\]|\\.)*)"', response)
    assert match, response[:200]
    return re.sub(rb"\\(.)", rb"\1", match[1])


@pytest.mark.parametrize("line_ends", ["as they are", "LF", "CRLF"])
def test_every_message_comes_back_byte_for_byte(line_ends, shared_daemon, person):
    change = {"as they are": lambda data: data, "LF": lambda data: data.replace(b"\r\n", b"\n"), "CRLF": crlf}[
        line_ends
    ]
    whole = [change(text) for text in texts()]
    assert len(whole) >= 15
    with shared_daemon.login(person) as client:
        for index, text in enumerate(whole):
            deliver(shared_daemon.maildir(person), text, f"{1_700_000_000 + index}.M{index}.corpus")
        client.ok("SELECT INBOX")
        bodies = fetched(client, "RFC822.SIZE BODY.PEEK[]")
        assert len(bodies) == len(whole)
        for uid, text in enumerate(whole, 1):
            assert literal(bodies[uid]) == crlf(text), f"message {uid}"
            assert re.search(rb"RFC822.SIZE (\d+)", bodies[uid])[1] == b"%d" % len(crlf(text))
        halves = fetched(client, "BODY.PEEK[HEADER]"), fetched(client, "BODY.PEEK[TEXT]")
        for uid, text in enumerate(whole, 1):
            assert literal(halves[0][uid]) + literal(halves[1][uid]) == crlf(text), f"message {uid}"
        described = fetched(client, "ENVELOPE BODYSTRUCTURE")
        assert len(described) == len(whole)


def test_what_is_appended_comes_back_byte_for_byte(shared_daemon, person):
    whole = [crlf(text) for text in texts()]
    with shared_daemon.login(person) as client:
        for text in whole:
            client.append("INBOX", text)
        client.ok("SELECT INBOX")
        bodies = fetched(client, "BODY.PEEK[]")
        assert [literal(bodies[uid]) for uid in sorted(bodies)] == whole


def test_there_is_mail_of_our_own():
    assert len(list(OWN_MAIL.glob("*.eml"))) >= 15
