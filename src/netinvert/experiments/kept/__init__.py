"""What codes keep of an image."""
