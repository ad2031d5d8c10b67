"""Presets: which attributes hold what, for the kinds of directories that sites have. Tables only.

A preset gives each field of a person its sources, the names of attributes; the first one that an entry has wins. A
source with "{" in it is a template, and "dn" is the entry's own name. An administrator replaces single fields in
[[[attributes]]]; what is said of a field here is also what he may put there.

    object_class      an entry with one of these classes is a person; with all of object_category, where that is there
    unique_id         never changes and is never given again; what mail belongs to
    login             what may be typed at login; more_login: first and last names, if the site takes them
    unique_login      login values that an LDIF file may give to one person only
    mail_file         where the mail is; own words of the entry, then the site's template
    quota             octets that all mail may come to, and quota_messages how many messages; directory/values knows the
                      units. Domino and FreeIPA have none in their directories
    forwarding        where all mail goes, for people without a mail file of their own
    status            attributes that close an account; directory/status knows how each is read
    auth_passwords    RFC 3112 values; passwords: those of RFC 2307. Asked for only where they are to be compared here
    group_class       an entry with one of these classes is a group; group_members hold DNs, group_names short names
    member_of         a person's groups, kept by the server; primary_group: the number of one that is not among them
"""

from collections.abc import Mapping

Preset = Mapping[str, tuple[str, ...]]

INETORGPERSON: Preset = {
    "object_class": ("inetOrgPerson",),
    "object_category": (),
    "unique_id": ("entryUUID",),
    "unique_login": ("uid", "mail"),
    "login": ("uid", "mail", "cn"),
    "more_login": ("sn", "givenName"),
    "user_name": ("cn",),
    "full_names": ("cn",),
    "short_name": ("uid",),
    "internet_address": ("mail",),
    "addresses": ("mailLocalAddress",),
    "mail_server": ("mailHost",),
    "mail_file": (),
    "mail_domain": (),
    "forwarding": (),
    "quota": (),
    "quota_messages": (),
    "certificates": ("userCertificate;binary", "userCertificate", "userSMIMECertificate;binary"),
    "auth_passwords": ("authPassword",),
    "passwords": ("userPassword",),
    "status": ("pwdAccountLockedTime", "pwdReset", "shadowExpire"),
    "group_class": ("groupOfNames", "groupOfUniqueNames", "posixGroup"),
    "group_members": ("member", "uniqueMember"),
    "group_names": ("memberUid",),
    "member_of": (),
    "primary_group": (),
}

# Domino serves its own directory. The full name is the entry's DN, and a person's other names are in cn.
DOMINO: Preset = {
    **INETORGPERSON,
    "object_class": ("dominoPerson",),
    "unique_id": ("dominoUNID",),
    "user_name": ("dn",),
    "full_names": ("cn", "displayName"),
    "addresses": (),
    "mail_server": ("mailServer",),
    "mail_file": ("mailFile",),
    "mail_domain": ("mailDomain",),
    "forwarding": ("mailAddress",),
    "certificates": ("userCertificate;binary", "userCertificate"),
    "auth_passwords": (),
    "passwords": (),  # Domino's own hashes; only its server can check them
    "status": ("CheckPassword",),
    "group_class": ("dominoGroup", "groupOfNames"),
    "group_members": ("member",),
    "group_names": (),
}

# Active Directory. A computer is of the class user as well, but of another category.
AD: Preset = {
    **INETORGPERSON,
    "object_class": ("user",),
    "object_category": ("person",),
    "unique_id": ("objectGUID",),
    "unique_login": ("sAMAccountName", "userPrincipalName", "mail"),
    "login": ("sAMAccountName", "userPrincipalName", "mail", "cn"),
    "user_name": ("displayName", "cn"),
    "full_names": ("displayName", "cn"),
    "short_name": ("sAMAccountName",),
    "internet_address": ("mail", "proxyAddresses"),
    "addresses": ("proxyAddresses",),
    "mail_server": (),
    "quota": ("mDBOverQuotaLimit",),
    "certificates": ("userCertificate", "userCertificate;binary"),
    "auth_passwords": (),
    "passwords": (),  # not to be read by anybody
    "status": ("userAccountControl", "lockoutTime", "accountExpires", "pwdLastSet"),
    "group_class": ("group",),
    "group_members": ("member",),
    "group_names": (),
    "member_of": ("memberOf",),
    "primary_group": ("primaryGroupID",),
}

# The schema of qmail-ldap. homeDirectory is no mail file: many people share one.
QMAIL: Preset = {
    **INETORGPERSON,
    "object_class": ("qmailUser",),
    "unique_login": ("uid", "mail", "mailAlternateAddress"),
    "login": ("uid", "mail", "mailAlternateAddress", "cn"),
    "addresses": ("mailAlternateAddress",),
    "mail_file": ("mailMessageStore",),
    "quota": ("mailQuotaSize", "mailQuota"),
    "quota_messages": ("mailQuotaCount", "mailQuota"),
    "certificates": ("userCertificate;binary", "userCertificate"),
    "status": ("accountStatus", "pwdAccountLockedTime", "pwdReset"),
}

# FreeIPA, with base = "cn=users,cn=accounts,...": its compatibility tree has everybody a second time.
IPA: Preset = {
    **INETORGPERSON,
    "unique_id": ("ipaUniqueID", "nsUniqueId"),
    "unique_login": ("uid", "mail", "krbPrincipalName"),
    "login": ("uid", "mail", "krbPrincipalName", "cn"),
    "full_names": ("cn", "displayName"),
    "addresses": (),
    "mail_server": (),
    "certificates": ("userCertificate;binary", "userCertificate"),
    "auth_passwords": (),
    "passwords": (),  # not to be read by anybody
    "status": ("nsAccountLock", "krbPrincipalExpiration"),
    "group_class": ("groupOfNames", "ipaUserGroup"),
    "group_members": ("member",),
    "group_names": (),
    "member_of": ("memberOf",),
}

PRESETS: Mapping[str, Preset] = {
    "inetorgperson": INETORGPERSON,
    "domino": DOMINO,
    "ad": AD,
    "qmail": QMAIL,
    "ipa": IPA,
}

# The fields that there are: what an administrator may map.
FIELDS: tuple[str, ...] = tuple(INETORGPERSON)
