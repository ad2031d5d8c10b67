"""A post office in memory: people who can be looked up, a store, and a client of LMTP that talks to it."""

from dataclasses import replace

from imapd.delivery.lmtp import Conversation
from imapd.delivery.post import Post, Rules
from imapd.delivery.replies import Reply, Terms, Upgrade
from imapd.mailstore.memory import MemoryStore
from imapd.mailstore.store import Owner
from tests.support.loop import PlainLoop
from tests.support.people import person


class Directory:
    """Who can be looked up, by name. A value that is an error is raised."""

    def __init__(self, **people):
        self.people = {f"{name}@example.org": person(name) for name in ("anna", "ben")}
        self.people |= people
        self.elsewhere = set()
        self.asked = []

    def lookup(self, name):
        self.asked.append(name)
        found = self.people.get(name)
        if isinstance(found, Exception):
            raise found
        return found

    def is_at_home(self, person):
        return person.short_name not in self.elsewhere


class Office(Post):
    """A Post over a store in memory."""

    def __init__(self, folder, **rules):
        self.loop = PlainLoop()
        self.people = Directory()
        self.store = MemoryStore(self.loop)
        super().__init__(self.people, self.store, self.loop, replace(Rules(), **rules), str(folder))

    def account(self, name):
        one = person(name)
        return self.store.open_account(Owner(one.identity, one.user_name, one.mail_file))

    def texts(self, name, mailbox="INBOX"):
        opened = self.account(name).open(mailbox, read_only=True)
        return [opened.message(uid).read() for uid in opened.snapshot().uids]


class Client:
    """Says lines to a conversation, and gives what is said back."""

    def __init__(self, office, terms=None, chunk=None):
        self.office = office
        self.events = []
        self.conversation = Conversation(
            office, terms or Terms("mx.example.org", "[192.0.2.1]"), self._tell, office.loop.time, "7.1"
        )
        self.chunk = chunk
        self.upgrades = 0
        self.greeting = self.conversation.greeting().octets().decode()

    def _tell(self, event, **fields):
        self.events.append((event, fields))

    def send(self, data: bytes) -> list[str]:
        """Octets, in pieces of `chunk`; the lines that come back."""
        said = b""
        size = self.chunk or len(data) or 1
        for start in range(0, len(data), size):
            self.conversation.feed(data[start : start + size])
            for word in self.conversation.replies():
                if isinstance(word, Upgrade):
                    self.upgrades += 1
                    self.conversation.upgraded()
                else:
                    assert isinstance(word, Reply)
                    said += word.octets()
        return said.decode().splitlines()

    def say(self, *lines: str) -> list[str]:
        return self.send("".join(line + "\r\n" for line in lines).encode())

    def begin(self, *recipients: str, sender: str = "sender@example.net") -> list[str]:
        """LHLO, MAIL and RCPT; the replies to RCPT."""
        self.say("LHLO client.example.net")
        assert self.say(f"MAIL FROM:<{sender}>") == ["250 2.1.0 The sender is taken"]
        return [self.say(f"RCPT TO:<{address}>")[0] for address in recipients]
