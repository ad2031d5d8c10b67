"""Whatever arguments a command gets: the answer is one tagged line, and nothing is a bug of ours."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.talk import Talk

MAIL = b'Subject: x\r\nContent-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\n\r\none\r\n--b\r\n\r\ntwo\r\n--b--\r\n'

COMMANDS = [
    "FETCH", "UID FETCH", "STORE", "UID STORE", "SEARCH", "UID SEARCH", "COPY", "UID COPY", "MOVE", "UID MOVE", "EXPUNGE", "UID EXPUNGE",
    "LIST", "LSUB", "XLIST", "STATUS", "CREATE", "DELETE", "RENAME", "SUBSCRIBE", "UNSUBSCRIBE",
]  # fmt: skip

ARGUMENTS = [
    "1", "1:*", "*:1", "$", "2,1", "0", "4294967296", "(", ")", "()", "FLAGS", "+FLAGS", "-FLAGS.SILENT", "(\\Seen)", "\\Deleted", "$Work",
    "ALL", "FULL", "(UID FLAGS)", "BODY", "BODY[]", "BODY[1]", "BODY.PEEK[1.MIME]<0.3>", "BODY[HEADER.FIELDS (Subject)]", "BINARY[2]",
    "BINARY.SIZE[1]", "<0.0>", "ENVELOPE", "RFC822.TEXT", "RETURN", "(SAVE)", "(MIN MAX)", "(ALL COUNT)", "CHARSET", "UTF-8", "hex", "OR",
    "NOT", "SEEN", "UID", "TEXT", "x", "HEADER", "BEFORE", "1-Feb-1994", "LARGER", "KEYWORD", "INBOX", "here", "here/below", "a//b", "*", "%",
    '""', '"*"', "(SUBSCRIBED)", "(RECURSIVEMATCH SUBSCRIBED)", "(REMOTE)", "(STATUS (MESSAGES))", "(MESSAGES UIDNEXT)", "(USE (\\Sent))",
    "{1+}\r\nx", "~{1+}\r\nx", "&AOQ-", "&", "\x00", "\xe4",
]  # fmt: skip

LINES = st.tuples(st.sampled_from(COMMANDS), st.lists(st.sampled_from(ARGUMENTS), max_size=5))


@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(LINES, min_size=1, max_size=6), st.booleans())
def test_every_command_has_one_answer(lines: list[tuple[str, list[str]]], rev2: bool) -> None:
    talk = Talk().login()
    if rev2:
        talk.enable()
    talk.say("c CREATE here")
    talk.append(MAIL).append(MAIL, mailbox="here").append(MAIL).select()
    for number, (command, arguments) in enumerate(lines):
        if talk.closed:
            return
        said = "\r\n".join(talk.say(" ".join([f"t{number}", command, *arguments])))
        tagged = [line for line in said.split("\r\n") if line.startswith(f"t{number} ")]
        assert "SERVERBUG" not in said, said
        assert len(tagged) == 1 and tagged[0].split()[1] in ("OK", "NO", "BAD"), said
