"""The short form of `python -m tests.faults.rebuilding`; 10,000 messages and the seconds are for `make faults`."""

import pytest

from tests.faults import rebuilding


@pytest.mark.parametrize("format", ["maildir", "mbox"])
def test_a_damaged_index_is_made_anew_with_its_uids_while_others_are_served(tmp_path, format):
    assert rebuilding.trial(tmp_path, format, messages=600, seed=1) > 0
