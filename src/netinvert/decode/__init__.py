"""Training and evaluating decoders: networks that turn a code into an image."""
