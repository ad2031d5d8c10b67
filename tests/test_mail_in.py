"""What the configuration says about deliveries."""

import subprocess
import sys

import pytest

from tests.test_config import WHOLE, problems, read


def test_what_is_said_is_read(tmp_path):
    settings = read(
        tmp_path,
        WHOLE + "[delivery]\nseparator = none\n[lmtp]\nstatus = enabled\nsocket = in.sock\nsocket_mode = 600\n"
        "networks = 192.0.2.7/24, ::1\n",
    )
    assert settings.delivery.separator == "" and settings.delivery.over_quota == "defer"
    assert settings.lmtp.socket == str(tmp_path / "in.sock") and int(settings.lmtp.socket_mode, 8) == 0o600
    assert settings.lmtp.networks == ("192.0.2.0/24", "::1/128")


@pytest.mark.parametrize(
    ("section", "problem"),
    [
        ("[lmtp]\nstatus = enabled\n", "names neither a 'socket' nor a 'port'"),
        ("[lmtp]\nstatus = enabled\nport = 24\nstarttls = yes\n", "[tls] names no certificate"),
        ("[lmtp]\nsocket_mode = rw\n", "'rw' is not a mode, such as 0660"),
        ("[lmtp]\nnetworks = here\n", "'here' is not a network, such as 192.0.2.0/24"),
        ("[delivery]\nseparator = ++\n", "'++' is not one character that may stand in an address, nor none"),
        ("[delivery]\nover_quota = drop\n", "'drop' is not one of: defer, bounce"),
    ],
)
def test_mistakes_are_named(tmp_path, section, problem):
    (found,) = problems(tmp_path, WHOLE + section)
    assert problem in found


def test_check_looks_for_the_folder_of_the_socket_and_its_group(tmp_path):
    path = tmp_path / "imapd.ini"
    lmtp = "[lmtp]\nstatus = enabled\nsocket = nowhere/in.sock\nsocket_group = nobody-is-in-it\n"
    path.write_text(WHOLE.replace("port = 143", "port = 11143") + lmtp)
    (tmp_path / "mail").mkdir()
    (tmp_path / "people.ldif").touch()
    command = [sys.executable, "-m", "imapd", "check", "--local", "-c", str(path)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
    assert f"[lmtp] socket: nothing can be made in {tmp_path}/nowhere" in said
    assert "[lmtp] socket_group: there is no group 'nobody-is-in-it'" in said
