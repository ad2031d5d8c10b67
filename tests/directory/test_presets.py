"""The presets: an entry of each kind of directory becomes a person; their odd values are read."""

import uuid

import pytest

from imapd.directory import dn as names
from imapd.directory import status
from imapd.directory.names import Level
from imapd.directory.person import AttributeMap, Status
from imapd.directory.presets import FIELDS, PRESETS
from imapd.directory.values import unique_value

GUID = bytes(range(16))

DOMINO = {
    "objectclass": [b"top", b"dominoPerson"],
    "cn": [b"Ada Byron", b"Ada Lovelace"],
    "displayname": [b"Countess"],
    "uid": [b"ada"],
    "mail": [b"Ada_Byron@acme.example"],
    "mailserver": [b"CN=Mail1,OU=Servers,O=Acme"],
    "mailfile": [b"mail\\Byron\\ada.nsf"],
    "maildomain": [b"ACME"],
    "dominounid": [b"0A1B"],
}
AD = {
    "objectclass": [b"top", b"person", b"organizationalPerson", b"user"],
    "objectcategory": [b"CN=Person,CN=Schema,CN=Configuration,DC=acme,DC=example"],
    "samaccountname": [b"ada"],
    "userprincipalname": [b"ada@ad.acme.example"],
    "displayname": [b"Byron, Ada"],
    "cn": [b"Ada Byron"],
    "mail": [b"ada@acme.example"],
    "proxyaddresses": [
        b"smtp:a.byron@acme.example",
        b"X400:c=US;a= ;p=Acme",
        b"SMTP:Ada@acme.example",
        b"sip:ada@acme.example",
    ],
    "objectguid": [GUID],
    "useraccountcontrol": [b"512"],
    "accountexpires": [b"9223372036854775807"],
    "pwdlastset": [b"133500000000000000"],
    "mdboverquotalimit": [b"1024"],
}
QMAIL = {
    "objectclass": [b"inetOrgPerson", b"qmailUser"],
    "uid": [b"ada"],
    "cn": [b"Ada Byron"],
    "mail": [b"ada@acme.example"],
    "mailalternateaddress": [b"byron@acme.example"],
    "mailhost": [b"mail1.acme.example"],
    "mailmessagestore": [b"a/ada/"],
    "homedirectory": [b"/var/mail/everybody"],
    "mailquotasize": [b"1000000"],
    "mailquotacount": [b"500"],
    "accountstatus": [b"active"],
}
IPA = {
    "objectclass": [b"inetOrgPerson", b"ipaobject"],
    "uid": [b"ada"],
    "cn": [b"Ada Byron"],
    "displayname": [b"Ada Byron"],
    "mail": [b"ada@acme.example"],
    "krbprincipalname": [b"ada@ACME.EXAMPLE"],
    "ipauniqueid": [b"7A1-9"],
    "nsaccountlock": [b"FALSE"],
}


def person(preset, entry, changes=None, dn="uid=ada,o=Acme", **arguments):
    arguments.setdefault("mail_file", "{short_name}")
    return AttributeMap.load(preset, **arguments).person("acme", dn, {**entry, **(changes or {})})


def test_a_person_of_domino():
    ada = person("domino", DOMINO, dn="CN=Ada Byron,OU=West,O=Acme")
    assert ada.user_name == "CN=Ada Byron/OU=West/O=Acme"
    assert ada.full_names == ("Ada Byron", "Ada Lovelace", "Countess")
    assert (ada.short_name, ada.internet_address, ada.mail_domain) == ("ada", "Ada_Byron@acme.example", "ACME")
    assert ada.mail_file == "mail/Byron/ada"
    assert ada.mail_server == "Mail1/Servers/Acme"
    assert ada.uid == "0a1b" and ada.status is Status.ACTIVE


def test_somebody_of_domino_whose_mail_goes_elsewhere_has_no_mail_file_here(caplog):
    elsewhere = {"mailfile": [], "mailaddress": [b"ada@partner.example"]}
    ada = person("domino", DOMINO, elsewhere)
    assert ada.mail_file is None and ada.forwarding == "ada@partner.example"
    assert "ada@partner.example" in caplog.text
    assert person("domino", DOMINO, {"mailfile": []}).mail_file == "ada"
    assert person("domino", DOMINO, {"mailaddress": [b"x@y.example"]}).mail_file == "mail/Byron/ada"


@pytest.mark.parametrize("path", [b"..\\boss.nsf", b"\\mail\\boss", b"c:\\..\\x", b".nsf"])
def test_the_spelling_of_domino_does_not_lead_out_of_the_root(path):
    assert person("domino", DOMINO, {"mailfile": [path]}).mail_file is None


def test_a_person_of_active_directory():
    ada = person("ad", AD)
    assert ada.user_name == "Byron, Ada" and ada.full_names == ("Byron, Ada", "Ada Byron")
    assert ada.short_name == "ada" and ada.mail_file == "ada"
    assert ada.internet_address == "ada@acme.example"
    assert ada.addresses == ("a.byron@acme.example",)
    assert ada.quota_bytes == 1024 * 1024
    assert ada.uid == "03020100-0504-0706-0809-0a0b0c0d0e0f" == str(uuid.UUID(bytes_le=GUID))
    assert ada.barred(2e9) is None


def test_the_address_in_capitals_is_the_first_where_there_is_no_other():
    ada = person("ad", AD, {"mail": []})
    assert ada.internet_address == "Ada@acme.example" and ada.addresses == ("a.byron@acme.example",)


def test_a_binary_id_is_found_again_by_its_octets():
    assert unique_value("objectGUID", person("ad", AD).uid) == GUID


def test_an_id_that_is_no_text_is_written_in_hexadecimal():
    assert person("inetorgperson", {"entryuuid": [b"\xff\x00"]}).uid == "ff00"


def test_computers_are_no_people():
    ad = AttributeMap.load("ad")
    assert ad.is_person(AD)
    assert ad.is_person({**AD, "objectcategory": [b"person"]})
    assert not ad.is_person({**AD, "objectcategory": [b"CN=Computer,CN=Schema,DC=acme"]})


def test_a_person_of_qmail():
    ada = person("qmail", QMAIL)
    assert ada.mail_file == "a/ada"
    assert ada.addresses == ("byron@acme.example",)
    assert (ada.quota_bytes, ada.quota_messages) == (1_000_000, 500)
    assert ada.mail_server == "mail1.acme.example"


def test_a_home_directory_is_no_mail_file():
    assert person("qmail", QMAIL, {"mailmessagestore": []}).mail_file == "ada"
    assert person("qmail", QMAIL, {"mailmessagestore": [b"/var/mail/ada/"]}).mail_file is None
    assert person("qmail", QMAIL, {"mailmessagestore": [b"./Maildir/"]}).mail_file is None


OLD_QUOTAS = [
    (b"1000000S,1000C", 1_000_000, 1_000),
    (b"1000000S", 1_000_000, None),
    (b"1000000", 1_000_000, None),
    (b"70C", None, 70),
    (b"plenty", None, None),
]


@pytest.mark.parametrize(("value", "octets", "messages"), OLD_QUOTAS)
def test_the_old_quota_of_qmail(value, octets, messages):
    ada = person("qmail", QMAIL, {"mailquotasize": [], "mailquotacount": [], "mailquota": [value]})
    assert (ada.quota_bytes, ada.quota_messages) == (octets, messages)


def test_a_person_of_freeipa():
    ada = person("ipa", IPA)
    assert ada.uid == "7a1-9" and ada.full_names == ("Ada Byron",) and ada.status is Status.ACTIVE
    assert person("ipa", IPA, {"ipauniqueid": [], "nsuniqueid": [b"c-d"]}).uid == "c-d"


STATES = [
    ("ad", AD, {"useraccountcontrol": [b"514"]}, Status.DISABLED),
    ("ad", AD, {"useraccountcontrol": [b"-2147483134"]}, Status.DISABLED),
    ("ad", AD, {"useraccountcontrol": [b"much"]}, Status.DISABLED),
    ("ad", AD, {"lockouttime": [b"0"]}, Status.ACTIVE),
    ("ad", AD, {"lockouttime": [b"133500000000000000"]}, Status.LOCKED),
    ("ad", AD, {"pwdlastset": [b"0"]}, Status.MUST_CHANGE),
    ("ad", AD, {"pwdlastset": [b"0"], "useraccountcontrol": [b"514"]}, Status.DISABLED),
    ("qmail", QMAIL, {"accountstatus": []}, Status.ACTIVE),
    ("qmail", QMAIL, {"accountstatus": [b"Active"]}, Status.ACTIVE),
    ("qmail", QMAIL, {"accountstatus": [b"noaccess"]}, Status.DISABLED),
    ("qmail", QMAIL, {"accountstatus": [b"disabled"]}, Status.DISABLED),
    ("qmail", QMAIL, {"accountstatus": [b"deleted"]}, Status.DISABLED),
    ("qmail", QMAIL, {"accountstatus": [b"holiday"]}, Status.DISABLED),
    ("ipa", IPA, {"nsaccountlock": [b"TRUE"]}, Status.DISABLED),
    ("ipa", IPA, {"nsaccountlock": [b"yes"]}, Status.DISABLED),
    ("domino", DOMINO, {"checkpassword": [b"0"]}, Status.ACTIVE),
    ("domino", DOMINO, {"checkpassword": [b"2"]}, Status.DISABLED),
    ("inetorgperson", QMAIL, {"pwdreset": [b"TRUE"]}, Status.MUST_CHANGE),
    ("inetorgperson", QMAIL, {"pwdaccountlockedtime": [b"000001010000Z"]}, Status.LOCKED),
    ("inetorgperson", QMAIL, {"pwdaccountlockedtime": [b"20240101000000Z"]}, Status.LOCKED),
    ("inetorgperson", QMAIL, {"pwdaccountlockedtime": [b"\xff"]}, Status.DISABLED),
]


@pytest.mark.parametrize(("preset", "entry", "changes", "expected"), STATES)
def test_an_entry_says_whether_its_account_is_open(preset, entry, changes, expected):
    assert person(preset, entry, changes).status is expected


BY_BIND = [
    ("ad", AD, {"lockouttime": [b"133500000000000000"]}, Status.ACTIVE),
    ("ad", AD, {"pwdlastset": [b"0"]}, Status.ACTIVE),
    ("ad", AD, {"useraccountcontrol": [b"514"]}, Status.DISABLED),
    ("inetorgperson", QMAIL, {"pwdreset": [b"TRUE"]}, Status.ACTIVE),
    ("inetorgperson", QMAIL, {"pwdaccountlockedtime": [b"20240101000000Z"]}, Status.ACTIVE),
    ("inetorgperson", QMAIL, {"pwdaccountlockedtime": [b"000001010000Z"]}, Status.LOCKED),
]


@pytest.mark.parametrize(("preset", "entry", "changes", "expected"), BY_BIND)
def test_what_a_bind_tells_better_is_left_to_the_bind(preset, entry, changes, expected):
    assert person(preset, entry, changes, binds=True).status is expected


ENDS = [
    ("ad", AD, {"accountexpires": [b"0"]}, None),
    ("ad", AD, {"accountexpires": [b"116444736000000000"]}, 0),
    ("ad", AD, {"accountexpires": [b"133485408000000000"]}, 1_704_067_200),
    ("ipa", IPA, {"krbprincipalexpiration": [b"20240101000000Z"]}, 1_704_067_200),
    ("inetorgperson", QMAIL, {"shadowexpire": [b"2"]}, 172_800),
    ("inetorgperson", QMAIL, {"shadowexpire": [b"-1"]}, None),
]


@pytest.mark.parametrize(("preset", "entry", "changes", "expected"), ENDS)
def test_an_entry_says_when_its_account_ends(preset, entry, changes, expected):
    assert person(preset, entry, changes).expires == expected


TIMES = [
    ("19700101000000Z", 0),
    ("1970010100Z", 0),
    ("19700101000000.5Z", 0),
    ("19700101010000+0100", 0),
    ("19691231190000-05", 0),
    ("19691231235960Z", -1),
]


@pytest.mark.parametrize(("text", "seconds"), TIMES)
def test_times_are_read(text, seconds):
    assert status.moment(text) == seconds


@pytest.mark.parametrize("text", ["", "tomorrow", "20241301000000Z", "20240101", "20240101000000"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ValueError):
        status.moment(text)


def test_every_status_of_every_preset_can_be_read():
    for name in PRESETS:
        AttributeMap.load(name)
    with pytest.raises(ValueError, match="acountStatus"):
        AttributeMap.load(overrides={"status": "acountStatus"})


def test_every_preset_has_every_field():
    assert all(tuple(preset) == FIELDS for preset in PRESETS.values())


def test_only_a_mail_file_may_be_a_template():
    with pytest.raises(ValueError, match="short_name"):
        AttributeMap.load(overrides={"short_name": "{local_part}"})


def test_names_are_looked_for_by_preset_and_level():
    ad, inet = AttributeMap.load("ad"), AttributeMap.load()
    assert ad.login_attributes(None, Level.FEWER) == ("sAMAccountName", "userPrincipalName", "mail", "cn")
    assert ad.login_attributes("uid", Level.FEWER) == ("sAMAccountName",)
    assert inet.login_attributes("uid", Level.FEWER) == ("uid",)
    assert inet.login_attributes("cn", Level.MORE) == ("cn",)
    assert inet.login_attributes(None, Level.MORE) == ("uid", "mail", "cn", "sn", "givenName")
    strict = AttributeMap.load("domino", overrides={"login": ("mail", "cn")})
    assert strict.login_attributes("uid", Level.FEWER) == ()


def test_secrets_are_asked_for_only_where_they_are_compared():
    inet = AttributeMap.load()
    assert not {"userPassword", "authPassword"} & set(inet.attributes(secrets=False))
    assert {"userPassword", "authPassword"} <= set(inet.attributes(secrets=True))
    assert "entryUUID" in inet.attributes(secrets=False) and "inetOrgPerson" not in inet.attributes(secrets=False)
    assert "dn" not in AttributeMap.load("domino").attributes(secrets=True)


def test_names_of_domino_are_written_with_slashes():
    assert names.slashed("cn=Jo Doe,ou=West,o=Acme") == "CN=Jo Doe/OU=West/O=Acme"
    assert names.abbreviated("CN=Jo Doe/OU=West/O=Acme") == names.abbreviated(
        "cn=Jo Doe, o=Acme".replace("o=", "ou=West,o=")
    )
    assert names.abbreviated("mail1.acme.example") == "mail1.acme.example"


def test_a_value_that_looks_like_the_end_of_a_name_is_below_nothing():
    assert names.is_below("cn=Jo,o=Acme", "O=acme")
    assert names.is_below("o=Acme", "o=acme")
    assert names.is_below("cn=Jo,o=Acme", "")
    assert not names.is_below("cn=Jo\\,o=Acme", "o=Acme")
    assert not names.is_below("o=Acme", "cn=Jo,o=Acme")
