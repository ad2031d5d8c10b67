"""Two clients at work on one mailbox, at random: what each is told must add up to what is there.

Each client is as simple as one can be: a list of messages that it changes by EXPUNGE and EXISTS alone, and flags that
it knows from what it was told and from its own changes. After any operations the list must be the view's numbering,
and after a sync the flags must be the true ones. UIDs ascend and always mean the same message.
"""

from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from imapd.mailstore.errors import Expunged
from imapd.mailstore.store import Incoming, Owner
from imapd.mailstore.view import View
from imapd.model.flags import RECENT, FlagChange
from tests.mailstore.conftest import FACTORIES
from tests.support.loop import PlainLoop

WHO = st.integers(0, 1)
PICK = st.lists(st.integers(0, 7), min_size=1, max_size=3)
FLAGS = st.frozensets(st.sampled_from(["\\Seen", "\\Deleted", "work"]), max_size=2)
HOW = st.sampled_from(FlagChange)


@dataclass
class Client:
    """One session, and what its client believes: the UIDs in order, and flags."""

    account: object
    view: View
    uids: list[int] = field(default_factory=list)
    flags: dict[int, frozenset[str]] = field(default_factory=dict)

    def learn_new(self, exists: int) -> None:
        """Ask for the UIDs and flags of what EXISTS announced."""
        assert exists > len(self.uids)
        for uid in self.view.uids[len(self.uids) : exists]:
            self.uids.append(uid)
            self.ask_flags(uid)

    def ask_flags(self, uid: int) -> None:
        try:
            self.flags[uid] = self.view.flags(uid) - {RECENT}
        except Expunged:
            pass

    def sync(self, may_expunge: bool) -> None:
        changes = self.view.sync(may_expunge)
        assert may_expunge or not changes.vanished
        for number in changes.vanished:
            self.flags.pop(self.uids.pop(number - 1), None)
        if changes.arrived is not None:
            self.learn_new(changes.arrived)
        for number, uid in changes.reflagged:
            assert self.uids[number - 1] == uid
            before = self.flags.get(uid)
            self.ask_flags(uid)
            assert self.flags[uid] != before
        if changes.recent is not None:
            assert changes.recent == len(self.view.recent)

    def pick(self, places: list[int]) -> list[int]:
        """Some of the messages that the client believes in, ghosts perhaps."""
        return sorted({self.uids[place % len(self.uids)] for place in places}) if self.uids else []


class TwoClients(RuleBasedStateMachine):
    kind = "memory"

    def __init__(self) -> None:
        super().__init__()
        self.directory = TemporaryDirectory()
        self.loop = PlainLoop()
        self.store = FACTORIES[self.kind](self.loop, Path(self.directory.name))
        self.serial = count(1)
        self.texts: dict[int, bytes] = {}
        self.highest = 0
        self.clients = [self.client() for _ in range(2)]
        self.clients[0].account.create("other")
        # Something to begin with, and both clients know of it: most of what can go wrong needs that.
        self.append(0, 5, frozenset())
        for client in self.clients:
            client.sync(True)

    def client(self) -> Client:
        account = self.store.open_account(Owner("id", "ann", str(Path(self.directory.name) / "ann")))
        client = Client(account, View(account.open("INBOX"), read_only=False))
        if client.view.exists:
            client.learn_new(client.view.exists)
        return client

    def teardown(self) -> None:
        for client in self.clients:
            client.view.close()
            client.account.close()
        self.store.close()
        self.directory.cleanup()

    @rule(who=WHO, number=st.integers(1, 3), flags=FLAGS)
    def append(self, who, number, flags):
        account = self.clients[who].account
        messages, texts = [], []
        for _ in range(number):
            texts.append(b"Subject: %d\r\n\r\n" % next(self.serial))
            spool = account.spool()
            spool.write(texts[-1])
            messages.append(Incoming(spool, flags))
        placed = account.append("INBOX", messages)
        self.came(placed.uids, texts)

    def came(self, uids, texts) -> None:
        assert list(uids) == sorted(set(uids))
        assert not uids or uids[0] > self.highest
        self.highest = max((self.highest, *uids))
        self.texts.update(zip(uids, texts, strict=True))

    @rule(who=WHO, places=PICK, how=HOW, flags=FLAGS, silent=st.booleans())
    def change_flags(self, who, places, how, flags, silent):
        client = self.clients[who]
        uids = client.pick(places)
        there = client.view.mailbox.change_flags(uids, how, flags)
        assert set(there) <= set(uids)
        if silent:
            client.view.assumed(there, how, flags)
            for uid in there:
                client.flags[uid] = how.apply(client.flags[uid], flags)
        else:
            client.view.told(there)
            for uid in there:
                client.ask_flags(uid)

    @rule(who=WHO, places=st.none() | PICK)
    def expunge(self, who, places):
        client = self.clients[who]
        gone = client.view.mailbox.expunge(None if places is None else client.pick(places))
        assert list(gone) == sorted(gone)

    @rule(who=WHO, places=PICK)
    def delete(self, who, places):
        self.change_flags(who, places, FlagChange.ADD, frozenset({"\\Deleted"}), True)
        self.expunge(who, places)

    @rule(who=WHO, places=PICK)
    def move_away(self, who, places):
        client = self.clients[who]
        placed = client.view.mailbox.move(client.pick(places), "other")
        assert len(placed.sources) == len(placed.uids)

    @rule(who=WHO, places=PICK)
    def copy_within(self, who, places):
        client = self.clients[who]
        placed = client.view.mailbox.copy(client.pick(places), "INBOX")
        self.came(placed.uids, [self.texts[uid] for uid in placed.sources])

    @rule(who=WHO, may_expunge=st.booleans())
    def sync(self, who, may_expunge):
        client = self.clients[who]
        client.sync(may_expunge)
        snapshot = client.view.snapshot
        for uid in client.uids:
            row = snapshot.row(uid)
            if row is not None:
                assert client.flags[uid] == snapshot.flags_of(row)
        if may_expunge:
            assert list(snapshot.uids) == client.uids

    @rule(who=WHO)
    def count(self, who):
        account = self.clients[who].account
        sizes: list[int] = []
        for name in ("INBOX", "other"):
            mailbox = account.open(name)
            sizes += mailbox.snapshot().sizes
            mailbox.close()
        state = account.quota()
        assert (state.octets, state.messages) == (sum(sizes), len(sizes))

    @rule(who=WHO)
    def read(self, who):
        client = self.clients[who]
        for uid in client.uids:
            try:
                message = client.view.mailbox.message(uid)
            except Expunged:
                continue
            assert message.read() == self.texts[uid]
            message.close()

    @rule(who=WHO)
    def select_again(self, who):
        self.clients[who].view.close()
        self.clients[who].account.close()
        self.clients[who] = self.client()

    @invariant()
    def each_client_believes_in_its_view(self):
        for client in self.clients:
            assert client.uids == list(client.view.uids)
            assert client.uids == sorted(set(client.uids))

    @invariant()
    def recent_messages_are_recent_to_one(self):
        one, other = (client.view.recent for client in self.clients)
        assert not one & other


@pytest.mark.parametrize("kind", sorted(FACTORIES))
def test_what_two_clients_are_told_adds_up(kind):
    machine = type(f"TwoClients{kind.title()}", (TwoClients,), {"kind": kind})
    examples = 150 if kind == "memory" else 20
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
