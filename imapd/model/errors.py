"""The families of errors that cross floors.

Every error that a client may cause belongs to one of these families, and one room, imap/dispatch.py, turns them
into tagged lines:

    BadSyntax     the bytes are not IMAP                           BAD
    StoreError    the mail store cannot do it (mailstore/errors)   NO [code]
    Refused       the request is understood, and denied            NO [code]
    Unreachable   something that we depend on does not answer      NO [UNAVAILABLE]

Overdue is not one of them: it never leaves the room that set the deadline.

Anything else that is raised is a bug: NO [SERVERBUG] with an id, and a traceback in the log under that id.
"""


class BadSyntax(Exception):
    """The client's bytes do not follow the grammar; the text says what was expected, without echoing secrets."""


class Refused(Exception):
    """A request that was understood and is denied.

    text: one kind sentence for the client. code: an IMAP response code without brackets (RFC 5530, RFC 9051
    section 7.1), or None. reason: the true reason for the log, where it must not be told to the client.
    """

    def __init__(self, text: str, code: str | None = None, reason: str | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.code = code
        self.reason = reason or text


class Unreachable(Exception):
    """Something that we depend on (a directory, a disk) gives no answer now; trying again later may help.

    The text is for the log; clients are told NO [UNAVAILABLE] (RFC 5530).
    """


class Overdue(BaseException):
    """The bound of `Loop.deadline` was reached inside of it.

    Not an Exception, for the libraries that work under a deadline: one that catches Exception and tries the next
    address would swallow the bound, and wait as long again. Whoever set the deadline turns it into Unreachable.
    """
