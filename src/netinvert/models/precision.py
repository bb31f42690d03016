"""A network in bfloat16: half the bytes, and about half the time where the processor multiplies such numbers.

Which precision ``auto`` is goes by the processor and the network's layers, never by a measurement, so that a
machine gives the same bits every time.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from netinvert.errors import ConfigError, NetworkError
from netinvert.models.cut import LayerCut
from netinvert.models.private_copy import shared_copy

FLOAT32, BFLOAT16, AUTO = "float32", "bfloat16", "auto"
PRECISIONS = (FLOAT32, BFLOAT16, AUTO)
LARGE = 16
"""Channels of a group that are not few."""
ROUNDING = 0.1
"""How far (relative L2) codes may move in bfloat16: 0.004 to 0.04 is usual, more is another function."""


def has_bfloat16(device: torch.device) -> bool:
    """Whether it multiplies numbers in bfloat16 by own instructions: GPUs do, CPUs with AVX-512 BF16."""
    if device.type != "cpu":
        return True
    known = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return known is not None and bool(known())


def gains_by_bfloat16(module: nn.Module) -> bool:
    """Whether its products are large: depthwise convolutions take longer in bfloat16, and lose all that the
    layers around them gain."""
    grouped = [part for part in module.modules() if getattr(part, "groups", 1) != 1]
    return all(part.weight.shape[1] >= LARGE for part in grouped if isinstance(part.weight, Tensor))


def in_bfloat16(cut: LayerCut, probes: Sequence[Tensor]) -> LayerCut:
    """A copy of the cut whose numbers are all bfloat16; it takes and gives such tensors.

    Raises NetworkError where it cannot run so, or gives other codes of the probes (1, C, H, W).
    """
    rounded = LayerCut(shared_copy(cut.module).bfloat16(), *cut.layers, channels_last=cut.channels_last)
    remedy = "leave the precision at float32"
    with torch.no_grad():
        for probe in probes:
            try:
                found = rounded.outputs(probe.bfloat16())
            except Exception as error:  # whatever the user's code raises
                raise NetworkError(f"the network does not run in bfloat16 ({error}); {remedy}") from error
            for one, exact in zip(found, cut.outputs(probe), strict=True):
                if not bool((one.to(exact) - exact).norm() <= ROUNDING * exact.norm()):
                    raise NetworkError(f"the network gives other codes in bfloat16; {remedy}")
    return rounded


def check_precision(name: str) -> None:
    """Raises ConfigError."""
    if name not in PRECISIONS:
        raise ConfigError(f"the precision is {', '.join(PRECISIONS)}, not {name!r}")
