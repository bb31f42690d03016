"""A network up to a cut, rewritten to take less memory and time where it stays the same function.

Only the gradient of the image is ever wanted, never that of the weights: see ``fused_conv``. Function and
gradient stay the same: a module is rewritten together with the only reader of its output, and images of
several kinds have to agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from netinvert.models.cut import LayerCut, observed
from netinvert.models.fused_conv import NHWC, FusedConvolution, SameConv2d
from netinvert.models.private_copy import HOOKS, put, shared_copy

EXACT = 1e-4
"""How far a code may move when the network is rewritten for speed, as a share of the probes' largest."""
EXACT_GRADIENT = 1e-2
"""How far (relative L2) a gradient may: a ReLU whose input is zero but for rounding falls to either side."""
Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d


class _Reads(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the operations that read a tensor's memory, from modules and functions alike. What an operation
    in place leaves there is another version, with its own readers."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.of: Counter[tuple[int, int]] = Counter()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # torch would import its compiler for that, which takes a second

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        self.read(args, kwargs)
        return func(*args, **kwargs or {})

    def read(self, *values: Any) -> None:  # noqa: ANN401
        """Count one reading of all tensors in these."""
        tensors = (one for one in tree_leaves(values) if isinstance(one, Tensor))
        self.of.update({memory_of(one) for one in tensors if one.layout is torch.strided})


def memory_of(tensor: Tensor) -> tuple[int, int]:
    """Where its numbers are, and how often they were changed in place."""
    return tensor.untyped_storage().data_ptr(), tensor._version


@dataclass
class Followers:
    """What a dry run up to a cut found: how often each module ran, the ``makers`` that did, and the ``pairs``
    of one and the only reader of its output, a module, with that one's own output and its version."""

    runs: Counter[nn.Module] = field(default_factory=Counter)
    makers: set[nn.Module] = field(default_factory=set)
    pairs: list[tuple[nn.Module, nn.Module, Any, int]] = field(default_factory=list)


def followers(
    cut: LayerCut,
    x: Tensor,
    makes: Callable[[nn.Module], bool],
    takes: Callable[[nn.Module], bool],
    through: type[nn.Module] | None = None,
) -> Followers:
    """Which modules that ``takes`` accepts are alone in reading what those that ``makes`` accepts make, also
    ``through`` one of a type. A code is read by its user; a module with hooks neither makes nor takes."""
    found, reads = Followers(), _Reads()
    # Tensors are kept, so that their ids and memory stay theirs; with what was read there before.
    made_by: dict[int, tuple[nn.Module, Tensor, tuple[int, int], int]] = {}
    places: list[tuple[tuple[int, int], int]] = []
    hooked = {part for part in cut.module.modules() if any(vars(part).get(name) for name in HOOKS)}

    def observe(name: str, part: nn.Module, first: Tensor | None, output: Any) -> None:  # noqa: ANN401
        found.runs[part] += 1
        made = made_by.get(id(first))
        if not isinstance(output, Tensor) or part in hooked:
            return
        if makes(part):
            memory = memory_of(output)
            made_by[id(output)] = (part, output, memory, reads.of[memory])
            found.makers.add(part)
            return
        changes = -1 if made is None else made[1]._version - made[2][1]
        if made is not None and changes == 0 and type(part) is through:
            made_by[id(output)] = (made[0], output, *made[2:])
        elif made is not None and takes(part) and changes == (output is made[1]):  # by nobody else on the way
            found.pairs.append((made[0], part, output, output._version))
            places.append(made[2:])

    with observed(cut.module, observe), reads:
        reads.read(cut.outputs(x))
    alone = [reads.of[memory] - before == 1 for memory, before in places]
    found.pairs = [pair for pair, one in zip(found.pairs, alone, strict=True) if one]
    return found


def fuse_convolutions(cut: LayerCut, x: Tensor, packs: bool = True) -> None:
    """Put fused convolutions in the place of those that run once on the way to the cut, in place."""
    # Identities are where BatchNorms were.
    found = followers(cut, x, _fits, lambda part: type(part) in (nn.ReLU, nn.ReLU6), through=nn.Identity)
    act_of = {conv: (act, output, version) for conv, act, output, version in found.pairs}
    parts: dict[nn.Module, nn.Module] = {}
    for conv in found.makers:
        if found.runs[conv] > 1:
            continue
        act, output, version = act_of.get(conv, (None, x, x._version))
        # Of an output that is changed in place, the fused gradient would not know where it was clamped.
        if act is not None and (found.runs[act] > 1 or output._version != version):
            act = None
        assert isinstance(conv, nn.Conv2d)
        parts[conv] = FusedConvolution(conv, act, packs)
        if act is not None:
            parts[act] = nn.Identity()
    put(cut.module, parts)


def _fits(part: nn.Module) -> bool:
    plain = isinstance(part, nn.Conv2d) and type(part) in (nn.Conv2d, SameConv2d)
    return plain and part.padding_mode == "zeros" and not isinstance(part.padding, str)


def fold_batchnorm(cut: LayerCut, x: Tensor) -> None:
    """Fold every BatchNorm that is alone in reading a convolution on the way to the cut into it, in place."""
    found = followers(
        cut, x, lambda part: isinstance(part, Convolution), lambda part: isinstance(part, _BatchNorm)
    )
    parts: dict[nn.Module, nn.Module] = {}
    for conv, norm, *_ in found.pairs:
        if found.runs[conv] == found.runs[norm] == 1:
            assert isinstance(conv, Convolution)
            assert isinstance(norm, _BatchNorm)
            parts |= {conv: fuse_conv_bn_eval(conv, norm), norm: nn.Identity()}
    put(cut.module, parts)


@torch.no_grad()
def drop(cut: LayerCut, names: Iterable[str], probe: Tensor) -> None:
    """Take modules out that run behind the cut alone, to save their memory; leave them where the code needs
    them all the same (weights that are used without their module, say)."""
    exact = cut.outputs(probe)
    parts = {cut.module.get_submodule(name): nn.Identity() for name in names}
    put(cut.module, parts)
    try:
        if all(map(torch.equal, cut.outputs(probe), exact)):
            return
    except Exception:  # whatever the user's code raises
        pass
    put(cut.module, {identity: part for part, identity in parts.items()})


class Cuts(NamedTuple):
    """A cut as it runs, the same with torch's own ReLUs, and the network as it is."""

    fast: LayerCut
    unfused: LayerCut
    plain: LayerCut


@torch.no_grad()
def shortened(plain: LayerCut, probes: Sequence[Tensor]) -> Cuts:
    """The cut with BatchNorm folded, channels last, ReLUs fused and without idle hooks: what of that leaves
    codes and gradients of all probes the same. Weights that stay the same are shared."""
    with without_tf32():
        try:
            exact = _measured(plain, probes)
            base = _without_hooks(plain, probes, exact)
        except Exception:  # which the encoder's checks explain
            return Cuts(plain, plain, plain)
        on_cpu = probes[0].device.type == "cpu"
        # The most first; fused convolutions want their channels last.
        ways = ((1, 1, 2), (1, 1, 1), (1, 0, 2), (1, 0, 1), (1, 1, 0), (1, 0, 0), (0, 1, 0), (0, 0, 0))
        for last, fold, fuse in ways:
            if fuse and not on_cpu:  # a GPU is quicker without (0.87 s for 1.20 s)
                continue
            try:
                cut = _copied(base, bool(last))
                if last:
                    cut.module.to(memory_format=NHWC)
                unfused = _rewritten(cut, fold_batchnorm, probes[0]) if fold else cut
                fusing = partial(fuse_convolutions, packs=fuse == 2)
                fast = _rewritten(_copied(unfused), fusing, probes[0]) if fuse else unfused
                if _agree(_measured(fast, probes), exact):
                    return Cuts(fast, unfused, plain)
            except Exception:  # a module that cannot be rewritten (weight_norm, say) runs as it is
                continue
    return Cuts(plain, plain, plain)


def _copied(cut: LayerCut, channels_last: bool | None = None) -> LayerCut:
    last = cut.channels_last if channels_last is None else channels_last
    return LayerCut(shared_copy(cut.module), *cut.layers, channels_last=last)


def _rewritten(cut: LayerCut, rewrite: Callable[[LayerCut, Tensor], None], probe: Tensor) -> LayerCut:
    """The cut itself, but for its modules, which are others now."""
    rewrite(cut, probe)
    return LayerCut(cut.module, *cut.layers, channels_last=cut.channels_last)


def _measured(cut: LayerCut, probes: Sequence[Tensor]) -> list[list[Tensor]]:
    """Of each layer the codes of all probes, one by one, for a batch takes one way only; and the gradients of
    the first, for in a flat image the places of the largest values are nobody's."""
    with torch.enable_grad():
        image = probes[0].clone().requires_grad_(True)
        first = cut.outputs(image)
        gradient = torch.autograd.grad(torch.stack([code.square().sum() for code in first]).sum(), image)
    codes = [[code.detach() for code in first], *map(cut.outputs, probes[1:])]
    return [*map(list, zip(*codes, strict=True)), list(gradient)]


def _agree(found: list[list[Tensor]], exact: list[list[Tensor]]) -> bool:
    for ours, theirs in zip(found, exact, strict=True):
        share = EXACT_GRADIENT if theirs is exact[-1] else EXACT
        allowed = share * max(one.double().norm() for one in theirs)
        pairs = zip(ours, theirs, strict=True)
        if not 0 < allowed < torch.inf or any(
            (one.double() - other.double()).norm() > allowed for one, other in pairs
        ):
            return False
    return True


def _without_hooks(plain: LayerCut, probes: Sequence[Tensor], exact: list[list[Tensor]]) -> LayerCut:
    """Without those hooks that change neither codes nor gradients: all, or else each by itself."""
    if not any(vars(part).get(name) for part in plain.module.modules() for name in HOOKS):
        return plain
    cut = _copied(plain)
    tables = [vars(part).get(name, {}) for part in cut.module.modules() for name in HOOKS]
    hooks = [(table, key) for table in tables for key in table]
    for group in (hooks, *([one] for one in hooks)):
        before = [(table, dict(table)) for table, _ in group]
        for table, key in group:
            table.pop(key, None)
        found = _measured(cut, probes)
        pairs = zip(chain(*found), chain(*exact), strict=True)
        if all(torch.equal(one, other) for one, other in pairs):
            if group is hooks:
                break
            continue
        for table, whole in before:
            table.clear()
            table.update(whole)
    return cut


@contextmanager
def without_tf32() -> Iterator[None]:
    """Within, CUDA rounds products no more than other devices do."""
    cudnn: Any = torch.backends.cudnn
    switches: list[Any] = [torch.backends.cuda.matmul, cudnn.conv, cudnn.rnn]
    before = [switch.fp32_precision for switch in switches]
    try:
        allowed = cudnn.allow_tf32
    except RuntimeError:  # cuDNN's switches differ already
        allowed = False
    try:
        if allowed:  # else a network that asks for it, as ``cudnn.flags`` does, would fail
            cudnn.allow_tf32 = False
        for switch in switches:
            switch.fp32_precision = "ieee"
        yield
    finally:
        if allowed:
            cudnn.allow_tf32 = True
        for switch, value in zip(switches, before, strict=True):
            switch.fp32_precision = value
