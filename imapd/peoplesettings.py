"""The part of the table of settings that says who people are, and who of them may come in."""

from __future__ import annotations

from dataclasses import dataclass, field

from imapd.declare import inner, required, setting
from imapd.kinds import CAPITALS, DAY, DN, HOUR, MINUTE, PATH, PLACE, TEXT, WORDS, YES_NO, choice, duration, whole


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
