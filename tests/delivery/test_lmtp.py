"""Dialogues of LMTP."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imapd.delivery.lmtp import LONGEST_LINE, PATIENCE
from imapd.delivery.replies import Terms
from imapd.delivery.transaction import MOST_RECIPIENTS
from imapd.mailstore import errors
from imapd.model.errors import Unreachable
from tests.delivery.office import Client, Office

TEXT = "Subject: x\r\n\r\nline\r\n..dotted\r\n"


@pytest.fixture
def client(tmp_path):
    return Client(Office(tmp_path, limit=10_000))


def test_the_greeting_and_what_is_offered(client):
    assert client.greeting == "220 mx.example.org LMTP imapd is ready\r\n"
    assert client.say("lhlo client.example.net") == [
        "250-mx.example.org",
        "250-PIPELINING",
        "250-ENHANCEDSTATUSCODES",
        "250-SIZE 10000",
        "250-8BITMIME",
        "250-SMTPUTF8",
        "250 CHUNKING",
    ]


@pytest.mark.parametrize("chunk", [None, 1, 3])
def test_a_message_to_two_people_and_nobody(tmp_path, chunk):
    client = Client(Office(tmp_path), chunk=chunk)
    assert client.begin("anna@example.org", "nobody@example.org", "ben@example.org") == [
        "250 2.1.5 The recipient is taken",
        "550 5.1.1 Nobody here has that address",
        "250 2.1.5 The recipient is taken",
    ]
    assert client.say("DATA") == ["354 Go on; end with a line of a single dot"]
    assert client.send(TEXT.encode() + b".\r\n") == ["250 2.1.5 7.1.1 delivered", "250 2.1.5 7.1.1 delivered"]
    for name in ("anna", "ben"):
        (text,) = client.office.texts(name)
        above, _, rest = text.partition(b"Subject:")
        assert rest == b" x\r\n\r\nline\r\n.dotted\r\n"
        assert above.startswith(
            b"Return-Path: <sender@example.net>\r\nDelivered-To: %s@example.org\r\n" % name.encode()
        )
        assert b"Received: from client.example.net ([192.0.2.1])\r\n\tby mx.example.org with LMTP id 7.1.1\r\n" in above
    assert [event for event, _ in client.events] == ["recipient_refused", "delivered", "delivered"]


def test_one_of_two_may_fail(client):
    """RFC 2033 section 4.2: a reply for each recipient."""
    client.begin("anna@example.org", "ben@example.org")
    opened = client.office.store.open_account

    def open_account(owner):
        if "anna" in owner.home:
            raise errors.OverQuota
        return opened(owner)

    client.office.store.open_account = open_account
    client.say("DATA")
    assert client.say("Subject: x", "", "x", ".") == [
        "452 4.2.2 The mail file is full",
        "250 2.1.5 7.1.1 delivered",
    ]
    assert len(client.office.texts("ben")) == 1


def test_commands_may_be_sent_ahead_and_the_text_of_the_message_with_them(client):
    lines = ["LHLO x", "MAIL FROM:<>", "RCPT TO:<anna@example.org>", "DATA"]
    assert [line[:3] for line in client.say(*lines)] == ["250"] * 9 + ["354"]
    assert [line[:4] for line in client.say("Subject: x", "", "x", ".", "NOOP", "QUIT")] == ["250 ", "250 ", "221 "]
    assert client.conversation.over
    assert client.office.texts("anna")[0].startswith(b"Return-Path: <>\r\n")


def test_a_directory_that_is_down(client):
    client.office.people.people["anna@example.org"] = Unreachable("down")
    assert client.begin("anna@example.org") == ["451 4.3.0 The directory of people does not answer"]
    assert client.say("DATA") == ["503 5.5.1 There are no recipients"]


def test_the_order_of_commands(client):
    assert client.say("MAIL FROM:<a@b>") == ["503 5.5.1 Say LHLO first"]
    client.say("LHLO x")
    assert client.say("RCPT TO:<anna@example.org>") == ["503 5.5.1 Say MAIL first"]
    assert client.say("DATA") == ["503 5.5.1 There are no recipients"]
    client.say("MAIL FROM:<a@b>")
    assert client.say("MAIL FROM:<a@b>") == ["503 5.5.1 There is a sender already"]
    assert client.say("RSET", "RCPT TO:<anna@example.org>") == ["250 2.0.0 Forgotten", "503 5.5.1 Say MAIL first"]


def test_what_is_no_command(client):
    assert client.say("LHLO") == ["501 5.5.4 LHLO is followed by the client's name"]
    assert client.say("EHLO x") == ["500 5.5.1 This is LMTP: say LHLO"]
    client.say("LHLO x")
    assert client.say("HELP") == ["500 5.5.1 There is no such command"]
    assert client.say("VRFY anna") == ["252 2.5.0 Nobody is told who is here; try to deliver"]
    assert client.say("MAIL FROM:a@b") == ["501 5.5.4 What stands behind FROM: is no address in angle brackets"]
    assert client.say("MAIL FROM:<a@b> RET=FULL") == ["555 5.5.4 The parameter RET is not known"]
    assert client.say("MAIL FROM:<a@b> BODY=BINARYMIME") == ["501 5.5.4 BODY is 7BIT or 8BITMIME"]
    assert client.say("MAIL FROM:<a@b> SIZE=x") == ["501 5.5.4 That is no number of octets"]
    assert client.say("MAIL FROM:<a@b> SIZE=10 BODY=8BITMIME SMTPUTF8") == ["250 2.1.0 The sender is taken"]
    assert client.say("RCPT TO:<>") == ["550 5.1.3 That is nobody's address"]
    assert client.say("RCPT TO:<anna@example.org> NOTIFY=NEVER") == ["555 5.5.4 The parameter NOTIFY is not known"]
    assert client.send(b"\xff\r\n") == ["501 5.5.4 The line is not UTF-8"]
    assert client.say("STARTTLS") == ["502 5.5.1 There is no TLS here"]


def test_who_does_not_speak_lmtp_is_sent_away(client):
    assert client.say("GET / HTTP/1.1") == ["421 4.3.2 This is LMTP"]
    assert client.conversation.over


def test_nonsense_has_an_end(client):
    client.say("LHLO x")
    said = client.say(*["NONSENSE"] * (PATIENCE + 5))
    assert said[-1] == "421 4.3.2 Too many commands that are none" and len(said) == PATIENCE


def test_a_line_without_an_end_is_not_kept(client):
    client.say("LHLO x")
    for _ in range(50):
        assert client.send(b"x" * 1000) == []
        assert len(client.conversation._input) <= LONGEST_LINE + 1000
    assert client.say("", "NOOP") == [f"500 5.5.2 A line has at most {LONGEST_LINE} octets", "250 2.0.0 Nothing done"]


def test_too_many_recipients(client):
    client.begin(*["anna@example.org"] * MOST_RECIPIENTS)
    assert client.say("RCPT TO:<ben@example.org>") == ["452 4.5.3 That are too many recipients for one message"]


def test_a_message_that_is_announced_too_large_and_one_that_is(client):
    client.say("LHLO x")
    assert client.say("MAIL FROM:<a@b> SIZE=10001") == ["552 5.3.4 The message is too large"]
    client.begin("anna@example.org")
    client.say("DATA")
    assert client.send(b"x" * 10_001) == []
    assert client.say("", "RSET", ".", "NOOP") == ["552 5.3.4 The message is too large", "250 2.0.0 Nothing done"]
    assert client.office.texts("anna") == []


def test_an_empty_message(client):
    client.begin("anna@example.org")
    assert client.say("DATA", ".")[1:] == ["554 5.6.0 The message is empty"]


def test_only_crlf_dot_crlf_ends_a_message(client):
    """What another server takes for the end here, and for a command behind it, is text."""
    client.begin("anna@example.org")
    client.say("DATA")
    smuggled = b"Subject: x\r\n\r\nx\n.\nMAIL FROM:<forged@example.net>\r\n.\nRCPT TO:<ben@example.org>\r\n"
    assert client.send(smuggled + b".\r\n") == ["250 2.1.5 7.1.1 delivered"]
    assert b"MAIL FROM:<forged" in client.office.texts("anna")[0]
    assert client.office.texts("ben") == []


def test_a_message_in_chunks(client):
    """RFC 3030."""
    client.begin("anna@example.org", "ben@example.org")
    assert client.send(b"BDAT 12\r\nSubject: x\r\n") == ["250 2.0.0 The chunk is taken"]
    assert client.say("DATA") == ["503 5.5.1 The message comes in chunks"]
    assert client.say("RCPT TO:<ben@example.org>") == ["503 5.5.1 The message has begun already"]
    assert client.send(b"BDAT 7\r\n\r\n.\r\nx\n") == ["250 2.0.0 The chunk is taken"]
    assert len(client.send(b"BDAT 0 LAST\r\nNOOP\r\n")) == 3
    assert client.office.texts("anna")[0].endswith(b"Subject: x\r\n\r\n.\r\nx\r\n")


def test_chunks_that_are_not_wanted_are_read_all_the_same(client):
    client.say("LHLO x")
    assert client.send(b"BDAT 6 LAST\r\nQUIT\r\nNOOP\r\n") == [
        "503 5.5.1 There are no recipients",
        "250 2.0.0 Nothing done",
    ]
    client.begin("anna@example.org")
    assert client.send(b"BDAT 10001\r\n" + b"x" * 10_001) == ["552 5.3.4 The message is too large"]
    assert client.send(b"BDAT 1 LAST\r\nx") == ["503 5.5.1 There are no recipients"]
    assert client.say("RSET") == ["250 2.0.0 Forgotten"]
    assert client.say("BDAT x") == ["421 4.3.2 That is no number of octets"]


def test_starttls_begins_anew(tmp_path):
    client = Client(Office(tmp_path), Terms("mx", "", starttls=True))
    assert "250 STARTTLS" in client.say("LHLO x")
    client.say("MAIL FROM:<a@b>")
    assert client.say("STARTTLS") == ["220 2.0.0 Begin TLS"] and client.upgrades == 1
    assert client.say("MAIL FROM:<a@b>") == ["503 5.5.1 Say LHLO first"]
    assert "250 STARTTLS" not in client.say("LHLO x")
    assert client.say("STARTTLS") == ["503 5.5.1 TLS has begun already"]
    client.begin("anna@example.org")
    client.say("DATA", "Subject: x", ".")
    assert b"with LMTPS id" in client.office.texts("anna")[0]


def test_what_is_sent_behind_starttls_ends_the_connection(tmp_path):
    client = Client(Office(tmp_path), Terms("mx", "", starttls=True))
    client.say("LHLO x")
    assert client.say("STARTTLS", "NOOP") == ["421 4.3.2 Nothing may be sent behind STARTTLS"]
    assert client.conversation.over and not client.upgrades


def test_a_mistake_of_ours_keeps_the_message_with_the_client(client):
    client.begin("anna@example.org")
    client.office.store.open_account = lambda owner: 1 / 0
    client.say("DATA")
    (said,) = client.say("Subject: x", ".")
    assert said.startswith("451 4.3.0 Something went wrong here; the log has it under ")


def test_utf8_in_addresses(client):
    """RFC 6531."""
    from tests.support.people import person

    client.office.people.people["änna@example.org"] = person("anna")
    client.begin("änna@example.org", sender="jürgen@example.net")
    client.say("DATA", "Subject: x", ".")
    assert "Delivered-To: änna@example.org\r\n".encode() in client.office.texts("anna")[0]


WORDS = [b"LHLO x", b"MAIL FROM:<a@b>", b"RCPT TO:<anna@example.org>", b"DATA", b"BDAT 5", b"BDAT 0 LAST", b"RSET", b".", b"NOOP",
         b"\xff", b"MAIL FROM:<", b"..", b"", b"VRFY", b"EHLO y"]  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=25), st.integers(1, 40))
def test_how_the_octets_are_cut_changes_nothing(tmp_path_factory, words, chunk):
    folder = tmp_path_factory.getbasetemp()
    data = b"LHLO x\r\n" + b"".join(word + b"\r\n" for word in words)
    assert Client(Office(folder), chunk=chunk).send(data) == Client(Office(folder)).send(data)
