"""The table of settings: every name, type, default and sentence of help, declared once.

A section of the configuration file is a frozen dataclass here, a key is one of its fields. The parser and its error
messages, `imapd check`, the sample file and the manual page are all made from these declarations.

A value that this version knows and does not act upon is declared with `later`: where it is switched on, the reader
says so. With `refuse` it stops the daemon, because going on without it would open a door that the administrator
believes to be closed, or serve nobody; without, it is a remark.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import Field, dataclass, field, fields
from typing import Any

from imapd.kinds import (
    CAPITALS,
    DAY,
    DN,
    HOUR,
    MINUTE,
    PATH,
    PLACE,
    PORT,
    SIZE,
    TEXT,
    WORDS,
    WORKERS,
    YES_NO,
    Kind,
    choice,
    duration,
    whole,
)


@dataclass(frozen=True)
class Later:
    """What a later version brings to life.

    applies: whether a value switches it on; refuse: whether that value keeps the daemon from starting.
    """

    what: str
    applies: Callable[[Any], bool] = bool
    refuse: Callable[[Any], bool] = lambda value: False


@dataclass(frozen=True)
class Declaration:
    """What the table says of one key besides its name and default."""

    kind: Kind
    help: str
    required: bool = False
    later: Later | None = None
    example: str | None = None  # what the sample file shows, where the default would not help


def setting(kind: Kind, default: Any, help: str, later: Later | None = None, example: str | None = None) -> Any:
    """Declare a key with a default."""
    return field(default=default, metadata={"declared": Declaration(kind, help, later=later, example=example)})


def required(kind: Kind, help: str, later: Later | None = None, example: str | None = None) -> Any:
    """Declare a key that must be there. (The default None never reaches a reader: the parser insists.)"""
    return field(
        default=None, metadata={"declared": Declaration(kind, help, required=True, later=later, example=example)}
    )


def inner(default: Any) -> Any:
    """A field that is filled by the reader, not by a key."""
    return field(default=default)


def declared(section: type) -> dict[str, tuple[Field[Any], Declaration]]:
    """The keys of a section: name to field and declaration, in the order of the table."""
    return {f.name: (f, f.metadata["declared"]) for f in fields(section) if "declared" in f.metadata}


def _is(*values: Any) -> Callable[[Any], bool]:
    return lambda value: value in values


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
class Authentication:
    """How names and passwords are read."""

    internet_authentication: str = setting(
        choice("fewer", "more"),
        "fewer",
        "Which names are accepted at login. fewer: uid, mail, common name, distinguished name; more: last and "
        "first name too.",
    )
    ambiguity: str = setting(
        choice("refuse", "password-decides"),
        "refuse",
        "What happens where a name fits several people. password-decides: each is asked for the password, three at "
        "most, and their directories count it against them.",
    )
    mechanisms: tuple[str, ...] = setting(
        CAPITALS,
        ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "EXTERNAL", "OAUTHBEARER", "XOAUTH2", "PLAIN", "LOGIN"),
        "The SASL mechanisms that are offered, each where what it needs is there: SCRAM where all directories have "
        "scram = yes, EXTERNAL with a client certificate, OAUTHBEARER and XOAUTH2 with [oauth].",
        example="PLAIN, LOGIN",
    )
    scram_iterations: int = setting(
        whole(4096, 2_000_000),
        10_000,
        "What a name without a SCRAM verifier seems to have; as many as the verifiers of your people have.",
    )
    recheck: float = setting(
        duration(0, 366 * DAY),
        300.0,
        "How often the people who are logged in are looked up again: who is gone, disabled or no longer on the access "
        "lists loses his sessions. 0s: never.",
    )
    failure_delay: float = setting(
        duration(0, 60), 2.0, "How long the answer to a failed login waits, give or take a quarter."
    )
    cache: float = setting(
        duration(0, HOUR),
        300.0,
        "How long a login is remembered, in memory alone, and not asked about again. An old password, or one that the "
        "directory has locked, is good for as long. 0s: never.",
    )
    cache_grace: float = setting(
        duration(0, 7 * DAY),
        0.0,
        "How much longer a remembered login counts where the directory does not answer.",
        example="4h",
    )
    administrators: tuple[str, ...] = setting(
        WORDS,
        (),
        "People, groups and subtrees that may act as anybody (the authorization identity of SASL). It is logged.",
        example='"cn=mail administrators,ou=groups,dc=example,dc=org",',
    )
    other_mail_server: str = setting(
        choice("refuse", "referral", "serve"),
        "refuse",
        "What happens to people whose entry names another mail server: they are refused, told where their mail is "
        "(RFC 2221), or served here.",
    )


@dataclass(frozen=True)
class Directory:
    """A source of people: an LDIF file, or an LDAP directory with one or more servers."""

    name: str = inner("")
    type: str = required(
        choice("ldif", "ldap"),
        "Where the people are: ldif is a file that the daemon reads by itself, ldap is servers that it asks.",
        example="ldif",
    )
    order: int = setting(whole(1, 1000), 1, "The directories are asked in this order.")
    file: str | None = setting(PATH, None, "ldif: the file, as slapadd reads it.", example="/etc/imapd/people.ldif")
    uri: tuple[str, ...] = setting(
        WORDS,
        (),
        "ldap: the servers, all with the same content, in order of preference: ldap://, ldaps://, ldapi://, or "
        "ldap+srv:// and ldaps+srv:// with a domain whose servers DNS names.",
        example="ldaps://ldap1.example.org, ldaps://ldap2.example.org",
    )
    base: str | None = setting(
        DN, None, "ldap: the entry below which people are.", example='"ou=people,dc=example,dc=org"'
    )
    group_base: str | None = setting(
        DN,
        None,
        "ldap: the entry below which groups are. Not set: anywhere in the organization of the base.",
        example='"ou=groups,dc=example,dc=org"',
    )
    canary: str | None = setting(
        DN,
        None,
        "ldap: an entry that the daemon must be able to see; a server that does not show it is taken for one that is "
        "down, not for one that knows nobody.",
        example='"uid=monitor,ou=people,dc=example,dc=org"',
    )
    check_person: str | None = setting(
        TEXT,
        None,
        "ldap: the login name of somebody whom `imapd check` looks up, to see that people are found and have mail.",
        example="anna",
    )
    bind_dn: str | None = setting(
        DN,
        None,
        "ldap: who the daemon is for the directory. Not set: nobody.",
        example='"cn=imapd,ou=services,dc=example,dc=org"',
    )
    bind_password_file: str | None = setting(
        PATH, None, "ldap: a file with the daemon's own password.", example="/etc/imapd/directory.secret"
    )
    sasl: str = setting(
        choice("no", "external"),
        "no",
        "ldap: external has the server know the daemon by its TLS certificate or, on ldapi://, by its user, without a "
        "password.",
    )
    starttls: str = setting(choice("no", "required"), "no", "ldap: whether TLS is asked for on an ldap:// port.")
    tls_ca: str | None = setting(
        PATH,
        None,
        "ldap: the authorities that the servers' certificates must come from. Not set: those of the system.",
        example="/etc/imapd/directory-ca.pem",
    )
    tls_certificate: str | None = setting(
        PATH, None, "ldap: a certificate of the daemon's own, PEM.", example="/etc/imapd/directory-client.pem"
    )
    tls_key: str | None = setting(PATH, None, "ldap: its private key, PEM.", example="/etc/imapd/directory-client.key")
    verify: str = setting(
        choice("bind", "hash"),
        "bind",
        "ldap: how passwords are checked: the server does it, by a bind, or the daemon, which must be allowed to read "
        "stored passwords then, and does not count as a failure with the server.",
    )
    timeout: float = setting(
        duration(1, MINUTE), 4.0, "ldap: how long a question waits for its answer, over all servers."
    )
    connections: int = setting(
        whole(1, 64),
        4,
        "ldap: the most connections of each worker to a server, for searches and as many for passwords.",
    )
    preset: str = setting(
        choice("inetorgperson", "domino", "ad", "qmail", "ipa"),
        "inetorgperson",
        "Which attributes hold what; [[[attributes]]] changes single ones.",
    )
    domains: tuple[str, ...] = setting(
        WORDS, (), "The mail domains that this directory answers for.", example="example.org"
    )
    flat_names: bool | None = setting(
        YES_NO,
        None,
        "Whether it answers for names without a domain. Not set: yes for the first directory only.",
        example="yes",
    )
    naming_rules: tuple[str, ...] = setting(
        WORDS,
        (),
        "Which distinguished names people may have here, by six parts, ou/ou/ou/ou/o/c, of which * is any. Whoever is "
        "found and fits no rule does not get in.",
        example='"*/*/*/*/Acme/*",',
    )
    trusted_for: tuple[str, ...] = setting(
        choice("credentials", "certificates", "groups", many=True),
        ("credentials",),
        "What the directory is believed in: passwords, client certificates, who is in which group. Where none is "
        "trusted for groups, the first one is.",
    )
    mail_prefix: str | None = setting(
        TEXT, None, "A folder below the mail root that the mail files of its people must lie in.", example="partner"
    )
    scram: bool | None = setting(
        YES_NO,
        None,
        "Whether people have verifiers for SCRAM here; the mechanism is offered where all directories say yes. Not "
        "set: for ldif yes where the file has them for everybody, for ldap no.",
        example="yes",
    )
    attributes: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class OAuth:
    """Tokens of an OAuth 2 issuer, for OAUTHBEARER and XOAUTH2; checked with the issuer's public keys alone."""

    issuer: str | None = setting(
        TEXT, None, "What the claim iss of a token has to be.", example="https://login.example.org"
    )
    audience: str | None = setting(TEXT, None, "What its claim aud has to have in it.", example="imap")
    keys: str | None = setting(
        PLACE,
        None,
        "The issuer's set of public keys (JWKS): a file, or an address that begins with https://.",
        example="https://login.example.org/keys",
    )
    claim: str = setting(TEXT, "email", "The claim with the login name.")
    scope: str | None = setting(TEXT, None, "A scope that the token must have.", example="imap")


@dataclass(frozen=True)
class Access:
    """Who may use the service at all: people and groups by their names, branches as in */Sales/Acme, or * for all.

    Who is denied is denied, whatever allows him; where nobody is allowed by name, everybody is.
    """

    enforce: bool = setting(YES_NO, False, "Whether these lists, and those of the listeners, are in force.")
    allow: tuple[str, ...] = setting(
        WORDS,
        (),
        "People, groups and subtrees that may log in.",
        example='"cn=mail users,ou=groups,dc=example,dc=org",',
    )
    deny: tuple[str, ...] = setting(
        WORDS,
        (),
        "People, groups and subtrees that may not.",
        example='"cn=leavers,ou=groups,dc=example,dc=org",',
    )


@dataclass(frozen=True)
class Lockout:
    """Guessing of passwords. Failures count for a person and the client's network; they outlive a restart where there
    is a state_directory. Be this in force or not, a directory hears four wrong passwords of a network at once."""

    enforce: bool = setting(YES_NO, False, "Whether people are locked out after too many failed logins.")
    max_tries: int = setting(
        whole(0, 1000),
        10,
        "How many different wrong passwords lock a person out of the network they came from; 0: none.",
    )
    max_tries_everywhere: int = setting(
        whole(0, 1_000_000),
        100,
        "How many from all networks together lock a person everywhere; 0: none, so that strangers lock nobody out.",
    )
    expiration: float = setting(duration(0), 1800.0, "How long a lock lasts. 0s: until it is lifted.")
    tries_interval: float = setting(duration(1), 900.0, "Failures longer apart than this are not added up.")
    exempt_networks: tuple[str, ...] = setting(
        WORDS,
        (),
        "Networks whose clients are not counted, such as that of a web mail server.",
        example="192.0.2.0/28, 2001:db8:1::/64",
    )


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
        "The format of mail files; auto looks.",
        later=Later("mbox files", refuse=bool, applies=_is("mbox")),
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
    """How much a person may keep."""

    default: int | None = setting(
        SIZE,
        None,
        "Storage of people whose entry says nothing.",
        later=Later("quota", applies=lambda value: value is not None),
        example="5G",
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
    "access": Access, "lockout": Lockout, "mail": Mail, "quota": Quota, "search": Search, "outbound": Outbound,
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
    quota: Quota
    search: Search
    outbound: Outbound
    imap: Imap
    log: Log
    metrics: Metrics
    remarks: tuple[str, ...] = ()
