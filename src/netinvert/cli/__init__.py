"""The command line: it parses, calls and shows. No science."""

from netinvert.cli.app import app, main

__all__ = ["app", "main"]
