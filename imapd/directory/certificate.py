"""A client's certificate, as directories look for it. The only room besides the demonstration that reads X.509.

Nothing is decided here: that the certificate is valid and by an authority that the administrator trusts has been seen
to in the handshake, and whose it is a directory says. Names are values for comparing; whatever becomes part of a
request is escaped where the request is made.
"""

import hashlib
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.x509.oid import ExtensionOID, NameOID


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """A certificate by its octets, and what directories ask of it.

    subject and issuer are texts of RFC 4514, the leaf first. emails: the rfc822Name of the alternative names, in their
    order (RFC 5280 section 4.2.1.6); an address in the subject does not count. common_name: the subject's last one.
    """

    der: bytes = field(repr=False)
    subject: str
    issuer: str
    serial: int
    emails: tuple[str, ...] = ()
    common_name: str | None = None

    @classmethod
    def read(cls, der: bytes) -> "ClientCertificate":
        """Read a certificate; ValueError where it is none, or is malformed."""
        certificate = x509.load_der_x509_certificate(der)
        return cls(
            der=der,
            subject=certificate.subject.rfc4514_string(),
            issuer=certificate.issuer.rfc4514_string(),
            serial=certificate.serial_number,
            emails=_emails(certificate),
            common_name=_common_name(certificate.subject),
        )

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the octets in hexadecimal, for the log."""
        return hashlib.sha256(self.der).hexdigest()


def _emails(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        names = certificate.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME).value
    except x509.ExtensionNotFound:
        return ()
    assert isinstance(names, x509.SubjectAlternativeName)
    return tuple(names.get_values_for_type(x509.RFC822Name))


def _common_name(name: x509.Name) -> str | None:
    found = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    if not found:
        return None
    value = found[-1].value
    return value if isinstance(value, str) else None
