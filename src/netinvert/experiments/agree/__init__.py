"""Whether inversions show the parts that an orientation is read from."""
