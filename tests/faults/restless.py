"""imapd whose master replaces a dead worker at once, as often as it dies, and leaves to the indexer whatever is more
than a few messages: python -m tests.faults.restless -c FILE

The true one waits a second, and longer where workers keep dying (server/children), which is right at a site and would make
thousands of killed workers take hours.
"""

import sys

from imapd import cli
from imapd.mailstore import background
from imapd.server import children

if __name__ == "__main__":
    background.MUCH = 5
    children.FIRST_DELAY = children.LONGEST_DELAY = 0.0
    sys.exit(cli.main(sys.argv[1:]))
