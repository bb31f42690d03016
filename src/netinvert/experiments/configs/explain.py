"""What the commands that explain a network's answers, and look inside it, are asked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from netinvert.errors import ConfigError
from netinvert.experiments.configs.looks import PRESET
from netinvert.io import pieces
from netinvert.io.config import Option
from netinvert.io.pieces import Compute, Device, OfLayer, OfLayers, OfNetwork, Output, Processes, Seed
from netinvert.scenes.seeds import OPENED

CHAIRS = "chairs"
"""As images: unseen procedural chairs of the seed."""
IMAGES = Option(
    "An image, a folder of images, a quoted glob, sample:NAME, or 'chairs': unseen ones of the seed.",
    positional=True,
    metavar="IMAGES",
)


@dataclass(frozen=True, kw_only=True)
class Explaining(OfNetwork, Seed, Output, Device, Processes):
    """Answers of a network, and methods that explain them."""

    targets: Annotated[
        tuple[str, ...],
        Option(
            "Of class (the likeliest), class:NAME, channel:K, neuron:K[@ROW,COLUMN], code:FILE, "
            "match[:FILE], keypoint:K, pose[:KIND]; LAYER/ before it for another layer than the output; one "
            "or more.",
            also=("target",),
            metavar="TARGET",
            default="pose of a network that reads poses, else class",
            once=True,
        ),
    ] = ()
    methods: Annotated[
        tuple[str, ...],
        Option(
            "gradient, gradient-input, smoothgrad, guided, integrated, grad-cam, rollout and "
            "attention-gradient (of transformers), occlusion (by the border's colour), occlusion-grey; one "
            "or more.",
            also=("method",),
            metavar="NAME",
            choices="netinvert.explain.sanity:EXPLANATIONS",
            default="all that the network has rules for",
            once=True,
        ),
    ] = ()
    samples: Annotated[
        int, Option("Of smoothgrad's noise and of the path of integrated.", min=1, max=10**4)
    ] = 32


@dataclass(frozen=True, kw_only=True)
class ExplainSaliency(Explaining):
    """Show which pixels of images an answer of a network comes from, by several methods side by side.

    A stopped run is resumed by the same command.
    """

    command: ClassVar[str] = "explain saliency"

    images: Annotated[str, IMAGES]
    count: Annotated[int, Option("How many chairs, where these are the images.", min=1, max=10**6)] = 4
    cam_layer: Annotated[
        str | None, Option("Of grad-cam.", metavar="NAME", default="the last map of a convolution's size")
    ] = None
    crops: Annotated[bool, Option("The mean over five crops and their mirror images; but for occlusion.")] = (
        False
    )
    seed: Annotated[int, replace(pieces.SEED, help="Of smoothgrad's noise, and which chairs.")] = OPENED


@dataclass(frozen=True, kw_only=True)
class ExplainSanity(Explaining):
    """Check saliencies: do they forget a network whose weights are made random, and do the pixels that they
    name matter to its answer?

    Each method is a row, beside edges of the image and random maps. A stopped run is resumed by the same
    command.
    """

    command: ClassVar[str] = "explain sanity"

    images: Annotated[str, IMAGES]
    count: Annotated[int, Option("How many chairs, where these are the images.", min=2, max=10**6)] = 50
    seed: Annotated[int, replace(pieces.SEED, help="Of all that is drawn at random, and which chairs.")] = (
        OPENED
    )


@dataclass(frozen=True, kw_only=True)
class ExplainParts(Explaining):
    """Check explanations of a pose against the truth: do they fall on the parts of a chair whose removal
    moves the pose that is read?

    Chairs are rendered whole and without each of their parts. A stopped run is resumed by the same command.
    """

    command: ClassVar[str] = "explain parts"

    chairs: Annotated[int, replace(pieces.CHAIRS, min=2)] = 200
    seed: Annotated[int, replace(pieces.SEED, help="Which chairs, and of what is random.")] = OPENED


# -- inside a network ----------------------------------------------------------------------------------

COUNT = Option("How many chairs, where these are the images.", min=1, max=10**6)
CHANNELS = Option("Channels of a map, or units; one or more.", short="c", also=("channels",), min=0)
TARGET = Option(
    "As of 'netinvert explain saliency'.",
    metavar="TARGET",
    default="pose of a network that reads poses, else class",
)
WHICH = replace(pieces.SEED, help="Which chairs, where these are the images.")


@dataclass(frozen=True, kw_only=True)
class ExplainDeconv(OfLayer, Seed, Output, Compute):
    """Send units of a layer back down to the pixels that made them strong (Zeiler & Fergus 2013)."""

    command: ClassVar[str] = "explain deconv"

    images: Annotated[str, IMAGES]
    count: Annotated[int, COUNT] = 4
    channel: Annotated[tuple[int, ...], replace(CHANNELS, default="the strongest five of each image")] = ()
    overlaps: Annotated[
        str,
        Option(
            "Where pooling windows share a maximum: place one's signal there, or sum them up.",
            choices=("place", "sum"),
            metavar="HOW",
        ),
    ] = "place"
    seed: Annotated[int, WHICH] = OPENED


@dataclass(frozen=True, kw_only=True)
class ExplainOcclusion(OfNetwork, Seed, Output, Compute):
    """Slide a square over images, and show what an answer loses where it hides something.

    Three views, as of Zeiler & Fergus 2013: the answer, the strongest feature map, what the network says. A
    stopped run is resumed by the same command.
    """

    command: ClassVar[str] = "explain occlusion"

    images: Annotated[str, IMAGES]
    count: Annotated[int, COUNT] = 4
    target: Annotated[str | None, TARGET] = None
    map_layer: Annotated[
        str | None, Option("Whose strongest map is watched.", metavar="NAME", default="the last with maps")
    ] = None
    window: Annotated[
        int | None, Option("Side of the square.", min=1, metavar="PIXELS", default="a seventh of the image's")
    ] = None
    stride: Annotated[
        int | None, Option("How far it moves.", min=1, metavar="PIXELS", default="a 28th of the image's side")
    ] = None
    fill: Annotated[
        str,
        Option(
            "grey, mean (the image's colour) or inpaint (from the surroundings).",
            choices="netinvert.explain.occlusion:FILLS",
            metavar="NAME",
        ),
    ] = "grey"
    seed: Annotated[int, WHICH] = OPENED


@dataclass(frozen=True, kw_only=True)
class ExplainTop(OfLayer, Seed, Output, Compute):
    """Find the images of a folder that each unit of a layer answers most, and what of them it sees.

    Beside the nine patches of each: the deconvnet's view of them, and an image that is optimised for the same
    unit. Images are read one by one; a stopped run is resumed by the same command.
    """

    command: ClassVar[str] = "explain top"

    images: Annotated[str, Option("A folder of images, or a quoted glob.", positional=True, metavar="FOLDER")]
    channel: Annotated[tuple[int, ...], replace(CHANNELS, default="all")] = ()
    directions: Annotated[
        str,
        Option(
            "units, or pca or nmf of the layer's codes of these images.",
            choices="netinvert.explain.top_patches:BASES",
            metavar="NAME",
        ),
    ] = "units"
    number: Annotated[int, Option("Of pca's or nmf's directions.", min=1, max=10**4)] = 16
    preset: Annotated[
        str,
        replace(
            PRESET, help="Of the optimised images.", choices="netinvert.inversion.presets.by_name:MAXIMISING"
        ),
    ] = "default"
    steps: Annotated[int, Option("Of the optimised images; 0 leaves them out.", min=0, max=10**7)] = 64
    seed: Annotated[int, replace(pieces.SEED, help="Of the optimised images and of pca and nmf.")] = 0

    def check(self) -> None:
        """Raises ConfigError."""
        super().check()
        if self.channel and self.directions != "units":
            raise ConfigError(f"--channel is of units; leave it out with --directions {self.directions}")


@dataclass(frozen=True, kw_only=True)
class ExplainLocate(OfNetwork, Seed, Output, Compute):
    """Find an object's box by a saliency map alone (Simonyan et al. 2013); that of chairs is known."""

    command: ClassVar[str] = "explain locate"

    images: Annotated[str, replace(IMAGES, default="chairs")] = CHAIRS
    count: Annotated[int, COUNT] = 20
    target: Annotated[str | None, TARGET] = None
    method: Annotated[
        str, Option("A saliency.", choices="netinvert.explain.saliency:METHODS", metavar="NAME")
    ] = "gradient"
    samples: Annotated[int, Option("Of smoothgrad and integrated.", min=1, max=10**4)] = 32
    seed: Annotated[int, WHICH] = OPENED


@dataclass(frozen=True, kw_only=True)
class ExplainCorrespond(OfLayers, Seed, Output, Compute):
    """Hide the same part in chairs of one pose: do codes change alike (Zeiler & Fergus 2013, section 4.4)?

    Beside each part, squares at random places of the same chairs.
    """

    command: ClassVar[str] = "explain correspond"

    count: Annotated[int, Option("How many chairs.", min=2, max=10**5)] = 20
    azimuth: Annotated[float, Option("From which they are seen, in degrees.")] = 30.0
    elevation: Annotated[float, Option("The same.", min=-90, max=90)] = 20.0
    window: Annotated[
        int | None, Option("Side of the square.", min=1, metavar="PIXELS", default="a fifth of the image's")
    ] = None
    seed: Annotated[int, replace(pieces.SEED, help="Which chairs, and of the random places.")] = OPENED


@dataclass(frozen=True, kw_only=True)
class ExplainInvariance(OfLayers, Seed, Output, Compute):
    """Shift, scale and turn images: how far does each layer's code move (Zeiler & Fergus 2013, figure 5)?"""

    command: ClassVar[str] = "explain invariance"

    images: Annotated[str, IMAGES]
    count: Annotated[int, COUNT] = 5
    seed: Annotated[int, WHICH] = OPENED


@dataclass(frozen=True, kw_only=True)
class ExplainPaths(OfLayers, Seed, Output, Compute):
    """Do the layers treat images as they treat natural ones (Geirhos et al. 2023)? Beside them the natural
    images among themselves, and with their pixels in disorder.
    """

    command: ClassVar[str] = "explain paths"

    images: Annotated[str, replace(IMAGES, help="Images that were made: of invert or maximise, say.")]
    natural: Annotated[
        str, Option("Natural images: a folder, a quoted glob, or chairs.", metavar="DIR|chairs")
    ]
    count: Annotated[int, COUNT] = 30
    seed: Annotated[int, WHICH] = OPENED


@dataclass(frozen=True, kw_only=True)
class ExplainEvolve(OfLayer, Seed, Output, Compute):
    """Follow units of a layer over the checkpoints of a training (Zeiler & Fergus 2013, figure 4).

    At each, the image that the unit answers most, where, and what of it the deconvnet finds.
    """

    command: ClassVar[str] = "explain evolve"

    images: Annotated[str, IMAGES]
    count: Annotated[int, COUNT] = 50
    checkpoints: Annotated[
        tuple[str, ...],
        Option(
            "Weights, early to late: 'random', or .safetensors or .pt files; one or more.", metavar="FILE"
        ),
    ]
    channel: Annotated[tuple[int, ...], CHANNELS]
    seed: Annotated[int, WHICH] = OPENED

    def check(self) -> None:
        """Raises ConfigError."""
        super().check()
        if self.weights is not None:
            raise ConfigError("--checkpoints are the weights; leave out --weights")
