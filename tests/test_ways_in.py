"""What the configuration says about ports, certificates and tokens has to go together."""

import pytest

from tests.test_config import problems, read

TLS = "[tls]\ncertificate = c\nkey = k\nclient_ca = ca\n"
OAUTH = "[oauth]\nissuer = i\naudience = a\nkeys = keys.json\n"
REST = "[directories]\n  [[local]]\n  type = ldif\n  file = people.ldif\n[mail]\nroot = mail\n"


def file(listener, rest=TLS):
    return f"[listeners]\n  [[imap]]\n  port = 143\n  {listener}\n{rest}{REST}"


FINE = [
    ("security = tls\n  client_certificate = optional", TLS),
    ("security = starttls\n  client_certificate = required", TLS),
    ("security = tls\n  client_certificate = required\n  require_both = yes", TLS),
    ("security = tls\n  client_certificate = required\n  name_password = no", TLS),
    ("security = tls\n  name_password = no", TLS + OAUTH),
    ("status = redirect\n  [[imaps]]\n  port = 993\n  security = tls", TLS),
    ("status = disabled\n  [[imaps]]\n  port = 993\n  security = tls", TLS),
]


@pytest.mark.parametrize(("listener", "rest"), FINE)
def test_what_goes_together_is_taken(tmp_path, listener, rest):
    assert read(tmp_path, file(listener, rest)).remarks == ()


WRONG = [
    ("security = plain\n  plaintext_login = yes\n  client_certificate = optional", TLS, "no TLS on this port"),
    ("security = tls\n  client_certificate = optional", "[tls]\ncertificate = c\nkey = k\n", "names no client_ca"),
    ("security = tls\n  require_both = yes", TLS, "require_both goes together"),
    ("security = tls\n  client_certificate = optional\n  require_both = yes", TLS, "require_both goes together"),
    ("security = tls\n  name_password = no", TLS, "nobody could log in"),
    ("security = tls\n  name_password = no\n  client_certificate = optional", TLS + "[authentication]\nmechanisms = PLAIN\n", "nobody could"),
    ("status = redirect", TLS, "there is none"),
    ("status = redirect\n  security = tls\n  [[imaps]]\n  port = 993\n  security = tls", TLS, "there is none"),
    ("status = redirect\n  [[imaps]]\n  port = 993\n  security = tls\n  status = disabled", TLS, "there is none"),
    ("security = tls", TLS + "[authentication]\nmechanisms = PLAIN, CRAM-MD5\n", "there is no CRAM-MD5"),
    ("security = tls", TLS + "[oauth]\nissuer = i\n", "go together"),
    ("security = tls", TLS + OAUTH.replace("keys.json", "http://login.example.org/keys"), "https:// only"),
]  # fmt: skip


@pytest.mark.parametrize(("listener", "rest", "expected"), WRONG)
def test_what_does_not_go_together_is_named(tmp_path, listener, rest, expected):
    (problem,) = problems(tmp_path, file(listener, rest))
    assert expected in problem and problem.startswith("imapd.ini:")


def test_keys_are_a_file_beside_the_configuration_or_an_address(tmp_path):
    assert read(tmp_path, file("security = tls", TLS + OAUTH)).oauth.keys == str(tmp_path / "keys.json")
    text = file("security = tls", TLS + OAUTH.replace("keys.json", "https://login.example.org/keys"))
    assert read(tmp_path, text).oauth.keys == "https://login.example.org/keys"
