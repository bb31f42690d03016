"""Turn a neural network's code back into an image."""
