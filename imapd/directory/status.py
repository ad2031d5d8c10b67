"""Status: what an entry says about whether its person may log in, attribute by attribute.

Each attribute that closes accounts has a reader here, and nothing else is taken for one: a name that the configuration
misspells would leave closed accounts open. A value that cannot be read closes the account as well.

Some things a server knows better than its entry shows: how long a lock lasts that began with too many wrong passwords,
and whether a password has to be changed. `told_by_bind` marks them; where a bind checks the password they are left to
its answer, and where passwords are compared here they count.
"""

import datetime
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

_DAY = 86_400

# Active Directory counts tenths of microseconds from the year 1601.
_FILETIME_SECOND = 10_000_000
_FILETIME_EPOCH = 11_644_473_600
_FILETIME_NEVER = (0, 2**63 - 1)

# draft-behera-ldap-password-policy section 5.3.3: "locked for good"; other times are when a lock began.
_LOCKED_FOR_GOOD = "000001010000Z"

_UAC_ACCOUNT_DISABLED = 0x2


class Status(Enum):
    """Whether the directory lets the person in; an end that lies in the future is not in here, see Person.barred."""

    ACTIVE = "active"
    MUST_CHANGE = "waiting for a new password"
    LOCKED = "locked"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one value says."""

    status: Status = Status.ACTIVE
    expires: int | None = None
    told_by_bind: bool = False


Reader = Callable[[str], Finding]

_OPEN = Finding()
_DISABLED = Finding(Status.DISABLED)


def combine(findings: Iterable[Finding]) -> tuple[Status, int | None]:
    """The worst of all: the last of the statuses, and the earliest end."""
    ranks = list(Status)
    status, expires = Status.ACTIVE, None
    for finding in findings:
        status = max(status, finding.status, key=ranks.index)
        if finding.expires is not None:
            expires = finding.expires if expires is None else min(expires, finding.expires)
    return status, expires


def read(attribute: str, values: Sequence[bytes]) -> Iterable[Finding]:
    """What the values of an attribute say; ValueError where one cannot be read."""
    reader = READERS[attribute.lower()]
    for value in values:
        try:
            yield reader(value.decode("ascii").strip())
        except UnicodeDecodeError:
            raise ValueError("it is not ASCII") from None


def moment(text: str) -> int:
    """A GeneralizedTime (RFC 4517 section 3.3.13) as seconds since the epoch."""
    match = re.fullmatch(r"([0-9]{10})([0-9]{2})?([0-9]{2})?(?:[.,][0-9]+)?(?:Z|([+-])([0-9]{2})([0-9]{2})?)", text)
    if match is None:
        raise ValueError(f"{text[:40]!r} is no time")
    hour, minute, second = match[1], match[2] or "00", match[3] or "00"
    # A leap second is read as the one before it.
    when = datetime.datetime.strptime(hour + minute + min(second, "59"), "%Y%m%d%H%M%S")
    offset = (int(match[5]) * 60 + int(match[6] or 0)) * 60 if match[4] else 0
    seconds = int(when.replace(tzinfo=datetime.UTC).timestamp())
    return seconds + offset if match[4] == "-" else seconds - offset


def _number(text: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,19}", text):
        raise ValueError(f"{text[:40]!r} is no number")
    return int(text)


def _true(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(f"{text[:40]!r} is neither TRUE nor FALSE")
    return text.lower() == "true"


def _locked_time(text: str) -> Finding:
    if text == _LOCKED_FOR_GOOD:
        return Finding(Status.LOCKED)
    moment(text)
    return Finding(Status.LOCKED, told_by_bind=True)


def _pwd_reset(text: str) -> Finding:
    return Finding(Status.MUST_CHANGE, told_by_bind=True) if _true(text) else _OPEN


def _shadow_expire(text: str) -> Finding:
    """Days since the epoch; a negative number means never. 0 is how some sites close an account."""
    days = _number(text)
    return Finding(expires=days * _DAY) if days >= 0 else _OPEN


def _account_control(text: str) -> Finding:
    return _DISABLED if _number(text) & _UAC_ACCOUNT_DISABLED else _OPEN


def _lockout_time(text: str) -> Finding:
    # When the lock began; it stays after the lock has ended, until the next login.
    return Finding(Status.LOCKED, told_by_bind=True) if _number(text) else _OPEN


def _account_expires(text: str) -> Finding:
    ticks = _number(text)
    return _OPEN if ticks in _FILETIME_NEVER else Finding(expires=ticks // _FILETIME_SECOND - _FILETIME_EPOCH)


def _password_last_set(text: str) -> Finding:
    return _OPEN if _number(text) else Finding(Status.MUST_CHANGE, told_by_bind=True)


def _account_status(text: str) -> Finding:
    """qmail-ldap: noaccess takes mail and lets nobody read it; disabled and deleted do neither."""
    return _OPEN if text.lower() == "active" else _DISABLED


def _check_password(text: str) -> Finding:
    """Domino: 0 do not check, 1 check, 2 lock the person out."""
    return _DISABLED if _number(text) == 2 else _OPEN


def _ns_account_lock(text: str) -> Finding:
    return _DISABLED if _true(text) else _OPEN


def _expiration(text: str) -> Finding:
    return Finding(expires=moment(text))


READERS: Mapping[str, Reader] = {
    "pwdaccountlockedtime": _locked_time,
    "pwdreset": _pwd_reset,
    "shadowexpire": _shadow_expire,
    "useraccountcontrol": _account_control,
    "lockouttime": _lockout_time,
    "accountexpires": _account_expires,
    "pwdlastset": _password_last_set,
    "accountstatus": _account_status,
    "checkpassword": _check_password,
    "nsaccountlock": _ns_account_lock,
    "krbprincipalexpiration": _expiration,
}
