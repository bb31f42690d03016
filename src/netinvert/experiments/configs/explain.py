"""What the commands that explain a network's answers are asked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from netinvert.errors import ConfigError
from netinvert.io import pieces
from netinvert.io.config import Option
from netinvert.io.pieces import Device, OfNetwork, Output, Processes, Seed
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
        ),
    ] = ()
    samples: Annotated[
        int, Option("Of smoothgrad's noise and of the path of integrated.", min=1, max=10**4)
    ] = 32

    def check(self) -> None:
        """Raises ConfigError."""
        super().check()
        for name, given in (("--targets", self.targets), ("--methods", self.methods)):
            if len(set(given)) < len(given):
                raise ConfigError(f"{name} names one twice; name each once")


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
