"""imapd: an IMAP server for mail files, with people from LDAP directories."""

__version__ = "0.1.0"
