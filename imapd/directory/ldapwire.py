"""One connection to one LDAP server: the only room that knows ldap3.

The library encodes, decodes and matches answers to requests; it neither connects nor speaks TLS here, nor does it keep
a deadline, follow a referral or choose a server. What it would do wrong there is known: it verifies no certificate
unless told to, swallows who interrupts it between two addresses, waits for each octet anew, and sends the password to
any host that a referral names.

1. What goes wrong leaves this room as a DirectoryDown. After it the connection is closed: an answer that comes late
   must not be taken for another user's.
2. Nobody uses ldap3's own notion of success: its bind() returns a tuple, which is always true.
3. Passwords are octets; the library would change text (SASLprep). They are forgotten after each bind, and requests are
   not kept in a readable form, as the library does it for its callers.
"""

import contextlib
import random
import socket
import ssl
from collections.abc import Iterator, Sequence
from typing import Any

import ldap3
from ldap3.core.exceptions import LDAPSessionTerminatedByServerError
from ldap3.protocol.convert import build_controls_list
from ldap3.protocol.rfc4511 import LDAPMessage, MessageID, ProtocolOp
from ldap3.strategy.safeSync import SafeSyncStrategy

from imapd.directory.bindcontrols import POLICY, verdict
from imapd.directory.ldapfilter import Filter
from imapd.directory.ldapuri import Address
from imapd.directory.ldapvalues import Depth, DirectoryDown, Entry, Gone, Identity, TooMany
from imapd.directory.verdict import Verdict
from imapd.model.loop import Loop

_START_TLS = "1.3.6.1.4.1.1466.20037"
_WHO_AM_I = "1.3.6.1.4.1.4203.1.11.3"

_SUCCESS, _SIZE_LIMIT, _REFERRAL, _NO_SUCH_OBJECT = 0, 4, 10, 32
_COMPARED = {
    5: False,
    6: True,
    16: False,  # noSuchAttribute, noSuchObject: what is not there has no such value
    32: False,
}
_SCOPES = {Depth.BASE: ldap3.BASE, Depth.ONE: ldap3.LEVEL, Depth.SUBTREE: ldap3.SUBTREE}

# A server or a firewall that forgot the connection is noticed within seconds, not with the first user after it.
_SOCKET_OPTIONS = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 3_000),
    # Without it the first bind over TLS takes 43 ms instead of 2: Nagle waits for a delayed acknowledgement.
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
)


class Link:
    """A connection, open until it is closed or something goes wrong on it.

    used: whether it has answered before, so that its end may only mean that it was kept too long. opened, rested: when
    it was opened and last put aside, on the loop's clock. luck: between 0 and 1, for whoever wants to treat connections
    differently.
    """

    def __init__(
        self, address: Address, loop: Loop, seconds: float, tls: ssl.SSLContext | None, starttls: bool
    ) -> None:
        """Connect within so many seconds, and speak TLS where there is a context for it. Raises DirectoryDown."""
        self.address = address
        self.used = False
        self.luck = random.random()  # noqa: S311, nothing secret
        self.opened = self.rested = loop.monotonic()
        self._socket = _Socket(loop, address)
        self._ldap: Any = None
        try:
            self._socket.connect(seconds)
            if tls is not None and not starttls:
                self._socket.secure(tls)
            self._adopt()
            if tls is not None and starttls:
                self._start_tls()
                self._socket.secure(tls)
        except BaseException:
            self.close()
            raise

    def within(self, seconds: float) -> None:
        """Give what follows that long, all together."""
        self._socket.allow(seconds)

    @property
    def closed(self) -> bool:
        """Whether nothing can be asked any more."""
        return self._socket.closed

    def close(self) -> None:
        """Let go of the server, without a word: it sees the end."""
        self._socket.close()
        self._ldap = None

    # -- operations --------------------------------------------------------------------------------------------------

    def bind(self, identity: Identity) -> None:
        """Become the daemon's own identity; nobody, where it is nobody."""
        if identity.external:
            code, text, _ = self._bind(None, None)
        elif identity.dn is not None and identity.password is not None:
            code, text, _ = self._bind(identity.dn, identity.password)
        else:
            return
        if code != _SUCCESS:
            self._fail(f"it does not let the daemon in as {identity.dn or 'EXTERNAL'}: {_words(code, text)}")
        if self._who_am_i() == b"":
            self._fail(f"it took the daemon's bind as {identity.dn or 'EXTERNAL'} for an anonymous one")

    def try_password(self, dn: str, password: bytes) -> Verdict:
        """What the server says of somebody's password. The connection is that person's afterwards."""
        if not dn or not password:
            raise ValueError("a bind without a name or a password proves nothing")
        code, text, controls = self._bind(dn, password)
        try:
            found = verdict(code, text, controls)
        except ValueError as error:
            self._fail(str(error))
        if found is None:
            self._fail(f"it cannot say whether a password is right: {_words(code, text)}")
        assert found is not None
        return found

    def search(
        self, base: str, depth: Depth, filter: Filter, attributes: Sequence[str], limit: int, seconds: float
    ) -> list[Entry]:
        """The entries that match; limit 0 is the server's. Raises TooMany."""
        with self._asking() as ldap:
            _, result, response, _ = ldap.search(
                base,
                str(filter),
                _SCOPES[depth],
                dereference_aliases=ldap3.DEREF_NEVER,
                attributes=list(attributes),
                size_limit=limit,
                time_limit=max(1, int(seconds)),
            )
            # Active Directory puts references among the entries: "look there as well". They are not followed.
            entries = [_entry(item) for item in response or () if item["type"] == "searchResEntry"]
            _require(result, "searchResDone")
        code = result["result"]
        if code == _SIZE_LIMIT or (limit and len(entries) > limit):
            raise TooMany(tuple(entries[:limit] if limit else entries))
        if code == _NO_SUCH_OBJECT and depth is Depth.BASE:
            return []
        if code == _NO_SUCH_OBJECT:
            # Not an answer: who may not see the base, or has it written wrongly, would take everybody for unknown.
            self._fail(f"there is no {base!r}, or the daemon may not see it")
        if code == _REFERRAL:
            self._fail(f"it refers to other servers for {base!r}; referrals are not followed")
        if code != _SUCCESS:
            self._fail(f"a search failed: {_words(code, result['message'])}")
        return entries

    def compare(self, dn: str, attribute: str, value: bytes) -> bool:
        """Whether an entry has this value."""
        with self._asking() as ldap:
            _, result, _, _ = ldap.compare(dn, attribute, value)
            _require(result, "compareResponse")
        if result["result"] not in _COMPARED:
            self._fail(f"a comparison failed: {_words(result['result'], result['message'])}")
        return _COMPARED[result["result"]]

    # -- inside ------------------------------------------------------------------------------------------------------

    def _adopt(self) -> None:
        """Have the library believe that it opened the connection."""
        # One Server for each Connection: a shared one takes a dead server for connected while another lives.
        server = ldap3.Server("localhost", get_info=ldap3.NONE, allowed_referral_hosts=[])
        self._ldap = ldap3.Connection(
            server,
            client_strategy=ldap3.SAFE_SYNC,
            auto_bind=ldap3.AUTO_BIND_NONE,
            auto_referrals=False,
            auto_range=False,
            auto_escape=False,
            check_names=False,
            return_empty_attributes=False,
        )
        strategy = _Strategy(self._ldap)
        self._ldap.strategy = strategy
        for name in ("send", "get_response", "post_send_single_response", "post_send_search"):
            setattr(self._ldap, name, getattr(strategy, name))
        self._ldap.socket = self._socket
        self._ldap.closed = False
        self._ldap.listening = True

    def _start_tls(self) -> None:
        """RFC 4511 section 4.14. What may have been slipped in behind the answer is read by nobody."""
        with self._asking() as ldap:
            _, result, _, _ = ldap.extended(_START_TLS)
            _require(result, "extendedResp")
        if result["result"] != _SUCCESS:
            self._fail(f"it refuses StartTLS: {_words(result['result'], result['message'])}")

    def _bind(self, dn: str | None, password: bytes | None) -> tuple[int, str, dict[str, bytes]]:
        """Bind, by SASL EXTERNAL where there is no name; the result code, its text, and the controls beside it."""
        with self._asking() as ldap:
            try:
                if dn is None:
                    ldap.sasl_credentials = ""  # without them, even empty, the server would ask for some
                    ldap.rebind(authentication=ldap3.SASL, sasl_mechanism=ldap3.EXTERNAL, read_server_info=False)
                else:
                    asked = [(POLICY, False, None)]
                    ldap.rebind(dn, password, ldap3.SIMPLE, controls=asked, read_server_info=False)
                result = ldap.result
                _require(result, "bindResponse")
            finally:
                ldap.password = None
            controls = {name: one["value"] or b"" for name, one in (result.get("controls") or {}).items()}
        return result["result"], result["message"] or "", controls

    def _who_am_i(self) -> bytes | None:
        """RFC 4532; None where the server does not tell."""
        with self._asking() as ldap:
            _, result, _, _ = ldap.extended(_WHO_AM_I)
            _require(result, "extendedResp")
        return result.get("responseValue") or b"" if result["result"] == _SUCCESS else None

    @contextlib.contextmanager
    def _asking(self) -> Iterator[Any]:
        """Turn whatever the library raises into DirectoryDown, and close the connection behind it.

        Broad on purpose: octets from a broken server come out as any exception that there is. Who interrupts from
        outside (Overdue, the end of the greenlet) closes the connection as well, and goes on as he is.
        """
        if self._ldap is None:
            raise Gone(f"{self.address}: the connection is closed")
        try:
            yield self._ldap
            self.used = True
        except DirectoryDown:
            self.close()
            raise
        except Exception as error:
            fault = self._socket.fault
            self.close()
            if fault is None and isinstance(error, LDAPSessionTerminatedByServerError):
                fault = Gone(f"{self.address}: it ended the connection")
            if fault is None:
                # Only the kind of the exception: its text may hold the request, and that a password.
                fault = DirectoryDown(f"{self.address}: its answer makes no sense ({type(error).__name__})")
            raise fault from None
        except BaseException:
            self.close()
            raise

    def _fail(self, reason: str) -> None:
        self.close()
        raise DirectoryDown(f"{self.address}: {reason}")


class _Strategy(SafeSyncStrategy):  # type: ignore[misc]
    """How the library sends a request and waits for its answer, with a sending of our own.

    The library's reads each request back into text, passwords and octets of filters among it, and fails where they are
    not UTF-8.
    """

    def __init__(self, connection: Any) -> None:
        super().__init__(connection)
        self._outstanding: dict[int, dict[str, object]] = {}
        self._number = 0

    def send(self, kind: str, request: Any, controls: Any = None) -> int:
        self._number += 1
        message = LDAPMessage()
        message["messageID"] = MessageID(self._number)
        message["protocolOp"] = ProtocolOp().setComponentByName(kind, request)
        if (listed := build_controls_list(controls)) is not None:
            message["controls"] = listed
        self._outstanding[self._number] = {}
        self.sending(message)
        return self._number


class _Socket:
    """What the library takes for its socket. It keeps one bound for all that is waited for, and remembers what failed:
    the library would tell a timeout, an end and its own mistakes by the same exceptions."""

    def __init__(self, loop: Loop, address: Address) -> None:
        self._loop = loop
        self._address = address
        self._raw: Any = None
        self._until = self._seconds = 0.0
        self.fault: DirectoryDown | None = None

    @property
    def closed(self) -> bool:
        return self._raw is None

    def allow(self, seconds: float) -> None:
        self._until = self._loop.monotonic() + seconds
        self._seconds = seconds

    def connect(self, seconds: float) -> None:
        self.allow(seconds)
        with self._watching("it cannot be connected to"):
            self._raw = self._loop.connect(self._address.host, self._address.port, seconds)
            if self._address.port is not None:
                for option in _SOCKET_OPTIONS:
                    self._raw.setsockopt(*option)

    def secure(self, context: ssl.SSLContext) -> None:
        """Begin TLS; the certificate has to be the host's."""
        with self._watching("TLS fails"):
            self._raw.settimeout(self._left())
            self._raw = context.wrap_socket(
                self._raw, server_hostname=self._address.host, do_handshake_on_connect=False
            )
            self._raw.do_handshake()

    def sendall(self, data: bytes) -> None:
        with self._watching("sending to it failed"):
            self._raw.settimeout(self._left())
            self._raw.sendall(data)

    def recv(self, size: int) -> bytes:
        with self._watching("the connection broke"):
            self._raw.settimeout(self._left())
            data: bytes = self._raw.recv(size)
        if not data:
            self.fault = Gone(f"{self._address}: it closed the connection")
        return data

    def shutdown(self, how: int) -> None:
        """The library says so before it closes."""

    def close(self) -> None:
        raw, self._raw = self._raw, None
        if raw is not None:
            with contextlib.suppress(OSError):
                raw.close()

    def _left(self) -> float:
        left = self._until - self._loop.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    @contextlib.contextmanager
    def _watching(self, what: str) -> Iterator[None]:
        try:
            yield
        except TimeoutError:
            self.fault = DirectoryDown(f"{self._address}: no answer within {self._seconds:g} s")
            raise self.fault from None
        except ssl.SSLCertVerificationError as error:
            self.fault = DirectoryDown(f"{self._address}: its certificate is not good: {error.verify_message}")
            raise self.fault from None
        except OSError as error:
            self.fault = Gone(f"{self._address}: {what}: {error.strerror or error}")
            raise self.fault from None


def _require(result: Any, kind: str) -> None:
    """The library takes any kind of answer with the right number, and every kind has a result code."""
    if result["type"] != kind:
        raise ValueError(f"{result['type']} in the place of {kind}")


def _entry(item: Any) -> Entry:
    """An entry of an answer. Octets only: without a schema the library would guess what is text."""
    attributes: dict[str, list[bytes]] = {}
    for name, values in item["raw_attributes"].items():
        base, *options = name.lower().split(";")
        key = f"{base};binary" if "binary" in options else base
        attributes.setdefault(key, []).extend(bytes(value) for value in values)
    return Entry(bytes(item["raw_dn"]).decode("utf-8"), attributes)


def _words(code: int, text: str) -> str:
    """A result as a sentence for the log."""
    name = ldap3.core.results.RESULT_CODES.get(code, "unknown result")
    return f"{name} ({code}){': ' + text if text else ''}"
