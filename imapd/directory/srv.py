"""The servers that DNS names for a domain (RFC 2782): _ldap._tcp.example.org, _ldaps._tcp.example.org.

DNS is believed in one thing only, which of a domain's own hosts to ask: a target outside of the domain is passed over,
or whoever can forge an answer could name a host of his, with a good certificate for it, to send passwords to. Sites
whose servers are called otherwise name them in `uri`.
"""

import logging
import random
from dataclasses import dataclass

import dns.exception
import dns.rdtypes.IN.SRV
import dns.resolver

from imapd.directory.ldapuri import Address, Domain
from imapd.directory.ldapvalues import DirectoryDown

log = logging.getLogger("imapd.directory")

# How long DNS may take, and how often it is asked again at least and at most.
SECONDS = 2.0
_LEAST, _MOST = 60.0, 3600.0


@dataclass(frozen=True, slots=True)
class Answer:
    """A domain's servers, the preferred one first, and for how many seconds that is good."""

    addresses: tuple[Address, ...]
    seconds: float


def look_up(domain: Domain, resolver: dns.resolver.Resolver | None = None) -> Answer:
    """Ask DNS, and wait for it; DirectoryDown where it does not say. resolver: another one than the machine's."""
    name = f"_{'ldaps' if domain.tls else 'ldap'}._tcp.{domain.name}."
    try:
        records = (resolver or dns.resolver.Resolver()).resolve(name, "SRV", lifetime=SECONDS, search=False)
    except dns.exception.DNSException as error:
        raise DirectoryDown(f"{domain}: DNS does not tell the servers: {error}") from None
    found = []
    for record in _in_order(list(records)):
        host = record.target.to_text(omit_final_dot=True)
        if host == ".":
            continue  # RFC 2782: decidedly no service here
        if not _is_within(host, domain.name):
            log.warning("%s: DNS names %s, which is not of the domain; passed over", domain, host)
            continue
        found.append(Address(host, record.port, domain.tls))
    if not found:
        raise DirectoryDown(f"{domain}: DNS names no server of the domain")
    return Answer(
        tuple(dict.fromkeys(found)), min(_MOST, max(_LEAST, float(records.rrset.ttl if records.rrset else 0)))
    )


def _is_within(host: str, domain: str) -> bool:
    host, domain = host.lower(), domain.lower()
    return host == domain or host.endswith(f".{domain}")


def _in_order(records: list[dns.rdtypes.IN.SRV.SRV]) -> list[dns.rdtypes.IN.SRV.SRV]:
    """By priority, and by chance in the measure of the weights within one (RFC 2782, "Weight")."""
    # The least of exponential variates with the weights as rates falls on each record as often as its weight says.
    return sorted(records, key=lambda one: (one.priority, random.expovariate(max(one.weight, 0.001))))  # noqa: S311
