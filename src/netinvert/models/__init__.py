"""Networks, and how they are cut at a layer: encoders and decoders."""
