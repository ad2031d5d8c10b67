"""OpenLDAP servers for tests: real ones, each with a folder and ports of 127.0.0.1 of its own.

    with Slapd(folder, people("ada", "ben")) as server:      # dc=acme,dc=example
        server.uri, server.tls_uri, server.ipc_uri           # ldap://localhost:P, ldaps://localhost:S, ldapi://...
        server.pause(); server.resume(); server.stop(); server.kill(); server.restart()

The service (`service_dn`, `service_password`) reads everything but userPassword. Certificates are by an authority of
the tests (`ca_file`). `policy` brings ppolicy with it, whose default policy is the entry cn=policy below the suffix.
Works as root and as anybody else. Where slapd is missing, tests fail and say what to install.
"""

from __future__ import annotations

import functools
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from urllib.parse import quote

from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.support.certificates import Authority
from tests.support.daemon import free_ports

SCHEMA = Path("/etc/ldap/schema")
MORE_SCHEMA = Path(__file__).parent / "more.schema"

CONFIGURATION = """\
include {schema}/core.schema
include {schema}/cosine.schema
include {schema}/inetorgperson.schema
include {schema}/nis.schema
include {schema}/misc.schema
include {schema}/msuser.schema
include {more}
modulepath /usr/lib/ldap
moduleload back_mdb
{modules}
pidfile {folder}/slapd.pid
TLSCACertificateFile {folder}/ca.pem
TLSCertificateFile {folder}/server.pem
TLSCertificateKeyFile {folder}/server.key
TLSVerifyClient try
authz-regexp "gidNumber={gid}\\\\+uidNumber={uid},cn=peercred,cn=external,cn=auth" "{service}"
authz-regexp "cn=imapd,o=acme" "{service}"
{settings}

database monitor
access to * by dn.exact="{admin}" read by * none

database mdb
maxsize 67108864
dbnosync
suffix "{suffix}"
rootdn "{admin}"
rootpw admin
directory {folder}/data
index objectClass,uid,mail,cn,member,entryUUID eq
index userCertificate eq
{access}
{overlays}
"""

ACCESS = """\
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="{service}" read by users none by anonymous auth
"""

# A directory whose administrator gave the service no rights: its own entry and the base, and nobody else.
HIDDEN = """\
access to attrs=userPassword by anonymous auth by * none
access to dn.base="{suffix}" by * read
access to * by anonymous auth by * none
"""

POLICY = """\
dn: cn=policy,{suffix}
objectClass: device
objectClass: pwdPolicy
cn: policy
pwdAttribute: userPassword
pwdLockout: TRUE
pwdMaxFailure: 5
pwdMustChange: TRUE
pwdMaxAge: {max_age}
"""


@functools.cache
def authority() -> Authority:
    """The one that the servers' certificates are by."""
    return Authority("Directory CA")


def person(name: str, suffix: str = "dc=acme,dc=example", password: str = "secret", **attributes: str) -> str:
    """An entry ou=people of somebody, LDIF; attributes replace or add to the usual ones, `objectClass` adds."""
    domain = ".".join(part.partition("=")[2] for part in suffix.split(",")) if suffix.startswith("dc=") else "example"
    extra = attributes.pop("objectClass", "")
    values = {
        "uid": name,
        "cn": f"{name.capitalize()} Example",
        "sn": "Example",
        "mail": f"{name}@{domain}",
    } | attributes
    lines = [f"dn: uid={name},ou=people,{suffix}", "objectClass: inetOrgPerson"]
    lines += [f"objectClass: {word}" for word in extra.split()]
    lines += [f"{key}: {value}" for key, value in values.items()]
    return "\n".join([*lines, f"userPassword: {password}"]) + "\n"


def people(*names: str, suffix: str = "dc=acme,dc=example") -> str:
    """Entries of several people, whose password is "secret"."""
    return "\n".join(person(name, suffix) for name in names)


class Slapd:
    """A server. entries: LDIF below ou=people and ou=groups of the suffix, which are made here."""

    def __init__(
        self,
        folder: Path,
        entries: str = "",
        suffix: str = "dc=acme,dc=example",
        policy: bool = False,
        max_age: int = 0,
        overlays: str = "",
        settings: str = "",
        access: str = ACCESS,
        hosts: tuple[str, ...] = ("localhost", "127.0.0.1"),
    ) -> None:
        binary = shutil.which("slapd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/lib/openldap")
        assert binary, "there is no slapd here; as root: tests/install-debian-packages"
        self._binary = binary
        self.folder = folder
        (folder / "data").mkdir(parents=True)
        self.suffix = suffix
        self.base = f"ou=people,{suffix}"
        self.admin_dn, self.admin_password = f"cn=admin,{suffix}", "admin"
        self.service_dn, self.service_password = f"cn=imapd,ou=services,{suffix}", "service"
        self.port, self.tls_port = free_ports(2)
        self.uri = f"ldap://localhost:{self.port}"
        self.tls_uri = f"ldaps://localhost:{self.tls_port}"
        # The path of a Unix socket is short, and a test's folder may be long.
        self._short = Path(f"/tmp/imapd-{os.getpid()}-{self.port}")
        self.ipc_uri = f"ldapi://{quote(str(self._short), safe='')}"
        self.ca_file = str(folder / "ca.pem")
        (folder / "ca.pem").write_bytes(authority().itself.pem)
        authority().issue("server", purpose=ExtendedKeyUsageOID.SERVER_AUTH, hosts=hosts).write(folder, "server")
        self._policy = policy
        self._overlays = (f'overlay ppolicy\nppolicy_default "cn=policy,{suffix}"\n' if policy else "") + overlays
        self._settings = settings
        self.configure(access)
        self._load(self._frame(max_age) + "\n" + entries)
        self.process: subprocess.Popen[bytes] | None = None

    # -- its life --------------------------------------------------------------------------------------------------

    def start(self) -> Slapd:
        places = f"ldap://127.0.0.1:{self.port}/ ldaps://127.0.0.1:{self.tls_port}/ {self.ipc_uri}/"
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                [self._binary, "-d", "0", "-f", str(self.folder / "slapd.conf"), "-h", places],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + 10
        while not self._answers():
            assert self.process.poll() is None and time.monotonic() < deadline, self.log()
            time.sleep(0.005)
        return self

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it, and wait for its end."""
        process, self.process = self.process, None
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.send_signal(how)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def kill(self) -> None:
        """End it at once."""
        self.stop(signal.SIGKILL)

    def restart(self) -> None:
        """The same data and ports, another process."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """It accepts connections, as the kernel does, and answers nothing."""
        self._signal(signal.SIGSTOP)
        deadline = time.monotonic() + 5
        while self._state() not in "Tt":  # the signal is delivered a moment later
            assert time.monotonic() < deadline
            time.sleep(0.005)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def configure(self, access: str = ACCESS) -> None:
        """Give it other access rules from the next start on."""
        uses = [name for name in ("ppolicy", "memberof") if f"overlay {name}" in self._overlays]
        text = CONFIGURATION.format(
            schema=SCHEMA, more=MORE_SCHEMA, folder=self.folder, suffix=self.suffix, admin=self.admin_dn,
            service=self.service_dn, uid=os.geteuid(), gid=os.getegid(), settings=self._settings,
            access=access.format(service=self.service_dn, suffix=self.suffix),
            modules="\n".join(f"moduleload {name}" for name in uses), overlays=self._overlays,
        )  # fmt: skip
        (self.folder / "slapd.conf").write_text(text)

    def __enter__(self) -> Slapd:
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        self.stop()
        self._short.unlink(missing_ok=True)

    # -- talking to it, by the tools ---------------------------------------------------------------------------------

    def modify(self, ldif: str) -> None:
        """Change entries as the administrator does; ldif with changetype, or whole entries to be added."""
        self._tool("ldapmodify", "-a", text=ldif)

    def delete(self, dn: str) -> None:
        self._tool("ldapdelete", dn)

    def values(self, dn: str, attribute: str) -> list[str]:
        """The values of an entry's attribute, an operational one too."""
        out = self._tool(
            "ldapsearch", "-LLL", "-o", "ldif-wrap=no", "-b", dn, "-s", "base", "(objectClass=*)", attribute
        )
        prefix = f"{attribute.lower()}:"
        return [line[len(prefix) :].strip() for line in out.splitlines() if line.lower().startswith(prefix)]

    def connections(self) -> int:
        """How many connections it has had so far; the question is one of them."""
        return int(self.values("cn=Total,cn=Connections,cn=Monitor", "monitorCounter")[0])

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    # -- inside ------------------------------------------------------------------------------------------------------

    def _frame(self, max_age: int) -> str:
        kind, value = self.suffix.split(",")[0].split("=")
        top = {"dc": "dcObject\nobjectClass: organization\no: x", "o": "organization", "c": "country"}[kind]
        entries = [
            f"dn: {self.suffix}\nobjectClass: {top}\n{kind}: {value}\n",
            *(
                f"dn: ou={name},{self.suffix}\nobjectClass: organizationalUnit\nou: {name}\n"
                for name in ("people", "groups", "services")
            ),
            f"dn: {self.service_dn}\nobjectClass: applicationProcess\nobjectClass: simpleSecurityObject\ncn: imapd\nuserPassword: service\n",
        ]
        if self._policy:
            entries.append(POLICY.format(suffix=self.suffix, max_age=max_age))
        return "\n".join(entries)

    def _load(self, ldif: str) -> None:
        path = self.folder / "entries.ldif"
        path.write_text(ldif)
        command = [self._binary, "-T", "add", "-q", "-f", str(self.folder / "slapd.conf"), "-l", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def _answers(self) -> bool:
        try:
            for port in (self.port, self.tls_port):
                socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except ConnectionError:
            return False
        return self._short.exists()

    def _signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def _state(self) -> str:
        assert self.process is not None
        return Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[0]

    def _tool(self, name: str, *arguments: str, text: str = "") -> str:
        command = [name, "-x", "-H", f"ldap://127.0.0.1:{self.port}", "-D", self.admin_dn, "-w", "admin", *arguments]
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=20, check=False)
        assert done.returncode == 0, f"{name}: {done.stderr}"
        return done.stdout
