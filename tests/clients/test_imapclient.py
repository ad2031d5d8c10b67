"""IMAPClient from PyPI: folders in every script, flags, search with charset, IDLE, MOVE."""

import ssl

import pytest
from imapclient import IMAPClient

from tests.clients.conftest import deliver, message
from tests.support.daemon import insecure_context


@pytest.fixture(params=["plain", "starttls", "tls"])
def client(request, shared_daemon, person):
    daemon = shared_daemon
    context: ssl.SSLContext = insecure_context()
    if request.param == "tls":
        client = IMAPClient("127.0.0.1", port=daemon.tls_port, ssl=True, ssl_context=context, timeout=20)
    else:
        client = IMAPClient(
            "127.0.0.1", port=daemon.strict_port if request.param == "starttls" else daemon.port, ssl=False, timeout=20
        )
    if request.param == "starttls":
        client.starttls(context)
    client.login(person, daemon.people[person])
    yield client
    client.logout()


def test_a_day_with_imapclient(client, shared_daemon, person):
    for name in ("Entwürfe/Später", "旅行", "Tom & Jerry", "Архив"):
        client.create_folder(name)
    names = {name for _, _, name in client.list_folders()}
    assert {"INBOX", "Entwürfe", "Entwürfe/Später", "旅行", "Tom & Jerry", "Архив"} <= names
    assert client.namespace().personal == (("", "/"),)

    client.append("INBOX", message(1), flags=[b"\\Seen", b"$Work"])
    client.append(
        "INBOX",
        "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nÄpfel und Birnen\r\n".encode(),
    )
    info = client.select_folder("INBOX")
    assert info[b"EXISTS"] == 2 and info[b"READ-WRITE"]
    assert client.search(["SUBJECT", "grüße"], charset="UTF-8") == [2]
    assert client.search(["BODY", "ÄPFEL"], charset="UTF-8") == [2]
    assert set(client.get_flags([1])[1]) >= {b"\\Seen", b"$Work"}

    fetched = client.fetch([1], ["ENVELOPE", "BODYSTRUCTURE", "BODY[]"])
    assert fetched[1][b"ENVELOPE"].subject == b"Number 1" and fetched[1][b"BODY[]"] == message(1)
    client.move([1], "旅行")
    assert client.search() == [2]
    assert client.folder_status("旅行", [b"MESSAGES"]) == {b"MESSAGES": 1}

    client.idle()
    deliver(shared_daemon.maildir(person), message(3).replace(b"\r\n", b"\n"))
    seen = client.idle_check(timeout=2)
    while not any(item[1] == b"EXISTS" for item in seen):
        seen += client.idle_check(timeout=1)
    client.idle_done()
    assert (2, b"EXISTS") in seen

    client.rename_folder("Entwürfe", "Drafts-alt")
    assert client.folder_exists("Drafts-alt/Später") and not client.folder_exists("Entwürfe")
    client.delete_folder("Tom & Jerry")
    assert not client.folder_exists("Tom & Jerry")


def test_quotas_as_imapclient_reads_them(client, shared_daemon, person):
    assert client.has_capability("QUOTA")
    roots, quotas = client.get_quota_root("INBOX")
    assert (roots.mailbox, roots.quota_roots) == ("INBOX", [""])
    assert [(one.quota_root, one.resource, one.usage, one.limit) for one in quotas] == [
        ("", "STORAGE", 0, 5 << 20),
        ("", "MESSAGE", 0, 1_000_000),
    ]
    client.append("INBOX", message(1))
    assert [(one.resource, one.usage) for one in client.get_quota()] == [("STORAGE", 1), ("MESSAGE", 1)]
