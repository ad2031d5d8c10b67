"""Flags: one spelling for each, and the three ways to change them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imapd.model.flags import NO_FLAGS, RECENT, SYSTEM_FLAGS, FlagChange, canonical, flags_of_words, is_system, same

words = st.sampled_from(["\\Seen", "\\sEEN", "\\Deleted", "Work", "work", "WORK", "$Junk", "$junk", "Other"])
sets_of_flags = st.lists(words).map(flags_of_words)


@pytest.mark.parametrize("flag", [*SYSTEM_FLAGS, RECENT])
def test_system_flags_have_the_spelling_of_the_rfc(flag):
    assert canonical(flag.upper()) == canonical(flag.lower()) == flag


def test_keywords_stay_as_they_are():
    assert canonical("$Forwarded") == "$Forwarded"
    assert canonical("Seen") == "Seen"
    assert canonical("\\Unheard") == "\\Unheard"


def test_flags_are_the_same_in_any_case():
    assert same("\\SEEN", "\\Seen") and same("$Junk", "$junk")
    assert not same("Seen", "\\Seen")
    assert is_system("\\Seen") and not is_system("Seen") and not is_system(RECENT)


def test_of_the_same_words_the_first_is_kept():
    assert flags_of_words(["Work", "work", "\\seen"]) == {"Work", "\\Seen"}


CHANGES = [
    (FlagChange.ADD, {"\\Seen"}, {"\\Deleted"}, {"\\Seen", "\\Deleted"}),
    (FlagChange.REMOVE, {"\\Seen", "\\Deleted"}, {"\\Deleted"}, {"\\Seen"}),
    (FlagChange.REPLACE, {"\\Seen", "\\Deleted"}, {"\\Draft"}, {"\\Draft"}),
    (FlagChange.REPLACE, {"\\Seen", "Work"}, set(), set()),
    (FlagChange.ADD, {"Work"}, {"work", "\\Seen"}, {"Work", "\\Seen"}),
    (FlagChange.REMOVE, {"Work", "Home"}, {"WORK"}, {"Home"}),
    (FlagChange.REPLACE, {"Work"}, {"work", "New"}, {"Work", "New"}),
    (FlagChange.ADD, set(), {"Work", "work"}, {"Work"}),
]


@pytest.mark.parametrize(("how", "old", "flags", "new"), CHANGES)
def test_a_change_gives_new_flags(how, old, flags, new):
    assert how.apply(frozenset(old), frozenset(flags)) == new


@given(st.sampled_from(FlagChange), sets_of_flags, sets_of_flags)
def test_a_change_is_the_operation_of_sets_without_regard_to_case(how, old, flags):
    had, meant = {flag.lower() for flag in old}, {flag.lower() for flag in flags}
    result = how.apply(old, flags)
    expected = {FlagChange.REPLACE: meant, FlagChange.ADD: had | meant, FlagChange.REMOVE: had - meant}[how]
    assert {flag.lower() for flag in result} == expected
    assert len(result) == len(expected)
    assert {flag for flag in result if flag.lower() in had} <= old
    assert how.apply(result, flags) == result


def test_nothing_added_is_nothing_changed():
    assert FlagChange.ADD.apply(frozenset({"Work"}), NO_FLAGS) == {"Work"}
