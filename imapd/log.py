"""What the administrator reads: one event, one line.

`setup` is called once by the command line; `event` writes a line of a name and fields, as text (`login user=alice
result=ok`) or as a JSON object. Both kinds of line promise:

1. One event is one line. Every character that is not printable (line ends, escape sequences, bidirectional marks, parts
   of bad UTF-8) is escaped, whoever sent it; a traceback is a field of its line.
2. Fields whose name says that they hold a secret are blanked; nothing here ever looks into messages.

Rooms below server/ write with the standard logger "imapd.<room>"; their lines pass through the same formatters.
"""

import json
import logging
import os
import sys
import time
import traceback

SECRETS = frozenset({"password", "passwords", "secret", "token", "credentials", "response"})

# syslog's levels, which journald reads off the start of a line (sd-daemon(3))
_JOURNAL_LEVELS = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


def setup(level: str = "info", format: str = "text") -> None:
    """Send the lines of all imapd loggers from that level on to standard error, in the format "text" or "json"."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines() if format == "json" else _TextLines(journal="JOURNAL_STREAM" in os.environ))
    logger = logging.getLogger("imapd")
    logger.handlers[:] = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False


def event(logger: logging.Logger, level: int, name: str, /, **fields: object) -> None:
    """Write one event with its fields; fields that are None are left out."""
    if logger.isEnabledFor(level):
        logger.log(level, "%s", name, extra={"imapd_fields": {**fields}})


def escape(text: str) -> str:
    """The text with everything that is not printable, quotation marks and backslashes as escapes."""
    if text.isprintable() and '"' not in text and "\\" not in text:
        return text
    return "".join(_escaped(character) for character in text)


def _escaped(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    if character.isprintable():
        return character
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def _fields(record: logging.LogRecord) -> dict[str, object]:
    fields = {
        key: "***" if key in SECRETS else value
        for key, value in getattr(record, "imapd_fields", {}).items()
        if value is not None
    }
    if record.exc_info and record.exc_info[0] is not None:
        fields["traceback"] = "".join(traceback.format_exception(*record.exc_info))
    return fields


def _plain(value: object) -> object:
    """The value as JSON may hold it."""
    if isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return str(value)


def _stamp(record: logging.LogRecord) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"


class _TextLines(logging.Formatter):
    """`time level event key=value ...`; under the journal, which has time and level itself, only the rest."""

    def __init__(self, journal: bool) -> None:
        super().__init__()
        self.journal = journal

    def format(self, record: logging.LogRecord) -> str:
        parts = [escape(record.getMessage())]
        for key, value in _fields(record).items():
            text = escape(str(_plain(value)))
            parts.append(f"{key}={text}" if text and " " not in text and text.isprintable() else f'{key}="{text}"')
        line = " ".join(parts)
        if self.journal:
            return f"<{_JOURNAL_LEVELS.get(record.levelno, 6)}>{line}"
        return f"{_stamp(record)} {record.levelname.lower()} {line}"


class _JsonLines(logging.Formatter):
    """One JSON object per line, ASCII only, so that nothing needs escaping but what JSON escapes."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {"time": _stamp(record), "level": record.levelname.lower()}
        line["event" if hasattr(record, "imapd_fields") else "message"] = record.getMessage()
        line["logger"] = record.name
        line["pid"] = record.process
        for key, value in _fields(record).items():
            line.setdefault(key, _plain(value))
        return json.dumps(line)
