"""Networks that read a 3-D pose: topologies, training, evaluation."""
