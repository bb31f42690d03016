"""What the studies are asked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar

from netinvert.errors import ConfigError
from netinvert.experiments.configs.looks import CHAIRS, LAYERS, PRESET, PRIOR_WEIGHTS, TRIED_CANVASES, Grid
from netinvert.io import pieces
from netinvert.io.config import Option
from netinvert.io.pieces import OfLayers, OnNetwork, Output, Processes, Seed, Trust
from netinvert.scenes.dataset_config import CATEGORY, OBJECTS
from netinvert.scenes.seeds import OPENED

POSENET = ("posenet-conv5", "posenet-fc6", "posenet-fc7", "posenet-pose")


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


@dataclass(frozen=True, kw_only=True)
class StudyFeatures(Seed, Output, Processes):
    """Find which features of an image carry an object's orientation: parts, outline, texture, shading, light,
    frequencies are taken away or turned, each against a control, and networks read the pose.

    A stopped run is resumed by the same command.
    """

    command: ClassVar[str] = "study features"

    networks: Annotated[
        tuple[str, ...],
        replace(
            pieces.POSE_READERS,
            help="Networks that read poses: by name, as files of 'netinvert pose train', or random:SEED, "
            "posenet with random weights; the first is told most of. Random weights and HOG, which is no "
            "network, are always beside them.",
        ),
    ] = ()
    objects: Annotated[str, OBJECTS] = "chairs"
    category: Annotated[str | None, replace(CATEGORY, default="seats, by their names")] = None
    chairs: Annotated[int, replace(pieces.CHAIRS, help="How many objects, at most.")] = 300
    learned: Annotated[int, pieces.LEARNED] = 3000
    seed: Annotated[int, replace(pieces.SEED, help="Which objects, views, lights and backgrounds.")] = OPENED


@dataclass(frozen=True, kw_only=True)
class StudyAgree(OfLayers, OnNetwork):
    """Find whether inversions show the parts that a pose is read from: part by part, is what the network
    needs what comes back best, and where attributions fall?

    Each chair's parts are ranked by how far off the pose is without them, by how well they come back in
    inverted codes, and by an attribution; random weights are beside them. A stopped run is resumed by the
    same command.
    """

    command: ClassVar[str] = "study agree"

    network: Annotated[
        str,
        replace(pieces.NETWORK, help="One that reads poses: posenet, posenet-only, …; see pose evaluate."),
    ] = "posenet"
    layers: Annotated[tuple[str, ...], replace(pieces.LAYERS, default="relu5, relu7 and fc8")] = ()
    preset: Annotated[str, PRESET] = "default"
    steps: Annotated[int, pieces.STEPS] = 100
    method: Annotated[
        str,
        Option(
            "The attribution, as of 'netinvert explain parts'.",
            metavar="NAME",
            choices="netinvert.explain.sanity:EXPLANATIONS",
        ),
    ] = "integrated"
    samples: Annotated[
        int, Option("Of smoothgrad's noise and of the path of integrated.", min=1, max=10**4)
    ] = 8
    chairs: Annotated[int, pieces.CHAIRS] = 100
    learned: Annotated[int, replace(pieces.LEARNED, help="Views that the reader of parts learns from.")] = 500
    seed: Annotated[
        int,
        replace(pieces.SEED, help="Which chairs, views, lights and backgrounds, and of the noise to start."),
    ] = OPENED


@dataclass(frozen=True, kw_only=True)
class StudySurgery(Trust, Seed, Output, Processes):
    """Take the part of a code that carries the pose out, keep it alone, or put it into another chair's code;
    reconstruct what is left, and let networks that took no part read it.

    A stopped run is resumed by the same command.
    """

    command: ClassVar[str] = "study surgery"

    decoders: Annotated[
        tuple[str, ...],
        replace(pieces.DECODERS, help="Decoders of vectors of pose networks, by name or file.", once=True),
    ]
    chairs: Annotated[int, replace(pieces.CHAIRS, min=3)] = 60
    others: Annotated[
        int,
        Option("Views of other chairs, on which the parts and the probes are fitted.", metavar="N", min=40),
    ] = 2000
    steps: Annotated[
        int, Option("Of optimisation by the preset quick; 0 leaves it out.", min=0, max=10**6)
    ] = 60
    learned: Annotated[int, pieces.LEARNED] = 3000
    seed: Annotated[int, replace(pieces.SEED, help="Which chairs, and of the random subspaces.")] = OPENED


@dataclass(frozen=True, kw_only=True)
class StudyPriors(Grid):
    """Find which prior makes the most interpretable images: priors and canvases at equal code error.

    Readers that took no part, and a machine that chooses between two natural images as people would, look at
    the images; natural images are the baseline. The first prior on the first canvas is what the others are
    held against. A stopped run is resumed by the same command.
    """

    command: ClassVar[str] = "study priors"

    prior_weights: Annotated[
        tuple[float, ...], replace(PRIOR_WEIGHTS, default="0.1, 0.3, 1, 3 and 10 times each one's own")
    ] = ()
    canvases: Annotated[tuple[str, ...], replace(TRIED_CANVASES, default="fourier and pixels")] = ()
    images: Annotated[
        str,
        Option(
            "'chairs', rendered, of which poses and parts are known; or a folder of images or a quoted glob.",
            metavar="DIR|chairs",
        ),
    ] = CHAIRS
    count: Annotated[int, Option("Images whose codes are inverted: the first so many.", min=2)] = 60
    bank: Annotated[
        int, Option("Natural images beside them, for the baseline: the next so many.", min=9, max=10**5)
    ] = 1000
    restarts: Annotated[int, pieces.RESTARTS] = 2
    learned: Annotated[int, pieces.LEARNED] = 3000
    seed: Annotated[
        int, replace(pieces.SEED, help="Which chairs; and of the noise to start from, SEED, SEED + 1, …")
    ] = OPENED


@dataclass(frozen=True, kw_only=True)
class StudyAll(Output, Processes):
    """Answer which features of an image tell an object's orientation, whether inversions show them, and which
    prior makes the most interpretable images: all studies, and one page of what they found.

    Each study is a run of its own, in a folder beside OUT (OUT-features, …), as its own command makes it:
    what is there is not made again, and a stopped run is resumed by the same command.
    """

    command: ClassVar[str] = "study all"

    network: Annotated[str, pieces.NETWORK] = "posenet"
    studies: Annotated[
        tuple[str, ...],
        Option(
            "Only these.",
            also=("study",),
            metavar="NAME",
            default="all",
            choices="netinvert.experiments.whole:STUDIES",
        ),
    ] = ()
    quick: Annotated[
        bool, Option("A smaller one, in some ten minutes of two cores, on chairs that were seen before.")
    ] = False
