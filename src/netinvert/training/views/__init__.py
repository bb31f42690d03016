"""Pose networks: data, losses and the training step."""
