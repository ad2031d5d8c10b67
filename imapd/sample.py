"""The sample configuration file and its manual page, printed from the table of settings."""

from __future__ import annotations

import inspect
import textwrap
from typing import Any

import imapd
from imapd import settings as table
from imapd.declare import Declaration, declared
from imapd.kinds import WORKERS, in_words
from imapd.settings import NamedCertificate

HEAD = """\
# imapd.ini: the configuration of imapd. Every setting with its default; `imapd check -c FILE` reads a file and says
# what is wrong with it. Relative paths are relative to this file. A value with a comma, a # or a quote in it is quoted.
"""

# What the sample sets, where a working file needs a choice that no default can make: (section path) -> {key: value}.
CHOSEN: dict[tuple[str, ...], dict[str, str]] = {
    ("service",): {"user": "imapd", "group": "imapd", "state_directory": "/var/lib/imapd"},
    ("listeners", "imap"): {"address": '0.0.0.0, "::"', "port": "143", "security": "starttls"},
    ("listeners", "imaps"): {"address": '0.0.0.0, "::"', "port": "993", "security": "tls"},
    ("tls",): {"certificate": "/etc/imapd/tls/fullchain.pem", "key": "/etc/imapd/tls/key.pem"},
    ("directories", "local"): {"type": "ldif", "file": "/etc/imapd/people.ldif"},
    ("mail",): {"root": "/var/mail/imapd", "create": "yes"},
}


def sample_file() -> str:
    """The text of conf/imapd.ini."""
    blocks = [HEAD]
    for name, kind in table.SECTIONS.items():
        lines = [*_comment(_first_sentence(kind)), f"[{name}]"]
        if name in table.NAMED:
            for index, place in enumerate(place for place in CHOSEN if place[0] == name):
                lines += ["", f"  [[{place[1]}]]", *_keys(place, kind, "  ", explain=index == 0)]
        else:
            lines += _keys((name,), kind, "", explain=True)
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)


def _keys(place: tuple[str, ...], kind: type, indent: str, explain: bool) -> list[str]:
    chosen = CHOSEN.get(place, {})
    lines = []
    for key, (field, declaration) in declared(kind).items():
        if explain:
            lines += ["", *(indent + line for line in _comment(_help(declaration)))]
        if key in chosen:
            lines.append(f"{indent}{key} = {chosen[key]}")
        elif explain:
            lines.append(f"{indent}# {key} = {_shown(declaration, field.default)}")
    return lines


def _help(declaration: Declaration) -> str:
    later = ""
    if declaration.later:
        later = f" Known, and not in effect in this version: {declaration.later.what}."
    return f"{declaration.help} ({declaration.kind.words}){later}"


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(text, 110, break_on_hyphens=False)]


def _first_sentence(kind: type) -> str:
    # cleandoc: Python 3.13 takes the indentation off by itself, older ones do not.
    return inspect.cleandoc(kind.__doc__ or "").split("\n\n")[0].replace("\n", " ")


def _shown(declaration: Declaration, default: Any) -> str:
    if declaration.example is not None:
        return declaration.example
    return written(declaration, default)


def written(declaration: Declaration, value: Any) -> str:
    """A value as it is written in the file."""
    words = declaration.kind.words
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(f'"{word}"' if ":" in word or "," in word else word for word in value) + (
            "," if len(value) == 1 else ""
        )
    if declaration.kind is WORKERS:
        return str(value) if value else "auto"
    if isinstance(value, float) and "duration" in words:
        return in_words(value)
    text = str(value)
    return f'"{text}"' if any(mark in text for mark in ',#"{') else text


# -- the manual page -------------------------------------------------------------------------------------------------

MAN_HEAD = """\
.\\" Printed by `imapd config --man`; edit the table of settings instead.
.TH IMAPD.INI 5 "" "imapd {version}" "File formats"
.SH NAME
imapd.ini \\- configuration of the IMAP server imapd
.SH DESCRIPTION
The file is UTF-8 text with sections in brackets. Keys stand one to a line as
.IR "key = value" .
A # begins a comment. A value with a comma, a # or a quote in it must be quoted; several values are separated by commas.
Relative paths are relative to the file. An unknown section or key is an error that names the file, the line and the
nearest known name.
.PP
.B imapd check \\-c FILE
reads a file and says what is wrong with it. The running daemon reads it again on SIGHUP; a file with errors is refused
and the old settings stay.
"""

MAN_TAIL = """\
.SH EXAMPLE
.nf
{example}
.fi
.SH SEE ALSO
.BR imapd (8)
"""

EXAMPLE = """\
[listeners]
  [[imap]]
  address = 127.0.0.1
  port = 11143
  security = plain
  plaintext_login = yes
[directories]
  [[local]]
  type = ldif
  file = people.ldif
[mail]
root = mail
create = yes"""


def manual_page() -> str:
    """The text of man/imapd.ini.5."""
    parts = [MAN_HEAD.format(version=imapd.__version__)]
    for name, kind in table.SECTIONS.items():
        brackets = f"[{name}] [[name]]" if name in table.NAMED else f"[{name}]"
        parts.append(f".SH {brackets}\n{_roff(_first_sentence(kind))}\n{_man_keys(kind)}")
        if name == "tls":
            parts.append(
                f".SH [tls] [[host.name]]\n{_roff(_first_sentence(NamedCertificate))}\n{_man_keys(NamedCertificate)}"
            )
        if name == "directories":
            parts.append(_man_attributes())
    return "".join([*parts, MAN_TAIL.format(example=_roff(EXAMPLE))])


def _man_keys(kind: type) -> str:
    lines = []
    for key, (field, declaration) in declared(kind).items():
        default = (
            "must be set" if declaration.required else f"default: {written(declaration, field.default) or 'not set'}"
        )
        lines.append(f".TP\n.B {key}\n{_roff(_help(declaration))}\n.br\n{_roff(default[0].upper() + default[1:])}.\n")
    return "".join(lines)


def _man_attributes() -> str:
    from imapd.directory.presets import FIELDS

    return (
        ".SH [directories] [[name]] [[[attributes]]]\n"
        "Which attributes of an entry hold what, where the preset does not fit: one or more names of attributes,\n"
        'the first that is present counts, or a template in quotes such as "{short_name}". The fields are:\n'
        + _roff(", ".join(FIELDS))
        + ".\n.PP\n"
        + _roff(
            "A quota is a number of octets, or 5G and the like, or 1000000S,1000C with a number of messages behind the "
            "comma; 0 is no limit. In the attributes of Exchange (mDBOverQuotaLimit, mDBStorageQuota, "
            "mDBOverHardQuotaLimit) and in cyrus-userquota a number is kilobytes. What cannot be read is logged, and "
            "[quota] counts.\n"
        )
    )


def _roff(text: str) -> str:
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join(f"\\&{line}" if line.startswith((".", "'")) else line for line in escaped.split("\n"))
