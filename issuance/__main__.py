"""``python -m issuance``."""

import sys

from issuance.cli import main

sys.exit(main())
