"""Persons read off entries: the map, the templates, and what is not taken."""

import pytest

from imapd.directory.names import Level
from imapd.directory.person import AttributeMap, Person, Status, parse_quota, path_fault

ENTRY = {
    "objectclass": [b"inetOrgPerson"],
    "uid": [b"alice"],
    "cn": [b"Alice Martin", b"A. Martin"],
    "sn": [b"Martin"],
    "givenname": [b"Alice"],
    "mail": [b"alice@Example.org", b"am@example.org"],
    "maillocaladdress": [b"a@example.org"],
    "mailhost": [b"imap1.example.org"],
    "userpassword": [b"wonderland"],
    "authpassword": [b"SCRAM-SHA-256$..."],
    "usercertificate;binary": [b"\x30\x00"],
}
DN = "uid=alice,ou=people,dc=example,dc=org"


def person(changes=None, **arguments):
    arguments.setdefault("mail_file", "{short_name}")
    return AttributeMap.load(**arguments).person("local", DN, {**ENTRY, **(changes or {})})


def test_an_entry_becomes_a_person():
    alice = person()
    assert alice == Person(
        directory="local",
        uid=DN,
        dn=DN,
        user_name="Alice Martin",
        full_names=("Alice Martin", "A. Martin"),
        short_name="alice",
        internet_address="alice@Example.org",
        addresses=("am@example.org", "a@example.org"),
        mail_file="alice",
        mail_server="imap1.example.org",
        certificates=(b"\x30\x00",),
        passwords=(b"{authPassword}SCRAM-SHA-256$...", b"wonderland"),
    )


def test_identity_is_the_entry_and_not_its_spelling():
    upper = AttributeMap.load().person("local", DN.upper().replace(",", ", "), ENTRY)
    assert upper.identity == person().identity == f"local/{DN}"
    by_uuid = person({"entryuuid": [b"A5BC-1"]})
    assert by_uuid.identity == "local/a5bc-1"


def test_secrets_are_in_no_text():
    assert "wonderland" not in repr(person()) and "SCRAM" not in repr(person())


def test_only_the_configured_class_is_a_person():
    attribute_map = AttributeMap.load()
    assert attribute_map.is_person({"objectclass": [b"top", b"INETORGPERSON"]})
    assert not attribute_map.is_person({"objectclass": [b"organizationalUnit"]})
    assert AttributeMap.load(overrides={"object_class": "account"}).is_person({"objectclass": [b"account"]})


def test_levels_have_their_login_values():
    attribute_map = AttributeMap.load()
    fewer = {key for _, key in attribute_map.login_values(ENTRY, Level.FEWER)}
    assert fewer == {"alice", "alice@example.org", "am@example.org", "alice martin", "a. martin"}
    assert {key for _, key in attribute_map.login_values(ENTRY, Level.MORE)} == fewer | {"martin", "alice"}


MAIL_FILES = [
    ("{short_name}", {}, "alice"),
    ("mail/{short_name}", {}, "mail/alice"),
    ("{domain}/{local_part}", {}, "example.org/alice"),
    ("{internet_address}", {}, "alice@Example.org"),
    ("{short_name}/.maildir", {}, "alice/.maildir"),
    ("{short_name}", {"uid": [b"../boss"]}, None),
    ("{short_name}", {"uid": [b"a/b"]}, None),
    ("{short_name}", {"uid": [b".."]}, None),
    ("{short_name}", {"uid": [b".hidden"]}, None),
    ("{short_name}", {"uid": [b"/etc"]}, None),
    ("{short_name}", {"uid": [b"a\0b"]}, None),
    ("{short_name}", {"uid": [b"a\nb"]}, None),
    ("{short_name}", {"uid": [b"{user_name}"]}, None),
    ("{short_name}", {"uid": [b"\xff"]}, None),
    ("{short_name}", {"uid": []}, None),
    ("{short_name}", {"uid": [b"x" * 256]}, None),
    ("{domain}/{local_part}", {"mail": [b"nobody"]}, None),
    ("{domain}/{local_part}", {"mail": [b"../x@.."]}, None),
]


@pytest.mark.parametrize(("template", "changes", "path"), MAIL_FILES)
def test_templates_give_a_path_or_none(template, changes, path):
    assert person(changes, mail_file=template).mail_file == path


@pytest.mark.parametrize(
    "value", [b"../boss", b"/etc/passwd", b"a/../b", b"a//b", b"a//", b"/", b"", b"a/./b", b"a\0", b"a\x1bb", b"\xff"]
)
def test_a_mail_file_that_leaves_the_root_is_not_taken_nor_replaced(value, caplog):
    alice = person({"mailmessagestore": [value]}, overrides={"mail_file": ["mailMessageStore"]})
    assert alice.mail_file is None
    assert "has no mail file" in caplog.text


def test_the_entry_goes_before_the_template():
    overrides = {"mail_file": ["mailMessageStore", "{short_name}"]}
    assert person({"mailmessagestore": [b"big/alice"]}, overrides=overrides).mail_file == "big/alice"
    assert person(overrides=overrides).mail_file == "alice"


def test_a_prefix_goes_before_every_mail_file():
    assert person(mail_prefix="partner").mail_file == "partner/alice"
    assert person({"uid": [b"../x"]}, mail_prefix="partner").mail_file is None
    with pytest.raises(ValueError, match="mail_prefix"):
        AttributeMap.load(mail_prefix="../x")


@pytest.mark.parametrize(
    "template", ["{uid}", "{short_name", "/srv/{short_name}", "../{short_name}", "a//{short_name}"]
)
def test_a_template_is_checked_when_it_is_loaded(template):
    with pytest.raises(ValueError, match="template"):
        AttributeMap.load(mail_file=template)


def test_unknown_presets_and_fields_are_named():
    with pytest.raises(ValueError, match="inetorgperson"):
        AttributeMap.load("netware")
    with pytest.raises(ValueError, match="mail_file"):
        AttributeMap.load(overrides={"mailfile": "x"})


QUOTAS = [
    (b"1000", (1000, 1000)),
    (b"0", (0, 0)),
    (b"1000S,50C", (1000, 50)),
    (b"1000S", (1000, None)),
    (b"50C", (None, 50)),
    (b"5G", (5 << 30, None)),
    (b"500 mb", (500 << 20, None)),
    (b" 2GiB ", (2 << 30, None)),
    (b"999999999999999T", (None, None)),
    (b"5.5G", (None, None)),
    (b"-1", (None, None)),
    (b"much", (None, None)),
    (b"", (None, None)),
]


@pytest.mark.parametrize(("value", "limits"), QUOTAS)
def test_quotas_are_read(value, limits):
    assert parse_quota(value) == limits


def test_a_quota_that_is_nonsense_changes_nothing(caplog):
    overrides = {"quota": "mailQuotaSize", "quota_messages": "mailQuotaCount"}
    alice = person({"mailquotasize": [b"lots"], "mailquotacount": [b"20"]}, overrides=overrides)
    assert (alice.quota_bytes, alice.quota_messages) == (None, 20)
    assert "quota" in caplog.text


@pytest.mark.parametrize(
    ("attribute", "value", "octets"),
    [
        ("mailQuotaSize", b"1000000", 1_000_000),
        ("mDBOverQuotaLimit", b"2048", 2 << 20),
        ("mDBStorageQuota", b"2048", 2 << 20),
        ("cyrus-userquota", b"2048", 2 << 20),
        ("cyrus-userquota", b"2G", 2 << 30),
        ("mDBOverQuotaLimit", b"9" * 18, (1 << 63) - 1),
        ("zimbraMailQuota", b"0", 0),
    ],
)
def test_quotas_count_in_the_unit_of_their_attribute(attribute, value, octets):
    alice = person({attribute.lower(): [value]}, overrides={"quota": attribute})
    assert alice.quota_bytes == octets


DAY = 86_400
STATES = [
    ({}, None),
    ({"pwdaccountlockedtime": [b"000001010000Z"]}, "the entry is locked"),
    ({"pwdaccountlockedtime": [b"20240101000000Z"]}, "the entry is locked"),
    ({"shadowexpire": [b"-1"]}, None),
    ({"shadowexpire": [b"101"]}, None),
    ({"shadowexpire": [b"100"]}, "the account has expired"),
    ({"shadowexpire": [b"0"]}, "the account has expired"),
    ({"shadowexpire": [b"never"]}, "the entry is disabled"),
]


@pytest.mark.parametrize(("changes", "reason"), STATES)
def test_a_closed_account_is_barred(changes, reason):
    assert person(changes).barred(100 * DAY) == reason


def test_a_locked_entry_says_so():
    assert person({"pwdaccountlockedtime": [b"000001010000Z"]}).status is Status.LOCKED


def test_a_path_may_not_be_longer_than_a_file_system_takes():
    assert path_fault("é" * 128)
    assert path_fault("/".join(["x" * 200] * 6))
    assert path_fault("a/b") is None
