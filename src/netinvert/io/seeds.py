"""Random numbers: one generator a sample, so that no result depends on what else is in the batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor


def generators(seeds: Sequence[int]) -> list[torch.Generator]:
    """One CPU generator a seed. CPU, so that every device starts from the same numbers."""
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def draw(seeds: Sequence[int], sample: Callable[[torch.Generator], Tensor]) -> Tensor:
    """Stack ``sample(generator)`` of one fresh generator a seed: (N, ...)."""
    return torch.stack([sample(generator) for generator in generators(seeds)])


def shifts(sources: Sequence[torch.Generator], amount: int) -> list[tuple[int, int]]:
    """One random (down, right) shift in ``[0, amount)`` for each generator."""
    pairs = [torch.randint(amount, (2,), generator=source).tolist() for source in sources]
    return [(down, right) for down, right in pairs]


def generator_at(seed: int, step: int) -> torch.Generator:
    """The generator of a step of a training; ``seed`` and ``step`` are not negative.

    The two are mixed, not packed into one number: of a seed, torch's generator on the CPU takes 32 bits.
    """
    return torch.Generator().manual_seed(int(np.random.SeedSequence([seed, step]).generate_state(1)[0]))
