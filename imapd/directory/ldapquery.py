"""What an LDAP directory is asked for: filters for names, certificates, ids and groups. Pure; nothing is sent here.

1. What somebody typed, or has in his certificate, is a value in a filter and nothing else. No DN and no attribute name
   is made of it, but for the attribute of a typed DN's leaf, which has to be one of those that leaves are named by.
2. A filter finds candidates. Whoever is taken among them is compared again by what his entry says: a typed DN with the
   entry's DN, a certificate with the entry's octets.
"""

from collections.abc import Iterable

from imapd.directory import dn as names
from imapd.directory import values
from imapd.directory.certificate import ClientCertificate
from imapd.directory.ldapfilter import Filter, all_of, any_of, equal
from imapd.directory.names import Level, LoginName
from imapd.directory.person import AttributeMap

# What entries of people are named by, with the login attributes of the preset.
_LEAVES = {"cn", "uid", "mail", "employeenumber", "displayname", "ou"}

# PKCS #7, which nothing matches certificates in.
_NO_CERTIFICATES = {"usersmimecertificate"}


class Query:
    """The questions of one directory."""

    def __init__(self, attribute_map: AttributeMap, level: Level) -> None:
        self._map = attribute_map
        self._level = level
        self._leaves = _LEAVES | {name.lower() for name in attribute_map.login_attributes(None, Level.FEWER)}
        held = (name.partition(";")[0] for name in attribute_map.sources("certificates"))
        self._certificates = tuple(
            {name.lower(): name for name in held if name.lower() not in _NO_CERTIFICATES}.values()
        )
        classes = [equal("objectClass", name) for name in attribute_map.sources("object_class")]
        categories = [equal("objectCategory", name) for name in attribute_map.sources("object_category")]
        if not classes:
            raise ValueError("object_class: no class is named, so nobody could be found")
        self._person = (any_of(*classes), *categories)
        self._groups = [equal("objectClass", name) for name in attribute_map.sources("group_class")]

    def login(self, name: LoginName) -> Filter | None:
        """Whoever has a typed name; None where nobody can have it here."""
        attributes = self._map.login_attributes(name.attribute, self._level)
        if not attributes or not name.value:
            return None
        return all_of(*self._person, any_of(*(equal(attribute, name.value) for attribute in attributes)))

    @property
    def person(self) -> Filter:
        """What makes an entry a person."""
        return all_of(*self._person)

    def leaf(self, rdn: names.Rdn) -> Filter | None:
        """People whose DN begins with a typed RDN; None where nobody's does, as with an attribute that is a secret."""
        if not rdn or not all(value and kind in self._leaves for kind, value in rdn):
            return None
        return all_of(*self._person, *(equal(kind, value) for kind, value in rdn))

    def unique(self, uid: str) -> Filter | None:
        """Whoever has an id; None where ids of this directory do not look so."""
        pairs = []
        for attribute in self._map.sources("unique_id"):
            try:
                pairs.append(equal(attribute, values.unique_value(attribute, uid)))
            except ValueError:
                continue
        return all_of(*self._person, any_of(*pairs)) if pairs else None

    def certificate(self, certificate: ClientCertificate) -> Filter | None:
        """Who may hold a certificate.

        certificateExactMatch (RFC 4523 section 3.1) is understood by OpenLDAP, equality of octets by Active Directory
        and 389-ds; either makes nothing of the other's. Servers that match neither find people by the names in it.
        """
        serial_and_issuer = _exact_assertion(certificate.serial, certificate.issuer)
        asked = [
            equal(attribute, value)
            for attribute in self._certificates
            for value in (serial_and_issuer, certificate.der)
        ]
        return all_of(*self._person, any_of(*asked)) if asked else None

    def certificate_names(self, certificate: ClientCertificate) -> Filter | None:
        """Who may hold a certificate, by the names in it."""
        pairs = [("cn", certificate.common_name or "")]
        pairs += [(name, email) for name in self._map.sources("internet_address") for email in certificate.emails]
        asked = [equal(name, value) for name, value in pairs if value]
        return all_of(*self._person, any_of(*asked)) if asked else None

    def groups(self, members: Iterable[str], short_name: str | None = None) -> Filter | None:
        """Groups that hold any of some DNs, or a short name."""
        held = [equal(attribute, dn) for dn in members for attribute in self._map.sources("group_members") if dn]
        if short_name:
            held += [equal(attribute, short_name) for attribute in self._map.sources("group_names")]
        return all_of(any_of(*self._groups), any_of(*held)) if self._groups and held else None

    @property
    def group(self) -> Filter | None:
        """What makes an entry a group."""
        return any_of(*self._groups) if self._groups else None

    def primary_group(self, sid: bytes, number: bytes) -> Filter | None:
        """Active Directory: the group that a person's number names, which has the person's domain and that number."""
        try:
            relative = int(number).to_bytes(4, "little")
        except (ValueError, OverflowError):
            return None
        # [MS-DTYP] 2.4.2.2: revision, count of numbers, authority, then the numbers, the last one being the person's.
        if not self._groups or len(sid) < 12:
            return None
        return all_of(any_of(*self._groups), equal("objectSid", sid[:-4] + relative))

    def belonging(self, group: str) -> Filter | None:
        """Who has a group in his own entry."""
        attributes = self._map.sources("member_of")
        return any_of(*(equal(attribute, group) for attribute in attributes)) if attributes else None


def _exact_assertion(serial: int, issuer: str) -> str:
    """A CertificateExactAssertion in GSER (RFC 4523 appendix A.1, RFC 3642)."""
    doubled = issuer.replace('"', '""')
    return f'{{ serialNumber {serial}, issuer rdnSequence:"{doubled}" }}'
