"""What a directory says about a password."""

from enum import Enum


class Verdict(Enum):
    """The outcome of Directory.verify.

    RIGHT       the password is the person's and may be used
    WRONG       it is not; also where there is no person, or no password to compare with
    EXPIRED     it is right as far as the directory tells, and too old, or the account has ended
    DISABLED    the directory lets nobody in with this entry, whatever the password
    LOCKED      the same, for a while: too many tries, as the directory counts them
    MUST_CHANGE it is right, and good for nothing but choosing another one

    A directory that cannot tell raises Unreachable instead. A verdict has no truth value: every one of an Enum's
    members would be true, the wrong password's as well, so each place names the one that it means.
    """

    RIGHT = "right"
    WRONG = "wrong"
    EXPIRED = "expired"
    DISABLED = "disabled"
    LOCKED = "locked"
    MUST_CHANGE = "must change"

    def __bool__(self) -> bool:
        raise TypeError("a verdict is compared by name, as in `verdict is Verdict.RIGHT`")
