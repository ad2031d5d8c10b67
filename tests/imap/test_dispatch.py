"""From a line to its tagged answer: states, errors, limits, and when the connection ends."""

from collections.abc import Iterator

import pytest

from imapd.imap import catalogue
from imapd.imap.command import Command, Done, Running
from imapd.imap.extension import Extension, Offers
from imapd.imap.session import Session
from imapd.mailstore.errors import NoSuchMailbox, OverQuota, Retry
from imapd.model.errors import BadSyntax, Refused, Unreachable
from imapd.wire.responses import Status
from tests.support.talk import Talk


class Failing(Command):
    """Raises what the test says."""

    name = "FAIL"
    error: Exception = RuntimeError("secret path /var/mail")

    def run(self, session: Session) -> Running:
        yield from ()
        raise self.error


class Targeting(Failing):
    name = "TARGET"
    try_create = True


class Telling(Command):
    name = "TELL"

    def run(self, session: Session) -> Running:
        yield Status("OK", "Something.")
        return Done("All is said.", code="TOLD 1")


def with_commands(*commands: type[Command]) -> Offers:
    return Offers([*catalogue.CATALOGUE, Extension(commands=commands)])


def failing(error: Exception, kind: type[Failing] = Failing) -> list[str]:
    talk = Talk(offers=with_commands(kind)).login()
    kind.error = error
    return talk.say(f"a {kind.name}")


@pytest.fixture(autouse=True)
def _reset() -> Iterator[None]:
    yield
    Failing.error = RuntimeError("secret path /var/mail")


def test_a_command_may_say_its_own_tagged_text() -> None:
    talk = Talk(offers=with_commands(Telling))
    assert talk.say("a TELL") == ["* OK Something.", "a OK [TOLD 1] All is said."]


def test_names_are_read_in_any_case() -> None:
    assert Talk().say("a nOoP") == ["a OK NOOP completed."]


def test_pipelined_commands_are_answered_in_order() -> None:
    answers = Talk().send(b"a LOGIN alice secret\r\nb NOOP\r\nc LOGOUT\r\nd NOOP\r\n")
    assert [line.split()[:2] for line in answers] == [["a", "OK"], ["b", "OK"], ["*", "BYE"], ["c", "OK"]]


def test_octets_may_come_one_by_one() -> None:
    talk = Talk()
    said = [
        line for octet in b"a LOGIN {5}\r\nalice {6+}\r\nsecret\r\nb NOOP\r\n" for line in talk.send(bytes([octet]))
    ]
    assert said[0] == "+ Go ahead."
    assert said[1].startswith("a OK")
    assert said[2] == "b OK NOOP completed."


def test_empty_lines_and_leading_spaces_are_overlooked() -> None:
    assert Talk().send(b"\r\n\n  a NOOP\n") == ["a OK NOOP completed."]


# --- errors


def test_bad_syntax_is_bad() -> None:
    assert failing(BadSyntax("Expected a number")) == ["a BAD Expected a number"]


def test_a_refusal_is_no_with_its_code_and_without_its_reason() -> None:
    assert failing(Refused("Not today.", code="LIMIT", reason="secret")) == ["a NO [LIMIT] Not today."]


def test_an_error_of_the_store_is_no_with_its_code() -> None:
    assert failing(OverQuota("Full.")) == ["a NO [OVERQUOTA] Full."]


def test_a_missing_mailbox_is_nonexistent() -> None:
    assert failing(NoSuchMailbox("x"))[0].startswith("a NO [NONEXISTENT]")


def test_a_missing_target_is_trycreate() -> None:
    assert failing(NoSuchMailbox("x"), Targeting)[0].startswith("a NO [TRYCREATE]")


def test_what_does_not_answer_is_unavailable() -> None:
    answer = failing(Unreachable("ldap1.example is down"))
    assert answer == ["a NO [UNAVAILABLE] The server cannot do that now; please try again later."]


def test_a_bug_is_serverbug_with_an_id_that_the_log_has(caplog: pytest.LogCaptureFixture) -> None:
    (answer,) = failing(RuntimeError("secret path /var/mail"))
    assert answer.startswith("a NO [SERVERBUG] ") and "secret" not in answer
    number = answer.split()[-1]
    assert number in caplog.text and "RuntimeError" in caplog.text


def test_after_a_bug_the_connection_goes_on() -> None:
    talk = Talk(offers=with_commands(Failing)).login()
    talk.say("a FAIL")
    assert talk.say("b NOOP") == ["b OK NOOP completed."]


# --- states


def test_a_command_that_needs_a_login_says_so() -> None:
    assert Talk().say("a SELECT INBOX") == ["a BAD Log in before SELECT."]


def test_a_command_that_needs_a_mailbox_says_so() -> None:
    assert Talk().login().say("a CLOSE") == ["a BAD Select a mailbox before CLOSE."]


def test_a_second_login_is_bad_and_the_connection_stays() -> None:
    talk = Talk().login()
    assert talk.say("a LOGIN alice secret") == ["a BAD LOGIN comes before login, and you have logged in."]
    assert talk.say("b NOOP") == ["b OK NOOP completed."]


# --- when it is enough


def test_a_method_of_http_before_login_ends_the_connection() -> None:
    talk = Talk()
    assert talk.say("GET / HTTP/1.1")[-1] == "* BYE This is an IMAP server."
    assert talk.closed


def test_who_tries_a_command_that_is_not_there_may_log_in_still() -> None:
    talk = Talk()
    for tag in "abcd":
        assert talk.say(f"{tag} COMPRESS DEFLATE") == [f"{tag} BAD There is no such command."]
    assert talk.say("e LOGIN alice secret")[-1].startswith("e OK")


def test_what_has_no_tag_ends_the_connection_before_login() -> None:
    talk = Talk()
    talk.send(b"\x16\x03\x01\x02\x00\x01\xfc\r\n")
    assert talk.closed


def test_five_bad_commands_before_login_end_the_connection() -> None:
    talk = Talk()
    talk.say("a SELECT INBOX")
    talk.say("b LOGIN")
    talk.say("b AUTHENTICATE")
    talk.say("b")
    assert talk.say("c CLOSE") == ["c BAD Select a mailbox before CLOSE.", "* BYE Too many bad commands."]
    assert talk.closed


def test_an_unknown_command_after_login_is_bad() -> None:
    talk = Talk().login()
    assert talk.say("a DANCE") == ["a BAD There is no such command."]
    assert talk.say("a UID DANCE") == ["a BAD There is no such command."]
    assert not talk.closed


def test_ten_bad_commands_in_a_row_end_the_connection() -> None:
    talk = Talk().login()
    for _ in range(9):
        talk.say("a DANCE")
    assert talk.say("a DANCE")[-1] == "* BYE Too many bad commands."
    assert talk.closed


def test_a_good_command_between_makes_up_for_bad_ones() -> None:
    talk = Talk().login()
    for _ in range(9):
        talk.say("a DANCE")
    talk.say("a NOOP")
    for _ in range(9):
        talk.say("a DANCE")
    assert not talk.closed


def test_logout_says_goodbye_and_gives_everything_back() -> None:
    talk = Talk().login().select()
    assert talk.say("a LOGOUT") == ["* BYE Goodbye.", "a OK LOGOUT completed."]
    assert talk.closed and not talk.session.has_view


def test_closing_twice_does_nothing() -> None:
    talk = Talk().login().select()
    talk.hang_up()
    talk.conversation.close()


def test_a_client_that_goes_away_closes_the_running_command() -> None:
    talk = Talk().login()
    talk.say("a IDLE")
    talk.hang_up()
    assert talk.session.ended


def test_goodbye_ends_the_session() -> None:
    talk = Talk()
    (bye,) = talk.conversation.goodbye("Closing down.")
    assert bye == Status("BYE", "Closing down.")
    assert talk.session.ended


# --- limits


def test_a_line_before_login_has_at_most_8_kb() -> None:
    talk = Talk()
    assert talk.say("a LOGIN alice " + "x" * 9000) == ["a BAD [TOOBIG] A line may have 8192 octets."]
    assert talk.say("b LOGIN alice secret")[0].startswith("b OK")


def test_a_long_line_without_a_tag_ends_the_connection_before_login() -> None:
    talk = Talk()
    assert talk.send(b"\x16\x03" * 5000)[-1] == "* BYE This is an IMAP server."
    assert talk.closed


def test_after_login_a_line_may_be_long() -> None:
    talk = Talk().login()
    assert talk.say("a NOOP " + "x" * 1_000_000)[0].startswith("a BAD")
    assert "[TOOBIG]" in talk.say("a NOOP " + "x" * 5_000_000)[0]
    assert talk.say("b NOOP") == ["b OK NOOP completed."]


def test_before_login_literals_are_small() -> None:
    talk = Talk()
    assert talk.say("a LOGIN {2000}") == ["a NO [LIMIT] A literal of LOGIN may have 1024 octets."]
    assert talk.say("b LOGIN alice secret")[0].startswith("b OK")


def test_what_a_client_sends_without_waiting_is_swallowed_when_it_is_refused() -> None:
    talk = Talk()
    said = talk.send(b"a LOGIN {2000+}\r\n" + b"x" * 1990 + b"\r\nb NOOP\r\n rest\r\nc NOOP\r\n")
    assert [line.split()[:2] for line in said] == [["a", "NO"], ["c", "OK"]]


def test_literals_of_a_command_that_may_not_come_are_refused() -> None:
    talk = Talk()
    assert talk.say("a SELECT {5}") == ["a BAD Log in before SELECT."]
    assert talk.say("b DANCE {5}") == ["b BAD There is no such command."]


def test_many_literals_have_a_limit_together() -> None:
    talk = Talk()
    pair = b'"name" {1000+}\r\n' + b"x" * 1000
    assert talk.send(b"a ID (" + b" ".join([pair] * 9) + b")\r\n") == [
        "a NO [LIMIT] The literals of a command may have 8192 octets."
    ]


def test_literal8_is_for_messages_only() -> None:
    assert Talk().login().say("a SELECT ~{5}") == ["a BAD SELECT takes no literal8."]


def test_with_literal_minus_a_literal_that_does_not_wait_is_short() -> None:
    talk = Talk(offers=catalogue.offers(without=["LITERAL+"])).login()
    assert talk.send(b"a APPEND INBOX {4097+}\r\n" + b"x" * 4097 + b"\r\n")[0].startswith(
        "a BAD A literal without waiting"
    )
    talk.append(b"x" * 4096)


def test_a_literal_in_idle_ends_the_connection() -> None:
    talk = Talk().login()
    talk.say("a IDLE")
    assert talk.say("DONE {5}")[0].startswith("* BYE")
    assert talk.closed


def test_a_line_too_long_within_a_command_ends_the_connection() -> None:
    talk = Talk()
    talk.say("a AUTHENTICATE PLAIN")
    assert talk.say("x" * 9000)[0].startswith("* BYE")
    assert talk.closed


def test_a_long_word_of_the_client_is_not_repeated_as_a_whole() -> None:
    (answer,) = Talk().login().select().say("a FETCH 1 " + "X" * 5_000)
    assert answer.startswith("a BAD FETCH has no item XXX") and len(answer) < 500


# --- literals that are not taken


def test_a_literal_that_comes_unasked_and_is_refused_before_login_ends_the_connection() -> None:
    talk = Talk()
    assert [line.split()[:2] for line in talk.say("a LOGIN {100000000+}")] == [["a", "NO"], ["*", "BYE"]]
    assert talk.closed


def test_a_literal_that_waits_and_is_refused_before_login_does_no_harm() -> None:
    talk = Talk()
    assert talk.say("a LOGIN {100000000}")[0].startswith("a NO [LIMIT]")
    assert talk.say("b LOGIN alice secret")[-1].startswith("b OK")


def test_the_number_of_literals_is_bounded_though_they_are_empty() -> None:
    talk = Talk().login().select()
    assert talk.send(b"a SEARCH " + b"SUBJECT {0+}\r\n " * 2_000 + b"ALL\r\n")[0].startswith("a NO [LIMIT]")
    assert talk.say("b NOOP") == ["b OK NOOP completed."]


# --- the store cannot tell


def test_idle_goes_on_where_the_store_cannot_tell_the_news_for_now(monkeypatch: pytest.MonkeyPatch) -> None:
    talk = Talk().login().append().select()
    talk.say("a IDLE")

    def busy(*_: object) -> None:
        raise Retry

    with monkeypatch.context() as patch:
        patch.setattr(talk.session.view.mailbox, "snapshot", busy)
        assert talk.wake() == []
    Talk(store=talk.store, loop=talk.loop).login().append()
    assert talk.hear()[0] == "* 2 EXISTS"
    assert talk.say("DONE") == ["a OK IDLE ended."]
