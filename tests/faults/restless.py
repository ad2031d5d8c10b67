"""imapd whose master replaces a dead worker at once, as often as it dies: python -m tests.faults.restless -c FILE

The true one waits a second, and longer where workers keep dying (server/children), which is right at a site and would make
thousands of killed workers take hours.
"""

import sys

from imapd import cli
from imapd.server import children

if __name__ == "__main__":
    children.FIRST_DELAY = children.LONGEST_DELAY = 0.0
    sys.exit(cli.main(sys.argv[1:]))
