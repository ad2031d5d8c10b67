"""imapd whose audit begins at once: python -m tests.server.hurried -c FILE

The true one lets everybody connect again first (server/indexer).
"""

import sys

from imapd import cli
from imapd.server import indexer

if __name__ == "__main__":
    indexer.AUDIT_AFTER = 0.0
    sys.exit(cli.main(sys.argv[1:]))
