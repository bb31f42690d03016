"""``python -m netinvert`` is the command ``netinvert``."""

import sys

from netinvert.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
