"""Generators: networks that draw an object from who it is, where it is seen from, and how its image is
transformed (Dosovitskiy, Springenberg, Tatarchenko & Brox 2015, "Learning to generate chairs")."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from netinvert.errors import CodeError, ConfigError, NetworkError
from netinvert.io.files import guarded, refusing
from netinvert.models.network import MOST_NUMBERS, built_with, load_parts, save_parts, shipped
from netinvert.models.upconv import FIRST_SIDE, Widths, fully_connected, initialise, made_quick, up_path

TRANSFORMS: Mapping[str, float] = {
    "turn": 15.0,
    "right": 0.08,
    "down": 0.08,
    "zoom": math.log(1.25),
    "stretch": math.log(1.15),
    "hue": 60.0,
    "saturation": math.log(1.6),
    "brightness": math.log(1.4),
}
"""How an image can be transformed, and by how much at most in training, either way: degrees, shares of the
image's side, logarithms of factors. A transformation is a row of numbers in these units; 0 is no change."""
VIEW = 4
"""Numbers of a view: sine and cosine of azimuth and elevation."""
MARGIN = 2.5
"""Degrees beyond the elevations of the training that pass without a warning."""
FORMAT, VERSION = "netinvert-generator", "1"
GENERATOR_LICENCE = "MIT"
SHIPPED_GENERATORS = ("chairs",)


class ViewWarning(UserWarning):
    """A view that is not like those of the training."""


@dataclass(frozen=True)
class GeneratorForm:
    """What generator to build: for so many ``identities``, each known by ``embedding`` numbers, and square
    images of ``size`` pixels, a power of two from 16 on; ``hidden`` and ``first`` are channels of the fully
    connected layers and of the first map."""

    identities: int
    size: int = 128
    embedding: int = 128
    hidden: int = 384
    first: int = 160

    def __post_init__(self) -> None:
        if min(self.identities, self.embedding, self.hidden, self.first) < 1:
            raise ConfigError("a generator has at least one identity, and layers of at least one channel")
        if self.size < 16 or self.size & (self.size - 1):
            raise ConfigError(f"a generator's images have 16, 32, 64, 128, … pixels, not {self.size}")


class GeneratorNetwork(nn.Module):
    """Three streams of fully connected layers (identity, view, transformation), joined, and up-convolutions.

    Gives (N, 4, size, size) in (0, 1): colours multiplied by the mask, and the mask."""

    def __init__(self, form: GeneratorForm) -> None:
        super().__init__()
        self.form = form
        wide, few = form.hidden, form.hidden // 4
        widths = Widths(hidden=wide, first=form.first, least=32, refined=True)
        self.table = nn.Embedding(form.identities, form.embedding)
        self.identity = fully_connected(form.embedding, wide, wide, slope=widths.slope)
        self.view = fully_connected(VIEW, few, few, slope=widths.slope)
        self.transform = fully_connected(len(TRANSFORMS), few, few, slope=widths.slope)
        self.joint = fully_connected(wide + 2 * few, wide, form.first * FIRST_SIDE**2, slope=widths.slope)
        ups = round(math.log2(form.size / FIRST_SIDE))
        self.ups = up_path(widths, ups, 4)
        self.to(memory_format=torch.channels_last)
        initialise(self, widths.slope)
        nn.init.normal_(self.table.weight, std=1.0)

    def forward(self, identity: Tensor, view: Tensor, transformation: Tensor) -> Tensor:
        """Of embeddings (N, embedding), views (N, 4) and transformations (N, 8)."""
        streams = (self.identity(identity), self.view(view), self.transform(transformation))
        x = self.joint(torch.cat(streams, 1)).unflatten(1, (self.form.first, FIRST_SIDE, FIRST_SIDE))
        found: Tensor = torch.sigmoid(self.ups(x.contiguous(memory_format=torch.channels_last)))
        return found


def view_numbers(azimuth: Tensor, elevation: Tensor) -> Tensor:
    """Views as the network takes them, (N, 4), of angles (N,) in degrees."""
    angles = torch.stack([azimuth, elevation], -1).float().deg2rad()
    return torch.cat([angles.sin(), angles.cos()], -1)


def transformation(count: int = 1, **amounts: float) -> Tensor:
    """A row of transformations (count, 8) by names of TRANSFORMS, in degrees, shares of the image's side, and
    factors (``zoom``, ``stretch``, ``saturation``, ``brightness``). Raises ConfigError: another name, or a
    number that cannot be.

    >>> transformation(turn=7.5, zoom=1.25).tolist()
    [[0.5, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0]]
    """
    unknown = amounts.keys() - TRANSFORMS.keys()
    if unknown:
        raise ConfigError(f"no transformation {sorted(unknown)[0]!r}: there are {', '.join(TRANSFORMS)}")
    factors = ("zoom", "stretch", "saturation", "brightness")
    for name, amount in amounts.items():
        if not math.isfinite(amount) or (name in factors and amount <= 0):
            raise ConfigError(f"{name}={amount:g}: give a finite number, for {', '.join(factors)} above 0")
    row = [
        (math.log(amounts[name]) if name in factors else amounts[name]) / most if name in amounts else 0.0
        for name, most in TRANSFORMS.items()
    ]
    return torch.tensor([row]).expand(count, -1)


@dataclass(frozen=True, eq=False)
class Generator:
    """Draws the objects of its training, and what lies between them, from any side.

    >>> from netinvert.models.generator import load_generator
    >>> generator = load_generator("chairs")
    >>> generator([0, 1], azimuth=45.0).shape
    torch.Size([2, 3, 128, 128])
    """

    name: str
    module: GeneratorNetwork
    facts: Mapping[str, Any]

    def __post_init__(self) -> None:
        self.module.requires_grad_(False).eval()

    def __repr__(self) -> str:
        form = self.module.form
        return f"<Generator {self.name}: {form.identities} objects, images of {form.size} pixels>"

    def __call__(
        self,
        identity: int | list[int] | Tensor,
        azimuth: float | Tensor = 0.0,
        elevation: float | Tensor = 20.0,
        transform: Tensor | None = None,
        paper: float = 1.0,
    ) -> Tensor:
        """Images (N, 3, H, W) in [0, 1], on ``paper`` of that grey.

        ``identity``: numbers of objects, or embeddings (N, embedding), which may be mixed; angles in degrees,
        one for all or (N,); ``transform`` as ``transformation`` makes it. With a gradient where an input has
        one.

        Raises CodeError: no such object, or numbers that are not finite. Warns (ViewWarning) of elevations
        outside those of the training.
        """
        drawn = self.layers(identity, azimuth, elevation, transform)
        return (drawn[:, :3] + (1 - drawn[:, 3:]) * paper).clamp(0, 1)

    def layers(
        self,
        identity: int | list[int] | Tensor,
        azimuth: float | Tensor = 0.0,
        elevation: float | Tensor = 20.0,
        transform: Tensor | None = None,
    ) -> Tensor:
        """Colours multiplied by the mask, and the mask: (N, 4, H, W) in (0, 1). As ``__call__``."""
        who = self.embedded(identity)
        count = max(len(who), *(one.numel() for one in map(torch.as_tensor, (azimuth, elevation))))
        angles = [torch.as_tensor(one).float().flatten().expand(count) for one in (azimuth, elevation)]
        move = transformation() if transform is None else transform
        if move.ndim != 2 or move.shape[1] != len(TRANSFORMS):
            raise CodeError(f"a transformation is a row of {len(TRANSFORMS)} numbers: use transformation()")
        for name, one in (("azimuth", angles[0]), ("elevation", angles[1]), ("transformation", move)):
            if not torch.isfinite(one).all():
                raise CodeError(f"the {name} holds NaN or infinite values")
        self._warn(angles[1])
        drawn: Tensor = self.module(
            who.expand(count, -1), view_numbers(*angles), move.expand(count, -1).to(who)
        )
        return drawn

    def embedded(self, identity: int | list[int] | Tensor) -> Tensor:
        """Embeddings (N, embedding) of numbers of objects; embeddings stay as they are. Raises CodeError."""
        form, who = self.module.form, torch.as_tensor(identity)
        if who.is_floating_point():
            who = who[None] if who.ndim == 1 else who
            if who.ndim != 2 or who.shape[1] != form.embedding:
                raise CodeError(f"an embedding has {form.embedding} numbers, got {tuple(who.shape)}")
            if not torch.isfinite(who).all():
                raise CodeError("the embedding holds NaN or infinite values")
            return who.float()
        who = who.flatten()
        if not len(who) or int(who.min()) < 0 or int(who.max()) >= form.identities:
            raise CodeError(
                f"{self.name} knows the objects 0 to {form.identities - 1}, not {identity}: give one of "
                "these, or an embedding"
            )
        table: Tensor = self.module.table.weight
        return table[who]

    @property
    def elevations(self) -> tuple[float, float]:
        """Lowest and highest of the training, in degrees."""
        low, high = self.facts.get("elevations", (-90.0, 90.0))
        return float(low), float(high)

    def _warn(self, elevation: Tensor) -> None:
        low, high = self.elevations
        beyond = (elevation < low - MARGIN) | (elevation > high + MARGIN)
        if beyond.any():
            one = float(elevation[beyond][0])
            warnings.warn(
                f"{self.name} learned elevations of {low:g}° to {high:g}°, and {one:g}° is outside: the "
                f"nearest that it knows is {min(max(one, low), high):g}°",
                ViewWarning,
                stacklevel=3,
            )


@dataclass(frozen=True, eq=False)
class GeneratorFile:
    """What a file of a trained generator holds: the network in training form, and what is known of it."""

    module: GeneratorNetwork
    facts: Mapping[str, Any]

    def generator(self, name: str) -> Generator:
        """The generator, quick to run."""
        return Generator(name, made_quick(self.module), self.facts)


def save_generator(path: str | Path, content: GeneratorFile, half: bool = False) -> None:
    """Write a generator as safetensors, atomically; ``half`` stores weights in float16. Raises OutputError:
    the file cannot be written."""
    state = content.module.state_dict()
    part = {name: value.half() if half and value.ndim > 1 else value for name, value in state.items()}
    header = {
        "format": FORMAT,
        "version": VERSION,
        "form": json.dumps(asdict(content.module.form)),
        "facts": json.dumps(content.facts, sort_keys=True),
    }
    save_parts(path, {"": part}, header)


@guarded(NetworkError, "fetch it again")
def read_generator(path: str | Path) -> GeneratorFile:
    """Read what ``save_generator`` wrote, as float32 in eval mode. Raises NetworkError: no such file, one cut
    short, or that holds something else."""
    (state,), metadata = load_parts(path, "")
    if (metadata.get("format"), metadata.get("version")) != (FORMAT, VERSION):
        raise NetworkError(
            f"{path} holds no generator of this netinvert: give a file that netinvert views train wrote"
        )
    with refusing(path, NetworkError, "has a damaged description", "fetch it again"):
        form = GeneratorForm(**json.loads(metadata["form"]))
        facts = dict(json.loads(metadata["facts"]))
        if 4 * form.size**2 > MOST_NUMBERS:
            raise ValueError(f"images of {form.size} pixels")
    module = built_with(partial(GeneratorNetwork, form), state, str(path))
    return GeneratorFile(module.eval(), facts)


def load_generator(name: str | Path) -> Generator:
    """A generator by name (one of SHIPPED_GENERATORS), or a file of ``netinvert views train``. Raises
    NetworkError: there is none, or it cannot be read.

    >>> load_generator("chairs")
    <Generator chairs: 200 objects, images of 128 pixels>
    """
    text = str(name)
    return generator_file(text).generator(text if text in SHIPPED_GENERATORS else Path(text).stem)


def generator_file(name: str | Path) -> GeneratorFile:
    """The content of a generator's file, or of one of SHIPPED_GENERATORS. Raises NetworkError."""
    text = str(name)
    if text in SHIPPED_GENERATORS:
        with shipped("generators", text) as path:
            return read_generator(path)
    if text.endswith(".safetensors"):
        return read_generator(text)
    raise NetworkError(
        f"no generator {text!r}: there is {', '.join(SHIPPED_GENERATORS)}; or give a .safetensors file"
    )
