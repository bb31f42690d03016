"""What of a network's answer is explained: a class, a unit, a direction, a keypoint, a code, a pose."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from netinvert.errors import ConfigError
from netinvert.inversion.objectives import Activate, AnyEncoder, Code, code_error, layers_of
from netinvert.inversion.units import channel_axis, parse_objective
from netinvert.io.codes import read_code
from netinvert.models.encoder import Encoder
from netinvert.models.network import Network
from netinvert.models.zoo.pose_heads import RotationHead, azimuth_target
from netinvert.scenes.cameras import angles_from_rotation, geodesic_degrees, matrix_to_6d

POSES = ("strength", "likelihood", "geodesic", "azimuth", "elevation", "in-plane")
"""Of a pose: how strongly the six numbers say the rotation read; the log-likelihood of the azimuth read; the
geodesic distance from it; one of its angles alone (docs/explain.md says how far gradients of them can be
trusted). "pose" is the first that a network has; for occlusion it is the geodesic distance."""
FORMS = (
    "class (the likeliest), class:NAME, channel:K, neuron:K, neuron:K@ROW,COLUMN, code:FILE (a direction), "
    "match, match:FILE, keypoint:K, pose (the first kind) or pose:KIND, with LAYER/ before it for a layer "
    "that is not the output"
)
PROJECTIONS = 8
"""Random directions of a code that stand for all of them in the gradient of ``match``."""

Read = Callable[[Code], Tensor]
Values = Callable[[Code, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Target:
    """One value (N,) of images (N, C, H, W): the more, the more the network answers so.

    What is ``fixed`` (N, ...) is read once, of the images that are explained (the pose, the likeliest class),
    and kept when they are changed: ``target(changed, target.fixed(images))``.

    A distance from what is read has no gradient where it is read, for it is 0 there. So saliencies take the
    gradients of ``components`` (N, K), in which the distance is their norm near the reading (three turns for
    a rotation), and the norm of these gradients: how fast a change of a pixel moves the answer, wherever it
    moves. ``signed`` says that there is one component, of which more is better: saliencies then have signs.

    >>> from netinvert.models.registry import load_network
    >>> pose = parse_target(load_network("posenet"), "pose:geodesic")
    >>> pose(torch.rand(2, 3, 128, 128)).abs() < 0.1  # no distance from what is read of them
    tensor([True, True])
    """

    name: str
    encoder: AnyEncoder
    read: Read
    value: Values
    parts: Values | None = None
    kept: bool = False
    """Whether what is fixed stays so where an image is cropped or mirrored: a class does, a pose does not."""

    @property
    def signed(self) -> bool:
        """Whether its components are the value itself."""
        return self.parts is None

    def fixed(self, images: Tensor) -> Tensor:
        """What is kept of images, (N, ...); (N, 0) where nothing is."""
        with torch.no_grad():
            return self.read(self.encoder(images))

    def __call__(self, images: Tensor, fixed: Tensor | None = None) -> Tensor:
        """The value (N,) of images, about what is ``fixed``; by default what is read of them."""
        code = self.encoder(images)
        with torch.no_grad():
            fixed = self.read(code) if fixed is None else fixed
        return self.value(code, fixed)

    def components(self, images: Tensor, fixed: Tensor) -> Tensor:
        """(N, K), of which gradients are taken."""
        return self.components_of(self.encoder(images), fixed)

    def components_of(self, code: Code, fixed: Tensor) -> Tensor:
        """Those of codes, (N, K)."""
        return self.value(code, fixed)[:, None] if self.parts is None else self.parts(code, fixed)


def parse_target(network: Network, text: str) -> Target:
    """What the text asks of a network: one of FORMS.

    Raises ConfigError: the network has no such answer; LayerError, CodeError.

    >>> from netinvert.models.registry import load_network
    >>> parse_target(load_network("posenet"), "relu5/channel:3").encoder.layer
    'relu5'
    """
    layer, slash, asked = text.partition("/")
    if not slash or layer.partition(":")[0] in ("code", "match"):  # whose files may lie in folders
        layer, asked = "", text
    kind, _, what = asked.partition(":")
    if kind == "pose":
        return _pose(network, text, what, layer)
    if kind == "keypoint":
        return _keypoint(network, text, what)
    encoder = Encoder(network, layer or "output")
    if kind == "match":
        return _match(encoder, text, what)
    if asked == "class":
        _vector(encoder)
        if encoder.network.pose_head is not None:
            raise ConfigError(
                f"{encoder.network.name} tells poses and no classes: write {listed_targets(network)}"
            )
        return Target(text, encoder, _likeliest, _gathered, kept=True)
    if kind not in ("class", "channel", "neuron", "code"):
        raise ConfigError(f"'{text}' is no target of {network.name}: write {listed_targets(network)}")
    unit = parse_objective(encoder, asked)
    assert isinstance(unit, Activate)
    return Target(text, encoder, _nothing, lambda code, _: -unit(_one(code), code))


def listed_targets(network: Network) -> str:
    """What can be asked of a network, in words: of FORMS those that it has an answer for."""
    none = ("keypoint", "pose", *(("class",) if network.pose_head is not None else ()))
    forms = [one for one in FORMS.split(", ") if not one.startswith(none)]
    forms.insert(-1, "keypoint:K") if _keypoints_of(network) else None
    kinds = pose_kinds(network)
    forms.insert(-1, f"pose:KIND ({', '.join(kinds)})") if kinds else None
    return ", ".join(forms)


def pose_kinds(network: Network) -> tuple[str, ...]:
    """Those of POSES that a network has an answer for."""
    if network.pose_head is not None:
        return POSES if network.pose_head.name == "view" else POSES[1:]
    return POSES[2:] if network.read_pose is not None and _keypoints_of(network) else ()


# -- units, classes, codes -----------------------------------------------------------------------------


def _one(code: Code) -> Tensor:
    (values,) = layers_of(code).values()
    return values


def _nothing(code: Code) -> Tensor:
    return _one(code).new_zeros(len(_one(code)), 0)


def _likeliest(code: Code) -> Tensor:
    return _one(code).argmax(1, keepdim=True)


def _gathered(code: Code, index: Tensor) -> Tensor:
    return _one(code).gather(1, index)[:, 0]


def _vector(encoder: AnyEncoder) -> None:
    if len(encoder.code_shape) != 1:
        raise ConfigError(
            f"the likeliest class is one of (N, classes) numbers; layer '{encoder.layer}' of "
            f"{encoder.network.name} has codes of shape {encoder.code_shape}: name a channel:K"
        )


def _match(encoder: Encoder, text: str, path: str) -> Target:
    """Minus the code error, from a file's code or from that of the images themselves."""
    if path:
        wanted = encoder.check_code(read_code(path).to(encoder.device))
        if len(wanted) != 1:
            raise ConfigError(f"{path} holds {len(wanted)} codes: a match is with one")
        return Target(text, encoder, _nothing, lambda code, _: -code_error(code, wanted))
    size = math.prod(encoder.code_shape)
    generator = torch.Generator().manual_seed(0)
    directions = torch.randint(2, (size, PROJECTIONS), generator=generator).mul(2).sub(1)
    directions = directions.to(encoder.device, encoder.dtype) / math.sqrt(PROJECTIONS)

    def projected(code: Code, own: Tensor) -> Tensor:
        """Of which the squares have the mean of the squared code error (Hutchinson's estimate)."""
        norms = own.flatten(1).norm(dim=1, keepdim=True).clamp_min(torch.finfo(own.dtype).tiny)
        found: Tensor = (_one(code) - own).flatten(1) @ directions / norms
        return found

    return Target(text, encoder, _one, lambda code, own: -code_error(code, own), projected)


# -- keypoints and poses -------------------------------------------------------------------------------


def _keypoints_of(network: Network) -> bool:
    return network.layers[-1:] == ("keypoints",)


def _keypoint(network: Network, text: str, what: str) -> Target:
    """Minus the distance in pixels of a keypoint from where it is read."""
    if not _keypoints_of(network):
        raise ConfigError(f"{network.name} tells no keypoints: write {listed_targets(network)}")
    encoder = Encoder(network, "keypoints")
    count = encoder.code_shape[channel_axis(encoder.code_shape)] // 2
    if not (what.isdecimal() and int(what) < count):
        raise ConfigError(f"the keypoints of {network.name} are keypoint:0 to keypoint:{count - 1}")

    def place(code: Code) -> Tensor:
        return _one(code)[:, 2 * int(what) : 2 * int(what) + 2]

    return Target(
        text,
        encoder,
        place,
        lambda code, read: -(place(code) - read).norm(dim=1),
        lambda code, read: place(code) - read,
    )


def _pose(network: Network, text: str, kind: str, layer: str) -> Target:
    kinds, head = pose_kinds(network), network.pose_head
    kind = kind or next(iter(kinds), "")
    if kind not in kinds:
        raise ConfigError(f"{network.name} has no '{text}': write {listed_targets(network)}")
    if layer not in ("", "output"):
        raise ConfigError(f"a pose is said by the output of {network.name}: write pose:{kind}")
    encoder = Encoder(network, "output" if head is not None else "keypoints")

    def rotation(code: Code) -> Tensor:
        return head.rotation(_one(code)) if head is not None else _OfBox.apply(_one(code), network.read_pose)

    makers = _says(head, kind) if head is not None and kind in POSES[:2] else _distance(rotation, kind)
    return Target(text, encoder, rotation, *makers)


class _OfBox(torch.autograd.Function):
    """The rotation (N, 3, 3) that a box's keypoints (N, 2 K) in pixels say, which is found by search: its
    gradient is that of differences half a pixel to either side."""

    @staticmethod
    def forward(ctx: Any, keypoints: Tensor, read: Any) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(keypoints)
        ctx.rotation = lambda some: read({"keypoints": some, "presence": some[:, :1]}).rotation
        found: Tensor = ctx.rotation(keypoints)
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        (keypoints,) = ctx.saved_tensors
        step = torch.eye(keypoints.shape[1]).to(keypoints) / 2
        ahead, behind = (
            ctx.rotation((keypoints[:, None] + sign * step).flatten(0, 1)).unflatten(0, keypoints.shape)
            for sign in (1, -1)
        )
        return ((ahead - behind) * gradients[0][:, None]).sum((-1, -2)), None


def _says(head: RotationHead, kind: str) -> tuple[Values, None]:
    """How strongly a head says rotations (N, 3, 3) that were read."""

    def likelihood(code: Code, read: Tensor) -> Tensor:
        azimuth, _, _ = angles_from_rotation(read)
        wanted = azimuth_target(azimuth, torch.ones_like(azimuth, dtype=torch.long))
        return (wanted * F.log_softmax(head.azimuth_logits(_one(code)), -1)).sum(-1)

    def strength(code: Code, read: Tensor) -> Tensor:
        """tr(FᵀR) of a Matrix-Fisher distribution whose parameter F is what the network says before it is
        made a rotation (Mohlin et al. 2020), without its normalisation."""
        return (_one(code)[:, :6] * matrix_to_6d(read)).sum(1)

    return (likelihood if kind == "likelihood" else strength), None


def _distance(rotation: Read, kind: str) -> tuple[Values, Values]:
    """Minus how far, in degrees, rotations are from those (N, 3, 3) that were read; and its components."""

    def turns(code: Code, read: Tensor) -> Tensor:
        """The turn from what was read about the camera's three axes, in degrees (of large ones the sine)."""
        between = rotation(code) @ read.transpose(-1, -2)
        odd = (between - between.transpose(-1, -2)) / 2
        return torch.rad2deg(torch.stack([odd[:, 2, 1], odd[:, 0, 2], odd[:, 1, 0]], 1))

    if kind == "geodesic":
        return (lambda code, read: -geodesic_degrees(rotation(code), read)), turns
    axis = ("azimuth", "elevation", "in-plane").index(kind)

    def angle(code: Code, read: Tensor) -> Tensor:
        change = angles_from_rotation(rotation(code))[axis] - angles_from_rotation(read)[axis]
        return (torch.remainder(change + 180, 360) - 180)[:, None]

    return (lambda code, read: -angle(code, read)[:, 0].abs()), angle
