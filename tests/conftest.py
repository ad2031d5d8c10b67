"""What many tests need: a running daemon, the mail of the corpus."""

from pathlib import Path

import pytest

from tests.support.daemon import Daemon

ROOT = Path(__file__).parent.parent
OWN_MAIL = ROOT / "tests" / "data" / "mail"
CORPUS = ROOT.parent / "shared" / "corpus"


@pytest.fixture
def daemon(tmp_path):
    """A daemon of the test's own; it must end cleanly and without a traceback in its log."""
    daemon = Daemon(tmp_path / "imapd").start()
    yield daemon
    code = daemon.stop()
    assert daemon.tracebacks() == [], daemon.log()
    assert code == 0, daemon.log()


@pytest.fixture(scope="session")
def shared_daemon(tmp_path_factory):
    """One daemon with many people, for tests that each take a person of their own (see the fixture `person`), and root,
    who may act as any of them."""
    people = {f"user{number}": "secret" for number in range(1000)} | {"root": "secret"}
    daemon = Daemon(
        tmp_path_factory.mktemp("shared") / "imapd",
        people=people,
        authentication='administrators = "uid=root,dc=example,dc=org",',
        mail="[quota]\ndefault = 5G\nmessages = 1000000",
    ).start()
    yield daemon
    code = daemon.stop()
    assert daemon.tracebacks() == [], daemon.log()
    assert code == 0, daemon.log()


_taken = iter(range(1000))


@pytest.fixture
def person():
    """The login name of somebody of the shared daemon whom no other test uses."""
    return f"user{next(_taken)}"


def mail_files():
    """Our own mail, and the corpus of real mail where it lies beside the checkout."""
    return sorted(OWN_MAIL.glob("*.eml")) + sorted((CORPUS / "messages").glob("*.eml"))
