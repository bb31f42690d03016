"""Files, images, seeds, run directories: what everything above reads and writes with."""
