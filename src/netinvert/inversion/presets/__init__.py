"""Recipes by name: our own, and the papers' to their constants."""
