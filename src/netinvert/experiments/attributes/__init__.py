"""Which attributes of an image codes keep."""
