"""MULTIAPPEND (RFC 3502): several messages in one APPEND. APPEND itself asks whether it is offered."""

from imapd.imap.extension import Extension

extension = Extension(words=("MULTIAPPEND",))
