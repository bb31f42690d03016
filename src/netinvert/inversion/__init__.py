"""From a code to an image by optimisation."""
