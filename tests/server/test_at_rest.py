"""What a worker is when nobody has come yet: kept small by counting what it has imported."""

import re

from tests.support.daemon import Daemon

# What is on this list costs a worker nothing before somebody needs it: a directory, a token, a password of that kind.
LATER = {"ldap3", "pyasn1", "dns", "jwt", "asyncio", "unittest", "tests"}
MOST = 600  # 525 on 23 Nov 2026 with Python 3.11, 200 of them our own


def test_a_worker_at_rest_has_imported_little(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")  # each process writes to standard error what it imports
    daemon = Daemon(tmp_path / "imapd", workers=1).start()
    try:
        names = set(re.findall(r"^import time: +\d+ \| +\d+ \| +(\S+)$", daemon.log(), re.MULTILINE))
    finally:
        daemon.stop()
    assert "imapd.server.worker" in names
    assert not {name for name in names if name.partition(".")[0] in LATER}
    assert len(names) <= MOST, sorted(names)
