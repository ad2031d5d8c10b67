"""One client's connection of LMTP: drives the conversation (delivery/lmtp) as connection drives that of IMAP.

1. Replies are gathered and sent before the next wait, so that commands that were sent ahead have one answer; behind a
   text each recipient's reply goes out at once, for his copy is durable.
2. A client may be silent for five minutes (RFC 5321 section 4.5.3.2.7), whatever it is doing.
3. A stop lets the delivery that runs come to its end; a text that is still coming is thrown away, and the client, which
   has no reply to it, sends it again.
4. What the client sent in the clear behind STARTTLS ends the connection.
"""

from __future__ import annotations

import grp
import ipaddress
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from imapd.delivery.lmtp import Conversation
from imapd.delivery.replies import Log, Reply, Upgrade
from imapd.log import event as write_event
from imapd.model.loop import Loop
from imapd.server import privileges
from imapd.server.partners import HANDSHAKE
from imapd.server.privileges import Become, PrivilegeError
from imapd.server.sockets import Access, ListenError, Place, open_unix, release
from imapd.server.tls import Context, TlsFailure
from imapd.server.transport import Gone, Heard, TimedOut, Transport
from imapd.settings import Listener

if TYPE_CHECKING:
    from imapd.deliverysettings import Lmtp
    from imapd.directory.person import Person
    from imapd.settings import Settings

logger = logging.getLogger("imapd.server.lmtp")

LISTENER = "[lmtp]"
"""The name of the listener, which no section of the administrator's can have."""
SILENCE = 300.0

Begin = Callable[[Log, str, bool], Conversation]
"""Makes the conversation: where events go, the connection's id, and whether TLS may be offered."""


def listeners(lmtp: Lmtp) -> list[Listener]:
    """The ports of the section, as the other listeners are written."""
    if lmtp.status != "enabled" or lmtp.port is None:
        return []
    return [Listener(name=LISTENER, address=lmtp.address, port=lmtp.port)]


def open_socket(settings: Settings, opened: Sequence[Place], before: Sequence[Place]) -> list[Place]:
    """The place of the section's Unix socket, if it has one. Raises ListenError; then nothing of what was opened, but
    was not before, stays open."""
    if settings.lmtp.status != "enabled" or settings.lmtp.socket is None:
        return []
    try:
        become = privileges.chosen(settings.service.user, settings.service.group)
        return [open_unix(LISTENER, settings.lmtp.socket, _access(settings.lmtp, become), before)]
    except (ListenError, PrivilegeError) as error:
        release(opened, before)
        raise ListenError(str(error)) from None


def _access(lmtp: Lmtp, become: Become | None) -> Access:
    """Who may connect. Raises PrivilegeError where there is no such group."""
    uid, gid = (become.uid, become.gid) if become is not None else (-1, -1)
    if lmtp.socket_group is not None:
        try:
            gid = grp.getgrnam(lmtp.socket_group).gr_gid
        except KeyError:
            raise PrivilegeError(f"[lmtp] socket_group: there is no group '{lmtp.socket_group}'") from None
    return Access(int(lmtp.socket_mode, 8), uid, gid)


class LmtpConnection:
    """One connection. networks: from where clients may come; a client at a Unix socket comes from nowhere."""

    def __init__(
        self,
        transport: Transport,
        begin: Begin,
        loop: Loop,
        identity: Mapping[str, object],
        networks: Sequence[str],
        tls: Context | None = None,
    ) -> None:
        self._transport = transport
        self._loop = loop
        self._identity = identity
        self._networks = networks
        self._tls = tls
        self._began = time.monotonic()
        self._buffer: list[bytes] = []
        self._stop: str | None = None
        self._conversation = begin(self._log, str(identity["id"]), tls is not None)

    @property
    def listener(self) -> str:
        """The name of the listener that the client came in by."""
        return LISTENER

    @property
    def person(self) -> Person | None:
        """Nobody logs in here."""
        return None

    def stop(self, text: str) -> None:
        """End the connection with that text, as soon as no delivery is running."""
        self._stop = text
        self._transport.ring()

    def serve(self) -> None:
        """Serve the client until the end."""
        reason = "quit"
        try:
            if self._is_let_in():
                self._converse()
                reason = "quit" if self._stop is None else "stopped"
            else:
                reason = "not from one of [lmtp] networks"
                self._send(Reply(554, "", "No mail is taken from you"))
                self._flush()
        except Gone as error:
            reason = str(error)
        except TimedOut:
            reason = "silent for too long"
        except TlsFailure as error:
            reason = f"TLS: {error}"
        except Exception as error:
            reason = "error"
            logger.error("unforeseen error at connection %s", self._identity.get("id"), exc_info=error)
        except BaseException:  # the worker's end, which waits no longer
            reason = "cut off"
            raise
        finally:
            self._conversation.close()
            self._transport.close()
            self._log("disconnect", reason=reason, duration=round(time.monotonic() - self._began, 3))

    def turn_away(self) -> None:
        """Say that there are too many connections, and close."""
        self._log("turned_away", reason="too many connections")
        try:
            self._send(Reply(421, "4.3.2", "Too many connections; come again"))
            self._flush()
        except (Gone, TimedOut):
            pass
        finally:
            self._conversation.close()
            self._transport.close()

    def _is_let_in(self) -> bool:
        peer = str(self._identity["peer"])
        if not peer:
            return True
        address = ipaddress.ip_address(peer.partition("%")[0])
        return any(address in ipaddress.ip_network(network) for network in self._networks)

    def _converse(self) -> None:
        self._log("connect")
        self._send(self._conversation.greeting())
        while not self._conversation.over:
            self._flush()
            if not self._wait():
                return
            self._conversation.feed(self._transport.read_now())
            for word in self._conversation.replies():
                if isinstance(word, Upgrade):
                    self._upgrade()
                    break
                self._send(word)
                if word.now:
                    self._flush()
                self._loop.breathe()
        self._flush()

    def _wait(self) -> bool:
        """Wait for octets; False where the connection is to end instead. Raises TimedOut."""
        deadline = time.monotonic() + SILENCE
        while True:
            if self._stop is not None:
                self._send(self._conversation.goodbye(self._stop))
                self._transport.write(b"".join(self._buffer), time.monotonic() + 5.0)
                return False
            heard = self._transport.hear(deadline)
            if heard is Heard.INPUT:
                return True
            if heard is Heard.NOTHING:
                self._send(self._conversation.goodbye("Nothing was heard for too long"))
                self._flush()
                raise TimedOut

    def _upgrade(self) -> None:
        """The look comes before the reply goes out: nothing may be there yet."""
        if self._transport.has_input() or self._tls is None:
            self._buffer.clear()
            raise TlsFailure("octets in the clear behind STARTTLS")
        self._flush()
        self._transport.start_tls(self._tls, time.monotonic() + HANDSHAKE)
        self._conversation.upgraded()

    def _send(self, reply: Reply) -> None:
        self._buffer.append(reply.octets())

    def _flush(self) -> None:
        data = b"".join(self._buffer)
        self._buffer.clear()
        if data:
            self._transport.write(data, time.monotonic() + SILENCE)

    def _log(self, event: str, **fields: object) -> None:
        """One event of this connection. What is refused for now may want somebody to look."""
        level = logging.WARNING if str(fields.get("status", "")).startswith("4") else logging.INFO
        write_event(logger, level, event, **{**self._identity, **fields})
