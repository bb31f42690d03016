"""Which features of an image carry the orientation of the object in it."""
