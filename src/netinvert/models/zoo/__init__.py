"""Networks that netinvert builds itself."""
