"""README: what it tells an administrator to write is a right configuration."""

import re
from pathlib import Path

import pytest

from imapd.config import load
from imapd.directory import ldapuri

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
REST = "[listeners]\n  [[imap]]\n  port = 143\n  security = plain\n  plaintext_login = yes\n[mail]\nroot = mail\n"
SECTIONS = re.findall(r"### (\S.*?)\n.*?```ini\n(.*?)```", README, re.DOTALL)


def test_every_kind_of_directory_has_its_section():
    assert [name for name, _ in SECTIONS] == ["OpenLDAP", "Active Directory", "FreeIPA", "Domino"]


@pytest.mark.parametrize("text", [text for _, text in SECTIONS], ids=[name for name, _ in SECTIONS])
def test_the_section_of_a_directory_is_a_right_configuration(text, tmp_path):
    (tmp_path / "imapd.ini").write_text(text + REST)
    settings = load(str(tmp_path / "imapd.ini"))
    assert settings.remarks == ()
    (directory,) = settings.directories
    assert (
        directory.type == "ldap" and directory.uri and directory.base and directory.bind_dn and directory.check_person
    )


def test_the_places_of_servers_that_are_named_in_words_are_right():
    places = re.findall(r"(ldap[a-z]*://[^\s`,)]+)", README)
    assert any(place.startswith("ldapi://") for place in places)
    for place in places:
        ldapuri.parse(place.rstrip("."))


def test_the_smaller_configuration_is_right(tmp_path):
    indented = README.split("for this machine alone:\n\n")[1].split("\n\n")[0]
    (tmp_path / "imapd.ini").write_text(re.sub(r"(?m)^    ", "", indented) + "\n")
    assert load(str(tmp_path / "imapd.ini")).mail.create


def test_settings_and_verbs_that_are_named_in_words_exist():
    sample = (ROOT / "conf" / "imapd.ini").read_text(encoding="utf-8")
    for key in (
        "keep_owners",
        "other_mail_server",
        "aliases",
        "internet_authentication",
        "mail_file",
        "sasl",
        "check_person",
    ):
        assert f"`{key}" in README or f"] {key}" in README
        assert f"{key} = " in sample, key
