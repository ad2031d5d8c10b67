"""Everything that the server can do: the list of all commands and extensions, in the order in which CAPABILITY says
them.

A new extension is a module in extensions/ and one line here.
"""

from collections.abc import Iterable

from imapd.imap.commands import (
    append,
    basics,
    copy,
    expunge,
    fetch,
    idle,
    list,
    login,
    mailboxes,
    search,
    select,
    starttls,
    status,
    store,
)
from imapd.imap.extension import Extension, Offers
from imapd.imap.extensions import (
    binary,
    children,
    enable,
    esearch,
    id,
    imap4rev2,
    listextended,
    liststatus,
    literals,
    loginreferrals,
    move,
    multiappend,
    namespace,
    quota,
    saslir,
    searchres,
    specialuse,
    statussize,
    uidplus,
    unselect,
)

CATALOGUE: tuple[Extension, ...] = (
    # the protocol and its commands
    basics.extension,
    imap4rev2.extension,
    starttls.extension,
    login.extension,
    select.extension,
    mailboxes.extension,
    list.extension,
    status.extension,
    append.extension,
    fetch.extension,
    search.extension,
    store.extension,
    copy.extension,
    expunge.extension,
    # extensions that are there before login
    literals.extension,
    literals.smaller,
    saslir.extension,
    loginreferrals.extension,
    enable.extension,
    id.extension,
    idle.extension,
    # and after it
    namespace.extension,
    unselect.extension,
    uidplus.extension,
    multiappend.extension,
    children.extension,
    move.extension,
    binary.extension,
    esearch.extension,
    searchres.extension,
    listextended.extension,
    liststatus.extension,
    specialuse.extension,
    statussize.extension,
    quota.extension,
    quota.setting,
)


def offers(without: Iterable[str] = ()) -> Offers:
    """The tables of a server, less the capability words that the configuration subtracts."""
    return Offers(CATALOGUE, without)
