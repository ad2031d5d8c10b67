"""Dialogues: scripts of what a client says and a server must answer, one behaviour a file.

A file's name is a sentence. Its head is comments (#) with the RFC's section, then settings, then lines:

    given: INBOX has 3 messages         mailboxes that are made and filled before (with any number of such lines)
    given: nothing else                 no mailbox but the inbox and these, though the server makes some for everybody
    given: an administrator             $administrator with $administrator_password may act as $user; another server that
                                        has none is passed over
    state: selected INBOX               how connection 1 begins: opened (its greeting is still to be heard), connected,
                                        authenticated (the default), selected NAME, examined NAME
    capability: MOVE                    words that the server must offer, before or after login; another server that
                                        does not is passed over

    C: a1 NOOP                          said by the client; C+: the same, in one segment with the line before
    C: a2 APPEND INBOX {#}              {#} or {#+} is the size of the literal that follows in lines of
    C| Subject: hello                   C|, each ending in CRLF; after {#} the client waits for the server's +; what
                                        comes instead of a + is left to the next S line, and the literal is not sent
    C>  (\\Seen) {#+}                    the command goes on behind the literal, perhaps with a further one
    C: <tls>                            the client begins the TLS handshake
    S: a1 OK <any>                      the next response must look like this
    S*: * 3 EXISTS                      several such lines in a row may come in any order
    S| hello                            the response goes on behind a literal with this line
    S!: * <number> RECENT               from here on no response may look like this
    S?: * <number> RECENT               from here on a response like this is passed over
    S: <closed>                         the server ends the connection
    C2: / S2: / S*2:                    a second connection of the same person (logged in, with its own state2: line)

In C lines <literal text> and <literal+ text> are a literal within the line (the client waits for the + of the first),
<base64 text> is coded (\\0 in it is NUL), <repeat 9 text> is the text nine times, <octets 00 E4> are just these octets.

In S lines <any> is anything, <number> digits, <string> a quoted string or NIL, <atom> a word, <words A B !C> words in any
order with A and B among them and without C, <either A|B> one of these, <anycase TEXT> capital or small, <mailbox NAME>
a name with or without quotes; <x=number> keeps what it found as $x for later lines, of the client too; $user and
$password are there from the beginning; everything else is meant as it stands.
Unasked "* OK", "* CAPABILITY", "* FLAGS" and "* n RECENT" lines that no S line expects are passed over; any other
unexpected response is a failure.
"""

from __future__ import annotations

import base64
import re
import socket
import ssl
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.daemon import Client, insecure_context

KINDS = {"any": r".*?", "number": r"\d+", "string": r'(?:"(?:[^"\\]|\\.)*"|NIL)', "atom": r"[^\s()\"]+"}
PASSED_OVER = re.compile(rb"\* (?:OK|CAPABILITY|FLAGS|\d+ RECENT)\b", re.IGNORECASE)
HEARD = re.compile(r"(<(?:(?:\w+=)?(?:any|number|string|atom)|(?:words|either|anycase|mailbox) [^>]*)>)")
SAID = re.compile(r"<(literal\+?|base64|repeat|octets) ([^>]*)>")


class Differs(AssertionError):
    """The server did not answer as the script says."""


@dataclass
class Step:
    """One thing that is said or expected: connection, who ("C", "C+", "C>", "S", "S*", "S!", "S?"), text, line number."""

    connection: int
    who: str
    text: str
    line: int
    more: list[str] = field(default_factory=list)


@dataclass
class Script:
    """A dialogue as it was read."""

    path: Path
    given: list[tuple[str, int]]
    states: dict[int, str]
    capabilities: list[str]
    steps: list[Step]
    nothing_else: bool = False
    administrator: bool = False


def read(path: Path) -> Script:
    """Read a dialogue. Raises ValueError with file and line."""
    script = Script(path, [], {1: "authenticated"}, [], [])
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        if match := re.fullmatch(r"(C\+?|S[*!?]?)([1-9]?)([:|>])(?: (.*))?", line):
            who, connection, mark, text = match[1], int(match[2] or 1), match[3], match[4] or ""
            if mark == "|":
                script.steps[-1].more.append(text)
            else:
                script.steps.append(Step(connection, who if mark == ":" else "C>", text, number))
        elif line == "given: nothing else":
            script.nothing_else = True
        elif line == "given: an administrator":
            script.administrator = True
        elif match := re.fullmatch(r"given: (.+) has (\d+) messages?", line):
            script.given.append((match[1], int(match[2])))
        elif match := re.fullmatch(r"state([1-9]?): (opened|connected|authenticated|selected \S+|examined \S+)", line):
            script.states[int(match[1] or 1)] = match[2]
        elif match := re.fullmatch(r"capability: (.+)", line):
            script.capabilities += match[1].split()
        else:
            raise ValueError(f"{path}:{number}: this is no line of a dialogue: {line}")
    return script


def sample_message(number: int) -> bytes:
    """The message that `given` puts in: the same for every server and every run."""
    return (
        f"From: Sender {number} <sender{number}@example.org>\r\nTo: reader@example.org\r\nSubject: Message {number}\r\n"
        f"Date: Mon, {number % 28 + 1:02d} Feb 1994 21:52:25 -0800\r\nMessage-ID: <message-{number}@example.org>\r\n\r\n"
        f"This is the text of message {number}.\r\n"
    ).encode()


def remove_mailboxes(client: Client) -> None:
    """Delete every mailbox of the person but the inbox, and every subscription."""
    for verb, listing in ((b"UNSUBSCRIBE ", 'LSUB "" "*"'), (b"DELETE ", 'LIST "" "*"')):
        found = [re.search(rb'("(?:[^"\\]|\\.)*"|[^\s"]+)$', line) for line in client.ok(listing)]
        for name in sorted((match[1] for match in found if match), reverse=True):
            if name.strip(b'"').upper() != b"INBOX":
                client.command(verb + name)


class Player:
    """Plays a dialogue against a server as one person."""

    def __init__(
        self,
        host: str,
        port: int,
        user: str,
        password: str,
        tls: bool = False,
        timeout: float = 10,
        administrator: tuple[str, str] | None = None,
    ) -> None:
        """administrator: name and password of somebody who may act as the person."""
        self.host, self.port, self.user, self.password = host, port, user, password
        self.administrator = administrator
        self.tls, self.timeout = tls, timeout
        self.login_in_the_clear = True
        self.clients: dict[int, Client] = {}
        self.laid_back: dict[Client, bytes] = {}  # what was read too early
        self.kept: dict[str, str] = {}
        self.never: list[Step] = []
        self.perhaps: list[Step] = []

    def play(self, script: Script) -> bool:
        """Play it; False where the server does not offer what it is about. Raises Differs."""
        if script.administrator and self.administrator is None:
            return False
        try:
            with self.connect() as setup:
                offered = self.offered(setup)
                self.login_in_the_clear = "LOGINDISABLED" not in offered
                self.login(setup)
                offered |= self.offered(setup)
                if any(word.upper() not in offered for word in script.capabilities):
                    return False
                self.prepare(setup, script)
                setup.ok("LOGOUT")
            self.perform(script)
            return True
        finally:
            for client in self.clients.values():
                client.close()

    @staticmethod
    def offered(client: Client) -> set[str]:
        return set(b" ".join(client.ok("CAPABILITY")).decode().upper().split())

    def prepare(self, setup: Client, script: Script) -> None:
        if script.nothing_else:
            remove_mailboxes(setup)
        for mailbox, count in script.given:
            if mailbox.upper() != "INBOX":
                setup.command(f'CREATE "{mailbox}"')
            for number in range(1, count + 1):
                message = sample_message(number)
                setup.begin(f'APPEND "{mailbox}" {{{len(message)}}}')
                if not self.may_go_on(setup, script, 0):
                    raise Differs(f"{script.path.name}: {mailbox} cannot be filled: {self.laid_back[setup]!r}")
                setup.send(message + b"\r\n")
                setup.finish(b"t%d" % setup.number)
        if script.given:
            setup.ok("SELECT INBOX")  # so that nothing is \Recent to the dialogue itself

    def connect(self) -> Client:
        raw = socket.create_connection((self.host, self.port), timeout=self.timeout)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return Client(self.wrap(raw) if self.tls else raw)

    def wrap(self, raw: socket.socket) -> ssl.SSLSocket:
        return insecure_context().wrap_socket(raw, server_hostname=self.host)

    def begin_tls(self, client: Client) -> None:
        client.socket = self.wrap(client.socket)
        client.file = client.socket.makefile("rb")

    def login(self, client: Client) -> None:
        if not self.login_in_the_clear:
            client.ok("STARTTLS")
            self.begin_tls(client)
        client.ok(f'LOGIN "{self.user}" "{self.password}"')

    def client(self, script: Script, number: int) -> Client:
        if number not in self.clients:
            client = self.clients[number] = self.connect()
            state = script.states.get(number, "authenticated")
            if state == "opened":
                self.laid_back[client] = client.greeting
            elif state != "connected":
                self.login(client)
            if state.startswith(("selected", "examined")):
                client.ok(("SELECT " if state.startswith("selected") else "EXAMINE ") + state.split()[1])
        return self.clients[number]

    # -- the steps -------------------------------------------------------------------------------------------------

    def perform(self, script: Script) -> None:
        self.kept = {"user": self.user, "password": self.password}
        if self.administrator is not None:
            self.kept["administrator"], self.kept["administrator_password"] = self.administrator
        for number in sorted(script.states):
            self.client(script, number)
        steps = script.steps
        index = 0
        while index < len(steps):
            step = steps[index]
            client = self.client(script, step.connection)
            end = index + 1
            if step.who == "C":
                while end < len(steps) and steps[end].who in ("C+", "C>"):
                    end += 1
                self.say(client, script, steps[index:end])
            elif step.who == "S*":
                while end < len(steps) and steps[end].who == "S*" and steps[end].connection == step.connection:
                    end += 1
                self.hear(client, script, steps[index:end])
            elif step.who == "S":
                self.hear(client, script, [step])
            elif step.who == "S!":
                self.never.append(step)
            elif step.who == "S?":
                self.perhaps.append(step)
            else:
                raise ValueError(f"{script.path}:{step.line}: C+ and C> follow a C line")
            index = end

    def say(self, client: Client, script: Script, steps: list[Step]) -> None:
        if steps[0].text == "<tls>":
            self.begin_tls(client)
            return
        segment = b""
        for index, step in enumerate(steps):
            for piece in self.spoken(step):
                if piece is None:
                    client.send(segment)
                    if not self.may_go_on(client, script, step.line):
                        return
                segment = segment + piece if piece is not None else b""
            if index + 1 == len(steps) or steps[index + 1].who != "C>":
                segment += b"\r\n"
        client.send(segment)

    def spoken(self, step: Step) -> list[bytes | None]:
        """The octets of a line; None is where the client waits for the server's +."""
        pieces: list[bytes | None] = []
        parts = SAID.split(self.fill(step.text))
        for index in range(0, len(parts), 3):
            pieces.append(parts[index].encode())
            if index + 1 < len(parts):
                pieces += self.directive(parts[index + 1], parts[index + 2])
        literal = "".join(self.fill(line) + "\r\n" for line in step.more).encode()
        for mark in (b"{#}", b"{#+}"):
            if pieces[-1].endswith(mark):  # type: ignore[union-attr]
                head = pieces.pop().removesuffix(mark)  # type: ignore[union-attr]
                pieces += [head, *self.literal(literal, mark == b"{#+}")]
        return pieces

    def directive(self, verb: str, text: str) -> list[bytes | None]:
        if verb == "base64":
            return [base64.b64encode(text.replace("\\0", "\0").encode())]
        if verb == "octets":
            return [bytes.fromhex(text)]
        if verb == "repeat":
            number, _, what = text.partition(" ")
            return [what.encode() * int(number)]
        return self.literal(text.encode(), verb == "literal+")

    @staticmethod
    def literal(data: bytes, at_once: bool) -> list[bytes | None]:
        return [b"{%d+}\r\n" % len(data), data] if at_once else [b"{%d}\r\n" % len(data), None, data]

    def may_go_on(self, client: Client, script: Script, line: int) -> bool:
        """True with the server's +; anything else is laid back for the next S line."""
        response = self.response(client, script, line)
        if not response.startswith(b"+"):
            self.laid_back[client] = response
        return response.startswith(b"+")

    def hear(self, client: Client, script: Script, steps: list[Step]) -> None:
        open_steps = list(steps)
        while open_steps:
            response = self.response(client, script, open_steps[0].line)
            for step in self.never:
                if step.connection == steps[0].connection and self.fits(step, response):
                    raise Differs(
                        f"{script.path.name}:{step.line}: this must not come\n  {response.decode(errors='replace')}"
                    )
            for step in open_steps:
                if self.fits(step, response):
                    open_steps.remove(step)
                    break
            else:
                perhaps = (step for step in self.perhaps if step.connection == steps[0].connection)
                if PASSED_OVER.match(response) or any(self.fits(step, response) for step in perhaps):
                    continue
                expected = "\n  ".join(self.fill("\n  | ".join((step.text, *step.more))) for step in open_steps)
                came = response.decode("utf-8", "backslashreplace") or "(the end of the connection)"
                raise Differs(f"{script.path.name}:{open_steps[0].line}: expected\n  {expected}\ncame\n  {came}")

    def response(self, client: Client, script: Script, line: int) -> bytes:
        if client in self.laid_back:
            return self.laid_back.pop(client)
        try:
            return client.response()
        except TimeoutError:
            raise Differs(f"{script.path.name}:{line}: nothing came within {self.timeout:g} s") from None
        except ConnectionError:
            return b""

    def fits(self, step: Step, response: bytes) -> bool:
        if step.text == "<closed>":
            return response == b""
        wanted = "\r\n".join(self.fill(line) for line in (step.text, *step.more))
        match = re.fullmatch(
            self.pattern(wanted), response.decode("utf-8", "surrogateescape").removesuffix("\r\n"), re.DOTALL
        )
        if match:
            self.kept.update(match.groupdict())
        return bool(match)

    @classmethod
    def pattern(cls, text: str) -> str:
        parts = HEARD.split(text)
        return "".join(
            cls.placeholder(part[1:-1]) if index % 2 else re.escape(part) for index, part in enumerate(parts)
        )

    @staticmethod
    def placeholder(text: str) -> str:
        verb, _, rest = text.partition(" ")
        if verb == "either":
            return f"(?:{'|'.join(map(re.escape, rest.split('|')))})"
        if verb == "anycase":
            return f"(?i:{re.escape(rest)})"
        if verb == "mailbox":
            quoted = '"' + rest.replace("\\", "\\\\").replace('"', '\\"') + '"'
            return f"(?:{re.escape(rest)}|{re.escape(quoted)})"
        if verb == "words":
            looks = ""
            for word in rest.split():
                sign, word = ("!", word[1:]) if word.startswith("!") else ("=", word)
                looks += rf"(?{sign}(?:[^()]*[\s])?(?i:{re.escape(word)})(?:[\s()]|$))"
            return looks + r"[^()]*"
        name, _, kind = text.rpartition("=")
        return f"(?P<{name}>{KINDS[kind]})" if name else KINDS[kind]

    def fill(self, text: str) -> str:
        return re.sub(r"\$(\w+)", lambda match: self.kept.get(match[1], match[0]), text)
