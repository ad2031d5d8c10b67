"""Memory is given back while a worker serves."""

import gevent
import pytest

from imapd.server import memory


def test_free_memory_is_given_back_again_and_again():
    slept, offloaded = [], []

    def sleep(seconds):
        slept.append(seconds)
        if len(slept) == 3:
            raise gevent.GreenletExit

    def offload(work):
        offloaded.append(work())

    with pytest.raises(gevent.GreenletExit):
        memory.give_back(sleep, offload)
    assert slept == [memory.PAUSE] * 3 and len(offloaded) == 2


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(memory, "_library", lambda: None)
    memory.use_few_arenas()
    memory.give_back(lambda seconds: pytest.fail("there is nothing to wait for"), lambda work: None)
