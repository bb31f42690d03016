"""What is the code? A network, cut at a layer, as a fixed differentiable function of images in [0, 1]."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Generic, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import TypeVar

from netinvert.errors import CodeError, ImageError, LayerError, NetworkError
from netinvert.io.images import ImageLike, as_images, fit
from netinvert.models.checkpoints import weights_sha256
from netinvert.models.cut import LayerCut, LayerName, Trace, trace
from netinvert.models.network import Network, Preprocessing, as_network
from netinvert.models.precision import AUTO, BFLOAT16, FLOAT32, choose_precision, in_bfloat16
from netinvert.models.private_copy import as_usable, own_weights, plain_torch, shared_copy
from netinvert.models.relus import relu_gradients
from netinvert.models.rewrite import Cuts, drop, shortened, without_tf32
from netinvert.models.sound import check_network, check_values, refuse, unwrapped

FIXED = 1e-3
"""How far (relative L2) the code of an image may move with the rest of the batch: rounding, no more."""
CACHED = 16_000_000
"""Bytes that the largest map of a batch may take on a CPU; larger batches run in slices, for maps that do not
stay in the cache, or are too large for the allocator to keep, cost up to twice the time."""

Shape = tuple[int, ...]
C = TypeVar("C", default=Tensor)
S = TypeVar("S", default=Shape)


class Encoder(Generic[C, S]):
    """Maps images (N, C, H, W) in [0, 1] to the codes of one layer, or of several by one forward pass.

    Works on a private, frozen copy: the network it is given is never changed, hooked or run in part. Nothing
    behind the layer runs. ``layer`` is a dotted module name, ``input`` or ``output``; ``name:k`` takes the
    k-th call of a module that runs several times, ``name[k]`` an item of a tuple or dict. With ``layers`` in
    its place, codes and ``code_shape`` are dicts by these names (for a type checker, an ``Encoder[dict[str,
    Tensor], dict[str, Shape]]``); ``trace``, ``stride`` and ``depth`` are then of the layer that runs last.

    Images of another size than ``size`` (by default the preprocessing's) are scaled and cropped. The copy is
    rewritten so that gradients come faster (BatchNorm folded, ReLUs fused, idle hooks dropped) where codes
    and gradients stay the same for images of several kinds; ``fast=False`` leaves it as it is, for a network
    that takes other ways for other images. The network's hooks stay in effect, on copies of what they write
    to.

    Raises NetworkError for a network that cannot be inverted as it is (training mode, mixed devices, no
    gradient, a constant code) and LayerError for a layer that does not exist, is ambiguous or never runs.

    >>> from netinvert.models.registry import load_network
    >>> network = load_network("posenet")
    >>> encoder = Encoder(network, "relu7")
    >>> encoder
    <Encoder of relu7 of posenet: images (N, 3, 128, 128) to codes (N, 512), on cpu>
    >>> encoder(torch.rand(2, 3, 128, 128)).shape
    torch.Size([2, 512])
    >>> Encoder(network, layers=["relu3", "relu5"]).code_shape
    {'relu3': (144, 8, 8), 'relu5': (112, 8, 8)}
    """

    @plain_torch()
    def __init__(
        self,
        network: Network | nn.Module,
        layer: str | None = None,
        preprocessing: Preprocessing | None = None,
        size: tuple[int, int] | None = None,
        *,
        layers: Sequence[str] | None = None,
        fast: bool = True,
    ) -> None:
        self.network = as_network(network, preprocessing)
        self.preprocessing = self.network.preprocessing
        self.size = self.preprocessing.size
        if size is not None:
            self.size = replace(self.preprocessing, size=size).size
        self.layers = _named(layer, layers)
        self.layer = ", ".join(self.layers)
        self.several = layer is None
        self.fast = fast
        original = unwrapped(self.network.module)
        self.dtype, self.device = check_network(original)
        self._normalisation = self._scale_and_offset()
        names = [LayerName.parse(name, original) for name in self.layers]
        try:
            frozen = shared_copy(original)
        except Exception as error:
            raise NetworkError(
                f"the network cannot be copied ({error}); netinvert works on a copy, to leave yours as it is"
            ) from error
        noise = self.network_input(self._probe(1))
        traces = [trace(frozen, name, noise) for name in names]
        self.trace: Trace = max(traces, key=lambda one: (one.depth, -len(one.behind)))
        cut = LayerCut(frozen, *(one.layer for one in traces))
        with torch.no_grad():
            drop(cut, self.trace.behind, noise)
        own_weights(frozen)  # only of what runs
        self._cuts = Cuts(cut, cut, cut)
        if fast:
            self._cuts = shortened(cut, [self.network_input(one) for one in self._pictures()])
        self._cut = self._cuts.fast
        self._rounded: LayerCut | None = None  # made when it is first asked for
        self._shapes = self._validate()
        self.code_shape = cast(S, self._shapes if self.several else self._shapes[self.layer])
        self._sha256: str | None = None

    def __repr__(self) -> str:
        codes = ", ".join(f"(N, {', '.join(map(str, shape))})" for shape in self._shapes.values())
        images = f"(N, {self.preprocessing.channels}, {self.size[0]}, {self.size[1]})"
        where = f"{self.layer} of {self.network.name}"
        return f"<Encoder of {where}: images {images} to codes {codes}, on {self.device}>"

    def __call__(self, images: ImageLike) -> C:
        """Codes (N, *code_shape) of images, or of what ``as_images`` makes images: a file's path, a Pillow
        image, an array of bytes. Raises ImageError."""
        return self._codes(images, self._cut)

    def rounded(self, images: ImageLike) -> C:
        """Codes (float32) by the network in bfloat16. Raises ImageError; NetworkError: it does not run so."""
        return self._codes(images, self._in_bfloat16())

    def _codes(self, images: ImageLike, cut: LayerCut) -> C:
        channels = self.preprocessing.channels
        if not isinstance(images, Tensor):
            images = as_images(images, channels)
        if images.ndim == 3:
            images = images[None]
        if images.ndim != 4 or images.shape[1] != channels:
            raise ImageError(f"this network takes images (N, {channels}, H, W), got {tuple(images.shape)}")
        if not images.is_floating_point() or images.is_meta:
            what = "without values (on meta)" if images.is_meta else str(images.dtype)
            raise ImageError(f"images are floats in [0, 1], got {what}: bytes become such by / 255")
        fitted = self.fit(images.to(self.device, self.dtype))
        return self._as_codes(self._outputs(cut, self.network_input(fitted)))

    def _outputs(self, cut: LayerCut, x: Tensor) -> list[Tensor]:
        """A cut's outputs. On a CPU, a batch runs in slices as equal as can be, and the outputs of an image
        that is not finite are NaN altogether, for a fused ReLU makes 0 of NaN."""
        if cut is self._rounded:
            x = x.bfloat16()
        if self.device.type != "cpu" or not len(x) or torch._C._are_functorch_transforms_active():
            return [code.to(self.dtype) for code in cut.outputs(x)]
        slices = min(len(x), -(-len(x) * self.trace.largest // CACHED))
        parts = [cut.outputs(one) for one in x.tensor_split(max(slices, 1))]
        codes = parts[0] if len(parts) == 1 else list(map(torch.cat, zip(*parts, strict=True)))
        codes = [code.to(self.dtype) for code in codes]
        nothing = 0 * x.detach().flatten(1).sum(1)  # or NaN
        if bool((nothing == 0).all()):
            return codes
        return [code + nothing.view(-1, *[1] * (code.ndim - 1)) for code in codes]

    def fit(self, images: Tensor) -> Tensor:
        """The images as the network sees them: (N, C, *size), still in [0, 1]."""
        return fit(images, self.size)

    def network_input(self, images: Tensor) -> Tensor:
        """Images of the right size, preprocessed as the network wants them."""
        if self.preprocessing.order == "BGR":
            images = images.flip(1)
        if self._normalisation is None:
            return images
        scale, offset = self._normalisation
        return images * scale + offset

    def check_code(self, code: Tensor | Mapping[str, Tensor]) -> C:
        """The code as (N, *code_shape) on the network's device, or a CodeError that says what is wrong. Of
        several layers, a dict that has a code of each, for equally many images."""
        shapes = self._shapes
        if isinstance(code, Mapping) != self.several or (self.several and {*code} != {*shapes}):
            got = f"the layers {', '.join(code)}" if isinstance(code, Mapping) else f"a {type(code).__name__}"
            wanted = f"a dict of the codes of {self.layer}" if self.several else "a tensor"
            raise CodeError(f"the code of {self.network.name} is {wanted}, got {got}")
        codes: Mapping[str, Tensor] = code if isinstance(code, Mapping) else {self.layer: code}
        checked = []
        for layer, shape in shapes.items():
            if codes[layer].is_meta:
                raise CodeError("the code is on meta, without values; compute or load it")
            what = f"layer '{layer}' of {self.network.name} has codes of shape"
            one = as_batch(codes[layer], shape, what).detach()
            checked.append(finite(as_usable(one).to(self.device, self.dtype)))
        counts = [len(one) for one in checked]
        if len(set(counts)) > 1:
            raise CodeError(f"the layers' codes are of {counts} images: give codes of the same images")
        return self._as_codes(checked)

    def _as_codes(self, codes: Sequence[Tensor]) -> C:
        return cast(C, dict(zip(self.layers, codes, strict=True)) if self.several else codes[0])

    @torch.no_grad()
    @without_tf32()
    def confirmed(self, images: Tensor) -> C:
        """The codes of images (N, C, H, W), without a gradient, held against the network as it was before it
        was rewritten: where that gives others, its own, with a warning."""
        x = self.network_input(self.fit(images))
        codes = self._outputs(self._cuts.fast, x)  # of float32, whoever rounds around this
        if self._cuts.plain is self._cuts.fast:
            return self._as_codes(codes)
        own = self._outputs(self._cuts.plain, x)
        pairs = [(one, other) for one, other in zip(codes, own, strict=True) if bool(one.isfinite().all())]
        if all(bool((one - other).norm() <= FIXED * other.norm()) for one, other in pairs):
            return self._as_codes(codes)
        warnings.warn(
            f"{self.network.name} takes another way for these images than for those that were tried when it "
            "was rewritten for speed, so they were optimised for other codes than its own; the codes and "
            "errors reported are its own. Encoder(…, fast=False) leaves it as it is",
            stacklevel=2,
        )
        return self._as_codes(own)

    @torch.no_grad()
    def plain_codes(self, images: Tensor) -> C:
        """The codes of images (N, C, *size) as the network gives them without having been rewritten, without
        a gradient: NaN reach the numbers that depend on them, and no others."""
        return self._as_codes(self._cuts.plain.outputs(self.network_input(images)))

    @contextmanager
    def leaky_relu_gradients(self, slope: float | None = 0.1) -> Iterator[None]:
        """Let gradients leak through dead ReLUs (the forward values stay as they are); None: guided
        backpropagation, as of :func:`netinvert.models.relus.relu_gradients`."""
        before, self._cut = self._cut, self._cuts.unfused  # whose ReLUs are torch's own
        try:
            with relu_gradients(slope):
                yield
        finally:
            self._cut = before

    def precision_of(self, name: str) -> str:
        """The precision that ``auto`` stands for: bfloat16 where the network runs so and takes about half the
        time, on this device and with these layers (not depthwise convolutions), else float32. Raises
        ConfigError; NetworkError where bfloat16 is asked for and does not run."""
        wanted = choose_precision(name, self._cuts.fast.module, self.dtype, self.device)
        if wanted == BFLOAT16:
            try:
                self._in_bfloat16()
            except NetworkError:
                if name != AUTO:
                    raise
                return FLOAT32
        return wanted

    def _in_bfloat16(self) -> LayerCut:
        if self._rounded is None:
            self._rounded = in_bfloat16(self._cuts.fast, [*map(self.network_input, self._pictures())])
        return self._rounded

    @contextmanager
    def as_given(self) -> Iterator[nn.Module]:
        """Within, the copy runs as the network is, with all its modules: it is what is given. Who hooks it
        takes the hooks away again."""
        before, self._cut = self._cut, self._cuts.plain
        try:
            yield self._cut.module
        finally:
            self._cut = before

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
        """The frozen copy that runs, rewritten for speed and without what runs behind. Not to be changed."""
        return self._cut.module

    def to(self, device: str | torch.device) -> Encoder[C, S]:
        """The same on another device; itself where it is there already."""
        place = torch.empty(0, device=device).device  # with an index, if it has one
        if place == self.device:
            return self
        moved = replace(self.network, module=shared_copy(unwrapped(self.network.module)).to(place))
        one, several = (None, self.layers) if self.several else (self.layer, None)
        return Encoder(moved, one, size=self.size, layers=several, fast=self.fast)

    def weights_sha256(self) -> str:
        """The hash of the network's weights, as they are when it is first asked for."""
        if self._sha256 is None:
            self._sha256 = weights_sha256(unwrapped(self.network.module))
        return self._sha256

    def _scale_and_offset(self) -> tuple[Tensor, Tensor] | None:
        """``(scale * image - mean) / std`` as one multiplication and one addition; None for the identity."""
        form = self.preprocessing
        if form.scale == 1.0 and set(form.mean) == {0.0} and set(form.std) == {1.0}:
            return None
        numbers = torch.tensor([form.mean, form.std], dtype=self.dtype, device=self.device)
        mean, std = numbers[..., None, None]
        return form.scale / std, -mean / std

    def _probe(self, count: int) -> Tensor:
        source = torch.Generator().manual_seed(0)
        noise = torch.rand(count, self.preprocessing.channels, *self.size, generator=source, dtype=self.dtype)
        return noise.to(self.device)

    def _pictures(self) -> list[Tensor]:
        """One image each of noise, smooth and dark, flat and bright, and of black and white blocks."""
        noise = self._probe(1)
        coarse = noise[..., :4, :4]
        smooth = F.interpolate(coarse, self.size, mode="bilinear")
        return [noise, 0.3 * smooth, torch.full_like(noise, 0.9), F.interpolate(coarse.round(), self.size)]

    @torch.enable_grad()
    def _validate(self) -> dict[str, Shape]:
        """One dry run with a gradient; gives the codes' shapes."""
        probe = self._probe(2).requires_grad_(True)
        try:
            codes = self._cut.outputs(self.network_input(probe))
        except Exception as error:  # whatever the user's code raises, which did run for one image
            raise NetworkError(
                f"{self.network.name} runs for one image and fails for two ({error}); give one that takes "
                "any number of images (exported with a dynamic batch, say)"
            ) from error
        for layer, code in zip(self.layers, codes, strict=True):
            where = f"layer '{layer}' of {self.network.name}"
            check_values(code, len(probe), where)
            self._check_fixed(probe, code.detach(), layer, where)
            refuse(
                not code.requires_grad,
                f"{where} gives no gradient: the network detaches it (.detach(), .numpy(), no_grad)",
            )
            (gradient,) = torch.autograd.grad(
                code.square().sum(), probe, allow_unused=True, retain_graph=self.several
            )
            nothing = gradient is None or not bool((gradient != 0).any())
            refuse(nothing, f"{where} gives a gradient that is zero for the image; choose an earlier layer")
        return {layer: tuple(code.shape[1:]) for layer, code in zip(self.layers, codes, strict=True)}

    @torch.no_grad()
    def _check_fixed(self, probe: Tensor, code: Tensor, layer: str, where: str) -> None:
        """The code of an image is to depend on that image and on nothing else."""
        place = self.layers.index(layer)
        alone = self._cut.outputs(self.network_input(probe[:1]))[place]
        allowed = FIXED * code.norm()  # of both codes: one of them may be zero
        if (alone - code[:1]).norm() <= allowed:
            return
        again = self._cut.outputs(self.network_input(probe))[place]
        refuse(
            bool((again - code).norm() > allowed),
            f"{where} gives a code that is not the same twice: something in the network is random "
            "(functional dropout without training=self.training, say)",
        )
        raise NetworkError(
            f"{where} gives codes that depend on the other images of the batch (BatchNorm without running "
            "statistics, say); invert a layer before that"
        )


def _named(layer: str | None, layers: Sequence[str] | None) -> tuple[str, ...]:
    if isinstance(layers, str) or (layer is None) == (layers is None):
        raise LayerError('give one layer, Encoder(network, "relu5"), or layers=["relu3", "relu5"]')
    names = (layer,) if layer is not None else tuple(layers or ())
    if not names or len(set(names)) < len(names):
        raise LayerError(f"layers are named once each, and one at least; got {', '.join(names) or 'none'}")
    return names


def as_batch(code: Tensor, shape: Shape, what: str) -> Tensor:
    """Codes (N, *shape), or (*shape), as (N, *shape). Raises CodeError, of ``what``."""
    if tuple(code.shape) == shape:
        code = code[None]
    if tuple(code.shape[1:]) != shape or code.ndim != len(shape) + 1 or not len(code):
        many = f"(N, {', '.join(map(str, shape))})"
        raise CodeError(f"{what} {shape} or {many}; got {tuple(code.shape)}")
    return code


def finite(code: Tensor) -> Tensor:
    """The code itself. Raises CodeError."""
    if not bool(torch.isfinite(code).all()):
        raise CodeError(f"the code holds NaN or infinite values as {code.dtype}; compute or load it again")
    return code
