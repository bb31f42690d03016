"""The experiments, each from a configuration to a report."""
