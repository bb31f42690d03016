"""New views of objects: from codes, from generators, and what 3-D shape they give."""
