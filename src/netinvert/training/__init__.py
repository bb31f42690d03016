"""Training of pose networks and decoders."""
