"""The experiments: each a function from settings to tables, figures and a report."""
