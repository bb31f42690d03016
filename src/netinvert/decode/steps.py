"""Random numbers of a step of a training."""

from __future__ import annotations

import numpy as np
import torch


def generator_at(seed: int, step: int) -> torch.Generator:
    """The generator of a step; ``seed`` and ``step`` are not negative.

    The two are mixed, not packed into one number: of a seed, torch's generator on the CPU takes 32 bits.
    """
    return torch.Generator().manual_seed(int(np.random.SeedSequence([seed, step]).generate_state(1)[0]))
