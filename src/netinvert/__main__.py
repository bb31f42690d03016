"""``python -m netinvert`` is the command ``netinvert``."""

from netinvert.cli.app import main

main()
