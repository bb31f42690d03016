"""3-D objects, cameras, and images of them whose every pixel is known."""
