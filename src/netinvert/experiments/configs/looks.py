"""What the demo, looks, sweeps, searches and audits are asked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar

from netinvert.errors import ConfigError
from netinvert.io import pieces
from netinvert.io.config import Option
from netinvert.io.pieces import Device, OfLayer, OfLayers, OnNetwork, Output, Processes, Seed

CHAIRS = "chairs"
"""As --images: the unseen chairs of the demo."""
LAYERS = replace(pieces.LAYERS, default="all that are worth inverting")
PRESET = replace(
    pieces.PRESET, help="As of 'netinvert invert'.", choices="netinvert.inversion.presets.by_name:PRESETS"
)
PRIOR_WEIGHTS = Option("Of the priors; one or more.", above=0, default="0.1, 1 and 10 times each one's own")
TRIED_CANVASES = Option(
    "fourier, pixels, phase, deep-prior; one or more.",
    also=("canvas",),
    metavar="NAME",
    default="the preset's own",
    choices="netinvert.inversion.canvases:CANVASES",
)


@dataclass(frozen=True, kw_only=True)
class Demo(Seed, Output, Processes):
    """Invert codes of 3-D pose networks at several layers and leave a page to look at (some minutes).

    A part with a photograph needs the extra imagenet, and is left out where that is not installed.
    """

    command: ClassVar[str] = "demo"

    out: Annotated[Path, pieces.OUT] = Path("out/demo")
    steps: Annotated[
        int,
        Option(
            "Evaluations of the network a code; three times as many for codes of fully connected layers.",
            min=1,
        ),
    ] = 200


@dataclass(frozen=True, kw_only=True)
class Look(OfLayers, OnNetwork):
    """See what each layer of a network keeps of an image: its code inverted, layer by layer, on one page.

    A stopped run is resumed by the same command.
    """

    command: ClassVar[str] = "look"

    images: Annotated[
        str, Option("An image, a folder of images, or a quoted glob.", positional=True, metavar="IMAGE")
    ]
    layers: Annotated[tuple[str, ...], LAYERS] = ()
    preset: Annotated[str, PRESET] = "quick"
    prior: Annotated[str | None, pieces.PRIOR] = None
    steps: Annotated[int | None, pieces.STEPS] = None


@dataclass(frozen=True, kw_only=True)
class Grid(OfLayers, OnNetwork):
    """Priors, weights and canvases that are tried with all others."""

    priors: Annotated[
        tuple[str, ...],
        replace(pieces.PRIOR, help="As of 'netinvert invert'; one or more.", also=("prior",), default="all"),
    ] = ()
    prior_weights: Annotated[tuple[float, ...], PRIOR_WEIGHTS] = ()
    canvases: Annotated[tuple[str, ...], TRIED_CANVASES] = ()
    preset: Annotated[
        str, replace(PRESET, help="What the rest of the recipe is, as of 'netinvert invert'.")
    ] = "default"
    steps: Annotated[int | None, pieces.STEPS] = None


@dataclass(frozen=True, kw_only=True)
class Sweep(Grid):
    """Try priors, weights and canvases on a few codes; leave a page of trade-off curves and images."""

    command: ClassVar[str] = "sweep"

    input: Annotated[str, pieces.INPUT]
    random: Annotated[
        int | None,
        Option("So many random settings instead of all; weights between the extremes.", min=1, default="all"),
    ] = None
    measure: Annotated[
        str,
        Option(
            "Of naturalness: gradients (strength and direction), naturalness (the IJCV paper's, direction "
            "alone) or ssim.",
            choices=("gradients", "naturalness", "ssim"),
            metavar="NAME",
        ),
    ] = "gradients"
    seed: Annotated[
        int, replace(pieces.SEED, help="Of the random settings and of the noise to start from.")
    ] = 0


@dataclass(frozen=True, kw_only=True)
class Deepvis(OfLayer, Seed, Output, Processes, Device):
    """Search the regularisers of Yosinski et al. 2015 at random, and leave a page to look through.

    Every setting is kept when it is done: a stopped search is resumed by the same command.
    """

    command: ClassVar[str] = "deepvis"

    channel: Annotated[
        tuple[int, ...],
        Option(
            "Channels to make images for, one or more; of maps, their neurons in the middle.",
            short="c",
            also=("channels",),
            min=0,
        ),
    ]
    draws: Annotated[int, Option("Random settings of the four regularisers.", min=0)] = 300
    steps: Annotated[int, Option("Steps of each draw.", min=1)] = 200
    published_steps: Annotated[
        int | None, Option("Steps of the paper's four sets.", min=1, default="their own 500 to 1000")
    ] = None
    factor: Annotated[
        float,
        Option(
            "Also run the paper's sets with so many times their learning rates; 1 leaves it out.", above=0
        ),
    ] = 30.0
    pixels: Annotated[
        int | None, Option("Side of the images.", min=16, metavar="PIXELS", default="the network's")
    ] = None
    seed: Annotated[int, replace(pieces.SEED, help="Of the settings and of the noise to start from.")] = 0


@dataclass(frozen=True, kw_only=True)
class Audit(OfLayer, OnNetwork):
    """What do stored codes show? Reconstruct, re-identify, and probe for attributes, against chance.

    A stopped audit is resumed by the same command.
    """

    command: ClassVar[str] = "audit"

    codes: Annotated[
        Path, Option("Stored codes (N, …): .npy, .safetensors or .pt.", positional=True, metavar="CODES")
    ]
    decoder: Annotated[
        str | None,
        Option(
            "A decoder of this layer.", short="D", metavar="NAME|FILE", default="a shipped one, if one fits"
        ),
    ] = None
    correct: Annotated[
        int,
        Option(
            "Its images are corrected by so many answers of the network a code, as of a black box; 0: not.",
            min=0,
            max=10**6,
        ),
    ] = 10
    images: Annotated[
        str | None,
        replace(
            pieces.IMAGES, help="The originals, one a code, to measure against: a folder or a quoted glob."
        ),
    ] = None
    attributes: Annotated[
        Path | None,
        Option(
            "Attributes to probe for: a column each with its name in the first line, a row a code in their "
            "order, or with a column 'name' that says whose it is.",
            metavar="FILE.csv",
        ),
    ] = None
    groups: Annotated[
        str | None,
        Option(
            "A column of --attributes: codes that share a value (a photograph, a person) stay in one fold.",
            metavar="COLUMN",
        ),
    ] = None
    judge_network: Annotated[
        str | None, Option("Another network, to read the reconstructions; needs --images.", metavar="NAME")
    ] = None
    judge_layer: Annotated[str | None, Option("Its layer.", metavar="NAME")] = None
    preset: Annotated[str, PRESET] = "default"
    steps: Annotated[int | None, pieces.STEPS] = None
    sample: Annotated[
        int, Option("Of more codes than these, so many drawn by the seed are reconstructed.", min=2)
    ] = 64
    shuffles: Annotated[int, Option("Of the labels, for the chance level of probes.", min=20)] = 200
    seed: Annotated[
        int, replace(pieces.SEED, help="Of the noise to start from, the sample and the shuffles.")
    ] = 0

    def check(self) -> None:
        """Raises ConfigError."""
        super().check()
        if (self.judge_network is None) != (self.judge_layer is None):
            raise ConfigError("a judge is a network and a layer: give --judge-network and --judge-layer")
        if self.judge_network is not None and self.images is None:
            raise ConfigError("a judge reads the originals too: give --images as well")
        if self.groups is not None and self.attributes is None:
            raise ConfigError("--groups names a column of --attributes: give that file as well")
