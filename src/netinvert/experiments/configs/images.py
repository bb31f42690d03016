"""What the commands on images and codes are asked, and those that list networks and repeat a run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar

from netinvert.errors import ConfigError
from netinvert.io import pieces
from netinvert.io.config import Config, Option
from netinvert.io.pieces import Compute, Device, ImageFormat, Json, OfLayer, Output, Seed, Trust, Unit

DECODER = "decoder"
"""The canvas that is a decoder's input."""
SUFFIXES = (".safetensors", ".npy")
INPUT = replace(pieces.INPUT, kept="tensors.safetensors", identity=False)
IMAGES = replace(pieces.INPUT, help="An image, a folder of images, a quoted glob, or sample:NAME.")
START = Option(
    "An image to start from instead of noise.", metavar="IMAGE", identity=False, kept="tensors.safetensors"
)


@dataclass(frozen=True, kw_only=True)
class Invert(OfLayer, Seed, Output, Compute):
    """Find images with these codes. A stopped run is resumed by the same command."""

    command: ClassVar[str] = "invert"

    input: Annotated[str, INPUT]
    preset: Annotated[
        str | None,
        replace(
            pieces.PRESET,
            help="default, decoded, quick, coarse-to-fine, robust, fourier-adam, shallow, or the papers' "
            "cvpr15, cvpr15-shallow and ijcv16.",
            choices="netinvert.inversion.presets.by_name:PRESETS",
            default="decoded where a decoder is given or ships, else default",
        ),
    ] = None
    prior: Annotated[str | None, pieces.PRIOR] = None
    data_weight: Annotated[
        float | None,
        Option("Of the squared code error, against the priors.", above=0, default="the preset's own"),
    ] = None
    canvas: Annotated[
        str | None,
        Option(
            "fourier, pixels, phase, deep-prior, or decoder: the input of --decoder.",
            metavar="NAME",
            default="the preset's own",
            choices="netinvert.experiments.configs.images:canvases",
        ),
    ] = None
    mask: Annotated[
        str | None,
        Option(
            "The part of the code to match: centre=SIDE, channels=A:B or rows=A:B,columns=A:B.",
            metavar="PART",
            default="all",
        ),
    ] = None
    steps: Annotated[int | None, pieces.STEPS] = None
    precision: Annotated[str, pieces.PRECISION] = "float32"
    restarts: Annotated[int, pieces.RESTARTS] = 1
    diverse: Annotated[
        float | None,
        Option("With --restarts: images that differ, by this weight (0.1, say).", min=0, metavar="WEIGHT"),
    ] = None
    start: Annotated[Path | None, START] = None
    decoder: Annotated[
        str | None,
        Option(
            "A decoder of this layer (see 'netinvert networks'), whose images to start from.",
            short="D",
            metavar="NAME|FILE",
            identity=False,
        ),
    ] = None
    reference: Annotated[
        Path | None,
        Option(
            "A folder of images to compare with: how far their codes are from the given one, and from each "
            "other, as two of the papers scale their errors.",
            metavar="DIR",
            default="netinvert's photographs",
            identity=False,
        ),
    ] = None

    def check(self) -> None:
        """Raises ConfigError."""
        super().check()
        if self.canvas == DECODER and self.decoder is None:
            raise ConfigError("which decoder is the canvas? Give --decoder NAME too")
        if self.decoder is not None and (self.start is not None or self.diverse is not None):
            raise ConfigError("--decoder gives the images to start from; leave out --start and --diverse")
        if self.diverse is not None and self.start is not None:
            raise ConfigError("--diverse starts from noise; leave out --start")
        if self.diverse is not None and self.restarts < 2:
            raise ConfigError("--diverse needs several images of a code: give --restarts 2 or more")
        _check_seeds(self.seed, self.restarts)


def canvases() -> tuple[str, ...]:
    """The names that --canvas takes."""
    from netinvert.inversion.canvases import CANVASES

    return (*CANVASES, DECODER)


def _check_seeds(seed: int, restarts: int) -> None:
    if seed > 2**63 - restarts:
        raise ConfigError(f"--seed is at most 2**63 - --restarts, got {seed}")


@dataclass(frozen=True, kw_only=True)
class Decode(ImageFormat, Trust, Output, Device):
    """Turn codes, or the codes of images, into images with a trained decoder.

    A decoder gives in a moment what an optimisation needs minutes for, but it knows only images like those
    that it was trained on.
    """

    command: ClassVar[str] = "decode"

    input: Annotated[str, INPUT]
    decoder: Annotated[
        str,
        Option(
            "A decoder's name (see 'netinvert networks') or file; it names its network and layer.",
            short="D",
            metavar="NAME|FILE",
        ),
    ]
    weights: Annotated[str | None, replace(pieces.WEIGHTS, metavar="FILE")] = None
    correct: Annotated[
        int | None,
        Option(
            "Correct the images by so many answers of the network, without gradients (10, say).",
            min=1,
            max=10**6,
            default="off",
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Encode(OfLayer, Output, Device):
    """Write the codes of images to a file, (N, …), which 'netinvert invert' takes.

    The manifest, FILE.manifest.json, lies beside it.
    """

    command: ClassVar[str] = "encode"
    one_file: ClassVar[bool] = True

    input: Annotated[str, IMAGES]
    out: Annotated[Path, replace(pieces.OUT, help="The file to write.", metavar="FILE.safetensors|FILE.npy")]
    overwrite: Annotated[bool, Option("Replace the file.", identity=False)] = False

    def check(self) -> None:
        """Raises ConfigError."""
        super().check()
        if self.out.suffix.lower() not in SUFFIXES:
            raise ConfigError(
                f"{self.out}: codes are written as .safetensors or .npy; name such a file with --out"
            )


@dataclass(frozen=True, kw_only=True)
class Maximising(Config):
    """How an objective is made large."""

    preset: Annotated[
        str,
        replace(
            pieces.PRESET,
            help="default, maco, or the papers' simonyan13, ijcv16, deepvis-1 to deepvis-4.",
            choices="netinvert.inversion.presets.by_name:MAXIMISING",
        ),
    ] = "default"
    prior: Annotated[str | None, pieces.PRIOR] = None
    steps: Annotated[int | None, pieces.STEPS] = None
    precision: Annotated[str, pieces.PRECISION] = "float32"


@dataclass(frozen=True, kw_only=True)
class Maximise(OfLayer, Unit, Maximising, Seed, Output, Compute):
    """Find the images to which a unit, channel, class, direction or pose output responds most."""

    command: ClassVar[str] = "maximise"

    restarts: Annotated[int, pieces.RESTARTS] = 1
    start: Annotated[Path | None, START] = None
    beside: Annotated[
        str | None,
        Option(
            "A folder of images, or a quoted glob: the nine with most of each unit are kept as a picture, "
            "and the best counts as a floor.",
            metavar="FOLDER",
        ),
    ] = None

    def check(self) -> None:
        """Raises ConfigError."""
        super().check()
        _check_seeds(self.seed, self.restarts)


@dataclass(frozen=True, kw_only=True)
class CaricatureConfig(OfLayer, Maximising, Seed, Output, Compute):
    """Exaggerate what a layer sees in images."""

    command: ClassVar[str] = "caricature"

    input: Annotated[str, replace(IMAGES, identity=False)]
    power: Annotated[
        float, Option("Of the cosine with the image's code: how much nothing else may grow.", min=0, max=100)
    ] = 4.0
    from_noise: Annotated[bool, Option("Start from noise, not from the image.")] = False
    seed: Annotated[int, replace(pieces.SEED, help="Of noise and jitter.")] = 0


@dataclass(frozen=True, kw_only=True)
class Layers(ImageFormat, Json):
    """List a network's layers: their codes' shapes, strides and receptive fields in pixels.

    No weights are needed for that.
    """

    command: ClassVar[str] = "layers"

    network: Annotated[str, replace(pieces.NETWORK, positional=True, short="", metavar="NETWORK")]
    weights: Annotated[str | None, replace(pieces.WEIGHTS, default="none")] = None
    everything: Annotated[
        bool, Option("Those too that give no codes: of shapes, indices and constants.", name="all")
    ] = False


@dataclass(frozen=True, kw_only=True)
class Networks(Json):
    """List the networks that come with netinvert, and the families it can load."""

    command: ClassVar[str] = "networks"


@dataclass(frozen=True, kw_only=True)
class Rerun(Trust, Output):
    """Repeat a run from its manifest, and say whether every file came out the same to the last bit.

    Inputs are read again if they are as they were; otherwise what the run kept of them is used.
    """

    command: ClassVar[str] = "rerun"

    manifest: Annotated[
        Path, Option("The manifest of a run, or the run's folder.", positional=True, metavar="MANIFEST")
    ]
