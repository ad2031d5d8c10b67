"""TLS by OpenSSL on the socket's own descriptor. No other room knows OpenSSL.

1. Contexts are made before the workers are forked: the keys of session tickets are made with them, so a client may
   resume its session with any worker.
2. TLS 1.2 with forward secrecy and authenticated encryption, or 1.3; no renegotiation, no compression.
3. A client that offers application protocols (ALPN, RFC 7301) must offer "imap"; one that offers none is welcome.
   So a browser that was tricked into talking to us ends in the handshake.
4. Whatever OpenSSL says goes out of this room as WantRead, WantWrite or TlsFailure.
5. Where clients show certificates no session is resumed: each connection proves anew that it has the key, and that the
   certificate is neither expired nor revoked. One counts if it is by an authority of [tls] client_ca, is meant for
   clients, and is not on the list of revoked ones; once that list is too old nobody's counts. What does not count ends
   the handshake where one is required, and is as good as none where it is not, with the reason in the log.

Not memory BIOs: on the descriptor OpenSSL is two and a half times as fast.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from OpenSSL import SSL, crypto

from imapd.directory.certificate import ClientCertificate

if TYPE_CHECKING:
    from imapd.settings import Tls

WantRead = SSL.WantReadError
WantWrite = SSL.WantWriteError

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
PROTOCOL = b"imap"  # RFC 7301's registry
# SSL_MODE_ENABLE_PARTIAL_WRITE, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER: pyOpenSSL has no names for them. The third one,
# RELEASE_BUFFERS, gives an idle session's 34 kB back.
_MODES = 0x1 | 0x2 | SSL.MODE_RELEASE_BUFFERS
_VERSIONS = {"1.2": SSL.TLS1_2_VERSION, "1.3": SSL.TLS1_3_VERSION}


class TlsFailure(Exception):
    """The other side does not speak TLS as it should; the text is for the log."""


class TlsError(Exception):
    """Certificates cannot be used; the text tells the administrator why."""


class _NoCommonProtocol(Exception):
    """The client offers protocols, and "imap" is none of them."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate chain and its key, as paths of PEM files."""

    certificate: str
    key: str


@dataclass(frozen=True, slots=True)
class Clients:
    """What is asked of clients' certificates: their authorities and revocation lists, as paths of PEM files."""

    authorities: str
    revoked: str | None = None
    required: bool = False


class Context:
    """What the connections of a listener have in common. names: identities by host name, "*.example.org" included."""

    def __init__(
        self,
        identity: Identity,
        names: Mapping[str, Identity] | None = None,
        minimum_version: str = "1.2",
        ciphers: str | None = None,
        clients: Clients | None = None,
    ) -> None:
        self._clients = clients

        def make(one: Identity) -> SSL.Context:
            context = _context(one, minimum_version, ciphers)
            if clients is not None:
                # On every context: the store of the one that SNI chooses is asked.
                _ask_clients(context, clients)
            return context

        self._context = make(identity)
        self._names = {name.lower().rstrip("."): make(other) for name, other in (names or {}).items()}
        if self._names:
            self._context.set_tlsext_servername_callback(self._choose)

    def wrap(self, sock: socket.socket) -> SSL.Connection:
        """A server's side of TLS on a non-blocking socket."""
        connection = SSL.Connection(self._context, sock)
        connection.set_app_data(_Shown())
        connection.set_accept_state()
        return connection

    def _choose(self, connection: SSL.Connection) -> None:
        """Take the certificate of the host name that the client asks for (RFC 6066 section 3)."""
        asked = (connection.get_servername() or b"").decode("ascii", "replace").lower().rstrip(".")
        context = self._names.get(asked)
        if context is None:
            parent = asked.partition(".")[2]  # a star stands for one level (RFC 6125 section 6.4.3)
            context = self._names.get(f"*.{parent}") if parent else None
        if context is not None:
            connection.set_context(context)


@dataclass(slots=True)
class _Shown:
    """What became of the certificate that the client has shown: why it does not count, if so."""

    fault: str | None = None


def make_contexts(tls: Tls, wanted: Iterable[str] = ("no",)) -> dict[str, Context]:
    """The TLS of the listeners by the section [tls], for each word of `client_certificate` that they say; empty where
    the section names no certificate. Raises TlsError."""
    if tls.certificate is None or tls.key is None:
        return {}
    identity = Identity(tls.certificate, tls.key)
    names = {one.name: Identity(one.certificate, one.key) for one in tls.names}
    contexts = {}
    for word in dict.fromkeys(wanted):
        clients = None
        if word != "no":
            if tls.client_ca is None:
                raise TlsError("client certificates are asked for, and 'client_ca' does not say whose are accepted")
            clients = Clients(tls.client_ca, tls.client_crl, required=word == "required")
        contexts[word] = Context(identity, names, tls.minimum_version, tls.ciphers, clients)
    return contexts


def _context(identity: Identity, minimum_version: str, ciphers: str | None) -> SSL.Context:
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(_VERSIONS[minimum_version])
    context.set_options(
        SSL.OP_NO_COMPRESSION
        | SSL.OP_NO_RENEGOTIATION
        | SSL.OP_CIPHER_SERVER_PREFERENCE
        # Half of the clients just drop the connection; IMAP's own end of a command shows a truncation.
        | SSL.OP_IGNORE_UNEXPECTED_EOF
    )
    context.set_mode(_MODES)
    # Tickets hold the sessions, with the client. A cache would be each worker's own, and memory for nothing.
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_session_id(b"imapd")
    try:
        context.set_cipher_list((ciphers or CIPHERS).encode("ascii"))
    except (SSL.Error, UnicodeEncodeError):
        raise TlsError(f"OpenSSL knows no cipher of the list '{ciphers}'") from None
    # On every context: the one that SNI chooses is asked.
    context.set_alpn_select_callback(_select_protocol)
    _load(context, identity)
    return context


def _ask_clients(context: SSL.Context, clients: Clients) -> None:
    # By rule 5. Tickets of TLS 1.3 become keys of the cache, which is off: a client that brings one is not resumed.
    context.set_options(SSL.OP_NO_TICKET)
    _read(clients.authorities)
    try:
        context.load_verify_locations(clients.authorities)
        # What the client chooses its certificate by.
        context.load_client_ca(clients.authorities.encode())
    except SSL.Error:
        raise TlsError(f"{clients.authorities} holds no certificate in PEM form") from None
    if clients.revoked is not None:
        _load_revoked(context, clients.revoked)
    if clients.required:
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, _note_strictly)
    else:
        context.set_verify(SSL.VERIFY_PEER, _note)


def certificate_fault(tls: Tls, der: bytes) -> str | None:
    """Why a client's certificate would not count, for an administrator who asks, or None. What it is meant for only a
    handshake tells. Raises TlsError."""
    if tls.client_ca is None:
        return "there are no authorities, 'client_ca' is not set"
    store = crypto.X509Store()
    try:
        for path in (tls.client_ca, tls.client_crl):
            if path is not None:
                _read(path)
                store.load_locations(path)
        if tls.client_crl is not None:
            store.set_flags(crypto.X509StoreFlags.CRL_CHECK | crypto.X509StoreFlags.CRL_CHECK_ALL)
        crypto.X509StoreContext(store, crypto.load_certificate(crypto.FILETYPE_ASN1, der)).verify_certificate()
    except crypto.X509StoreContextError as error:
        number = error.errors[0]
        return _FAULTS.get(number, f"it does not verify (OpenSSL's error {number})")
    except crypto.Error:
        raise TlsError("'client_ca' or 'client_crl' cannot be read") from None
    return None


def _load_revoked(context: SSL.Context, path: str) -> None:
    """The lists of the file, one of each authority."""
    if b"-----BEGIN X509 CRL-----" not in _read(path):
        raise TlsError(f"{path} holds no list of revoked certificates in PEM form")
    store = context.get_cert_store()
    assert store is not None
    try:
        store.load_locations(path)
    except crypto.Error:
        raise TlsError(f"{path} holds a list of revoked certificates that cannot be read") from None
    store.set_flags(crypto.X509StoreFlags.CRL_CHECK | crypto.X509StoreFlags.CRL_CHECK_ALL)


def _note(connection: SSL.Connection, certificate: Any, error: int, depth: int, fine: int) -> bool:
    """Asked about each certificate of the chain, and for each error: let it pass, but remember."""
    if not fine:
        shown = connection.get_app_data()
        shown.fault = shown.fault or _FAULTS.get(error, f"it does not verify (OpenSSL's error {error})")
    return True


def _note_strictly(connection: SSL.Connection, certificate: Any, error: int, depth: int, fine: int) -> bool:
    _note(connection, certificate, error, depth, fine)
    return bool(fine)


# By the numbers of X509_STORE_CTX_get_error(3).
_FAULTS = {
    3: "there is no list of revoked certificates of its authority",
    7: "its authority has not signed it",
    9: "it is not valid yet",
    10: "it has expired",
    11: "the list of revoked certificates is not valid yet",
    12: "the list of revoked certificates is too old",
    18: "it is by nobody but itself",
    19: "its authority is not one of client_ca",
    20: "its authority is not one of client_ca",
    21: "its authority is not one of client_ca",
    23: "it is revoked",
    26: "it is not meant for clients",
}


def _load(context: SSL.Context, identity: Identity) -> None:
    _read(identity.certificate)
    secret = _read(identity.key)
    try:
        # With an empty pass phrase, or OpenSSL would ask for one at the terminal.
        key: Any = crypto.load_privatekey(crypto.FILETYPE_PEM, secret, b"").to_cryptography_key()
    except (crypto.Error, ValueError, TypeError):
        raise TlsError(f"{identity.key} holds no private key in PEM form without a pass phrase") from None
    try:
        context.use_certificate_chain_file(identity.certificate)
    except SSL.Error:
        raise TlsError(f"{identity.certificate} holds no certificate in PEM form") from None
    try:
        context.use_privatekey(key)
        context.check_privatekey()
    except SSL.Error:
        raise TlsError(f"the key {identity.key} does not belong to the certificate {identity.certificate}") from None


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise TlsError(
            f"{path} cannot be read: {error.strerror} (the daemon runs as user {os.geteuid()} here)"
        ) from None


def _select_protocol(connection: SSL.Connection, offered: Sequence[bytes]) -> bytes:
    if PROTOCOL in offered:
        return PROTOCOL
    # pyOpenSSL would take NO_OVERLAPPING_PROTOCOLS for "go on without"; only an exception makes the alert
    # no_application_protocol, which RFC 7301 section 3.2 asks for.
    raise _NoCommonProtocol(b", ".join(offered).decode("ascii", "backslashreplace"))


def handshake(connection: SSL.Connection) -> None:
    """Go on with the handshake. Raises WantRead, WantWrite, TlsFailure."""
    try:
        connection.do_handshake()
    except _NoCommonProtocol as error:
        raise TlsFailure(f"the client wants to speak {error}, not imap") from None
    except (SSL.SysCallError, SSL.ZeroReturnError):
        raise TlsFailure("the client closed the connection during the handshake") from None
    except (WantRead, WantWrite):
        raise
    except SSL.Error as error:
        fault = connection.get_app_data().fault
        raise TlsFailure(_words(error) + (f": the client's certificate: {fault}" if fault else "")) from None


def receive(connection: SSL.Connection, size: int) -> bytes:
    """Up to that many octets, none at the end of the connection. Raises WantRead, WantWrite, TlsFailure."""
    try:
        data: bytes = connection.recv(size)
        return data
    except (SSL.ZeroReturnError, SSL.SysCallError):
        return b""
    except (WantRead, WantWrite):
        raise
    except SSL.Error as error:
        raise TlsFailure(_words(error)) from None


def send(connection: SSL.Connection, data: memoryview) -> int:
    """Send some of the octets; says how many. Raises WantRead, WantWrite, TlsFailure."""
    try:
        sent: int = connection.send(data)
        return sent
    except (WantRead, WantWrite):
        raise
    except (SSL.ZeroReturnError, SSL.SysCallError):
        raise TlsFailure("closed by the client") from None
    except SSL.Error as error:
        raise TlsFailure(_words(error)) from None


def goodbye(connection: SSL.Connection) -> None:
    """Send close_notify if the kernel takes it, and do not wait for the client's."""
    try:
        connection.shutdown()
    except SSL.Error:
        pass


def certificate(connection: SSL.Connection) -> ClientCertificate | None:
    """The client's certificate, if it has shown one that counts."""
    if connection.get_app_data().fault:
        return None
    shown = connection.get_peer_certificate()
    if shown is None:
        return None
    try:
        return ClientCertificate.read(crypto.dump_certificate(crypto.FILETYPE_ASN1, shown))
    except ValueError as error:
        connection.get_app_data().fault = f"it cannot be read: {error}"
        return None


def exporter(connection: SSL.Connection) -> bytes | None:
    """The channel binding tls-exporter (RFC 9266). Of TLS 1.3 only: whether an older session has the extended master
    secret, without which two connections may have the same data, OpenSSL does not tell us."""
    if connection.get_protocol_version() < SSL.TLS1_3_VERSION:
        return None
    data: bytes = connection.export_keying_material(b"EXPORTER-Channel-Binding", 32, b"")
    return data


def facts(connection: SSL.Connection) -> dict[str, str]:
    """Version, cipher, the host name asked for, and why the certificate that the client has shown does not count."""
    found = {"tls": connection.get_protocol_version_name(), "cipher": connection.get_cipher_name() or ""}
    asked = connection.get_servername()
    if asked:
        found["server_name"] = asked.decode("ascii", "backslashreplace")
    if fault := connection.get_app_data().fault:
        found["certificate_ignored"] = fault
    return found


def _words(error: SSL.Error) -> str:
    """OpenSSL's reasons, joined: [("SSL routines", "", "unsupported protocol")] is "unsupported protocol"."""
    reasons = error.args[0] if error.args and isinstance(error.args[0], list) else []
    return ", ".join(reason[-1] for reason in reasons) or "TLS failed"
