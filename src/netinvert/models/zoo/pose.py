"""Networks that read the 3-D pose of an object: two topologies, the meaning of their outputs, their files."""

from __future__ import annotations

import copy
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from netinvert.errors import ConfigError, NetworkError
from netinvert.io.files import guarded
from netinvert.models.network import (
    Network,
    Preprocessing,
    built,
    load_parts,
    load_state,
    save_parts,
    shipped,
)
from netinvert.scenes.cameras import (
    angles_from_rotation,
    equivalent_rotations,
    matrix_to_6d,
    rotation_from_6d,
    rotation_from_angles,
)
from netinvert.scenes.poses import PoseReading

SIZE = (64, 64)
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
CODE = 512
POSENET_LAYERS = ("relu1", "relu2", "relu3", "relu4", "relu5", "pool5", "relu6", "relu7", "fc8")
RESNET_LAYERS = ("stage1", "stage2", "stage3", "stage4", "relu5", "fc6")
ANY_TURN = 36
"""So many turns stand for a body of revolution in the losses."""
SMOOTH = 1e-3
SHARPNESS = 10.0
"""By which cosines are multiplied before a softmax or sigmoid."""
AnyModule = TypeVar("AnyModule", bound=nn.Module)


class PoseNet(nn.Sequential):
    """AlexNet's topology (Krizhevsky et al. 2012) at 64 pixels: five convolutions with ReLU, three max-pools
    that overlap, fc6, fc7, fc8.

    Takes preprocessed images (N, 3, 64, 64) and gives (N, ``outputs``); ``relu7`` is the code (N, ``code``).
    With ``norm`` every convolution and fully connected layer but the last is followed by BatchNorm, which
    training needs (no unit of the code dies); ``folded`` takes it out again."""

    fc8: nn.Linear

    def __init__(self, outputs: int = 6, code: int = CODE, norm: bool = True) -> None:
        shapes: list[tuple[int, ...]] = [(3, 40, 5, 2, 2), (40, 80, 5, 1, 2), (80, 144, 3, 1, 1)]
        shapes += [(144, 144, 3, 1, 1), (144, 112, 3, 1, 1), (112 * 4 * 4, 512), (512, code)]
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for index, numbers in enumerate(shapes, 1):
            if index == 6:
                layers["flatten"] = nn.Flatten()
            kind = "conv" if index < 6 else "fc"
            layers[f"{kind}{index}"] = nn.Conv2d(*numbers) if kind == "conv" else nn.Linear(*numbers)  # type: ignore[arg-type]
            if norm:
                layers[f"norm{index}"] = (nn.BatchNorm2d if kind == "conv" else nn.BatchNorm1d)(numbers[1])
            layers[f"relu{index}"] = nn.ReLU()
            if index in (1, 2, 5):
                layers[f"pool{index}"] = nn.MaxPool2d(3, 2, padding=1)
        layers["fc8"] = nn.Linear(code, outputs)
        super().__init__(layers)
        initialise_pose_network(self)

    def codes_and_outputs(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The code (N, code) after relu7, and the output (N, outputs)."""
        code = images
        for module in list(self.children())[:-1]:
            code = module(code)
        return code, self.fc8(code)


class Residual(nn.Module):
    """Two 3x3 convolutions with a skip connection around them (He et al. 2016)."""

    def __init__(self, channels: int, out: int, stride: int, norm: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, stride, 1)
        self.norm1 = nn.BatchNorm2d(out) if norm else nn.Identity()
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1)
        self.norm2 = nn.BatchNorm2d(out) if norm else nn.Identity()
        self.short = nn.Identity() if (channels, stride) == (out, 1) else nn.Conv2d(channels, out, 1, stride)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) to (N, out, H / stride, W / stride)."""
        inner = self.norm2(self.conv2(self.relu(self.norm1(self.conv1(x)))))
        return torch.relu(inner + self.short(x))


class PoseResNet(nn.Module):
    """A residual network, held out to check what PoseNet's reconstructions show.

    Takes preprocessed images (N, 3, 64, 64) and gives (N, ``outputs``): a stem of stride 2, four stages of
    residual blocks at 32, 16, 8 and 4 pixels, and two fully connected layers."""

    def __init__(self, outputs: int = 50, code: int = 256, norm: bool = True) -> None:
        super().__init__()
        one, two, three, four = 24, 48, 96, 160
        self.stem = nn.Conv2d(3, one, 5, 2, 2)
        self.stem_norm = nn.BatchNorm2d(one) if norm else nn.Identity()
        self.stage1 = Residual(one, one, 1, norm)
        self.stage2 = nn.Sequential(Residual(one, two, 2, norm), Residual(two, two, 1, norm))
        self.stage3 = nn.Sequential(Residual(two, three, 2, norm), Residual(three, three, 1, norm))
        self.stage4 = Residual(three, four, 2, norm)
        self.fc5 = nn.Linear(four * 4 * 4, code)
        self.norm5 = nn.BatchNorm1d(code) if norm else nn.Identity()
        self.relu5 = nn.ReLU()
        self.fc6 = nn.Linear(code, outputs)
        initialise_pose_network(self)

    def codes_and_outputs(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The code (N, code) after relu5, and the output (N, outputs)."""
        x = torch.relu(self.stem_norm(self.stem(images)))
        x = self.stage4(self.stage3(self.stage2(self.stage1(x))))
        code = self.relu5(self.norm5(self.fc5(x.flatten(1))))
        return code, self.fc6(code)

    def forward(self, images: Tensor) -> Tensor:
        """The output (N, outputs)."""
        return self.codes_and_outputs(images)[1]


def initialise_pose_network(module: nn.Module) -> None:
    """He's initialisation, zero biases; from torch's generator."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def folded(network: AnyModule) -> AnyModule:
    """The same function of a PoseNet or PoseResNet without BatchNorm: each is folded into the layer before
    it, whose number it has (``conv1``, ``norm1``)."""
    *_, last = network.modules()
    assert isinstance(last, nn.Linear)
    bare: AnyModule = type(network)(last.out_features, last.in_features, norm=False).to(last.weight)
    state: dict[str, Tensor] = {}
    for name, part in network.named_modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            parent, _, own = name.rpartition(".")
            norm = "stem_norm" if own == "stem" else f"norm{own[-1]}"
            fused = _fused(part, getattr(network.get_submodule(parent), norm, None))
            state |= {f"{name}.{kind}": value for kind, value in fused.state_dict().items()}
    bare.load_state_dict(state)
    return bare.eval()


def _fused(layer: nn.Module, norm: nn.Module | None) -> nn.Module:
    """A layer and the BatchNorm behind it, as in evaluation, as one new layer."""
    layer, norm = copy.deepcopy(layer).eval(), copy.deepcopy(norm)
    if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
        return fuse_conv_bn_eval(layer, norm.eval())
    if isinstance(layer, nn.Linear) and isinstance(norm, nn.BatchNorm1d):
        return fuse_linear_bn_eval(layer, norm.eval())
    return layer


class SixD:
    """Six numbers, made a rotation by Gram-Schmidt (Zhou et al. 2019)."""

    name, outputs = "6d", 6

    def rotation(self, output: Tensor) -> Tensor:
        """The rotations (N, 3, 3) that outputs (N, 6) say."""
        return rotation_from_6d(output)

    def error(self, output: Tensor, rotation: Tensor) -> Tensor:
        """The chordal distance ‖R - R̂‖_F, not its square: one upside-down view must not rule a batch."""
        square = (self.rotation(output) - rotation).square().sum(dim=(-2, -1))
        return (square + SMOOTH**2).sqrt() - SMOOTH


class Bins:
    """24 bins of azimuth with an offset in each; elevation and in-plane rotation as one number each.

    Outputs: 24 logits; 24 offsets from the bins' centres, in bins; elevation and in-plane rotation in units
    of 30 degrees. After the mixed heads of Mousavian et al. 2017 and Mahendran et al. 2018."""

    name, count, outputs = "bins", 24, 50
    width = 360 / 24

    def rotation(self, output: Tensor) -> Tensor:
        """The rotations (N, 3, 3) of the most likely bins."""
        best = output[..., : self.count].argmax(-1)
        offset = output[..., self.count : 2 * self.count].gather(-1, best[..., None]).squeeze(-1)
        azimuth = (best + 0.5 + offset) * self.width
        return rotation_from_angles(azimuth, output[..., -2] * 30, output[..., -1] * 30)

    def error(self, output: Tensor, rotation: Tensor) -> Tensor:
        """Cross entropy with soft neighbours, and absolute errors of the offset and the other angles."""
        azimuth, elevation, in_plane = angles_from_rotation(rotation)
        place = azimuth / self.width - 0.5  # in bins, 0 at the first bin's centre
        centres = torch.arange(self.count, dtype=output.dtype, device=output.device)
        distance = torch.remainder(place[..., None] - centres + self.count / 2, self.count) - self.count / 2
        target = torch.softmax(-2 * distance.square(), dim=-1)
        entropy = -(target * F.log_softmax(output[..., : self.count], dim=-1)).sum(-1)
        offsets = output[..., self.count : 2 * self.count]
        offset = (target * (offsets - distance).abs()).sum(-1)
        rest = (output[..., -2] - elevation / 30).abs() + (output[..., -1] - in_plane / 30).abs()
        return 0.5 * entropy + offset + 2 * rest


RotationHead = SixD | Bins
"""Reads rotations (N, 3, 3) from a network's outputs (N, ``outputs``), and says how wrong they are."""
HEADS: dict[str, RotationHead] = {head.name: head for head in (SixD(), Bins())}


def rotation_head(name: str) -> RotationHead:
    """A head by name: "6d" or "bins". Raises ConfigError: no such head."""
    if name not in HEADS:
        raise ConfigError(f"no rotation head {name!r}: there are {', '.join(HEADS)}")
    return HEADS[name]


def rotation_loss(head: RotationHead, output: Tensor, rotation: Tensor, symmetry: Tensor) -> Tensor:
    """The head's error (N,), for symmetric objects the least over all poses that look the same.

    ``symmetry`` (N,) counts the turns about z that leave the object as it is: 1 none, 0 any turn."""
    error = head.error(output, rotation)
    for turns in set(symmetry.tolist()):
        if turns == 1:
            continue
        own = (symmetry == turns).nonzero().squeeze(1)
        same = equivalent_rotations(rotation[own], turns or ANY_TURN)
        many = output[own][:, None].expand(-1, same.shape[1], -1)
        least = head.error(many, same).amin(dim=1)
        error = error.index_copy(0, own, least)
    return error


class SiameseHead(nn.Module):
    """Fully connected layers on the codes of two views (Zamir et al. 2016); both views share one network.

    Takes two codes (N, code) and gives the second camera's rotation relative to the first, R2 R1ᵀ, as (N, 6),
    and a logit (N,) that both views show the same object. The logit rises with the ``likeness`` of the two
    codes' embeddings."""

    def __init__(self, code: int = CODE, hidden: int = 256, embedding: int = 64) -> None:
        super().__init__()
        self.fc1 = nn.Linear(2 * code, hidden)
        self.fc2 = nn.Linear(hidden, hidden)
        self.pose = nn.Linear(hidden, 6)
        self.embed1 = nn.Linear(code, hidden)
        self.embed2 = nn.Linear(hidden, embedding, bias=False)
        # without their common mean, which says nothing, cosines tell objects apart from the first step on
        self.norm = nn.BatchNorm1d(embedding, affine=False)
        self.match = nn.Linear(1, 1)
        initialise_pose_network(self)
        nn.init.ones_(self.match.weight)
        nn.init.constant_(self.match.bias, -SHARPNESS / 2)

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 6) and (N,) of two codes (N, code)."""
        joint = torch.relu(self.fc2(torch.relu(self.fc1(torch.cat([first, second], dim=1)))))
        likeness = (self.embedding(first) * self.embedding(second)).sum(1)
        return self.pose(joint), self.logit(likeness)

    def embedding(self, codes: Tensor) -> Tensor:
        """What of codes (N, code) tells objects apart, as unit vectors (N, embedding)."""
        return F.normalize(self.norm(self.embed2(torch.relu(self.embed1(codes)))), dim=1)

    def logit(self, likeness: Tensor) -> Tensor:
        """Logits (N,) of cosines (N,) between embeddings."""
        return torch.as_tensor(self.match(SHARPNESS * likeness[:, None]).squeeze(1))

    def match_loss(self, first: Tensor, second: Tensor) -> Tensor:
        """How badly N pairs of codes (N, code) are told from the N (N - 1) wrong ones: InfoNCE (van den Oord
        et al. 2018), both ways. The logit's two numbers learn apart, from as many right pairs as wrong."""
        likeness = self.embedding(first) @ self.embedding(second).T
        own = torch.arange(len(likeness), device=likeness.device)
        contrast = F.cross_entropy(SHARPNESS * likeness, own) + F.cross_entropy(SHARPNESS * likeness.T, own)
        known = likeness.detach()
        right, wrong = self.logit(known.diagonal()), self.logit(known.roll(1, 0).diagonal())
        calibration = F.softplus(-right).mean() + F.softplus(wrong).mean()
        return contrast / 2 + calibration / 2


def relative_rotation(first: Tensor, second: Tensor) -> Tensor:
    """R2 R1ᵀ (N, 3, 3): what turns the first camera's coordinates into the second's."""
    return second @ first.transpose(-1, -2)


def relative_loss(predicted: Tensor, rotation: Tensor) -> Tensor:
    """Zamir's robust loss (N,): e up to 1, then 1 + log e, e the squared error of six numbers."""
    square = (predicted - matrix_to_6d(rotation)).square().sum(1)
    return torch.where(square <= 1, square, 1 + square.clamp_min(1).log())


LICENCE = "MIT"
POSE_NETWORKS = ("posenet", "posenet-judge")
LAYERS = {"posenet": POSENET_LAYERS, "posenet-judge": RESNET_LAYERS}
HELD_OUT = {"posenet": "posenet-judge", "posenet-judge": "posenet"}
Tower = PoseNet | PoseResNet


@dataclass(frozen=True, eq=False)
class PoseFile:
    """What a file of a trained pose network holds: the network without BatchNorm, the siamese head for two
    views, which topology and rotation head they are, and what is known of the training."""

    network: Tower
    pairs: SiameseHead
    topology: str
    head: RotationHead
    facts: Mapping[str, Any]


def save_pose_network(path: str | Path, content: PoseFile, half: bool = False) -> None:
    """Write a pose network as safetensors, atomically; ``half`` stores float16. Raises OutputError: the file
    cannot be written."""
    parts = {
        f"{part}.": {
            name: value.half() if half and value.is_floating_point() else value
            for name, value in module.state_dict().items()
        }
        for part, module in (("network", content.network), ("pairs", content.pairs))
    }
    facts = json.dumps(content.facts, sort_keys=True)
    save_parts(path, parts, {"topology": content.topology, "head": content.head.name, "facts": facts})


@guarded(NetworkError, "fetch it again")
def read_pose_network(path: str | Path) -> PoseFile:
    """Read what ``save_pose_network`` wrote, as float32 in eval mode. Raises NetworkError: no such file, or
    one that holds something else."""
    parts, metadata = load_parts(path, "network.", "pairs.")
    topology = metadata.get("topology", "")
    if topology not in POSE_NETWORKS:
        raise NetworkError(
            f"{path} holds no pose network of netinvert (topology {topology or 'unknown'}): give a file that "
            "netinvert pose train wrote"
        )
    head = rotation_head(metadata["head"])
    network, pairs = _bare(topology, head)
    for module, state in zip((network, pairs), parts, strict=True):
        load_state(module, state, str(path))
    return PoseFile(
        network.eval(), pairs.eval(), topology, head, dict(json.loads(metadata.get("facts", "{}")))
    )


def load_pose_file(name: str) -> PoseFile:
    """The pose network that netinvert ships under a name in POSE_NETWORKS, with its siamese head."""
    with shipped("weights", name) as path:
        return read_pose_network(path)


def load_pose_network(name: str, weights: str | None = None) -> Network:
    """``posenet`` or ``posenet-judge``, or another training of their topology from a file. Raises
    NetworkError: the weights do not fit."""
    if weights == "random":
        head = rotation_head("6d" if name == "posenet" else "bins")
        network, _ = _bare(name, head)
    else:
        content = load_pose_file(name) if weights is None else read_pose_network(weights)
        if content.topology != name:
            raise NetworkError(f"{weights} holds a {content.topology}, not a {name}: load it under that name")
        network, head = content.network, content.head
    return Network(
        name=name,
        module=network.eval(),
        preprocessing=Preprocessing(SIZE, MEAN, STD),
        licence=LICENCE,
        source="netinvert",
        layers=LAYERS[name],
        read_pose=partial(_read, head),
        pose_error=head.error,
        held_out_pose_estimator=HELD_OUT[name],
    )


def _bare(topology: str, head: RotationHead) -> tuple[Tower, SiameseHead]:
    make: Callable[..., Tower] = PoseNet if topology == "posenet" else PoseResNet
    network = built(lambda: make(head.outputs, norm=False))
    code = (network.fc8 if isinstance(network, PoseNet) else network.fc6).in_features
    return network, built(partial(SiameseHead, code))


@torch.no_grad()
def _read(head: RotationHead, output: Tensor) -> PoseReading:
    rotation = head.rotation(output)
    azimuth, elevation, _ = angles_from_rotation(rotation)
    return PoseReading(azimuth, elevation, rotation)
