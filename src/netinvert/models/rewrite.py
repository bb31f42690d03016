"""A network up to a cut, rewritten to take less memory and time where it stays the same function."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

from netinvert.models.dry_run import followers, put
from netinvert.models.fused_conv import fuse_convolutions
from netinvert.models.layer_output import LayerCut

EXACT = 1e-5
"""How far (relative L2) a code may move when the network is rewritten for speed."""
Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d


@torch.no_grad()
def shortened(cut: LayerCut, behind: Iterable[str], probe: Tensor, fast: bool) -> tuple[LayerCut, LayerCut]:
    """The cut without the modules ``behind`` it, and if it is to be ``fast`` with BatchNorm folded, channels
    last and ReLUs fused where the codes of ``probe`` stay the same; and the same without fused ReLUs."""
    exact = cut.outputs(probe)
    _drop(cut, behind, exact, probe)
    if not fast:
        return cut, cut
    unfused = cut
    rewrites: list[Callable[[LayerCut, Tensor], None]] = [fold_batchnorm, _channels_last, fuse_convolutions]
    for rewrite in rewrites:
        if rewrite is fuse_convolutions:
            unfused = cut
            if not cut.channels_last:
                break
        try:
            module = copy.deepcopy(cut.module)
            rewrite(LayerCut(module, *cut.layers, channels_last=cut.channels_last), probe)
            last = cut.channels_last or rewrite is _channels_last
            candidate = LayerCut(module, *cut.layers, channels_last=last)
            found = candidate.outputs(probe)
        except Exception:  # a module that cannot be rewritten (weight_norm, say) runs as it is
            continue
        if all(_relative(one, other) <= EXACT for one, other in zip(found, exact, strict=True)):
            cut = candidate
    return cut, unfused


def _drop(cut: LayerCut, names: Iterable[str], exact: Sequence[Tensor], probe: Tensor) -> None:
    """Take modules out that run behind the cut alone, to save their memory; leave them where the code needs
    them all the same (weights that are used without their module, say)."""
    parts = {name: cut.module.get_submodule(name) for name in names}
    for name in parts:
        put(cut.module, name, nn.Identity())
    try:
        if all(map(torch.equal, cut.outputs(probe), exact)):
            return
    except Exception:  # whatever the user's code raises
        pass
    for name, part in parts.items():
        put(cut.module, name, part)


@torch.no_grad()
def fold_batchnorm(cut: LayerCut, x: Tensor) -> None:
    """Fold every BatchNorm that follows a convolution on the way to the cut into it, in place."""
    names = {part: name for name, part in cut.module.named_modules()}
    found = followers(
        cut, x, lambda part: isinstance(part, Convolution), lambda part: isinstance(part, _BatchNorm)
    )
    for conv, norm, *_ in found.pairs:
        if found.runs[conv] == found.runs[norm] == 1:
            assert isinstance(conv, Convolution)
            assert isinstance(norm, _BatchNorm)
            put(cut.module, names[conv], fuse_conv_bn_eval(conv, norm))
            put(cut.module, names[norm], nn.Identity())


def _channels_last(cut: LayerCut, probe: Tensor) -> None:
    cut.module.to(memory_format=torch.channels_last)


def _relative(found: Tensor, exact: Tensor) -> float:
    scale = exact.double().norm().item()
    return (found.double() - exact.double()).norm().item() / scale if scale > 0 else float("inf")
