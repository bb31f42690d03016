"""What is the code? A network, cut at a layer, as a fixed differentiable function of images in [0, 1]."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from netinvert.errors import CodeError, ImageError, NetworkError
from netinvert.io.images import fit
from netinvert.models.dry_run import Trace, fold_batchnorm, trace
from netinvert.models.fused_conv import fuse_convolutions
from netinvert.models.layer_output import LayerCut, LayerName, leaky_relu_gradients
from netinvert.models.network import Network, Preprocessing, weights_sha256

EXACT = 1e-5
"""How far (relative L2) the code may move when the network is rewritten for speed."""


FIXED = 1e-3
"""How far (relative L2) the code of an image may move with the rest of the batch: rounding, no more."""


class Encoder:
    """Maps images (N, C, H, W) in [0, 1] to the codes of one layer.

    Works on a private, frozen copy: the network it is given is never changed, hooked or run in part.
    Nothing behind the layer runs. ``layer`` is a dotted module name, ``input`` or ``output``; ``name:k``
    takes the k-th call of a module that runs several times, ``name[k]`` an item of a tuple or dict.

    Raises NetworkError for a network that cannot be inverted as it is (training mode, mixed devices, no
    gradient, a constant code) and LayerError for a layer that does not exist, is ambiguous or never runs.
    """

    def __init__(
        self,
        network: Network | nn.Module,
        layer: str,
        preprocessing: Preprocessing | None = None,
        size: tuple[int, int] | None = None,
    ) -> None:
        self.network = _described(network, preprocessing)
        self.preprocessing = self.network.preprocessing
        self.size = size or self.preprocessing.size
        self.layer = layer
        original = unwrapped(self.network.module)
        self.dtype, self.device = _check_network(original)
        self._normalisation = self._scale_and_offset()
        name = LayerName.parse(layer, original)
        frozen = _frozen_copy(original)
        self.trace: Trace = trace(frozen, name, self.network_input(self._probe(1)))
        self._tap, self._open_tap = self._fast_taps(frozen)
        self.code_shape = self._validate()

    # -- the function itself ---------------------------------------------------------------------------

    def __call__(self, images: Tensor) -> Tensor:
        """Codes (N, *code_shape). Images of another size are scaled to cover ``size`` and cropped."""
        if images.ndim == 3:
            images = images[None]
        if images.ndim != 4 or images.shape[1] != self.preprocessing.channels:
            raise ImageError(
                f"this network takes images (N, {self.preprocessing.channels}, H, W), "
                f"got {tuple(images.shape)}"
            )
        if images.device != self.device or images.dtype != self.dtype:
            raise ImageError(
                f"the image is {images.dtype} on {images.device} but the network is {self.dtype} on "
                f"{self.device}; convert it with image.to({str(self.device)!r}, {self.dtype})"
            )
        return self._tap(self.network_input(self.fit(images)))

    def fit(self, images: Tensor) -> Tensor:
        """The images as the network sees them: (N, C, *size), still in [0, 1]."""
        return fit(images, self.size)

    def network_input(self, images: Tensor) -> Tensor:
        """Images of the right size, preprocessed as the network wants them."""
        if self.preprocessing.order == "BGR":
            images = images.flip(1)
        return (
            images
            if self._normalisation is None
            else images * self._normalisation[0] + self._normalisation[1]
        )

    def check_code(self, code: Tensor) -> Tensor:
        """The code as (N, *code_shape) on the network's device, or a CodeError that says what is wrong."""
        if tuple(code.shape) == self.code_shape:
            code = code[None]
        if tuple(code.shape[1:]) != self.code_shape or code.ndim != len(self.code_shape) + 1:
            raise CodeError(
                f"layer '{self.layer}' of {self.network.name} has codes of shape {self.code_shape} "
                f"(or (N, {', '.join(map(str, self.code_shape))})), got {tuple(code.shape)}"
            )
        if code.shape[0] == 0:
            raise CodeError("there is no code: the first dimension is empty")
        if code.device != self.device:
            raise CodeError(
                f"the code is on {code.device} but the network on {self.device}; move one of them"
            )
        code = code.detach().to(self.dtype)
        if not bool(torch.isfinite(code).all()):
            raise CodeError("the code holds NaN or infinite values; compute or load it again")
        return code

    @contextmanager
    def leaky_relu_gradients(self, slope: float = 0.1) -> Iterator[None]:
        """Let gradients leak through dead ReLUs (the forward values stay as they are)."""
        fast = self._tap
        self._tap = self._open_tap  # whose ReLUs are torch's own
        try:
            with leaky_relu_gradients(slope):
                yield
        finally:
            self._tap = fast

    # -- what is known of the cut ----------------------------------------------------------------------

    @property
    def stride(self) -> int:
        """Pixels of the image between neighbours of the last feature map up to the cut."""
        return self.trace.stride

    @property
    def depth(self) -> float:
        """How far up the network the cut is, in (0, 1]: the share of its leaf modules that have run."""
        return self.trace.depth

    @property
    def centre(self) -> tuple[float, ...]:
        """The network's idea of grey, RGB in [0, 1]: its mean, or 0.5 where it subtracts none."""
        form = self.preprocessing
        mean = [value / form.scale for value in form.mean]
        if form.order == "BGR":
            mean.reverse()
        return tuple(mean) if any(mean) else (0.5,) * form.channels

    @property
    def module(self) -> nn.Module:
        """The frozen copy that runs, rewritten for speed up to the cut. Not to be changed."""
        return self._tap.module

    def to(self, device: torch.device) -> Encoder:
        """The same on another device; itself where it is there already."""
        if device == self.device:
            return self
        module = copy.deepcopy(unwrapped(self.network.module)).to(device)
        return Encoder(replace(self.network, module=module), self.layer, size=self.size)

    def weights_sha256(self) -> str:
        """The hash of the network's weights."""
        return weights_sha256(unwrapped(self.network.module))

    # -- set-up ----------------------------------------------------------------------------------------

    def _scale_and_offset(self) -> tuple[Tensor, Tensor] | None:
        """``(scale * image - mean) / std`` as one multiplication and one addition; None for the identity."""
        form = self.preprocessing
        if form.scale == 1.0 and set(form.mean) == {0.0} and set(form.std) == {1.0}:
            return None
        mean, std = (
            torch.tensor(values, dtype=self.dtype, device=self.device).view(-1, 1, 1)
            for values in (form.mean, form.std)
        )
        return form.scale / std, -mean / std

    def _probe(self, count: int) -> Tensor:
        source = torch.Generator().manual_seed(0)
        noise = torch.rand(count, self.preprocessing.channels, *self.size, generator=source, dtype=self.dtype)
        return noise.to(self.device)

    def _fast_taps(self, frozen: nn.Module) -> tuple[LayerCut, LayerCut]:
        """The cut, with BatchNorm folded, channels last and ReLUs fused where the code stays the same; and
        without the last."""
        tap = unfused = LayerCut(frozen, self.trace.layer)
        probe = self.network_input(self._probe(1))
        with torch.no_grad():
            exact = tap(probe)
            for rewrite in (fold_batchnorm, _channels_last, fuse_convolutions):
                if rewrite is fuse_convolutions:
                    unfused = tap
                    if not tap.channels_last:
                        break
                try:
                    rewritten = rewrite(copy.deepcopy(tap.module), tap.layer, probe)
                    last = tap.channels_last or rewrite is _channels_last
                    candidate = LayerCut(rewritten, tap.layer, channels_last=last)
                    found = candidate(probe)
                except Exception:  # a module that cannot be rewritten (weight_norm, say) runs as it is
                    continue
                if _relative(found, exact) <= EXACT:
                    tap = candidate
        return tap, unfused

    @torch.enable_grad()
    def _validate(self) -> tuple[int, ...]:
        """One dry run with a gradient; gives the code's shape."""
        probe = self._probe(2).requires_grad_(True)
        code = self._tap(self.network_input(probe))
        where = f"layer '{self.layer}' of {self.network.name}"
        if not code.is_floating_point():
            raise NetworkError(
                f"{where} gives {code.dtype} numbers; choose a layer with a floating-point output"
            )
        if code.shape[0] != probe.shape[0]:
            raise NetworkError(
                f"{where} gives {tuple(code.shape)} for two images; the first dimension has to be the batch"
            )
        if not bool(torch.isfinite(code).all()):
            raise NetworkError(f"{where} gives NaN or infinite values; check the network's weights")
        if bool((code[0] == code[1]).all()):
            raise NetworkError(
                f"{where} gives the same code for different images; there is nothing to invert"
            )
        self._check_fixed(probe, code.detach(), where)
        if not code.requires_grad:
            raise NetworkError(
                f"{where} gives no gradient: something in the network detaches it "
                "(.detach(), .numpy(), no_grad)"
            )
        (gradient,) = torch.autograd.grad(code.square().sum(), probe, allow_unused=True)
        if gradient is None or not bool((gradient != 0).any()):
            raise NetworkError(
                f"{where} gives a gradient that is zero for the image; choose an earlier layer"
            )
        return tuple(code.shape[1:])

    @torch.no_grad()
    def _check_fixed(self, probe: Tensor, code: Tensor, where: str) -> None:
        """The code of an image is to depend on that image and on nothing else."""
        alone = self._tap(self.network_input(probe[:1]))
        allowed = FIXED * code.norm()  # of both codes: one of them may be zero
        if (alone - code[:1]).norm() <= allowed:
            return
        if (self._tap(self.network_input(probe)) - code).norm() > allowed:
            raise NetworkError(
                f"{where} gives a code that is not the same twice: something in the network is random "
                "(functional dropout without training=self.training, say)"
            )
        raise NetworkError(
            f"{where} gives codes that depend on the other images of the batch (BatchNorm without running "
            "statistics, say); invert a layer before that"
        )


def _described(network: Network | nn.Module, preprocessing: Preprocessing | None) -> Network:
    if isinstance(network, Network):
        return network if preprocessing is None else replace(network, preprocessing=preprocessing)
    if not isinstance(network, nn.Module):
        raise NetworkError(
            f"a network is a torch.nn.Module or comes from load_network, got {type(network).__name__}"
        )
    if preprocessing is None:
        raise NetworkError(
            "how does this network want its images? Say it once: Encoder(module, layer, "
            "Preprocessing(size=(224, 224), mean=(…), std=(…))); leave out mean and std if it wants [0, 1]"
        )
    return Network(type(network).__name__, network, preprocessing)


def unwrapped(module: nn.Module) -> nn.Module:
    """The module inside DataParallel or torch.compile, where hooks and early exit are unreliable."""
    if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
        return unwrapped(module.module)
    original = getattr(module, "_orig_mod", None)
    if isinstance(original, nn.Module):
        return unwrapped(original)
    if isinstance(module, torch.jit.ScriptModule):
        raise NetworkError(
            "a TorchScript module cannot be cut at a layer; give the Python module it was made from"
        )
    return module


def _check_network(module: nn.Module) -> tuple[torch.dtype, torch.device]:
    if any(part.training for part in module.modules()):
        raise NetworkError(
            "the network is in training mode, so its code would not be fixed; call network.eval()"
        )
    tensors = [*module.parameters(), *module.buffers()]
    floats = [tensor for tensor in tensors if tensor.is_floating_point()]
    devices = {tensor.device for tensor in tensors}
    dtypes = {tensor.dtype for tensor in floats}
    if len(devices) > 1:
        raise NetworkError(
            f"the network lies on several devices ({_listed(devices)}); move it with network.to(device)"
        )
    if len(dtypes) > 1:
        raise NetworkError(f"the network mixes dtypes ({_listed(dtypes)}); convert it with network.float()")
    dtype = dtypes.pop() if dtypes else torch.float32
    device = devices.pop() if devices else torch.device("cpu")
    if dtype not in (torch.float32, torch.float64):
        raise NetworkError(
            f"the network is {dtype}, in which small gradients vanish; convert it with network.float()"
        )
    if device.type == "meta":
        raise NetworkError("the network is on the meta device and has no weights; load them first")
    return dtype, device


def _listed(things: set[torch.device] | set[torch.dtype]) -> str:
    return ", ".join(sorted(map(str, things)))


def _frozen_copy(module: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(module).requires_grad_(False)
    except Exception as error:
        raise NetworkError(
            f"the network cannot be copied ({error}); netinvert works on a copy so that yours stays as it is"
        ) from error


def _channels_last(module: nn.Module, layer: LayerName, probe: Tensor) -> nn.Module:
    return module.to(memory_format=torch.channels_last)


def _relative(found: Tensor, exact: Tensor) -> float:
    scale = exact.double().norm().item()
    return (found.double() - exact.double()).norm().item() / scale if scale > 0 else float("inf")
