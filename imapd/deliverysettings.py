"""The part of the table of settings that says how mail comes in; settings.py has the rest, and the rules."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from imapd.declare import setting
from imapd.kinds import PATH, PORT, SIZE, TEXT, WORDS, YES_NO, Kind, choice


def _separator(text: str) -> str:
    if text.lower() == "none":
        return ""
    if not re.fullmatch(r"[!#$%&'*+/=?^_`{|}~.-]", text):
        raise ValueError(f"'{text}' is not one character that may stand in an address, nor none")
    return text


def _mode(text: str) -> str:
    if not re.fullmatch(r"0?[0-7]{3}", text):
        raise ValueError(f"'{text}' is not a mode, such as 0660")
    return text


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        raise ValueError(f"'{text}' is not a network, such as 192.0.2.0/24") from None


SEPARATOR = Kind("a character, or none", _separator)
MODE = Kind("a mode in octal digits, such as 0660", _mode)
NETWORKS = Kind("networks or addresses, separated by commas", _network, many=True)


@dataclass(frozen=True)
class Delivery:
    """Mail that is put into mailboxes by imapd itself: by the command imapd deliver and by LMTP."""

    separator: str = setting(
        SEPARATOR,
        "+",
        "What stands before the name of a mailbox in an address: anna+lists@example.org goes to Anna's mailbox lists.",
        example="+",
    )
    create: bool = setting(
        YES_NO,
        False,
        "Whether such a mailbox is made where it is missing; if not, the message goes to the INBOX.",
    )
    local_domains: tuple[str, ...] = setting(
        WORDS,
        (),
        "Domains whose addresses are also looked up by the login name before the @, for directories without addresses.",
        example="example.org",
    )
    over_quota: str = setting(
        choice("defer", "bounce"),
        "defer",
        "What is done about mail for a person whose mail file is full: it waits with the sending server, or goes back.",
    )
    closed_accounts: str = setting(
        choice("deliver", "bounce"),
        "deliver",
        "What is done about mail for people whose account is disabled or has expired.",
    )
    message_limit: int = setting(SIZE, 64 << 20, "The largest message that is delivered; 0 is any.", example="64M")


@dataclass(frozen=True)
class Lmtp:
    """The port or socket at which a mail transfer agent delivers by LMTP (RFC 2033)."""

    status: str = setting(choice("enabled", "disabled"), "disabled", "Whether mail is taken by LMTP.")
    socket: str | None = setting(
        PATH, None, "A Unix socket to listen at.", example="/var/spool/postfix/private/imapd-lmtp"
    )
    socket_mode: str = setting(MODE, "0660", "The mode of the socket: who may connect to it.", example="0660")
    socket_group: str | None = setting(
        TEXT, None, "The group that the socket belongs to. Not set: that of the daemon.", example="postfix"
    )
    address: tuple[str, ...] = setting(WORDS, ("127.0.0.1",), "The addresses to listen on, where a port is set.")
    port: int | None = setting(PORT, None, "A port to listen on; not set: none.", example="24")
    networks: tuple[str, ...] = setting(
        NETWORKS, ("127.0.0.0/8", "::1/128"), "From where clients may come to the port."
    )
    starttls: bool = setting(YES_NO, False, "Whether TLS is offered, with the certificate of [tls].")
