"""`imapd demo`: a server with sample mail on this machine, to try things out.

Everything lies in one folder: the configuration, the people, a certificate made for the occasion, the mail. What is
there already stays as it is, so that a second start goes on where the first one ended.
"""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import mailbox
import os
import time

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from imapd.demomail import sample_mail
from imapd.mailstore.diskname import directory_of
from imapd.model.names import encode_wire

PASSWORD = "demo"  # noqa: S105 - it is printed for everyone to see

PEOPLE = (
    ("anna", "Anna Lindqvist", "Anna", "Lindqvist"),
    ("ben", "Ben Okafor", "Ben", "Okafor"),
    ("chiara", "Chiara Moretti", "Chiara", "Moretti"),
)

CONFIGURATION = """\
# Written by `imapd demo`; change it as you like, the next start keeps it.
[service]
workers = 2
state_directory = state

[listeners]
  [[imap]]
  address = 127.0.0.1
  port = {port}
  security = starttls
  plaintext_login = yes    # for this machine alone
  [[imaps]]
  address = 127.0.0.1
  port = {tls_port}
  security = tls

[tls]
certificate = tls/cert.pem
key = tls/key.pem

[directories]
  [[demo]]
  type = ldif
  file = people.ldif

[mail]
root = mail
create = yes
"""

_MBOX_FLAGS = {"S": "RO", "F": "F", "R": "A", "T": "D", "D": "T"}

WELCOME = """\
This is imapd with sample mail. People: {people}; the password of each is "{password}".

  IMAP, STARTTLS offered      127.0.0.1 port {port}
  IMAP in TLS                 127.0.0.1 port {tls_port}   (the certificate is self-signed: let your program accept it)

With a mail program: an IMAP account, server 127.0.0.1, port {tls_port}, SSL/TLS, user anna, password {password}.
With mutt:           mutt -f imaps://anna@127.0.0.1:{tls_port}/
With curl:           curl -k -u anna:{password} imaps://127.0.0.1:{tls_port}/
With openssl:        openssl s_client -quiet -crlf -connect 127.0.0.1:{tls_port}      and type:  a login anna {password}
With Python:         python3 -c 'import imaplib; m = imaplib.IMAP4("127.0.0.1", {port}); print(m.login("anna", "{password}"), m.select(), m.fetch("1:*", "FLAGS"))'

The files: {folder}/imapd.ini, people.ldif, and the mail below mail/; put a file into mail/anna/new and see it arrive.
Anna has a Maildir, Ben an mbox.
Ctrl-C ends it.
"""  # noqa: E501 - a command that one copies stands on one line


def prepare(folder: str, port: int, tls_port: int) -> str:
    """Write what is missing of the demonstration; returns the path of its configuration."""
    for part in ("", "tls", "mail"):
        os.makedirs(os.path.join(folder, part), mode=0o700, exist_ok=True)
    configuration = os.path.join(folder, "imapd.ini")
    _write_new(configuration, CONFIGURATION.format(port=port, tls_port=tls_port).encode())
    _write_new(os.path.join(folder, "people.ldif"), _people().encode())
    if not os.path.exists(os.path.join(folder, "tls", "cert.pem")):
        certificate, key = _certificate()
        _write_new(os.path.join(folder, "tls", "key.pem"), key)
        _write_new(os.path.join(folder, "tls", "cert.pem"), certificate)
    if not os.path.exists(os.path.join(folder, "mail", "anna")):
        _deliver_samples(os.path.join(folder, "mail", "anna"))
    if not os.path.exists(os.path.join(folder, "mail", "ben")):
        _deliver_to_mbox(os.path.join(folder, "mail", "ben"))
    return configuration


def welcome(folder: str, port: int, tls_port: int) -> str:
    """What the administrator reads first: who is there, how to connect, where the files lie."""
    names = ", ".join(name for name, *_ in PEOPLE)
    where = os.path.abspath(folder)
    return WELCOME.format(people=names, password=PASSWORD, port=port, tls_port=tls_port, folder=where)


def _write_new(path: str, content: bytes) -> None:
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
    except FileExistsError:
        pass


def _people() -> str:
    base = "dc=example,dc=org"
    entries = [f"dn: {base}\nobjectClass: domain\ndc: example\n"]
    entries.append(f"dn: ou=people,{base}\nobjectClass: organizationalUnit\nou: people\n")
    for uid, full_name, given_name, surname in PEOPLE:
        entries.append(
            f"dn: uid={uid},ou=people,{base}\nobjectClass: inetOrgPerson\nuid: {uid}\ncn: {full_name}\n"
            f"givenName: {given_name}\nsn: {surname}\nmail: {uid}@example.org\nuserPassword: {PASSWORD}\n"
        )
    return "version: 1\n\n" + "\n".join(entries)


def _certificate() -> tuple[bytes, bytes]:
    """A self-signed certificate for this machine, good for a year: (certificate, key), both PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "imapd demonstration")])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=365))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    return (
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )


def _deliver_samples(home: str) -> None:
    """Put the sample mail into a new Maildir, as a delivery agent would."""
    inbox = mailbox.Maildir(home, create=True)
    known = {"INBOX": inbox}
    for sample in sorted(sample_mail(int(time.time())), key=lambda sample: sample.date):
        if sample.mailbox not in known:
            known[sample.mailbox] = mailbox.Maildir(
                os.path.join(home, os.fsdecode(directory_of(sample.mailbox))), create=True
            )
        message = mailbox.MaildirMessage(sample.text)
        message.set_date(sample.date)
        message.set_flags(sample.flags)
        if sample.flags:
            message.set_subdir("cur")
        known[sample.mailbox].add(message)
    with open(os.path.join(home, "subscriptions"), "w", encoding="ascii") as file:
        for name in known:
            file.write(encode_wire(name, utf8=False).decode() + "\n")


def _deliver_to_mbox(path: str) -> None:
    """Put the sample mail of the inbox into a new mbox, as a delivery agent and a mail reader would."""
    with contextlib.closing(mailbox.mbox(path, create=True)) as inbox:
        for sample in sorted(sample_mail(int(time.time())), key=lambda sample: sample.date):
            if sample.mailbox == "INBOX":
                message = mailbox.mboxMessage(sample.text)
                message.set_from("demo@example.org", time.localtime(sample.date))
                message.set_flags("".join(_MBOX_FLAGS.get(flag, "") for flag in sample.flags))
                inbox.add(message)
    os.chmod(path, 0o600)
