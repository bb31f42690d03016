"""The command line: it parses, calls and shows. No science."""
