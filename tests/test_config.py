"""The configuration: the table, its reader, the sample file, the manual page, the examples."""

import subprocess
import sys
from pathlib import Path

import pytest

from imapd import settings as table
from imapd.config import ConfigError, load
from imapd.declare import declared
from imapd.kinds import in_words
from imapd.sample import manual_page, sample_file

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT.parent / "shared" / "examples"

WHOLE = """\
[listeners]
  [[imap]]
  port = 143
  security = plain
  plaintext_login = yes
[directories]
  [[local]]
  type = ldif
  file = people.ldif
[mail]
root = mail
"""


def read(tmp_path, text):
    path = tmp_path / "imapd.ini"
    path.write_text(text, encoding="utf-8")
    return load(str(path))


def problems(tmp_path, text):
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    return [str(problem).replace(str(tmp_path) + "/", "") for problem in caught.value.problems]


def test_a_small_file_is_enough_and_paths_are_relative_to_it(tmp_path):
    settings = read(tmp_path, WHOLE)
    assert settings.mail.root == str(tmp_path / "mail")
    assert settings.directories[0].file == str(tmp_path / "people.ldif")
    assert settings.listeners[0].name == "imap" and settings.listeners[0].port == 143
    assert settings.service.session_timeout == 1800
    assert settings.remarks == ()


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "port = 143",
            "prot = 143",
            [
                "imapd.ini:2: 'port' is missing in [listeners] [[imap]]: The port: 143 for IMAP, 993 for IMAP in TLS from the first octet.",
                "imapd.ini:3: unknown key 'prot' in [listeners] [[imap]]; did you mean 'port'?",
            ],
        ),
        (
            "[mail]",
            "[male]",
            [
                "imapd.ini: 'root' is missing in [mail]: The folder below which all mail files lie.",
                "imapd.ini:10: unknown section 'male'; did you mean 'mail'?",
            ],
        ),
        ("port = 143", "port = 99999", ["imapd.ini:3: port: '99999' is not a whole number from 1 to 65535"]),
        ("port = 143", "port = -1", ["imapd.ini:3: port: '-1' is not a whole number from 1 to 65535"]),
        ("port = 143", "port =", ["imapd.ini:3: port: the value is empty; it is a port number"]),
        (
            "port = 143",
            "port = 143, 144",
            ["imapd.ini:3: port: one value is expected, here are 2; quote a value that has commas"],
        ),
        (
            "plaintext_login = yes",
            "plaintext_login = perhaps",
            [
                "imapd.ini:2: nobody can log in at [listeners] [[imap]]: security = plain offers no TLS, and plaintext_login is no",
                "imapd.ini:5: plaintext_login: 'perhaps' is neither yes nor no",
            ],
        ),
        (
            "security = plain",
            "security = tls",
            ["imapd.ini:2: [listeners] [[imap]] speaks TLS, and [tls] names no certificate"],
        ),
        (
            "type = ldif",
            "type = ldif\n  type = ldif",
            ["imapd.ini:9: Duplicate keyword name. A value with a comma, a # or a quote in it must be quoted."],
        ),
        (
            "file = people.ldif",
            "order = 1",
            ["imapd.ini:7: 'file' is missing in [directories] [[local]]: a directory of type ldif needs it"],
        ),
        (
            "root = mail",
            "root = mail\n[service]\nsession_timeout = 5m",
            ["imapd.ini:13: session_timeout: '5m' is out of bounds: from 30m to 366d"],
        ),
        (
            "root = mail",
            "root = mail\n[service]\nsession_timeout = soon",
            ["imapd.ini:13: session_timeout: 'soon' is not a duration, such as 90s, 30m or 2h"],
        ),
        (
            "root = mail",
            "root = mail\nappend_limit = big",
            ["imapd.ini:12: append_limit: 'big' is not a size in octets, such as 500k, 50M or 5G"],
        ),
        (
            "root = mail",
            "root = mail\nformat = mh",
            ["imapd.ini:12: format: 'mh' is not one of: auto, maildir, mbox"],
        ),
        (
            "[listeners]",
            "x = 1\n[listeners]",
            [
                "imapd.ini:1: unknown key 'x'; known here: service, listeners, tls, authentication, oauth, directories, access, lockout, mail, delivery, lmtp, quota, audit, search, outbound, imap, log, metrics"
            ],
        ),
    ],
)
def test_a_mistake_is_named_with_line_and_what_is_right(tmp_path, old, new, expected):
    assert problems(tmp_path, WHOLE.replace(old, new, 1)) == expected


def test_a_missing_or_unreadable_file_is_one_sentence(tmp_path):
    with pytest.raises(ConfigError, match="nowhere.ini: cannot be read: No such file or directory"):
        load(str(tmp_path / "nowhere.ini"))
    (tmp_path / "latin.ini").write_bytes(b"[mail]\nroot = /srv/\xfcml\n")
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        load(str(tmp_path / "latin.ini"))


def test_a_dn_without_quotes_is_put_together_again(tmp_path):
    settings = read(tmp_path, WHOLE.replace("type = ldif", "type = ldif\n  base = ou=people,dc=acme,dc=com"))
    assert settings.directories[0].base == "ou=people,dc=acme,dc=com"


@pytest.mark.parametrize("text", ["90s", "30m", "2h", "1d", "45", "1 minute", "5 minutes", "1.5h"])
def test_durations_have_units(text):
    from imapd.kinds import duration

    assert (
        duration(0).read(text)
        == {"90s": 90, "30m": 1800, "2h": 7200, "1d": 86400, "45": 45, "1 minute": 60, "5 minutes": 300, "1.5h": 5400}[
            text
        ]
    )


@pytest.mark.parametrize("seconds", [1, 59, 60, 90, 1800, 3600, 86400, 90000])
def test_a_duration_is_written_as_it_is_read(seconds):
    from imapd.kinds import duration

    assert duration(0).read(in_words(seconds)) == seconds


def test_what_is_known_and_not_in_effect_is_remarked(tmp_path):
    settings = read(tmp_path, WHOLE + "[outbound]\nsmtp_host = smtp.example.org\n[search]\nindex = yes\n")
    assert [remark.split(": ", 1)[1] for remark in settings.remarks] == [
        "index: this version does not have the text index (texts are searched by reading the messages) yet; the line is known and has no effect",
        "smtp_host: this version does not have telling mail programs their SMTP server yet; the line is known and has no effect",
    ]


def test_the_sample_file_is_what_the_table_prints():
    assert (ROOT / "conf" / "imapd.ini").read_text(encoding="utf-8") == sample_file(), "make docs prints it anew"


def test_the_manual_page_is_what_the_table_prints():
    assert (ROOT / "man" / "imapd.ini.5").read_text(encoding="utf-8") == manual_page(), "make docs prints it anew"


def test_the_sample_file_is_a_right_configuration(tmp_path):
    settings = read(tmp_path, sample_file())
    assert [listener.port for listener in settings.listeners] == [143, 993]
    assert settings.remarks == ()


def test_the_sample_shows_every_setting():
    sample = sample_file()
    for kind in table.SECTIONS.values():
        for key in declared(kind):
            assert f"{key} = " in sample, key


def test_the_manual_of_the_command_names_every_verb_and_option():
    manual = (ROOT / "man" / "imapd.8").read_text(encoding="utf-8").replace("\\-", "-")
    help_texts = [
        subprocess.run(
            [sys.executable, "-m", "imapd", *verb, "--help"], capture_output=True, text=True, check=True
        ).stdout
        for verb in (
            [],
            ["serve"],
            ["check"],
            ["config"],
            ["demo"],
            ["user", "add"],
            ["user", "passwd"],
            ["user", "list"],
        )
    ]
    words = {word.strip("[],") for text in help_texts for word in text.split() if word.strip("[]").startswith("--")}
    for word in words | {"serve", "check", "config", "demo", "user add", "user passwd", "user list"}:
        assert word in manual, f"{word} is not in man/imapd.8"


@pytest.mark.skipif(not EXAMPLES.is_dir(), reason="the example configurations are not beside this checkout")
class TestExamples:
    def test_the_minimal_example_works_unchanged(self):
        settings = load(str(EXAMPLES / "minimal.ini"))
        assert settings.remarks == () and settings.listeners[0].port == 11143

    def test_every_key_of_the_larger_example_is_known_and_none_is_silently_ignored(self):
        settings = load(str(EXAMPLES / "two-directories.ini"))
        assert all("this version does not have" in remark for remark in settings.remarks)
        assert {remark.split(": ")[1] for remark in settings.remarks} >= {"index", "smtp_host", "address"}
        acme, partner = settings.directories
        assert acme.base == "ou=people,dc=acme,dc=example" and acme.attributes["mail_file"] == (
            "mailMessageStore",
            "{short_name}",
        )
        assert (partner.preset, partner.starttls, partner.mail_prefix) == ("domino", "required", "partner")
        assert partner.naming_rules == ("*/*/*/*/Partner/*",)


LDAP = """
[listeners]
  [[imap]]
  port = 1143
  security = plain
  plaintext_login = yes
[directories]
  [[acme]]
  type = ldap
{lines}
[mail]
root = mail
"""


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("uri = ldap://localhost", "'base' is missing in [directories] [[acme]]"),
        ("base = o=Acme", "'uri' is missing in [directories] [[acme]]"),
        ("uri = ldap://localhost\nbase = o=Acme\nbind_dn = cn=imapd", "'bind_dn' and 'bind_password_file' go together"),
        ("uri = ldap://localhost\nbase = o=Acme\ntls_key = x", "'tls_certificate' and 'tls_key' go together"),
        ("uri = ldap://localhost\nbase = o=Acme\nsasl = external\nbind_dn = x\nbind_password_file = y", "choose one"),
        ("uri = ldap://localhost\nbase = o=Acme\n[[[attributes]]]\nmailfile = x", "did you mean 'mail_file'?"),
    ],
)
def test_what_an_ldap_directory_lacks_is_said(tmp_path, lines, words):
    path = tmp_path / "imapd.ini"
    path.write_text(LDAP.format(lines=lines))
    with pytest.raises(ConfigError) as caught:
        load(str(path))
    assert words in str(caught.value)


def test_every_dn_of_a_directory_is_put_together_again(tmp_path):
    path = tmp_path / "imapd.ini"
    path.write_text(
        LDAP.format(
            lines="uri = ldap://localhost:389/\nbase = ou=people,dc=acme,dc=example\ngroup_base = ou=groups,dc=acme"
        )
    )
    (acme,) = load(str(path)).directories
    assert (acme.base, acme.group_base) == ("ou=people,dc=acme,dc=example", "ou=groups,dc=acme")
