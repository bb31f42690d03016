"""The runs of ``tools/same_bits.py``, in groups."""
