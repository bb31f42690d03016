"""What the studies, searches and audits are asked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar

from netinvert.errors import ConfigError
from netinvert.io import pieces
from netinvert.io.config import Option
from netinvert.io.pieces import Device, OfLayer, OfLayers, OnNetwork, Output, Processes, Seed, Trust
from netinvert.scenes.seeds import OPENED

CHAIRS = "chairs"
"""As --images: the unseen chairs of the demo."""
POSENET = ("posenet-conv5", "posenet-fc6", "posenet-fc7", "posenet-pose")
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


@dataclass(frozen=True, kw_only=True)
class StudyLayers(OfLayers, OnNetwork):
    """Invert layer by layer as Mahendran & Vedaldi did, with each value of the weight between accuracy and
    naturalness; leave the papers' tables for any network.
    """

    command: ClassVar[str] = "study layers"

    layers: Annotated[tuple[str, ...], LAYERS] = ()
    images: Annotated[
        str | None,
        Option(
            "A folder of images, a quoted glob, or 'chairs': the unseen ones of the demo.",
            metavar="DIR|chairs",
            default="netinvert's photographs",
        ),
    ] = None
    count: Annotated[int | None, Option("Only the first so many images.", min=1, default="all")] = None
    protocol: Annotated[
        str,
        Option(
            "cvpr15 (λ of the total variation), ijcv16 (C of the code error), or default: the weight of our "
            "default's prior.",
            metavar="NAME",
            choices=("cvpr15", "ijcv16", "default"),
        ),
    ] = "ijcv16"
    values: Annotated[
        tuple[str, ...],
        Option(
            "Of that weight; 'none' is no regulariser.",
            metavar="NUMBER|none",
            default="the paper's, and none",
        ),
    ] = ()
    restarts: Annotated[int, pieces.RESTARTS] = 1
    steps: Annotated[int | None, replace(pieces.STEPS, default="the protocol's own")] = None
    classes: Annotated[
        str | None,
        Option("Whether the network's outputs are classes.", choices=("yes", "no"), default="found out"),
    ] = None
    show: Annotated[int, Option("Which image the contact sheet shows, from 1.", min=1)] = 1

    def check(self) -> None:
        """Raises ConfigError."""
        super().check()
        for text in self.values:
            if text != "none" and not _positive(text):
                raise ConfigError(f"--values are numbers above 0, or none, got {text}")


def _positive(text: str) -> bool:
    try:
        return 0 < float(text) < float("inf")
    except ValueError:
        return False


@dataclass(frozen=True, kw_only=True)
class StudyAttributes(OfLayers, Seed, Output, Processes):
    """Measure which attributes of an image codes keep: colour, position, scale, light, pose, parts.

    Each varies alone, by known amounts. It is read from the codes by linear probes on chairs that these were
    not fitted on and, with decoders, measured in the decoded images.
    """

    command: ClassVar[str] = "study attributes"

    layers: Annotated[tuple[str, ...], replace(pieces.LAYERS, default="all that are worth a look")] = ()
    decoders: Annotated[tuple[str, ...], pieces.DECODERS] = ()
    attributes: Annotated[
        tuple[str, ...],
        Option(
            "What is to vary, such as hue or azimuth; one or more.",
            also=("attribute",),
            metavar="NAME",
            default="all",
            choices="netinvert.experiments.attribute_series:ATTRIBUTES",
        ),
    ] = ()
    chairs: Annotated[
        int, replace(pieces.CHAIRS, help="How many held-out chairs each attribute varies on.", min=10)
    ] = 200
    no_controls: Annotated[
        bool, Option("Leave out the controls: the same layers with random weights, and the pixels.")
    ] = False
    seed: Annotated[int, replace(pieces.SEED, help="Which chairs, and of what is drawn at random.")] = OPENED


@dataclass(frozen=True, kw_only=True)
class StudyMethods(Trust, Seed, Output, Processes):
    """Compare optimising, decoding, correcting, both together and autoencoders, layer by layer.

    Every method gets the codes of the same held-out chairs; another network reads the poses of the images.
    """

    command: ClassVar[str] = "study methods"

    decoders: Annotated[tuple[str, ...], replace(pieces.DECODERS, default="all of posenet")] = ()
    autoencoders: Annotated[
        tuple[str, ...],
        Option(
            "Files of 'netinvert decoder train --autoencoder', each of the layer of one of the decoders.",
            also=("autoencoder",),
            metavar="FILE",
        ),
    ] = ()
    chairs: Annotated[int, replace(pieces.CHAIRS, min=2)] = 200
    steps: Annotated[
        int | None, replace(pieces.STEPS, help="Of plain optimisation.", default="each preset's own")
    ] = None
    bank: Annotated[
        int,
        Option(
            "Training views, of which the nearest, and means, are floors (of all codes there are 60,000).",
            min=2,
            max=10**6,
        ),
    ] = 3000
    learned: Annotated[int, pieces.LEARNED] = 3000
    control: Annotated[
        bool, Option("Also optimise for codes of the same networks with random weights, as a control.")
    ] = False
    seed: Annotated[int, replace(pieces.SEED, help="Which chairs.")] = OPENED


@dataclass(frozen=True, kw_only=True)
class CodeStudy(Trust, Seed, Output, Processes):
    """Decoders, and the held-out chairs whose codes they get."""

    decoders: Annotated[tuple[str, ...], pieces.DECODERS]
    chairs: Annotated[int, replace(pieces.CHAIRS, min=2)] = 100
    seed: Annotated[int, replace(pieces.SEED, help="Which chairs, and of what is random.")] = OPENED


@dataclass(frozen=True, kw_only=True)
class StatisticsStudy(CodeStudy):
    """With statistics of codes."""

    data: Annotated[
        Path | None,
        Option(
            "A dataset of 'netinvert scenes render', for the statistics of codes.",
            metavar="DIR",
            default="300 other chairs",
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class StudyPerturb(StatisticsStudy):
    """Change codes (signs alone, half left out, the largest numbers, noise), decode them, and compare."""

    command: ClassVar[str] = "study perturb"


@dataclass(frozen=True, kw_only=True)
class StudyRandom(StatisticsStudy):
    """Decode codes drawn at random, number by number or all together, and compare with chairs' own codes."""

    command: ClassVar[str] = "study random"


@dataclass(frozen=True, kw_only=True)
class StudyInterpolate(CodeStudy):
    """Decode codes between those of two chairs, and see how evenly the pose turns."""

    command: ClassVar[str] = "study interpolate"


@dataclass(frozen=True, kw_only=True)
class StudyIterate(CodeStudy):
    """Encode and decode images again and again, and see what stays."""

    command: ClassVar[str] = "study iterate"

    rounds: Annotated[int, Option("How often to encode and decode.", min=1)] = 8
