"""One mail transaction of LMTP (RFC 5321 section 3.3): a sender, recipients, a text, and what became of each copy.

When what may come is the conversation's business (lmtp); here is what is done then, as the reply to it.

1. A recipient is looked up when he is named, and has a reply of his own behind the text (RFC 2033 section 4.2).
2. What goes wrong with one recipient is his reply, and the others have their copies all the same.
3. A chunk that could not be taken spoils the transaction: nothing but RSET helps.
"""

from __future__ import annotations

from collections.abc import Iterator

from imapd.delivery.draft import Draft
from imapd.delivery.heading import Arrival, heading
from imapd.delivery.outcome import MISTAKE, Undelivered
from imapd.delivery.post import Recipient
from imapd.delivery.replies import Log, Office, Reply, answer, reported

# RFC 5321 section 4.5.3.1.8 asks for 100 at least; Postfix sends 50 at a time unless it is told otherwise.
MOST_RECIPIENTS = 1000


class Transaction:
    """What one MAIL has begun. tell: writes an event with the connection's fields."""

    def __init__(self, sender: str, office: Office, tell: Log) -> None:
        self._sender = sender
        self.recipients: list[Recipient] = []
        self.draft: Draft | None = None  # from the first octet of a text on
        self.spoiled = False
        self._office = office
        self._tell = tell

    def close(self) -> None:
        """Throw away what there is of a text."""
        if self.draft is not None:
            self.draft.close()

    def add(self, address: str) -> Reply:
        """One more recipient."""
        if len(self.recipients) >= MOST_RECIPIENTS:
            return Reply(452, "4.5.3", "That are too many recipients for one message")
        try:
            self.recipients.append(self._office.recipient(address))
        except Undelivered as fault:
            self._tell_fault("recipient_refused", address, fault)
            return answer(fault.verdict)
        except Exception as error:
            return answer(MISTAKE, reported(error))
        return Reply(250, "2.1.5", "The recipient is taken")

    def begin_text(self) -> None:
        """Have a draft for what comes now."""
        self.draft = self._office.draft()

    def take_chunk(self) -> Reply:
        """What is said to a chunk that is in the draft and not the last."""
        assert self.draft is not None
        try:
            if self.draft.size:
                self.draft.require()
        except Undelivered as fault:
            self.draft.close()
            self.draft, self.spoiled = None, True
            return answer(fault.verdict)
        return Reply(250, "2.0.0", "The chunk is taken")

    def deliver(self, arrival: Arrival) -> Iterator[Reply]:
        """Deliver the text that has come in whole: a reply for each recipient, in their order."""
        assert self.draft is not None
        for recipient in self.recipients:
            yield self._deliver_to(recipient, self.draft, arrival)

    def _deliver_to(self, recipient: Recipient, draft: Draft, arrival: Arrival) -> Reply:
        address, person = recipient.address, recipient.person.identity
        began = heading(self._sender, address, arrival)
        try:
            mailbox = self._office.deliver(recipient, draft, began)
        except Undelivered as fault:
            self._tell_fault("delivery_failed", address, fault, person=person)
            return answer(fault.verdict, now=True)
        except Exception as error:
            return answer(MISTAKE, reported(error), now=True)
        self._tell(
            "delivered",
            message=arrival.number,
            sender=self._sender,
            recipient=address,
            person=person,
            mailbox=mailbox,
            octets=draft.size,
        )
        return Reply(250, "2.1.5", f"{arrival.number} delivered", now=True)

    def _tell_fault(self, event: str, address: str, fault: Undelivered, **fields: object) -> None:
        told = {"sender": self._sender, "recipient": address, **fields}
        self._tell(event, **told, status=fault.verdict.status, reason=fault.reason)
