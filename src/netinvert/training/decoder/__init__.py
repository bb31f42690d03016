"""Decoders: data, losses and the training step."""
