"""Client certificates as values: names, serial number, addresses, and what is no certificate."""

import pytest

from imapd.directory.certificate import ClientCertificate
from tests.support.certificates import Authority

CA = Authority("Acme CA")


def test_a_certificate_is_read():
    der = CA.issue("Ada Lovelace", emails=("ada@acme.example", "countess@acme.example"), serial=77).der
    found = ClientCertificate.read(der)
    assert found.der == der
    assert found.subject == "CN=Ada Lovelace,O=Acme"
    assert found.issuer == "CN=Acme CA"
    assert (found.serial, found.common_name) == (77, "Ada Lovelace")
    assert found.emails == ("ada@acme.example", "countess@acme.example")
    assert len(found.fingerprint) == 64


def test_a_certificate_without_alternative_names_has_no_addresses():
    assert ClientCertificate.read(CA.issue("Ada").der).emails == ()


def test_repr_shows_no_octets():
    assert "der" not in repr(ClientCertificate.read(CA.issue("Ada").der))


@pytest.mark.parametrize("octets", [b"", b"\x30\x00", b"-----BEGIN CERTIFICATE-----\n"])
def test_what_is_no_certificate_is_a_value_error(octets):
    with pytest.raises(ValueError):
        ClientCertificate.read(octets)


def test_a_certificate_that_is_cut_is_a_value_error():
    with pytest.raises(ValueError):
        ClientCertificate.read(CA.issue("Ada").der[:-20])
