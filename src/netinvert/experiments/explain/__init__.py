"""Commands that tell where the answers of networks come from."""
