"""Networks of other packages and files."""
