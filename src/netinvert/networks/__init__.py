"""The networks that can be inverted, and how they are loaded."""
