"""Flags in their three spellings: words, bits of a mask, and letters in the name of a file.

A mask has the system flags in its bits 0 to 4, in the order of model/flags.SYSTEM_FLAGS, and the keyword number i of
the mailbox in bit 8 + i. The index keeps which keyword has which number, at most 56 of them. In file names the system
flags are the letters R F T S D, and a keyword is the letter a to z that the folder's file `dovecot-keywords` gives it,
a line "<number> <keyword>" for each. That file is written as Dovecot writes it and read again each time, since Dovecot
may have written it meanwhile. A keyword beyond the 26th has no letter and lives in the index alone.
"""

import os
import stat
from collections.abc import Iterable, Sequence
from typing import Final

from imapd.mailstore import maildir
from imapd.mailstore.errors import LimitExceeded
from imapd.model.flags import RECENT, SYSTEM_FLAGS

KEYWORDS: Final = 56
FIRST_KEYWORD: Final = 8
DELETED: Final = 1 << SYSTEM_FLAGS.index("\\Deleted")
SEEN: Final = 1 << SYSTEM_FLAGS.index("\\Seen")
_SYSTEM_BITS: Final = {flag: 1 << bit for bit, flag in enumerate(SYSTEM_FLAGS)}
_SYSTEM_LETTERS: Final = dict(zip(b"RFTSD", _SYSTEM_BITS.values(), strict=True))
_FILE: Final = b"/dovecot-keywords"
_LETTERS: Final = 26
_LONGEST_FILE: Final = 64 * 1024
_LOCK_STALE: Final = 120  # seconds; Dovecot's own figure for a dotlock that nobody touches


class FlagNames:
    """The flags of one mailbox during one write. `added` has the keywords that got a number in it."""

    def __init__(self, folder: bytes, keywords: Sequence[str], now: float, mode: int) -> None:
        self._folder = folder
        self._now = now
        self._mode = mode
        self.keywords = list(keywords)
        self.added: list[tuple[int, str]] = []
        self._bits = {keyword.lower(): number for number, keyword in enumerate(keywords)}
        self._letters: dict[int, str] | None = None

    def mask(self, flags: Iterable[str], create: bool = True) -> int:
        """The bits of flags; new keywords get a number (or with create=False no bit). Raises LimitExceeded."""
        mask = 0
        for flag in flags:
            if flag in _SYSTEM_BITS:
                mask |= _SYSTEM_BITS[flag]
            elif not flag.startswith("\\") and flag != RECENT:
                mask |= self._keyword(flag, create)
        return mask

    def _keyword(self, keyword: str, create: bool) -> int:
        number = self._bits.get(keyword.lower())
        if number is None:
            if not create:
                return 0
            number = len(self.keywords)
            if number >= KEYWORDS:
                raise LimitExceeded(f"A mailbox can have {KEYWORDS} different keywords, and this one has them.")
            self.keywords.append(keyword)
            self.added.append((number, keyword))
            self._bits[keyword.lower()] = number
        return 1 << FIRST_KEYWORD + number

    def mask_of_letters(self, letters: bytes) -> int:
        """The bits of the letters in a file name; letters that mean nothing give none."""
        mask = 0
        for letter in letters:
            if letter in _SYSTEM_LETTERS:
                mask |= _SYSTEM_LETTERS[letter]
            elif 0x61 <= letter <= 0x7A and (keyword := self._table().get(letter - 0x61)):
                known = keyword.lower() in self._bits
                mask |= self._keyword(keyword, known or len(self.keywords) < KEYWORDS)
        return mask

    def letters(self, mask: int, before: bytes) -> bytes:
        """The letters of a mask; of those the file had `before`, the ones we do not know are kept."""
        letters = [letter for letter, bit in _SYSTEM_LETTERS.items() if mask & bit]
        table = self._table() if mask >> FIRST_KEYWORD or any(0x61 <= old <= 0x7A for old in before) else {}
        letters += [old for old in before if old not in _SYSTEM_LETTERS and (old - 0x61) not in table]
        if mask >> FIRST_KEYWORD:
            words = [word for number, word in enumerate(self.keywords) if mask >> FIRST_KEYWORD + number & 1]
            letters += self._keyword_letters(words)
        return bytes(letters)

    def say(self, letters: bytes, mask: int) -> bool:
        """Whether the letters of a file name say what a mask says, as far as letters can. Reads only."""
        written = {word.lower() for word in self._table().values()} if mask >> FIRST_KEYWORD else set()
        spoken = sum(_SYSTEM_BITS.values())
        for number, word in enumerate(self.keywords):
            if word.lower() in written:
                spoken |= 1 << FIRST_KEYWORD + number
        return self.mask_of_letters(letters) == mask & spoken

    def _keyword_letters(self, words: list[str]) -> list[int]:
        table = self._table()
        numbers = {word.lower(): number for number, word in table.items()}
        missing = [word for word in words if word.lower() not in numbers]
        free = [number for number in range(_LETTERS) if number not in table]
        if missing and free:
            fresh = dict(zip(free, missing, strict=False))
            if _write_table(self._folder, table | fresh, self._now, self._mode):
                table.update(fresh)
                numbers |= {word.lower(): number for number, word in fresh.items()}
        return [0x61 + numbers[word.lower()] for word in words if word.lower() in numbers]

    def _table(self) -> dict[int, str]:
        if self._letters is None:
            self._letters = _read_table(self._folder)
        return self._letters


def _read_table(folder: bytes) -> dict[int, str]:
    try:
        fd = maildir.open_message(folder + _FILE)
    except FileNotFoundError:
        return {}
    try:
        lines = os.read(fd, _LONGEST_FILE).splitlines()
    finally:
        os.close(fd)
    table: dict[int, str] = {}
    for line in lines:
        number, _, word = line.partition(b" ")
        if number.isdigit() and int(number) < _LETTERS and _is_keyword(word):
            table.setdefault(int(number), word.decode("ascii"))
    return table


def _is_keyword(word: bytes) -> bool:
    """Whether it is an IMAP atom (RFC 9051 section 9, flag-keyword)."""
    return bool(word) and all(0x20 < octet < 0x7F and octet not in b'(){%*"\\]' for octet in word)


def _write_table(folder: bytes, table: dict[int, str], now: float, mode: int) -> bool:
    """Write the table under Dovecot's dotlock, which is the new file itself; False where that cannot be done now."""
    lock = folder + _FILE + b".lock"
    try:
        if now - os.lstat(lock).st_mtime > _LOCK_STALE:
            os.unlink(lock)
    except FileNotFoundError:
        pass
    data = b"".join([b"%d %s\n" % (number, word.encode("ascii")) for number, word in sorted(table.items())])
    try:
        maildir.write_whole(folder + _FILE, data, lock, mode & (stat.S_IRWXU | stat.S_IRWXG))
    except (OSError, UnicodeEncodeError):
        return False  # the keyword is in the index, which is what counts; a later change of flags tries again
    return True
