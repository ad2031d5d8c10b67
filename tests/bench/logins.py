"""How many logins a second with people in an LDAP server, and what each costs: python -m tests.bench.logins.

Beside it what the server itself does, asked by its own tools and by the bare library. Server, daemon and clients share
this machine's processors, so the rates are lower bounds; processor time for each login is the better figure.
"""

from imapd.server import patched

patched.patch()

import base64  # noqa: E402
import contextlib  # noqa: E402
import hashlib  # noqa: E402
import os  # noqa: E402
import socket  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
import warnings  # noqa: E402
from pathlib import Path  # noqa: E402

import gevent.pool  # noqa: E402

warnings.simplefilter("ignore", DeprecationWarning)
import ldap3  # noqa: E402

from imapd.config import load  # noqa: E402
from imapd.server import house  # noqa: E402
from imapd.server.loop import GeventLoop  # noqa: E402
from tests.support.daemon import free_ports  # noqa: E402
from tests.support.slapd import Slapd, person  # noqa: E402

PEOPLE = 1000
AT_A_TIME = 8
TICK = os.sysconf("SC_CLK_TCK")

SETTINGS = """\
[service]
workers = 1
state_directory = state
[listeners]
  [[imap]]
  address = 127.0.0.1
  port = {port}
  security = plain
  plaintext_login = yes
[authentication]
cache = {cache}
recheck = 0s
[directories]
  [[acme]]
  type = ldap
  uri = {uri}
  base = "{base}"
  bind_dn = "{service}"
  bind_password_file = secret
  tls_ca = {ca}
[mail]
root = mail
create = yes
"""


def names():
    return [f"user{number}" for number in range(PEOPLE)]


def salted(password):
    """{SSHA}, the usual hash of OpenLDAP."""
    salt = os.urandom(8)
    return "{SSHA}" + base64.b64encode(hashlib.sha1(password.encode() + salt).digest() + salt).decode()


def write_settings(folder, server, uri, cache):
    port = free_ports(1)[0]
    folder.mkdir(exist_ok=True)
    for name in ("state", "mail"):
        (folder / name).mkdir(exist_ok=True)
    (folder / "secret").write_text(server.service_password)
    (folder / "secret").chmod(0o600)
    path = folder / "imapd.ini"
    path.write_text(
        SETTINGS.format(port=port, cache=cache, uri=uri, base=server.base, service=server.service_dn, ca=server.ca_file)
    )
    return str(path), port


def cpu_of(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


@contextlib.contextmanager
def measured(what, server, count, cpu=time.process_time, whose="of ours"):
    """Print how long the block took for so many logins."""
    before, slapd, began = cpu(), cpu_of(server.process.pid), time.monotonic()
    yield
    seconds = time.monotonic() - began
    ours, theirs = (cpu() - before) / count * 1000, (cpu_of(server.process.pid) - slapd) / count * 1000
    print(f"{what:52} {count / seconds:7.0f}/s   CPU {ours:6.3f} ms {whose}, {theirs:6.3f} ms of slapd")


def by_tools(server, folder):
    (folder / "names").write_text("\n".join(names()) + "\n")
    command = ["ldapsearch", "-x", "-LLL", "-H", server.uri, "-D", server.service_dn, "-w", server.service_password]
    command += ["-b", server.base, "-f", str(folder / "names"), "(uid=%s)", "uid", "mail"]
    with measured("slapd: ldapsearch by uid, one connection", server, PEOPLE, lambda: 0.0):
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def by_library(server):
    connection = ldap3.Connection(ldap3.Server(server.uri, get_info=ldap3.NONE), client_strategy=ldap3.SAFE_SYNC)
    connection.open()
    with measured("slapd: binds by the bare library, one connection", server, PEOPLE):
        for name in names():
            connection.rebind(f"uid={name},{server.base}", b"secret", read_server_info=False)
            assert connection.result["result"] == 0
    connection.unbind()


def by_chain(server, folder, uri, what):
    loop = GeventLoop()
    everybody = gevent.pool.Pool(AT_A_TIME)

    def login(name):
        assert chain.authenticate(name, b"secret", "127.0.0.1").short_name == name

    for cache in ("0s", "5m"):
        built = house.build(load(write_settings(folder, server, uri, cache)[0]), loop)
        chain = built.chain.at("imap")
        login("user0")
        if cache == "0s":
            with measured(f"chain: cold, {what}, one after the other", server, PEOPLE):
                for name in names():
                    login(name)
            with measured(f"chain: cold, {what}, {AT_A_TIME} at a time", server, PEOPLE):
                everybody.map(login, names())
        else:
            everybody.map(login, names())
            with measured(f"chain: remembered, {what}", server, PEOPLE * 10):
                for _ in range(10):
                    for name in names():
                        login(name)
        built.close()
    loop.close()


def by_daemon(server, folder, uri, what):
    path, port = write_settings(folder, server, uri, "5m")
    with open(folder / "log", "wb") as log:
        daemon = subprocess.Popen([sys.executable, "-m", "imapd", "-c", path], stdout=log, stderr=log)
    try:
        _wait(port)
        worker = int(Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children").read_text().split()[0])

        def login(name):
            with socket.create_connection(("127.0.0.1", port)) as sock:
                sock.sendall(f"a LOGIN {name} secret\r\n".encode())
                said = b""
                while b"\r\na " not in said:
                    more = sock.recv(4096)
                    assert more, said
                    said += more
                assert b"\r\na OK" in said, said

        everybody = gevent.pool.Pool(AT_A_TIME)
        for state in ("cold, and a mail file made", "remembered, the mail file opened"):
            with measured(f"daemon: LOGIN, {what}, {state}", server, PEOPLE, lambda: cpu_of(worker), "of the worker"):
                everybody.map(login, names())
    finally:
        daemon.terminate()
        daemon.wait(30)


def _wait(port):
    for _ in range(400):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.05)
    raise AssertionError("the daemon does not answer")


def main():
    entries = "\n".join(person(name, password=salted("secret")) for name in names())
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with Slapd(folder / "slapd", entries) as server:
            by_tools(server, folder)
            by_library(server)
            by_chain(server, folder / "plain", server.uri, "ldap")
            by_chain(server, folder / "tls", server.tls_uri, "ldaps")
            by_daemon(server, folder / "daemon", server.tls_uri, "ldaps")


if __name__ == "__main__":
    main()
