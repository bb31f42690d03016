"""Codes that are changed, mixed, drawn and iterated."""
