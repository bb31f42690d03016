"""The pieces that configs share: the same option, short flag and words in every command.

A command's config inherits from those it needs. Where the help has to differ, the field is written again with
``replace(SEED, help=…)``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar

from netinvert.errors import ConfigError
from netinvert.io.config import Config, Option
from netinvert.io.manifest import MANIFEST

NETWORK = Option(
    "A name from 'netinvert networks', or torchvision:NAME, timm:NAME, transformers:NAME, diffusers:NAME, "
    "onnx:FILE, tflite:FILE, module:FILE.py:FACTORY or module:PACKAGE.MODULE:FACTORY.",
    short="n",
    metavar="NAME",
)
POSE_READERS = replace(NETWORK, also=("network",), metavar="NAME|FILE", default="posenet", once=True)
"""Of those that read poses; each command says more in its help."""
WEIGHTS = Option(
    "The network's, a .safetensors or .pt file, or 'random'.",
    short="w",
    metavar="FILE|random",
    default="its own",
)
LAYER = Option("A name from 'netinvert layers NETWORK'.", short="l", metavar="NAME")
LAYERS = Option(
    "Names from 'netinvert layers NETWORK', one or more.",
    short="l",
    also=("layer",),
    metavar="NAME",
    once=True,
)
INPUT = Option(
    "An image, a folder of images, a quoted glob, sample:NAME (chair, chelsea, …), or a code (.npy, "
    ".safetensors, .pt).",
    positional=True,
    metavar="INPUT",
)
IMAGES = Option("The originals: a folder of images, or a quoted glob.", metavar="DIR")
DECODERS = Option(
    "Decoders by name (see 'netinvert networks') or file.",
    short="D",
    also=("decoder",),
    metavar="NAME|FILE",
)
CHAIRS = Option("How many held-out chairs.", metavar="N", min=1, max=10**6)
LEARNED = Option(
    "Views that the readers of poses without a network learn from.", metavar="N", min=20, max=10**5
)
RESTARTS = Option("Images of each, with seeds SEED, SEED + 1, …", short="r", min=1, max=10_000)
PRESET = Option("The recipe.", short="p", metavar="NAME")
PRIOR = Option(
    "none, tv-isotropic, tv-anisotropic, tv-quadratic, tv-huber, second-order, batchnorm, or several with + "
    "between.",
    metavar="NAME[=WEIGHT]",
    default="the preset's own",
    check="netinvert.inversion.priors:parse_prior",
)
STEPS = Option("Evaluations of the network.", min=1, max=10**7, default="the preset's own")
PRECISION = Option(
    "Of the network in the first steps: bfloat16 halves their time on processors that have instructions for "
    "it; auto is that where it pays.",
    choices=("float32", "bfloat16", "auto"),
    metavar="NAME",
)
OUT = Option("The folder to write.", short="o", metavar="DIR", identity=False)
DEVICE = Option("cpu, cuda, cuda:1 or mps.", short="d", metavar="NAME")
SEED = Option("Of the noise to start from.", short="s", min=0, max=2**63 - 1)


@dataclass(frozen=True, kw_only=True)
class ImageFormat(Config):
    """How a network that does not say it wants its images: ``(scale * image - mean) / std`` of an image in
    [0, 1].
    """

    section: ClassVar[str] = "Preprocessing"
    size: Annotated[
        tuple[int, ...],
        Option(
            "For networks that do not say it (module:, onnx:, tflite:): their images' side in pixels, or "
            "height and width.",
            min=1,
            metavar="H[,W]",
        ),
    ] = ()
    mean: Annotated[
        tuple[float, ...],
        Option("A number a channel; the network gets (SCALE * image - MEAN) / STD.", metavar="R,G,B"),
    ] = ()
    std: Annotated[tuple[float, ...], Option("A number a channel.", above=0, metavar="R,G,B")] = ()
    order: Annotated[str | None, Option("Of the channels.", choices=("RGB", "BGR"), metavar="RGB|BGR")] = None
    scale: Annotated[float | None, Option("What white is: 1, or 255 for bytes.", above=0)] = None

    def check(self) -> None:
        """Raises ConfigError."""
        super().check()
        if len(self.size) > 2:
            raise ConfigError(f"--size is one number or two, HEIGHT,WIDTH, got {len(self.size)}")
        if self.mean and self.std and len(self.mean) != len(self.std):
            raise ConfigError(
                f"--mean and --std have one number a channel each, got {len(self.mean)} and {len(self.std)}"
            )


@dataclass(frozen=True, kw_only=True)
class OfNetwork(ImageFormat):
    """A network and its weights."""

    section: ClassVar[str] = "Network"
    network: Annotated[str, NETWORK]
    weights: Annotated[str | None, WEIGHTS] = None


@dataclass(frozen=True, kw_only=True)
class OfLayer(OfNetwork):
    """A layer of a network."""

    section: ClassVar[str] = "Network"
    layer: Annotated[str, LAYER]


@dataclass(frozen=True, kw_only=True)
class OfLayers(OfNetwork):
    """Layers of a network, each once."""

    section: ClassVar[str] = "Network"
    layers: Annotated[tuple[str, ...], LAYERS]


@dataclass(frozen=True, kw_only=True)
class Json(Config):
    """What goes to stdout."""

    section: ClassVar[str] = "Output"
    json: Annotated[bool, Option("Print JSON instead of a table.", identity=False)] = False


@dataclass(frozen=True, kw_only=True)
class Output(Json):
    """The folder that a run writes."""

    section: ClassVar[str] = "Output"
    one_file: ClassVar[bool] = False
    """Whether ``out`` is a file, with its manifest beside it."""
    out: Annotated[Path, OUT]
    overwrite: Annotated[bool, Option("Replace the run in the folder.", identity=False)] = False

    @property
    def manifest_file(self) -> Path:
        """Where the run says what it was."""
        return self.out.with_name(f"{self.out.name}.{MANIFEST}") if self.one_file else self.out / MANIFEST


@dataclass(frozen=True, kw_only=True)
class Trust(Config):
    """What files may name."""

    section: ClassVar[str] = "Network"
    trust: Annotated[
        bool,
        Option(
            "Load what files name although it could run code (module:), read other files or fetch some.",
            identity=False,
        ),
    ] = False


@dataclass(frozen=True, kw_only=True)
class Seed(Config):
    """Random numbers."""

    seed: Annotated[int, SEED] = 0


@dataclass(frozen=True, kw_only=True)
class Threads(Config):
    """How many threads compute it."""

    section: ClassVar[str] = "Compute"
    threads: Annotated[
        int | None,
        Option(
            "CPU threads of each process.",
            short="t",
            min=1,
            max=1024,
            default="torch's own choice",
            identity=False,
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Device(Threads):
    """Where it is computed."""

    section: ClassVar[str] = "Compute"
    device: Annotated[str, DEVICE] = "cpu"


@dataclass(frozen=True, kw_only=True)
class Processes(Threads):
    """Work of independent parts, spread over processes or machines."""

    section: ClassVar[str] = "Compute"
    workers: Annotated[int, Option("Processes.", short="j", min=1, max=1024, identity=False)] = 1
    ray: Annotated[
        str | None,
        Option("Spread the work over a Ray cluster instead.", metavar="ADDRESS|local", identity=False),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Compute(Device, Processes):
    """The same, with images in batches and on a device."""

    section: ClassVar[str] = "Compute"
    batch: Annotated[int, Option("Images at work at once.", short="b", min=1, max=10**6)] = 8


@dataclass(frozen=True, kw_only=True)
class OnNetwork(OfNetwork, Seed, Output, Compute):
    """What every run has that inverts a network's codes."""


@dataclass(frozen=True, kw_only=True)
class Unit(Config):
    """What of a layer to look for."""

    section: ClassVar[str] = "Unit"
    channel: Annotated[
        tuple[int, ...],
        Option("Channels of a map, or units; one or more.", short="c", also=("channels",), min=0),
    ] = ()
    at: Annotated[
        str | None,
        Option("With --channel, one neuron of each: 'centre' or ROW,COLUMN.", metavar="PLACE"),
    ] = None
    classes: Annotated[
        tuple[str, ...],
        Option("ImageNet classes by name, or any by number; one or more.", name="class", metavar="NAME|N"),
    ] = ()
    direction: Annotated[
        Path | None, Option("A file of codes: more of each of these directions.", metavar="FILE")
    ] = None
    azimuth: Annotated[
        tuple[float, ...],
        Option("The poses that a pose network is to read, in degrees; one or more.", metavar="DEGREES"),
    ] = ()
    elevation: Annotated[float, Option("With --azimuth.", metavar="DEGREES")] = 20.0
    objective: Annotated[
        tuple[str, ...],
        Option("The same as text, such as channel:130 or class:flamingo; one or more.", metavar="KIND:WHAT"),
    ] = ()

    def check(self) -> None:
        """Raises ConfigError."""
        super().check()
        kinds = (self.channel, self.classes, self.direction, self.azimuth, self.objective)
        if sum(bool(kind) for kind in kinds) != 1:
            raise ConfigError(
                "say what to look for: one of --channel, --class, --direction, --azimuth or --objective"
            )
        if self.at is not None and not self.channel:
            raise ConfigError("--at says where in the map of a --channel; give a channel too")
