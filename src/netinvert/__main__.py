"""``python -m netinvert`` is the command ``netinvert``."""

from netinvert.cli import main

main()
