"""What a network and its codes have to be, so that a code can be inverted."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from netinvert.errors import NetworkError


def refuse(wrong: bool, message: str) -> None:
    """Raise NetworkError if it is wrong."""
    if wrong:
        raise NetworkError(message)


def check_values(code: Tensor, count: int, where: str) -> None:
    """The codes of ``count`` images of noise can be inverted. Raises NetworkError."""
    shape, first = tuple(code.shape), "the first dimension has to be the batch"
    refuse(
        not code.is_floating_point(),
        f"{where} gives {code.dtype} numbers; choose a layer with a floating-point output",
    )
    refuse(shape[0] != count, f"{where} gives {shape} for two images; {first}")
    refuse(not code.numel(), f"{where} gives an empty code {shape[1:]}; give larger images")
    finite, same = bool(torch.isfinite(code).all()), bool((code[0] == code[1]).all())
    refuse(not finite, f"{where} gives NaN or infinite values; check the network's weights")
    refuse(same, f"{where} gives the same code for different images; there is nothing to invert")


def unwrapped(module: nn.Module) -> nn.Module:
    """The module inside DataParallel or torch.compile, where hooks and early exit are unreliable."""
    if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
        return unwrapped(module.module)
    original = getattr(module, "_orig_mod", None)
    if isinstance(original, nn.Module):
        return unwrapped(original)
    refuse(
        isinstance(module, torch.jit.ScriptModule),
        "a TorchScript module cannot be cut at a layer; give the Python module it was made from, or one of "
        "yours that calls it, whose layer 'output' can be inverted",
    )
    return module


def check_network(module: nn.Module) -> tuple[torch.dtype, torch.device]:
    """The numbers that a network computes with, and where it is. Raises NetworkError."""
    # What torch.export made is as it was exported, and refuses eval().
    exported = {one for part in module.modules() if "eval" in vars(part) for one in part.modules()}
    refuse(
        any(part.training for part in module.modules() if part not in exported),
        "the network is in training mode, so its code would not be fixed; call network.eval() (in the "
        "factory, if one makes it)",
    )
    tensors = [*module.parameters(), *module.buffers()]
    devices = sorted({tensor.device for tensor in tensors}, key=str) or [torch.device("cpu")]
    dtypes = sorted({one.dtype for one in tensors if one.is_floating_point()}, key=str) or [torch.float32]
    places, types = ", ".join(map(str, devices)), ", ".join(map(str, dtypes))
    refuse(
        len(devices) > 1, f"the network lies on several devices ({places}); move it with network.to(device)"
    )
    refuse(len(dtypes) > 1, f"the network mixes dtypes ({types}); convert it with network.float()")
    refuse(
        dtypes[0] not in (torch.float32, torch.float64),
        f"the network is {types}, in which small gradients vanish; convert it with network.float()",
    )
    refuse(places == "meta", "the network is on the meta device and has no weights; load them first")
    return dtypes[0], devices[0]
