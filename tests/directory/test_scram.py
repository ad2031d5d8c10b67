"""SCRAM verifiers: both spellings, limits, what is made up for names without one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imapd.directory import scram
from imapd.directory.person import AUTH_PASSWORD
from imapd.directory.scram import ScramVerifier, Unusable

MADE = ScramVerifier.make("wonderland", 4096, b"sixteen-byte-slt")


def braces(verifier: ScramVerifier) -> bytes:
    _, rest = verifier.written().split("$", 1)
    return b"{SCRAM-SHA-256}" + rest.replace(":", ",").replace("$", ",").encode()


@pytest.mark.parametrize("stored", [MADE.written().encode(), AUTH_PASSWORD + MADE.written().encode(), braces(MADE)])
def test_both_spellings_are_read(stored):
    assert ScramVerifier.read(stored) == MADE and scram.spelled(stored)


@pytest.mark.parametrize("stored", [b"wonderland", b"{SSHA}abc", b"SCRAM-SHA-256", b"{CLEAR}SCRAM-SHA-256$1", b""])
def test_other_passwords_are_no_verifiers(stored):
    assert ScramVerifier.read(stored) is None and not scram.spelled(stored)


@pytest.mark.parametrize(
    "stored",
    [
        b"{SCRAM-SHA-256}4096,c2FsdA==",
        b"{SCRAM-SHA-256}4096,c2FsdA==,c2hvcnQ=,c2hvcnQ=",
        b"SCRAM-SHA-256$4096:c2FsdA==$c2hvcnQ=:c2hvcnQ=",
        MADE.written().replace("$4096:", "$2000001:").encode(),
        MADE.written().replace("$4096:", "$0:").encode(),
    ],
)
def test_a_verifier_that_asks_too_much_or_is_cut_is_unusable_and_passed_over(stored):
    with pytest.raises(Unusable):
        ScramVerifier.read(stored)
    assert scram.among([stored, braces(MADE)]) == MADE


def test_among_takes_sha_256_alone():
    other = MADE.written().replace("SCRAM-SHA-256", "SCRAM-SHA-1").encode()
    assert scram.among([other, b"wonderland"]) is None


def test_a_name_without_a_verifier_has_one_salt_for_all_its_spellings_and_each_secret_another():
    salts = {scram.made_up(b"secret", name).salt for name in ("nobody", "Nobody", " NOBODY ")}
    assert len(salts) == 1
    assert scram.made_up(b"secret", "somebody").salt not in salts
    assert scram.made_up(b"other", "nobody").salt not in salts
    assert not scram.made_up(b"secret", "nobody").fits(b"wonderland")


def test_what_is_made_up_looks_like_what_is_made():
    made_up, made = scram.made_up(b"secret", "nobody"), ScramVerifier.make("wonderland")
    assert made_up.iterations == made.iterations and len(made_up.salt) == len(made.salt)


def test_no_text_has_keys_or_salt():
    assert "salt" not in repr(MADE) and "key" not in repr(MADE) and "4096" in repr(MADE)


@given(st.binary(max_size=80))
def test_reading_raises_nothing_else(octets):
    for stored in (octets, b"{SCRAM-SHA-256}" + octets, b"SCRAM-SHA-256$" + octets):
        try:
            ScramVerifier.read(stored)
        except Unusable:
            pass
