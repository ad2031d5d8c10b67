"""Memory is given back while a worker serves."""

import subprocess
import sys

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
    memory.keep_some()
    memory.give_back(lambda seconds: pytest.fail("there is nothing to wait for"), lambda work: None)


ANSWERS = """
import resource
from imapd.server import memory
memory.keep_some()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for turn in range(101):
    if turn == 1:
        before = faults()
    answer = b"".join([bytes(1000) for _ in range(1000)])
    del answer
print(faults() - before)
"""


def test_what_one_answer_used_is_there_for_the_next():
    faults = subprocess.run([sys.executable, "-c", ANSWERS], capture_output=True, text=True, check=True).stdout
    assert int(faults) < 10_000  # a hundred answers of 500 pages
