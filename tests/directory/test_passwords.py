"""Stored passwords: every scheme with hashes that other programs made, hostile ones, and the limits.

The values were made with openssl (passwd, dgst, kdf), perl's crypt, scramp and the argon2 of the cryptography package.
"""

import base64
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imapd.directory import passwords, scram
from imapd.directory.passwords import Unusable, check, slow, verify
from imapd.directory.scram import ScramVerifier

PASSWORD = b"wonderland"

_SALT = "c2l4dGVlbi1ieXRlLXNsdA=="
_AB64 = "c2l4dGVlbi1ieXRlLXNsdA"
_STORED = "zwrGDhYnFX1JzyN0E4NEA8hs9QX6GO79tCNjxTX1uQ4="
_SERVER = "LuEJjzbD8tK3b4rVT385T+5Jz304TEc0P0jjnUWW+4M="
_CRYPT6 = "$6$saltsalt$pqxtaP8VN9msji06dnBCbUbaSGTOXyo9jZDqZxik1rPexoqRIW4UKuiD0ZHZchCSd7S4/HoRU8bcFbnz2ihUr."
_YESCRYPT = "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$FF5wSyW3ppJyReaMmYcg7xuMDUTxzbBuNKjU11.3UI4"
_PBKDF2_512 = "7Vm3kNefMaJFdDT0Ub+hQL1i7Ms2zMYHIHrrek/2LCRzA1orbPhg5cx0G5Pq1WKZu58qdWpR6GfzWCyNtrvVWQ=="
_389 = (
    "AAAD6HNzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3NKkkU9L1B6j4RfHfZRqE"
    "qKR5x+C4ZfBWQz/pw8+6jpJyBAkH1UP7n8bZeHvQ4XRpLXdW7wSjvvbmsvntXumBClxR9HdOCttqTwaCY8HUrwvnkq+eworleKMn2+44wC0PwV"
    "d2KsJQ0IFPeQzyEKD9dKFzEHp2770YhXkj3bE5SOcCRb3+WGSbpcYCyZhnzkCekunOlUo7SMuR+GL/ppo0fO8ymir39bQFhRDObGcJzLlUM8S0"
    "UZTrp7e491mb5moC17ZzY6X7+sWZmPt8wJkhXcZgkk8hbxOi1ibgLAamphyfZylakJcU1mcghNZrgDa9v8VMRM1epycDrCUW1deOhD"
)

STORED = {
    "clear": "wonderland",
    "cleartext": "{CLEARTEXT}wonderland",
    "SHA": "{SHA}tiY7sUhYKUwI5L3866kDY+ENcrQ=",
    "SSHA": "{SSHA}XcU7ZD+ozcY0NqLtsKNvy+uzXtpzYWx0c2FsdA==",
    "lower case": "{ssha}XcU7ZD+ozcY0NqLtsKNvy+uzXtpzYWx0c2FsdA==",
    "SHA256": "{SHA256}pxp8cBH1OhurNkLsLOElk/BSMKzo3h4+dkX2nvrBRD0=",
    "SSHA256": "{SSHA256}l5RjoiBC4NpN2li/wOSo2hRdoeHWWU/LcvTspHMJ6epzYWx0c2FsdA==",
    "SHA384": "{SHA384}QtDE5HkzMdwwDRiDC02dhrUTwZJXTC1aGF/m2zAh5jggcpKWI4X5QwevNBIzCeiD",
    "SSHA384": "{SSHA384}MS+MfDBvAgoXdMNyIXEYNqizZAcztCesJ1eFNcALum/jlzB3j69axP1ZkvS3l6DCc2FsdHNhbHQ=",
    "SHA512": "{SHA512}ku0fDfoQrWtagdEFYHEbjQ9c9VgiIcfBTHy9WUlYxzC0akkZeapved5X1TI3/zY9iEZNFBBxylKvMcYzgvbHpg==",
    "SSHA512": "{SSHA512}2LejbFXDKLjMKP5Xktbv2hrl0Oid8v2qPekUzpXXK9LVwpagU0cMIw3bVHk/z/fiK3Sk991vEIkiGCpBDOUnzHNh"
    "bHRzYWx0",
    "PBKDF2": f"{{PBKDF2}}1000${_AB64}$fxU5KIL.c7bEVGyyIm5YPjve30M",
    "PBKDF2-SHA256": f"{{PBKDF2-SHA256}}1000${_AB64}$SYm1I4w/SojuYF9LBH28Oir9LuPIXHMfr3nf.8WlhdY",
    "PBKDF2-SHA512": f"{{PBKDF2-SHA512}}1000${_AB64}${_PBKDF2_512.replace('+', '.').rstrip('=')}",
    "PBKDF2-SHA512 in usual base64": f"{{PBKDF2-SHA512}}1000${_SALT}${_PBKDF2_512}",
    "PBKDF2_SHA256 of 389-ds": f"{{PBKDF2_SHA256}}{_389}",
    "argon2id": f"{{ARGON2}}$argon2id$v=19$m=1024,t=2,p=1${_AB64}$QvMi+o9k3c9Yy18m6Obb2D5tOwQK5d4c40EI9OHDXO0",
    "argon2i": f"{{ARGON2}}$argon2i$v=19$m=1024,t=2,p=1${_AB64}$cRpiezpF733f3o+lE1/bGju0U+4c6DByy6VkujG0VSk",
    "sha512-crypt": "{CRYPT}" + _CRYPT6,
    "sha512-crypt with rounds": "{CRYPT}" + _CRYPT6.replace("$6$", "$6$rounds=5000$", 1),
    "sha256-crypt": "{CRYPT}$5$saltsalt$IeaomH1t0t79ShF5t59ZywXLL/dm2jA/3vpoR6EMo74",
    "yescrypt": "{CRYPT}" + _YESCRYPT,
    "bcrypt 2b": "{CRYPT}$2b$04$abcdefghijklmnopqrstuujZkTwHUiJ9XdZPwKfcfDo7dMp5DjlTu",
    "bcrypt 2y": "{CRYPT}$2y$05$abcdefghijklmnopqrstuuA0vov2GDneHB3.8.cv9UF9g.RdvScIW",
    "SCRAM of RFC 5803": f"SCRAM-SHA-256$4096:{_SALT}${_STORED}:{_SERVER}",
    "SCRAM with spaces (RFC 3112)": f"{{authPassword}} SCRAM-SHA-256 $ 4096:{_SALT} $ {_STORED}:{_SERVER} ",
    "SCRAM in userPassword": f"{{SCRAM-SHA-256}}4096,{_SALT},{_STORED},{_SERVER}",
    "SCRAM-SHA-512": f"{{SCRAM-SHA-512}}4096,{_SALT},Xk3ltqgVUYfF+N/+5wjPk7acAzpd7GV/I06lCQcA3qIIpTlT91Z1s68O0kujMCPlJXMQ+kUd"
    "8w4CFit4TYbyQQ==,P85Z/ihEcnRH8CLzUi8dCcmaiNLejh8v+KNu38UicAWaO1t4zkXaNy/PS58XJu3ROPFPGgWCJTnmfWadw/w8DA==",
}


@pytest.mark.parametrize("stored", STORED.values(), ids=STORED)
def test_the_right_password_is_right_and_others_are_wrong(stored):
    assert check(stored.encode(), PASSWORD)
    for wrong in (b"Wonderland", b"wonderlan", b"wonderland ", b"wonderland\0", b"", b"\xff\xfe", stored.encode()):
        if wrong == stored.encode() == PASSWORD:
            continue
        assert not check(stored.encode(), wrong)


def test_the_salt_is_not_part_of_the_password():
    assert not check(STORED["SSHA"].encode(), b"wonderlandsaltsalt")


def test_the_example_of_rfc_7677():
    stored = (
        b"SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="
        b":wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
    )
    assert check(stored, b"pencil") and not check(stored, b"pencils")


def test_scram_prepares_what_was_typed():
    # Made by scramp of "pass<soft hyphen>word <roman nine>", which RFC 4013 prepares to "password IX".
    stored = f"SCRAM-SHA-256$4096:{_SALT}$vgHemyTbxndgzedOFENAVKQ4AtGMHna2IJeuokHcSYY=:3oWbHcIyLbml52Q82NNbON9P02hfAF5Ea4pzuBmt3CA="
    assert check(stored.encode(), "pass\u00adword \u2168".encode())
    assert check(stored.encode(), b"password IX")


def test_a_verifier_that_another_program_made_without_preparing_is_right_too():
    raw = "\u2168".encode()
    keys = scram.keys("sha256", raw, b"salt", 1000)
    stored = "{SCRAM-SHA-256}1000," + ",".join(base64.b64encode(part).decode() for part in (b"salt", *keys))
    assert check(stored.encode(), raw)


@given(st.text(alphabet=st.characters(codec="utf-8", categories=["L", "N", "P", "S"]), min_size=1, max_size=30))
def test_a_new_verifier_fits_its_password(password):
    try:
        stored = ScramVerifier.make(password, iterations=2).written().encode()
    except ValueError:
        return
    assert check(stored, password.encode())
    assert not check(stored, password.encode() + b"x")


def test_a_new_verifier_has_the_form_of_rfc_5803():
    assert ScramVerifier.make("wonderland", 4096, b"sixteen-byte-slt").written() == STORED["SCRAM of RFC 5803"]
    assert ScramVerifier.make("wonderland") != ScramVerifier.make("wonderland")
    assert "$10000:" in ScramVerifier.make(b"wonderland").written()


@pytest.mark.parametrize("password", ["", "\u00ad", "a\0b", "a\nb", "\ud800", "\u0627a"])
def test_no_verifier_is_made_of_what_cannot_be_typed(password):
    with pytest.raises(ValueError):
        ScramVerifier.make(password)


# RFC 4013 section 3.
PREPARED = [
    ("I\u00adX", "IX"),
    ("user", "user"),
    ("USER", "USER"),
    ("\u00aa", "a"),
    ("\u2168", "IX"),
    ("a\u00a0b", "a b"),
]


@pytest.mark.parametrize(("text", "prepared"), PREPARED)
def test_the_examples_of_saslprep(text, prepared):
    assert scram.saslprep(text) == prepared


@pytest.mark.parametrize("text", ["\u0007", "\u0627\u0031", "\u0221"])
def test_saslprep_refuses(text):
    with pytest.raises(ValueError):
        scram.saslprep(text)


UNUSABLE = {
    "unknown scheme": "{ROT13}jbaqreynaq",
    "MD5 is off": "{MD5}Xr4ilOzQ4PCOq3aQ0qbuaQ==",
    "md5-crypt is off": "{CRYPT}$1$abc$VG9TWe9gKEahQCIfXs096.",
    "DES crypt is off": "{CRYPT}abbIw0V4oaGvc",
    "crypt of nothing": "{CRYPT}",
    "locked crypt": "{CRYPT}*",
    "bang": "{CRYPT}!" + _CRYPT6,
    "not base64": "{SSHA}!!!!",
    "SSHA without a salt": "{SSHA}tiY7sUhYKUwI5L3866kDY+ENcrQ=",
    "SHA with a salt": "{SHA}XcU7ZD+ozcY0NqLtsKNvy+uzXtpzYWx0c2FsdA==",
    "empty SSHA": "{SSHA}",
    "PBKDF2 pieces": "{PBKDF2-SHA256}1000$abcd",
    "PBKDF2 iterations": f"{{PBKDF2-SHA256}}many${_AB64}$SYm1I4w/SojuYF9LBH28Oir9LuPIXHMfr3nf.8WlhdY",
    "PBKDF2 zero": f"{{PBKDF2-SHA256}}0${_AB64}$SYm1I4w/SojuYF9LBH28Oir9LuPIXHMfr3nf.8WlhdY",
    "PBKDF2 key": f"{{PBKDF2-SHA256}}1000${_AB64}$",
    "PBKDF2 bomb": f"{{PBKDF2-SHA256}}2000001${_AB64}$SYm1I4w/SojuYF9LBH28Oir9LuPIXHMfr3nf.8WlhdY",
    "PBKDF2 long key bomb": f"{{PBKDF2-SHA256}}1000000${_AB64}${'A' * 256}",
    "389 length": "{PBKDF2_SHA256}AAAD6HNz",
    "389 bomb": "{PBKDF2_SHA256}" + base64.b64encode(b"\xff" * 324).decode(),
    "argon2 memory bomb": f"{{ARGON2}}$argon2id$v=19$m=4194304,t=1,p=1${_AB64}$QvMi+o9k3c9Yy18m6Obb2D5tOwQK5d4c40EI9OHDXO0",
    "argon2 time bomb": f"{{ARGON2}}$argon2id$v=19$m=1024,t=4000000,p=1${_AB64}$QvMi+o9k3c9Yy18m6Obb2D5tOwQK5d4c40EI9OHDXO0",
    "argon2 lanes bomb": f"{{ARGON2}}$argon2id$v=19$m=65536,t=1,p=8192${_AB64}$QvMi+o9k3c9Yy18m6Obb2D5tOwQK5d4c40EI9OHDXO0",
    "argon2 nonsense": "{ARGON2}$argon2id$v=19$m=x,t=1,p=1$a$b",
    "argon2 empty": "{ARGON2}",
    "sha-crypt bomb": "{CRYPT}" + _CRYPT6.replace("$6$", "$6$rounds=999999999$", 1),
    "bcrypt bomb": "{CRYPT}$2b$31$abcdefghijklmnopqrstuujZkTwHUiJ9XdZPwKfcfDo7dMp5DjlTu",
    "bcrypt short": "{CRYPT}$2b$04$abc",
    "yescrypt bomb": "{CRYPT}" + _YESCRYPT.replace("$j9T$", "$jHT$"),
    "yescrypt extras": "{CRYPT}" + _YESCRYPT.replace("$j9T$", "$j9T/0$"),
    "yescrypt short": "{CRYPT}$y$j$x",
    "SCRAM pieces": "{SCRAM-SHA-256}4096,abc",
    "SCRAM bomb": f"{{SCRAM-SHA-256}}2000001,{_SALT},{_STORED},{_SERVER}",
    "SCRAM empty salt": f"{{SCRAM-SHA-256}}4096,,{_STORED},{_SERVER}",
    "SCRAM short keys": f"{{SCRAM-SHA-256}}4096,{_SALT},AAAA,AAAA",
    "authPassword of MD5": "{authPassword}MD5$salt$hash",
    "not ASCII": "{CRYPT}$6$é$x",
}


@pytest.mark.parametrize("stored", UNUSABLE.values(), ids=UNUSABLE)
def test_what_cannot_be_used_is_wrong_with_one_line_of_log(stored, caplog):
    with pytest.raises(Unusable):
        check(stored.encode(), PASSWORD)
    with caplog.at_level(logging.DEBUG):
        assert verify(stored.encode(), PASSWORD) is False
    assert len(caplog.records) == 1
    assert "wonderland" not in caplog.text and stored not in caplog.text


def test_a_value_of_authpassword_is_never_a_clear_password():
    assert not verify(b"{authPassword}MD5$salt$hash", b"MD5$salt$hash")


def test_an_empty_stored_password_fits_nothing():
    assert not verify(b"", b"") and not verify(b"", b"x") and not verify(b"{CLEARTEXT}", b"")


def test_only_real_hashes_belong_into_the_pool():
    quick = {name for name, stored in STORED.items() if not slow(stored.encode())}
    assert quick == {
        "clear", "cleartext", "SHA", "SSHA", "lower case", "SHA256", "SSHA256", "SHA384", "SSHA384", "SHA512", "SSHA512"
    }  # fmt: skip


def test_bcrypt_looks_at_72_octets_as_everywhere():
    import bcrypt

    stored = b"{CRYPT}" + bcrypt.hashpw(b"x" * 72, bcrypt.gensalt(4))
    assert check(stored, b"x" * 80)


def test_the_dummy_is_a_usable_verifier_that_nothing_fits():
    assert slow(passwords.dummy_verifier())
    assert check(passwords.dummy_verifier(), b"x") is False


@given(st.binary(max_size=200), st.binary(max_size=40))
def test_any_octets_are_wrong_or_unusable(stored, password):
    for prefix in (b"", b"{CRYPT}", b"{CRYPT}$y$", b"{ARGON2}$argon2id$", b"{authPassword}", b"{PBKDF2-SHA256}1$"):
        try:
            right = check(prefix + stored, password)
        except Unusable:
            continue
        assert not right or prefix + stored == password
