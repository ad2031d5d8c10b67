"""Every dialogue, against our own daemon, each as a person of its own; in the clear and, for a few, over TLS."""

import re
from pathlib import Path

import pytest

from tests.dialogues.script import Player, read

HERE = Path(__file__).parent
FILES = sorted(HERE.rglob("*.txt"))
ADMINISTRATOR = ("root", "secret")  # of the shared daemon


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_dialogue(path, shared_daemon, person):
    script = read(path)
    port = shared_daemon.strict_port if "LOGINDISABLED" in script.capabilities else shared_daemon.port
    player = Player("127.0.0.1", port, person, shared_daemon.people[person], administrator=ADMINISTRATOR)
    assert player.play(script), f"{path.name} is about a capability that is not offered"


@pytest.mark.parametrize("path", FILES[::20], ids=lambda path: path.stem)
def test_dialogue_over_tls(path, shared_daemon, person):
    password = shared_daemon.people[person]
    player = Player("127.0.0.1", shared_daemon.tls_port, person, password, tls=True, administrator=ADMINISTRATOR)
    player.play(read(path))


def test_the_table_of_examples_names_dialogues_that_are_there():
    named = set(re.findall(r"`([a-z]+/[^`]+)`", (HERE / "EXAMPLES.md").read_text()))
    assert named - {str(path.relative_to(HERE).with_suffix("")) for path in FILES} == set()


def test_the_head_of_each_dialogue_says_where_its_rule_comes_from():
    assert [path.name for path in FILES if not path.read_text().startswith("# ")] == []
