"""Images with known cameras, in the formats of the field."""
