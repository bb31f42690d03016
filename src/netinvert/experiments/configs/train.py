"""What ``netinvert pose train`` and ``netinvert decoder train`` are asked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar

from netinvert.errors import ConfigError
from netinvert.io import pieces
from netinvert.io.config import Option
from netinvert.io.pieces import Json, OfLayer, Threads

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
    devices: Annotated[int, Option("Devices of each machine.", min=1)] = 1
    nodes: Annotated[int, Option("Machines.", min=1)] = 1
    workers: Annotated[
        int | None,
        Option(
            "Processes that make batches.",
            short="j",
            min=0,
            default="some for a GPU, none for a CPU",
            identity=False,
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class PoseTrain(Training):
    """Train a pose network. The same command again takes up a training that was stopped.

    While the learning rate is constant (the first 70 %), --samples may be changed when taking it up.
    """

    command: ClassVar[str] = "pose train"

    data: Annotated[Path, Option("A dataset of 'netinvert scenes render'.", metavar="DIR")]
    network: Annotated[
        str, Option("The topology.", short="n", metavar="NAME", choices=("posenet", "posenet-judge"))
    ] = "posenet"
    head: Annotated[str, Option("How rotations are told.", choices=("6d", "bins"), metavar="6d|bins")] = "6d"
    samples: Annotated[int, SAMPLES] = 1_500_000
    rate: Annotated[float, RATE] = 2e-3
    batch: Annotated[int, Option("Images a batch, a multiple of 4.", short="b", min=4)] = 64
    skip_damaged: Annotated[bool, Option("Go on without damaged shards; they are named.")] = False


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
        if self.cache is not None and self.autoencoder:
            raise ConfigError("an autoencoder's codes change as it learns: leave out --cache")
