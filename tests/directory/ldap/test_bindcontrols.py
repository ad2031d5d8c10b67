"""What servers say beside a bind, octet for octet as OpenLDAP, 389-ds and Active Directory say it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imapd.directory.bindcontrols import POLICY, Policy, policy, verdict
from imapd.directory.verdict import Verdict

EXPIRED = "2.16.840.1.113730.3.4.4"


@pytest.mark.parametrize(
    ("octets", "read"),
    [
        ("3000", Policy()),
        ("", Policy()),
        ("3003810100", Policy(error=0)),
        ("3003810101", Policy(error=1)),
        ("3003810102", Policy(error=2)),
        ("308400000003810101", Policy(error=1)),  # 389-ds: the length in four octets
        ("3005a003800105", Policy(expires=5)),
        ("3005a003810102", Policy(grace=2)),
        ("308400000009a08400000003800105", Policy(expires=5)),
        ("300aa0058003012345810100", Policy(error=0, expires=0x012345)),
    ],
)
def test_the_policy_control_is_read_with_short_and_long_lengths(octets, read):
    assert policy(bytes.fromhex(octets)) == read


BROKEN = [
    "30",
    "3003",
    "300381",
    "04",
    "0400",
    "30800000",
    "3085000000000381",
    "30038101",
    "30028100",
    "300000",
    "3081",
]


@pytest.mark.parametrize("octets", BROKEN)
def test_a_broken_control_is_no_answer(octets):
    with pytest.raises(ValueError):
        policy(bytes.fromhex(octets))


@given(st.binary(max_size=40))
def test_any_octets_are_a_policy_or_a_value_error(octets):
    try:
        assert isinstance(policy(octets), Policy)
    except ValueError:
        pass


def windows(data):
    return f"80090308: LdapErr: DSID-0C090439, comment: AcceptSecurityContext error, data {data}, v4563\0"


@pytest.mark.parametrize(
    ("code", "text", "controls", "said"),
    [
        (0, "", {}, Verdict.RIGHT),
        (0, "", {POLICY: "3005a003810102"}, Verdict.RIGHT),  # a login by grace
        (0, "", {POLICY: "3003810102"}, Verdict.MUST_CHANGE),
        (0, "", {POLICY: "308400000003810102"}, Verdict.MUST_CHANGE),
        (0, "", {EXPIRED: ""}, Verdict.MUST_CHANGE),
        (0, "", {POLICY: "3003810101"}, Verdict.LOCKED),
        (49, "", {}, Verdict.WRONG),
        (49, "", {POLICY: "3000"}, Verdict.WRONG),
        (49, "", {POLICY: "3003810100"}, Verdict.EXPIRED),
        (49, "", {POLICY: "3003810101"}, Verdict.LOCKED),
        (49, "password expired!", {EXPIRED: "30"}, Verdict.EXPIRED),
        (49, windows("52e"), {}, Verdict.WRONG),
        (49, windows("525"), {}, Verdict.WRONG),
        (49, windows("530"), {}, Verdict.DISABLED),
        (49, windows("532"), {}, Verdict.EXPIRED),
        (49, windows("533"), {}, Verdict.DISABLED),
        (49, windows("701"), {}, Verdict.EXPIRED),
        (49, windows("773"), {}, Verdict.MUST_CHANGE),
        (49, windows("775"), {}, Verdict.LOCKED),
        (49, "data 775", {}, Verdict.WRONG),
        (53, "Account inactivated. Contact system administrator.", {}, Verdict.DISABLED),
        (19, "Exceed password retry limit", {}, Verdict.LOCKED),
        (32, "", {}, Verdict.WRONG),
        (34, "", {}, Verdict.WRONG),
        (48, "", {}, Verdict.WRONG),
        *[(code, "", {}, None) for code in (1, 2, 3, 4, 7, 8, 10, 11, 13, 14, 50, 51, 52, 80, 4711)],
    ],
)
def test_a_result_means_what_its_server_means(code, text, controls, said):
    assert verdict(code, text, {name: bytes.fromhex(value) for name, value in controls.items()}) is said


def test_a_success_beside_a_broken_control_is_no_success():
    with pytest.raises(ValueError):
        verdict(0, "", {POLICY: b"\x30"})
