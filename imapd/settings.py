"""The table of settings: every name, type, default and sentence of help, declared once.

A section of the configuration file is a frozen dataclass here, a key is one of its fields. The parser and its error
messages, `imapd check`, the sample file and the manual page are all made from these declarations.

A value that this version knows and does not act upon is declared with `later`: where it is switched on, the reader
says so. With `refuse` it stops the daemon, because going on without it would open a door that the administrator
believes to be closed, or serve nobody; without, it is a remark.
"""

from __future__ import annotations

from dataclasses import dataclass

from imapd.declare import Later, inner, required, setting
from imapd.deliverysettings import Delivery, Lmtp
from imapd.kinds import CAPITALS, HOUR, MINUTE, PATH, PORT, SIZE, TEXT, WORDS, WORKERS, YES_NO, choice, duration, whole
from imapd.peoplesettings import Access, Authentication, Directory, Lockout, OAuth


@dataclass(frozen=True)
class Service:
    """The daemon as a whole: who it runs as, its processes and its limits."""

    user: str | None = setting(
        TEXT, None, "The user to run as once the ports are open. Not set: who started it.", example="imapd"
    )
    group: str | None = setting(TEXT, None, "The group to run as. Not set: the user's own group.", example="imapd")
    name: str | None = setting(
        TEXT, None, "The host name that the greeting gives. Not set: the machine's own.", example="imap.example.org"
    )
    aliases: tuple[str, ...] = setting(
        WORDS,
        (),
        "Other names of this server, as people's entries may give them for their mail server, such as Mail1/Acme.",
        example='mail.example.org, "Mail1/Acme"',
    )
    workers: int = setting(WORKERS, 0, "How many processes serve connections; auto is one per processor.")
    state_directory: str | None = setting(
        PATH, None, "A folder for what the daemon has to remember over a restart.", example="/var/lib/imapd"
    )
    control_socket: str | None = setting(
        PATH,
        None,
        "A socket for the administrator's commands to the running daemon, such as imapd auth flush.",
        example="/run/imapd/control.sock",
    )
    max_sessions: int = setting(
        whole(1, 1_000_000),
        10_000,
        "The most connections at a time, over all workers; further ones are told to come later.",
    )
    session_timeout: float = setting(
        duration(30 * MINUTE),
        1800.0,
        "A client that is logged in and silent this long is logged out; RFC 9051 asks for 30 minutes at least.",
    )
    login_timeout: float = setting(
        duration(5, HOUR), 60.0, "A client has this long from the connection to the end of its login."
    )
    shutdown_timeout: float = setting(
        duration(0, HOUR), 10.0, "How long a stop waits for clients to take their BYE before it cuts them off."
    )


@dataclass(frozen=True)
class Listener:
    """One port, or the same port on several addresses, with its own methods."""

    name: str = inner("")
    address: tuple[str, ...] = setting(
        WORDS,
        ("127.0.0.1", "::1"),
        'The addresses to listen on; 0.0.0.0 and "::" are all of them.',
        example='0.0.0.0, "::"',
    )
    port: int = required(PORT, "The port: 143 for IMAP, 993 for IMAP in TLS from the first octet.", example="143")
    status: str = setting(
        choice("enabled", "disabled", "redirect"),
        "enabled",
        "Whether the port serves, is closed, or sends clients to the first port with security = tls.",
    )
    security: str = setting(
        choice("plain", "starttls", "tls"),
        "starttls",
        "plain: no TLS; starttls: TLS when the client asks; tls: TLS from the first octet.",
    )
    name_password: bool = setting(YES_NO, True, "Whether people may log in with name and password here.")
    plaintext_login: bool = setting(
        YES_NO, False, "Whether passwords are taken without TLS; only for a port that others cannot listen in on."
    )
    client_certificate: str = setting(
        choice("no", "optional", "required"),
        "no",
        "Whether people may or must show a client certificate. Whose it is a directory says that is trusted for "
        "certificates; the mechanism EXTERNAL logs in with it.",
    )
    require_both: bool = setting(
        YES_NO, False, "Whether a login takes a required certificate and the password, both of one person."
    )
    enforce_server_access: bool = setting(
        YES_NO, True, "Whether the lists of [access], where they are in force, are asked at this port."
    )
    allow: tuple[str, ...] = setting(
        WORDS,
        (),
        "People, groups and subtrees that may log in here, out of those whom [access] lets in.",
        example='"cn=staff,ou=groups,dc=example,dc=org",',
    )
    deny: tuple[str, ...] = setting(
        WORDS, (), "People, groups and subtrees that may not log in here.", example='"*/Guests/Acme",'
    )
    proxy_protocol: bool = setting(
        YES_NO,
        False,
        "Whether a proxy in front tells the client's address (PROXY protocol).",
        later=Later("the PROXY protocol", refuse=bool),
    )


@dataclass(frozen=True)
class NamedCertificate:
    """A certificate for clients that ask for this host name (SNI)."""

    name: str = inner("")
    certificate: str = required(PATH, "The certificate chain, PEM.")
    key: str = required(PATH, "The private key, PEM.")


@dataclass(frozen=True)
class Tls:
    """Certificates. A subsection [[host.name]] with certificate and key serves clients that ask for that name."""

    certificate: str | None = setting(
        PATH, None, "The server's certificate with its chain, PEM.", example="/etc/imapd/tls/fullchain.pem"
    )
    key: str | None = setting(PATH, None, "The private key of the certificate, PEM.", example="/etc/imapd/tls/key.pem")
    client_ca: str | None = setting(
        PATH,
        None,
        "The authorities whose client certificates are accepted, PEM.",
        example="/etc/imapd/tls/client-ca.pem",
    )
    client_crl: str | None = setting(
        PATH,
        None,
        "Their lists of revoked certificates, PEM, one of each authority; read again at a reload. Once a list is older "
        "than it says no certificate of that authority is accepted.",
        example="/etc/imapd/tls/client-crl.pem",
    )
    minimum_version: str = setting(choice("1.2", "1.3"), "1.2", "The oldest version of TLS that is spoken.")
    ciphers: str | None = setting(
        TEXT,
        None,
        "An OpenSSL cipher list for TLS 1.2. Not set: forward secrecy with authenticated encryption.",
        example='"ECDHE+AESGCM:ECDHE+CHACHA20"',
    )
    names: tuple[NamedCertificate, ...] = inner(())


@dataclass(frozen=True)
class Mail:
    """Where the mail files are, and what is made for new people."""

    root: str = required(PATH, "The folder below which all mail files lie.", example="/var/mail/imapd")
    mail_file: str = setting(
        TEXT, "{short_name}", "The mail file, below root, of people whose entry names none.", example='"{short_name}"'
    )
    format: str = setting(
        choice("auto", "maildir", "mbox"),
        "auto",
        "The format of mail files. auto looks: a file is an mbox, a folder with cur in it a Maildir, a folder with "
        "mbox files in it a tree of mboxes; who has nothing gets a Maildir. With mbox he gets a tree of mboxes, and "
        "Maildirs are refused, as are mboxes with maildir.",
    )
    mbox_locks: tuple[str, ...] = setting(
        choice("fcntl", "dotlock", "dotlock_try", "flock", many=True),
        ("fcntl", "dotlock"),
        "How mboxes are locked against delivery agents and mail readers: by all that these programs use. dotlock_try "
        "is a dotlock that is done without where imapd may not write into the folder.",
        example="fcntl, dotlock",
    )
    mbox_folders: str = setting(
        TEXT,
        "{mail_file}.folders",
        "Where, below root, the other mailboxes and the index lie of people whose mail file is an mbox.",
        example='"{mail_file}.folders"',
    )
    create: bool = setting(
        YES_NO,
        False,
        "Whether what is missing is made: root, the state folder, a person's mail file at the first login.",
    )
    keep_owners: bool = setting(
        YES_NO,
        True,
        "Whether a mail file stays that of the person who used it first, by the unchanging id of his entry, even if "
        "his name is given to somebody else. To give it away, remove the file imapd-owner in it.",
    )
    special_use: tuple[str, ...] = setting(
        choice("drafts", "sent", "trash", "junk", "archive", many=True),
        ("drafts", "sent", "trash", "junk"),
        "The mailboxes made in a new mail file, marked with their use.",
        example="Drafts, Sent, Trash, Junk",
    )
    append_limit: int = setting(
        SIZE, 64 << 20, "The largest message that clients may put into a mailbox.", example="64M"
    )


@dataclass(frozen=True)
class Quota:
    """How much a person may keep: all messages of all mailboxes. What an entry says (quota, quota_messages of
    [[[attributes]]]) stands above these, and what SETQUOTA or `imapd quota` has set above both."""

    default: int | None = setting(
        SIZE, None, "Storage of people whose entry says nothing. Not set, or 0: no limit.", example="5G"
    )
    messages: int | None = setting(
        whole(0, 10**12),
        None,
        "Number of messages of people whose entry says nothing. Not set, or 0: no limit.",
        example="1000000",
    )
    warning: int = setting(
        whole(0, 100),
        90,
        "How full a mail file is, in percent, when mail programs are told to warn of it, once for each connection. 0: "
        "never.",
    )


@dataclass(frozen=True)
class Audit:
    """Looking whether mail files, index and what stands beside them agree, as imapd verify does: in the background,
    one account after the other, all that have been opened here. What is found is told in the log, with what to do."""

    every: float = setting(
        duration(MINUTE),
        168.0 * HOUR,
        "How long after the beginning of a round the next one begins; one that takes longer is followed at once.",
    )
    budget: int = setting(
        SIZE,
        2 << 20,
        "How much is read in a second, the texts of the messages in Maildirs aside. 0: there is no audit.",
        example="2M",
    )
    text_budget: int = setting(
        SIZE,
        0,
        "How much is read in a second of the texts of messages, to compare them with the hashes that imapd repair "
        "--hashes keeps. 0: they are not read.",
        example="1M",
    )


@dataclass(frozen=True)
class Search:
    """Search in the text of messages."""

    index: bool = setting(
        YES_NO,
        False,
        "Whether an index of the text is kept.",
        later=Later("the text index (texts are searched by reading the messages)"),
    )


@dataclass(frozen=True)
class Outbound:
    """The SMTP server that mail programs are told to use; imapd sends no mail itself."""

    smtp_host: str | None = setting(
        TEXT, None, "Its host name.", later=Later("telling mail programs their SMTP server"), example="smtp.example.org"
    )
    smtp_port: int = setting(PORT, 465, "Its port.")
    smtp_security: str = setting(choice("tls", "starttls", "plain"), "tls", "How it is spoken to.")


@dataclass(frozen=True)
class Imap:
    """The protocol."""

    without: tuple[str, ...] = setting(
        CAPITALS, (), "Capabilities that are not offered, with their commands, such as IDLE.", example="IDLE, MOVE"
    )


@dataclass(frozen=True)
class Log:
    """What is written to standard error, or to the journal when systemd runs the daemon."""

    level: str = setting(
        choice("debug", "info", "warning", "error"), "info", "The least important events that are written."
    )
    format: str = setting(choice("text", "json"), "text", "One event is one line, as text or as JSON.")


@dataclass(frozen=True)
class Metrics:
    """Figures for a monitoring system."""

    address: str | None = setting(
        TEXT, None, "The address to give them out on.", later=Later("metrics"), example="127.0.0.1"
    )
    port: int = setting(PORT, 9143, "The port to give them out on.")


# The sections of the file in their order. Those in NAMED hold subsections of the administrator's own names.
SECTIONS: dict[str, type] = {
    "service": Service, "listeners": Listener, "tls": Tls, "authentication": Authentication, "oauth": OAuth,
    "directories": Directory,
    "access": Access, "lockout": Lockout, "mail": Mail, "delivery": Delivery, "lmtp": Lmtp,
    "quota": Quota, "audit": Audit, "search": Search, "outbound": Outbound,
    "imap": Imap, "log": Log, "metrics": Metrics,
}  # fmt: skip
NAMED = {"listeners", "directories"}


@dataclass(frozen=True)
class Settings:
    """A whole configuration, checked. remarks: what is set and not in effect, as sentences with file and line."""

    path: str
    service: Service
    listeners: tuple[Listener, ...]
    tls: Tls
    authentication: Authentication
    oauth: OAuth
    directories: tuple[Directory, ...]
    access: Access
    lockout: Lockout
    mail: Mail
    delivery: Delivery
    lmtp: Lmtp
    quota: Quota
    audit: Audit
    search: Search
    outbound: Outbound
    imap: Imap
    log: Log
    metrics: Metrics
    remarks: tuple[str, ...] = ()
