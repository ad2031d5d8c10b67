"""Every dialogue, against our own daemon, each as a person of its own; in the clear and, for the first few, over TLS."""

from pathlib import Path

import pytest

from tests.dialogues.script import Player, read

FILES = sorted(Path(__file__).parent.rglob("*.txt"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_dialogue(path, shared_daemon, person):
    player = Player("127.0.0.1", shared_daemon.port, person, shared_daemon.people[person])
    assert player.play(read(path)), f"{path.name} is about a capability that is not offered"


@pytest.mark.parametrize("path", FILES[:10], ids=lambda path: path.stem)
def test_dialogue_over_tls(path, shared_daemon, person):
    player = Player("127.0.0.1", shared_daemon.tls_port, person, shared_daemon.people[person], tls=True)
    assert player.play(read(path))


def test_there_are_dialogues():
    assert FILES
