"""The experiments on generators."""
