"""`python -m imapd` is the command `imapd`."""

import sys

from imapd.cli import main

sys.exit(main())
