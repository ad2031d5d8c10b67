"""What the answer to a bind with a user's password means: the result code, and what stands beside it.

Servers say "expired", "locked" or "choose another password" in different places: OpenLDAP and 389-ds in the control of
draft-behera-ldap-password-policy, 389-ds also by a control of Netscape's and by result codes of its own, Active
Directory in the text. A must-change is a success for the protocol (result 0), so the controls are always looked at.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from imapd.directory.verdict import Verdict

# Asked for with every bind; a server that does not know it passes it over.
POLICY = "1.3.6.1.4.1.42.2.27.8.5.1"
# Netscape's "password expired": with a success it means that another one has to be chosen.
_EXPIRED = "2.16.840.1.113730.3.4.4"

_SUCCESS, _INVALID_CREDENTIALS = 0, 49
# draft-behera-ldap-password-policy-10 section 6.2: the errors that say something about a login.
_ERRORS = {0: Verdict.EXPIRED, 1: Verdict.LOCKED, 2: Verdict.MUST_CHANGE}
# Active Directory says it in the text of a 49: "80090308: LdapErr: ..., data 52e, v4563".
_WINDOWS = {
    "530": Verdict.DISABLED,  # not at this time
    "531": Verdict.DISABLED,  # not from this machine
    "532": Verdict.EXPIRED,
    "533": Verdict.DISABLED,
    "701": Verdict.EXPIRED,  # the account
    "773": Verdict.MUST_CHANGE,
    "775": Verdict.LOCKED,
}
_WINDOWS_TEXT = re.compile(r"^8009030[0-9A-F]: .*\bdata ([0-9a-f]{3,4})\b", re.ASCII)
_CODES = {
    19: Verdict.LOCKED,  # constraintViolation: 389-ds, the retry limit is reached
    53: Verdict.DISABLED,  # unwillingToPerform: 389-ds, the account is inactivated
    32: Verdict.WRONG,  # noSuchObject, invalidDNSyntax, inappropriateAuthentication: the entry is gone, or no person's
    34: Verdict.WRONG,
    48: Verdict.WRONG,
}


def verdict(code: int, text: str, controls: Mapping[str, bytes]) -> Verdict | None:
    """What a bind's result says about the password; None where it says nothing. ValueError: a control is broken."""
    error = policy(controls[POLICY]).error if POLICY in controls else None
    if code == _SUCCESS:
        return (
            Verdict.MUST_CHANGE if _EXPIRED in controls else _ERRORS.get(-1 if error is None else error, Verdict.RIGHT)
        )
    if code != _INVALID_CREDENTIALS:
        return _CODES.get(code)
    if error in _ERRORS:
        return _ERRORS[error]
    if _EXPIRED in controls:
        return Verdict.EXPIRED
    if windows := _WINDOWS_TEXT.match(text):
        return _WINDOWS.get(windows[1], Verdict.WRONG)
    return Verdict.WRONG


@dataclass(frozen=True, slots=True)
class Policy:
    """The control's content. error: as numbered in the draft. expires: seconds. grace: logins left."""

    error: int | None = None
    expires: int | None = None
    grace: int | None = None


def policy(value: bytes) -> Policy:
    """Read the control's BER; lengths come short from OpenLDAP and long from 389-ds. ValueError: it is broken.

    PasswordPolicyResponseValue ::= SEQUENCE {
        warning [0] CHOICE { timeBeforeExpiration [0] INTEGER, graceAuthNsRemaining [1] INTEGER } OPTIONAL,
        error   [1] ENUMERATED OPTIONAL }
    """
    if not value:
        return Policy()
    tag, content, rest = _element(value)
    if tag != 0x30 or rest:
        raise ValueError("the password policy control is no sequence")
    error = expires = grace = None
    while content:
        tag, part, content = _element(content)
        if tag == 0xA0:
            tag, number, _ = _element(part)
            if tag == 0x80:
                expires = _number(number)
            elif tag == 0x81:
                grace = _number(number)
        elif tag == 0x81:
            error = _number(part)
    return Policy(error, expires, grace)


def _element(data: bytes) -> tuple[int, bytes, bytes]:
    """The first element's tag and content, and what follows it."""
    if len(data) < 2:
        raise ValueError("the password policy control ends too early")
    size, at = data[1], 2
    if size & 0x80:
        octets = size & 0x7F
        if not 1 <= octets <= 4 or len(data) < 2 + octets:
            raise ValueError("the password policy control has a length that cannot be")
        size, at = int.from_bytes(data[2 : 2 + octets]), 2 + octets
    if len(data) < at + size:
        raise ValueError("the password policy control ends too early")
    return data[0], data[at : at + size], data[at + size :]


def _number(octets: bytes) -> int:
    if not 1 <= len(octets) <= 8:
        raise ValueError("the password policy control has a number that cannot be")
    return int.from_bytes(octets, signed=True)
