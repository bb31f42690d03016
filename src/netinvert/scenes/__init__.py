"""3-D objects, cameras and pictures of them whose every pixel is known."""
