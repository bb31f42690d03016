"""What the trainings, evaluations and renders are asked."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, ClassVar

from netinvert.errors import ConfigError
from netinvert.io import pieces
from netinvert.io.config import Option
from netinvert.io.pieces import Device, Json, OfLayer, OfNetwork, Output, Processes, Seed, Threads, Trust
from netinvert.scenes.dataset_config import (
    CATEGORY,
    CHAIRS62,
    OBJECTS,
    PROTOCOLS,
    SPLITS,
    UP,
    DatasetConfig,
)
from netinvert.scenes.seeds import JUDGE, OPENED, OPENED_POSE, POSENET

AUTO = "auto"
PRECISIONS = ("float32", "bfloat16")
SAMPLES = Option("How many images to train on.", min=2)
RATE = Option("The peak learning rate of AdamW.", above=0)


@dataclass(frozen=True, kw_only=True)
class Training(Json, Threads):
    """What all trainings are asked."""

    out: Annotated[Path, replace(pieces.OUT, help="The folder for checkpoints, logs and weights.")]
    batch: Annotated[int, Option("Images a batch.", short="b", min=2)] = 64
    seed: Annotated[int, replace(pieces.SEED, help="Weights, batches and backgrounds follow from it.")] = 0
    every: Annotated[
        int, Option("Steps between checkpoints, if ten minutes are not less.", min=1, identity=False)
    ] = 1000
    device: Annotated[str, Option("auto, cpu, cuda, cuda:1 or mps.", short="d", metavar="NAME")] = "auto"
    precision: Annotated[
        str,
        Option(
            "Of the trained network's layers; auto is bfloat16 on a GPU, and on a CPU that is quicker so.",
            choices=(AUTO, *PRECISIONS),
            metavar="NAME",
        ),
    ] = AUTO
    devices: Annotated[int, Option("Devices of each machine.", min=1, max=1024)] = 1
    nodes: Annotated[int, Option("Machines.", min=1, max=10_000)] = 1
    workers: Annotated[
        int | None,
        Option(
            "Processes that make batches.",
            short="j",
            min=0,
            max=1024,
            default="some for a GPU, none for a CPU",
            identity=False,
        ),
    ] = None
    compiled: Annotated[
        bool,
        Option(
            "Fuse kernels, which takes a minute at first: quicker on a GPU, other roundings.", identity=False
        ),
    ] = False


@dataclass(frozen=True, kw_only=True)
class PoseTrain(Training):
    """Train a pose network. The same command again takes up a training that was stopped.

    While the learning rate is constant (the first 70 %), --samples may be changed when taking it up.
    """

    command: ClassVar[str] = "pose train"

    data: Annotated[tuple[Path, ...], Option("Datasets of 'netinvert scenes render'.", metavar="DIR")]
    network: Annotated[
        str, Option("The topology.", short="n", metavar="NAME", choices=("posenet", "posenet-judge"))
    ] = "posenet"
    name: Annotated[
        str | None, Option("The name of the network's file.", metavar="NAME", default="the topology's")
    ] = None
    task: Annotated[
        str,
        Option(
            "What the code is trained for: pose, to match views, or both.",
            choices=("both", "pose", "match"),
            metavar="both|pose|match",
        ),
    ] = "both"
    surroundings: Annotated[
        str,
        Option(
            "Textures, with recoloured objects; photographs and plain colours; both, recoloured (varied); or "
            "grey paper alone.",
            choices=("textures", "photographs", "plain", "varied"),
            metavar="NAME",
        ),
    ] = "textures"
    samples: Annotated[int, SAMPLES] = 1_500_000
    rate: Annotated[float, RATE] = 2e-3
    batch: Annotated[int, Option("Images a batch, a multiple of 4.", short="b", min=4)] = 64
    skip_damaged: Annotated[bool, Option("Go on without damaged shards; they are named.")] = False

    def check(self) -> None:
        """Raises ConfigError."""
        super().check()
        if self.name is not None:
            _check_name(self.name)


def _check_name(name: str) -> None:
    if Path(name).name != name or name.startswith("."):
        raise ConfigError(f"--name is a file's name without folder and ending, got '{name}'")


@dataclass(frozen=True, kw_only=True)
class DecoderTrain(Training, OfLayer):
    """Train a decoder from codes to images. The same command again takes up a training that was stopped.

    While the learning rate is constant (the first 70 %), --samples may be changed when taking it up.
    """

    command: ClassVar[str] = "decoder train"

    data: Annotated[
        str,
        Option(
            "A dataset of 'netinvert scenes render', a folder of images, or the word photographs.",
            metavar="DIR|photographs",
        ),
    ]
    name: Annotated[str, Option("The name of the decoder's file.", metavar="NAME")] = "decoder"
    loss: Annotated[
        str,
        Option(
            "A weighted sum of pixel, feature:LAYER, feature:NETWORK/LAYER, adversarial and lpips, such as "
            "pixel=1+feature:relu3=0.05; deepsim:LAYER has the weights of that paper.",
            check="netinvert.training.decoder.losses:LossChoice.parse",
        ),
    ] = "pixel=1"
    pixels: Annotated[int | None, Option("Side of the images.", min=8, default="the data's own")] = None
    widths: Annotated[
        str,
        Option("small, or paper: as Dosovitskiy & Brox.", choices=("small", "paper"), metavar="small|paper"),
    ] = "small"
    upsampling: Annotated[
        str,
        Option(
            "nearest (then a convolution: no checkerboards) or transposed (the paper's).",
            choices=("nearest", "transposed"),
            metavar="NAME",
        ),
    ] = "nearest"
    corrections: Annotated[int, Option("Corrections of the code that are learned along.", min=0)] = 0
    autoencoder: Annotated[bool, Option("Train the encoder along, as a baseline.")] = False
    start: Annotated[str | None, Option("A decoder whose weights to begin with.", metavar="NAME|FILE")] = None
    cache: Annotated[
        int | None, Option("Encode so many images once, beforehand, and train on those.", min=1)
    ] = None
    samples: Annotated[int, SAMPLES] = 500_000
    rate: Annotated[float, RATE] = 1e-3

    def check(self) -> None:
        """Raises ConfigError."""
        super().check()
        _check_name(self.name)
        if self.cache is not None and self.autoencoder:
            raise ConfigError("an autoencoder's codes change as it learns: leave out --cache")


@dataclass(frozen=True, kw_only=True)
class ViewsTrain(Training):
    """Train a generator, which draws objects from their number, a view and a transformation. The same command
    again takes up a training that was stopped.

    It learns all 62 views of every other object, and of those between only some azimuths, so that what it
    draws of the others can be compared with the truth.
    """

    command: ClassVar[str] = "views train"

    data: Annotated[
        Path, Option("A dataset of 'netinvert scenes render --views 62 --lights studio'.", metavar="DIR")
    ]
    name: Annotated[str, Option("The name of the generator's file.", metavar="NAME")] = "generator"
    identities: Annotated[
        int | None, Option("How many objects, the first.", min=2, default="all of the dataset")
    ] = None
    known_azimuths: Annotated[
        int, Option("Of 31, how many are known of every other object.", min=1, max=31)
    ] = 16
    one_elevation: Annotated[bool, Option("Of these objects, the lower elevation alone.")] = False
    samples: Annotated[int, SAMPLES] = 500_000
    rate: Annotated[float, RATE] = 2e-3

    def check(self) -> None:
        """Raises ConfigError."""
        super().check()
        _check_name(self.name)


@dataclass(frozen=True, kw_only=True)
class DecoderEvaluate(Trust, Seed, Output, Threads):
    """Decode the codes of images that a decoder never saw, and compare."""

    command: ClassVar[str] = "decoder evaluate"

    decoder: Annotated[
        str,
        Option("A decoder's name (see 'netinvert networks') or file.", positional=True, metavar="DECODER"),
    ]
    weights: Annotated[str | None, pieces.WEIGHTS] = None
    images: Annotated[
        Path | None, Option("A folder of test images.", metavar="DIR", default="rendered chairs")
    ] = None
    chairs: Annotated[int, replace(pieces.CHAIRS, min=2)] = 200
    seed: Annotated[
        int,
        replace(pieces.SEED, help=f"Which chairs; the shipped decoders were trained on those of {POSENET}."),
    ] = OPENED
    card: Annotated[
        bool, Option("Also write the figures into the decoder's file and its card.", identity=False)
    ] = False

    def check(self) -> None:
        """Raises ConfigError."""
        super().check()
        if self.card and not self.decoder.endswith(".safetensors"):
            raise ConfigError("--card writes into the decoder's file: give that, not a name")


WIDE, STANDING = "wide", "upright"


@dataclass(frozen=True, kw_only=True)
class PoseEvaluate(Seed, Output, Threads):
    """Render objects that networks have not seen, procedural ones or furniture that people made, and compare
    the poses that the networks read with the cameras', beside readers that no training made.
    """

    command: ClassVar[str] = "pose evaluate"

    networks: Annotated[
        tuple[str, ...],
        replace(
            pieces.POSE_READERS,
            help="Networks that read poses, by name or as files of 'netinvert pose train'; the first is "
            "told most of, the others stand beside it.",
        ),
    ] = ()
    weights: Annotated[str | None, replace(pieces.WEIGHTS, help="Of a single network.")] = None
    objects: Annotated[
        tuple[str, ...], replace(OBJECTS, help=f"{OBJECTS.help} One or more.", default="chairs")
    ] = ()
    category: Annotated[str | None, replace(CATEGORY, default="seats, by their names")] = None
    backgrounds: Annotated[
        tuple[str, ...],
        Option(
            "mixed, paper, plain, gradient, noise, checks, blocks, photographs (those that ship), or a "
            "folder of photographs; one or more.",
            also=("background",),
            metavar="NAME|DIR",
            default="mixed; paper where upright",
            once=True,
        ),
    ] = ()
    protocol: Annotated[
        str,
        Option(
            "wide: elevations of -5 to 50 degrees, turns in the image, any light; upright: 10 to 35 degrees, "
            "no turns, studio light; auto is upright with furniture libraries.",
            choices=(AUTO, WIDE, STANDING),
            metavar="NAME",
        ),
    ] = AUTO
    chairs: Annotated[int, replace(pieces.CHAIRS, help="How many objects of each kind, at most.")] = 200
    views: Annotated[int | None, Option("Views of each.", min=1, default="10; 8 where upright")] = None
    learned: Annotated[int, pieces.LEARNED] = 3000
    seed: Annotated[
        int,
        replace(
            pieces.SEED, help=f"Which chairs and cameras; networks were trained on {POSENET} and {JUDGE}."
        ),
    ] = OPENED_POSE
    path_traced: Annotated[bool, Option("Render with Mitsuba, another renderer than the training's.")] = False
    card: Annotated[
        bool, Option("Also write the figures into --weights and the card beside it.", identity=False)
    ] = False

    def check(self) -> None:
        """Raises ConfigError."""
        super().check()
        if self.card and self.weights is None:
            raise ConfigError("--card writes into the file of --weights: give that too")
        if self.weights is not None and len(self.networks) > 1:
            raise ConfigError("--weights are of a single network: give files among --networks instead")


@dataclass(frozen=True, kw_only=True)
class PoseRead(OfNetwork, Output, Device):
    """Read the pose of the object in each image, and say how sure the reading is.

    The network sees the middle square of an image, which the object should fill.
    """

    command: ClassVar[str] = "pose read"

    input: Annotated[
        str,
        replace(
            pieces.INPUT, help="An image, a folder of images, a quoted glob, or sample:NAME.", identity=False
        ),
    ]
    network: Annotated[str, replace(pieces.NETWORK, help="A network that reads poses.")] = "posenet"


@dataclass(frozen=True, kw_only=True)
class ScenesRender(DatasetConfig, Json, Processes):
    """Render a dataset of objects with known cameras, as WebDataset shards.

    The same command again takes up one that was stopped, and mends one that was damaged.
    """

    command: ClassVar[str] = "scenes render"

    out: Annotated[Path, pieces.OUT]
    protocol: Annotated[
        str,
        Option(
            "random views, or chairs62: 31 azimuths at elevations of 20 and 30 degrees; auto is chairs62 for "
            "62 views.",
            choices=(AUTO, *PROTOCOLS),
            metavar="NAME",
        ),
    ] = AUTO
    workers: Annotated[
        int, Option("Processes.", short="j", min=1, max=1024, default="one a core", identity=False)
    ] = os.cpu_count() or 1

    def dataset(self) -> DatasetConfig:
        """What is to be rendered."""
        known = {field.name: getattr(self, field.name) for field in fields(DatasetConfig)}
        if self.protocol == AUTO:
            known["protocol"] = CHAIRS62 if self.views == 62 else PROTOCOLS[0]
        return DatasetConfig(**known)


@dataclass(frozen=True, kw_only=True)
class ScenesShow(Seed, Output):
    """Show objects of a dataset, or freshly rendered ones: an object a row, a view a column."""

    command: ClassVar[str] = "scenes show"

    dataset: Annotated[
        Path | None, Option("A dataset of 'netinvert scenes render'.", positional=True, metavar="DIR")
    ] = None
    objects: Annotated[str, replace(OBJECTS, help=f"Without a dataset: {OBJECTS.help}")] = "chairs"
    category: Annotated[str | None, CATEGORY] = None
    up: Annotated[str, UP] = "auto"
    count: Annotated[int, Option("How many objects.", min=1)] = 10
    views: Annotated[int, Option("Views of each.", min=1)] = 6
    pixels: Annotated[
        int, Option("Pixels a side of what is rendered without a dataset.", min=8, max=4096)
    ] = 128
    seed: Annotated[int, replace(pieces.SEED, help="Of what is rendered without a dataset.")] = 0
    split: Annotated[
        str | None,
        Option("Of a dataset.", choices=SPLITS, metavar="NAME", default="validation, if there is any"),
    ] = None
    parts: Annotated[bool, Option("Parts instead of colours.")] = False
