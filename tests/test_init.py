"""The files of init/: what they say must be true of the daemon."""

import configparser
import re
import subprocess
from pathlib import Path

INIT = Path(__file__).parent.parent / "init"


def unit(name):
    parser = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    parser.optionxform = str
    parser.read(INIT / name)
    return parser


def test_fail2ban_finds_the_peer_of_a_failed_login_and_of_nothing_else(shared_daemon, person):
    with shared_daemon.connect() as client:
        client.command(f"LOGIN {person} wrong")
        client.ok(f"LOGIN {person} secret")
    pattern = unit("fail2ban.conf")["Definition"]["failregex"].replace("<HOST>", r"(?P<host>\S+)")
    found = [line for line in shared_daemon.log().splitlines() if re.search(pattern, line)]
    assert found and all("login_failed" in line and re.search(pattern, line)["host"] == "127.0.0.1" for line in found)
    down = found[-1].replace(" seconds=", " temporary=True seconds=")
    assert not re.search(pattern, down)


def test_systemd_waits_for_readiness_and_reloads_by_hangup():
    service = unit("imapd.service")["Service"]
    assert service["Type"] == "notify"
    assert service["ExecReload"].endswith("-HUP $MAINPID")
    assert service["ExecStart"].split()[1:] == ["-c", "/etc/imapd/imapd.ini"]


def test_the_indexer_may_be_nice_under_systemd():
    filters = re.findall("^SystemCallFilter=(.*)$", (INIT / "imapd.service").read_text(), re.MULTILINE)
    denied = next(number for number, words in enumerate(filters) if words[0] == "~" and "@resources" in words)
    assert any("setpriority" in words.split() for words in filters[denied + 1 :])  # which would end it, not refuse it


def test_the_sockets_bear_the_names_of_the_listeners_of_the_sample():
    sample = (INIT.parent / "conf" / "imapd.ini").read_text()
    for name in ("imapd.socket", "imapd-tls.socket"):
        socket = unit(name)["Socket"]
        assert f"[[{socket['FileDescriptorName']}]]" in sample
        assert socket["Service"] == "imapd.service"


def test_the_sysv_script_is_shell():
    subprocess.run(["sh", "-n", INIT / "imapd.sysv"], check=True)
