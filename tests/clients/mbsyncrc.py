"""The configuration of mbsync that the tests use: one account, all its mailboxes, both ways."""

from string import Template

_TEXT = Template("""\
IMAPAccount test
Host $host
Port $port
User $user
PassCmd "echo $password"
$security

IMAPStore far
Account test

MaildirStore near
Path $near/
Inbox $near/INBOX
SubFolders Verbatim

Channel test
Far :far:
Near :near:
Patterns *
Create Both
Remove Both
Expunge $expunge
SyncState *
CopyArrivalDate yes
""")
PLAIN = "SSLType None\nAuthMechs LOGIN"


def mbsyncrc(port, near, user="anna", password="secret", host="127.0.0.1", security=PLAIN, expunge="Both"):
    """The text of an .mbsyncrc; near: the folder of the mail on this side."""
    return _TEXT.substitute(
        host=host, port=port, user=user, password=password, security=security, near=near, expunge=expunge
    )
