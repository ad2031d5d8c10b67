"""CHILDREN (RFC 3348): LIST says \\HasChildren and \\HasNoChildren. LIST itself does it always."""

from imapd.imap.extension import Extension

extension = Extension(words=("CHILDREN",))
