"""Why a network answers as it does: which pixels, parts and places its answers come from."""
