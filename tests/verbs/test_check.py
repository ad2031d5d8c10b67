"""`imapd check` where people are in LDAP directories: what is wrong is said in words, with what to do about it."""

import pytest

from tests.support.certificates import Authority
from tests.support.slapd import HIDDEN, Slapd, people, person


@pytest.fixture
def alone(site):
    """A site with one directory."""
    original = site.write

    def write(**pieces):
        original(**pieces)
        path = site.folder / "imapd.ini"
        head, _, tail = path.read_text().partition("  [[partner]]")
        path.write_text(head + tail[tail.index("[access]") :])

    site.write = write
    write()
    return site


def test_a_site_that_is_in_order(alone):
    alone.write(acme="  check_person = ada")
    code, said = alone.imapd("check")
    assert code == 0, said
    assert "answers, and shows 5 people" in said
    assert "ada is uid=ada,ou=people,dc=acme,dc=example, mail file ada, active" in said
    assert said.splitlines()[-1].endswith("imapd.ini: in order.")


def problem(site):
    code, said = site.imapd("check")
    assert code == 1, said
    assert "1 problem; the daemon would start, but people could not log in." in said
    return said


def test_each_server_is_asked(alone, acme):
    alone.write(uri=f"{acme.uri}, ldap://localhost:1, {acme.ipc_uri}")
    said = problem(alone)
    assert said.count("answers, and shows 5 people") == 2
    assert "ldap://localhost:1: it cannot be connected to: Connection refused (nothing listens there" in said


def test_a_host_that_is_not_there(alone):
    alone.write(uri="ldaps://directory.invalid")
    assert "(DNS does not know that host)" in problem(alone)


def test_an_authority_that_is_another_one(alone):
    (alone.folder / "other.pem").write_bytes(Authority("Other").itself.pem)
    alone.write(ca=str(alone.folder / "other.pem"))
    assert "its certificate is not good" in (said := problem(alone)) and "('tls_ca' has to name" in said


def test_a_certificate_of_another_host(alone, tmp_path):
    with Slapd(tmp_path / "slapd", people("ada"), hosts=("ldap.acme.example",)) as server:
        alone.write(uri=server.tls_uri)
        assert "Hostname mismatch" in (said := problem(alone)) and "('uri' has to have a host name" in said


def test_tls_at_a_port_that_has_none(alone, acme):
    alone.write(uri=f"ldaps://localhost:{acme.port}")
    assert "(does that port speak TLS?" in problem(alone)


def test_a_wrong_password_of_the_daemon(alone):
    alone.secret("wrong")
    assert "invalidCredentials (49)" in (said := problem(alone)) and "'bind_password_file' has another password" in said


def test_a_base_that_is_not_there(alone):
    alone.write()
    path = alone.folder / "imapd.ini"
    path.write_text(path.read_text().replace("ou=people,dc=acme", "ou=peple,dc=acme", 1))
    assert "ou=peple" in (said := problem(alone)) and "('base' is misspelled, or the daemon may not read it)" in said


def test_a_daemon_that_may_not_see_anybody(alone, tmp_path):
    with Slapd(tmp_path / "slapd", people("ada", "ben"), access=HIDDEN) as server:
        alone.write(uri=server.tls_uri)
        assert "(" in (said := problem(alone)) and "may not" in said


def test_a_preset_that_does_not_fit(alone):
    alone.write(acme="  preset = qmail")
    assert "is a person of the preset qmail; is 'preset' right" in problem(alone)


def test_attributes_that_nobody_has_and_people_without_mail_files(alone):
    alone.write(
        acme='    [[[attributes]]]\n    mail_file = mailMessageStore, "{short_name}"\n    login = employeeNumber'
    )
    said = problem(alone)
    assert "none of them has mailMessageStore (mail_file)" in said
    assert "none of them has employeeNumber (login): nobody can log in" in said


def test_a_person_who_is_not_there_or_twice(alone):
    alone.write(acme="  check_person = nobody")
    assert "nobody is called nobody (check_person)" in problem(alone)
    alone.write(acme="  check_person = Twin")
    assert "several people are called Twin" in problem(alone)


def test_passwords_that_are_to_be_compared_and_cannot_be_read(alone):
    alone.write(acme="  verify = hash")
    assert "no password can be checked" in problem(alone)


def test_mail_files_that_cannot_be_named(alone, tmp_path):
    entries = person("ada", mail="../ada@acme.example") + "\n" + person("ben")
    with Slapd(tmp_path / "slapd", entries) as server:
        alone.write(uri=server.tls_uri)
        path = alone.folder / "imapd.ini"
        path.write_text(path.read_text().replace("[mail]\n", '[mail]\nmail_file = "{local_part}"\n'))
        code, said = alone.imapd("check")
        assert code == 0  # others get in
        assert "1 of them have no mail file, such as uid=ada" in said and "has a slash or begins with a dot" in said


def test_directories_are_not_asked_where_only_the_machine_is_of_interest(alone):
    alone.write(uri="ldap://localhost:1")
    code, said = alone.imapd("check", "--local")
    assert code == 0 and "in order" in said
