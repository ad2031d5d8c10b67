"""Whatever a client sends: it is answered by lines of IMAP, nothing is a bug of ours, and a bounded effort is made."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.talk import Talk

WORDS = [
    b"a1", b" ", b"  ", b"\r\n", b"\n", b"(", b")", b'"', b"{3}", b"{3+}", b"~{3}", b"{0+}", b"{99999999999}", b"abc", b"*", b"1:*",
    b"LOGIN", b"alice", b"secret", b"AUTHENTICATE", b"PLAIN", b"AGFsaWNlAHNlY3JldA==", b"=", b"SELECT", b"INBOX", b"EXAMINE",
    b"CLOSE", b"UNSELECT", b"APPEND", b"\\Seen", b'"01-Feb-1994 12:00:00 +0000"', b"IDLE", b"DONE", b"ENABLE", b"IMAP4rev2",
    b"ID", b"NIL", b"NAMESPACE", b"CAPABILITY", b"UID", b"NOOP", b"CHECK", b"\x00", b"\xff", b"&AP-",
]  # fmt: skip

LINES = [
    b"a LOGIN alice secret\r\n", b"a SELECT INBOX\r\n", b"a EXAMINE INBOX\r\n", b"a APPEND INBOX {3+}\r\nabc\r\n", b"a IDLE\r\n",
    b"DONE\r\n", b"a ENABLE IMAP4rev2\r\n", b"a CLOSE\r\n", b'a ID ("a" NIL)\r\n', b"a NOOP\r\n",
]  # fmt: skip

OCTETS = st.lists(st.one_of(st.sampled_from(LINES), st.sampled_from(WORDS), st.binary(max_size=6)), max_size=40).map(
    b"".join
)


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(OCTETS, st.booleans())
def test_nothing_that_a_client_sends_is_a_bug_of_ours(octets: bytes, logged_in: bool) -> None:
    talk = Talk()
    if logged_in:
        talk.login()
    for line in talk.send(octets):
        assert "SERVERBUG" not in line
        assert line[:2] in ("* ", "+ ") or line.split(" ")[1] in ("OK", "NO", "BAD")
    talk.hang_up()


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(OCTETS, st.integers(1, 7))
def test_how_the_octets_are_cut_changes_nothing(octets: bytes, size: int) -> None:
    whole, cut = Talk(), Talk()
    expected = whole.send(octets)
    said: list[str] = []
    for start in range(0, len(octets), size):
        if cut.closed:
            break
        said += cut.send(octets[start : start + size])
    assert said == expected
