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
from netinvert.models.private_copy import plain_torch, shared_copy

FLOAT32, BFLOAT16, AUTO = "float32", "bfloat16", "auto"
PRECISIONS = (FLOAT32, BFLOAT16, AUTO)
LARGE = 16
"""Channels of a group that are not few."""
ROUNDING = 0.1
"""How far (relative L2) codes may move in bfloat16: 0.004 to 0.04 is usual, more is another function."""


def has_bfloat16(device: torch.device) -> bool:
    """Whether it multiplies numbers in bfloat16 by own instructions: GPUs do (NVIDIA's since compute
    capability 8.0), CPUs with AVX-512 BF16."""
    if device.type == "cuda" and torch.version.hip is None:
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu":
        return True
    known = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return known is not None and bool(known())


def gains_by_bfloat16(module: nn.Module) -> bool:
    """Whether its products are large: depthwise convolutions take longer in bfloat16, and lose all that the
    layers around them gain."""
    grouped = [part for part in module.modules() if getattr(part, "groups", 1) != 1]
    weights = [getattr(part, "weight", None) for part in grouped]  # normalisations have groups, too
    return all(one.shape[1] >= LARGE for one in weights if isinstance(one, Tensor) and one.ndim > 2)


@plain_torch()
def in_bfloat16(cut: LayerCut, probes: Sequence[Tensor]) -> LayerCut:
    """A copy of the cut whose numbers are all bfloat16; it takes and gives such tensors.

    Raises NetworkError where it or its gradient cannot be had so, or it gives other codes of the probes
    (1, C, H, W).
    """
    rounded = LayerCut(shared_copy(cut.module).bfloat16(), *cut.layers, channels_last=cut.channels_last)
    remedy = "leave the precision at float32"
    try:
        with torch.enable_grad():
            image = probes[0].bfloat16().requires_grad_(True)
            total = torch.stack([one.float().square().sum() for one in rounded.outputs(image)]).sum()
            torch.autograd.grad(total, image)
        with torch.no_grad():
            found = [rounded.outputs(probe.bfloat16()) for probe in probes]
    except Exception as error:  # whatever the user's code raises
        raise NetworkError(f"the network does not run in bfloat16 ({error}); {remedy}") from error
    with torch.no_grad():
        for codes, probe in zip(found, probes, strict=True):
            for one, exact in zip(codes, cut.outputs(probe), strict=True):
                if not bool((one.to(exact) - exact).norm() <= ROUNDING * exact.norm()):
                    raise NetworkError(f"the network gives other codes in bfloat16; {remedy}")
    return rounded


def choose_precision(name: str, module: nn.Module, dtype: torch.dtype, device: torch.device) -> str:
    """What to try for a network that computes in ``dtype``: where ``auto`` is bfloat16, that. Raises
    ConfigError."""
    if name not in PRECISIONS:
        raise ConfigError(f"the precision is {', '.join(PRECISIONS)}, not {name!r}")
    single = dtype == torch.float32
    if name == BFLOAT16 and not single:
        raise ConfigError(f"the network computes in {dtype}: give it as float32 for bfloat16")
    pays = single and has_bfloat16(device) and gains_by_bfloat16(module)
    return BFLOAT16 if name == BFLOAT16 or (name == AUTO and pays) else FLOAT32
