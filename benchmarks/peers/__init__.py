"""The parts of ``benchmarks/peers.py``: tools, their environments, one process a job, tables."""
