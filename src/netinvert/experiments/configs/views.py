"""What the commands on generators are asked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from netinvert.errors import ConfigError
from netinvert.io import pieces
from netinvert.io.config import Config, Option
from netinvert.io.pieces import DEVICE, Device, Output, Processes, Seed, Threads
from netinvert.scenes.seeds import TUNING

OBJECTS_OF = Option("Numbers of the generator's objects.", also=("object",), min=0, metavar="N")
AZIMUTH = Option("Where the objects are seen from, in degrees; 0 is the front.", metavar="DEGREES")
ELEVATION = Option("The same, above the ground.", min=-90, max=90, metavar="DEGREES")


def check_pixels(pixels: int) -> None:
    """Raises ConfigError: no power of two."""
    if pixels & (pixels - 1):
        raise ConfigError(f"--pixels is a power of two, 32 or 64, say, got {pixels}")


@dataclass(frozen=True, kw_only=True)
class OfGenerator(Config):
    """A generator."""

    section: ClassVar[str] = "Network"
    generator: Annotated[
        str, Option("A generator's name (see 'netinvert networks') or file.", metavar="NAME|FILE")
    ] = "chairs"


@dataclass(frozen=True, kw_only=True)
class ViewsEvaluate(OfGenerator, Seed, Output, Processes):
    """Draw views of known chairs that a generator did not learn, and compare with the truth, which is
    rendered again, and with what the known views give without a network.
    """

    command: ClassVar[str] = "views evaluate"

    chairs: Annotated[int, Option("Of how many chairs, at most.", metavar="N", min=2)] = 60
    learned: Annotated[int, pieces.LEARNED] = 3000
    seed: Annotated[int, replace(pieces.SEED, help="Which chairs.")] = 0
    card: Annotated[
        bool, Option("Also write the figures into the generator's file and its card.", identity=False)
    ] = False

    def check(self) -> None:
        """Raises ConfigError."""
        super().check()
        if self.card and not self.generator.endswith(".safetensors"):
            raise ConfigError("--card writes into the generator's file: give that, not a name")


@dataclass(frozen=True, kw_only=True)
class ViewsGenerate(OfGenerator, Seed, Output, Threads):
    """Draw objects of a generator, or new ones, from any side: a sheet, and an image each."""

    command: ClassVar[str] = "views generate"

    objects: Annotated[tuple[int, ...], replace(OBJECTS_OF, default="the first eight")] = ()
    random: Annotated[
        int | None,
        Option(
            "Instead, so many new objects of the normal distribution of the known ones; readers of poses and "
            "the nearest known object tell how good they are.",
            min=1,
            max=1000,
            default="none",
        ),
    ] = None
    azimuths: Annotated[
        tuple[float, ...], replace(AZIMUTH, also=("azimuth",), default="30, 90, 150, 210, 270, 330")
    ] = ()
    elevations: Annotated[tuple[float, ...], replace(ELEVATION, also=("elevation",), default="20")] = ()
    transforms: Annotated[
        tuple[str, ...],
        Option(
            "Of the images, such as turn=10,zoom=1.2; one or more: turn and hue (degrees), right and down "
            "(shares of the side), zoom, stretch, saturation, brightness (factors).",
            also=("transform",),
            metavar="NAME=X,…",
            default="none",
        ),
    ] = ()
    learned: Annotated[int, pieces.LEARNED] = 3000
    seed: Annotated[int, replace(pieces.SEED, help="Of the new objects.")] = 0

    def check(self) -> None:
        """Raises ConfigError."""
        super().check()
        if self.objects and self.random is not None:
            raise ConfigError("--random draws new objects: leave out --objects")


@dataclass(frozen=True, kw_only=True)
class ViewsTurntable(OfGenerator, Output, Threads):
    """Turn objects of a generator once around: a GIF each, and a page on which one turns them."""

    command: ClassVar[str] = "views turntable"

    objects: Annotated[tuple[int, ...], replace(OBJECTS_OF, default="the first")] = ()
    elevation: Annotated[float, ELEVATION] = 20.0
    frames: Annotated[int, Option("Images a turn.", min=2, max=360)] = 36


@dataclass(frozen=True, kw_only=True)
class ViewsMorph(OfGenerator, Seed, Output, Threads):
    """Draw what lies between two objects of a generator: a sheet, a GIF, and a page with a slider. With
    --pairs, measure whether between two there is one object, or the ghosts of both.
    """

    command: ClassVar[str] = "views morph"

    objects: Annotated[tuple[int, int], replace(OBJECTS_OF, help="Two of the generator's objects.")] = (0, 1)
    azimuth: Annotated[float, AZIMUTH] = 30.0
    elevation: Annotated[float, ELEVATION] = 20.0
    steps: Annotated[int, Option("Steps from one to the other.", min=1, max=1000)] = 16
    pairs: Annotated[
        int | None,
        Option(
            "Also measure so many pairs, drawn by the seed, each from a side of its own, beside mixtures of "
            "the two images.",
            min=2,
            max=1000,
            default="none",
        ),
    ] = None
    learned: Annotated[int, pieces.LEARNED] = 3000
    seed: Annotated[int, replace(pieces.SEED, help="Which pairs, and from where they are seen.")] = 0


@dataclass(frozen=True, kw_only=True)
class ViewsArithmetic(OfGenerator, Seed, Output, Threads):
    """Add to objects what tells two others apart, a − b + c, in the embedding and in fully connected layers,
    and see whether an attribute of a comes with it.
    """

    command: ClassVar[str] = "views arithmetic"

    attribute: Annotated[
        str,
        Option(
            "What a has, and b and c lack.",
            choices=("arms", "swivel", "stretcher"),
            metavar="NAME",
        ),
    ] = "arms"
    triples: Annotated[int, Option("Triples of objects a, b, c, drawn by the seed.", min=2)] = 100
    seed: Annotated[int, replace(pieces.SEED, help="Which triples.")] = 0


@dataclass(frozen=True, kw_only=True)
class ViewsMatch(OfGenerator, Seed, Output, Processes):
    """Find which place of a chair is which of another by optical flow along the morph between them, and
    compare with the correspondences of their parts, which are known.
    """

    command: ClassVar[str] = "views match"

    pairs: Annotated[int, Option("Pairs of chairs, drawn by the seed.", min=2)] = 30
    steps: Annotated[int, Option("Steps of the morph.", min=1, max=1000)] = 32
    flow: Annotated[
        str,
        Option(
            "Of scikit-image: tvl1 (Zach, Pock & Bischof 2007), or ilk, iterated Lucas & Kanade, which is "
            "quicker.",
            choices=("tvl1", "ilk"),
            metavar="tvl1|ilk",
        ),
    ] = "tvl1"
    seed: Annotated[int, replace(pieces.SEED, help="Which pairs and views.")] = 0


@dataclass(frozen=True, kw_only=True)
class ViewsTransfer(Seed, Output, Processes):
    """Train small generators that know few views of half of the chairs, with and without all views of the
    other half, and compare the views that they do not know with the truth.

    Each training is kept as soon as it is done; a stopped one is taken up by the same command.
    """

    command: ClassVar[str] = "views transfer"

    chairs: Annotated[int, Option("How many chairs, half of which are known from everywhere.", min=4)] = 40
    pixels: Annotated[int, Option("Side of the images, a power of two.", min=16, max=256)] = 64
    known: Annotated[
        tuple[int, ...],
        Option(
            "How many of 31 azimuths are known of the others.",
            min=1,
            max=30,
            metavar="N",
            default="1, 2, 4, 8, 16",
        ),
    ] = ()
    samples: Annotated[int, Option("Images that each training sees.", min=2)] = 60_000
    batch: Annotated[int, Option("Images a batch.", short="b", min=2)] = 32
    rate: Annotated[float, Option("The peak learning rate.", above=0)] = 2e-3
    seed: Annotated[int, replace(pieces.SEED, help="Which chairs; and of the trainings.")] = TUNING[0]

    def check(self) -> None:
        """Raises ConfigError."""
        super().check()
        check_pixels(self.pixels)


@dataclass(frozen=True, kw_only=True)
class OfUnseen(OfGenerator, Seed, Output, Device, Processes):
    """Objects that nothing was trained on, and what is to turn them."""

    decoder: Annotated[
        str, Option("A decoder of a pose network's codes, which are turned.", short="D", metavar="NAME|FILE")
    ] = "posenet-fc6"
    objects: Annotated[
        str,
        Option(
            "What is turned: chairs, or sh3f:FILE, a furniture library or a folder of them.", metavar="TEXT"
        ),
    ] = "chairs"
    chairs: Annotated[int, Option("How many objects, at most.", metavar="N", min=2)] = 60
    bank: Annotated[
        int, Option("Known objects, from all sides, that directions and operators are fitted on.", min=2)
    ] = 100
    samples: Annotated[
        int, Option("Views of these that an encoder-decoder learns, which is told the view.", min=32)
    ] = 40_000
    pixels: Annotated[
        int, Option("Side of its images, a power of two, no more than the generator's.", min=16, max=256)
    ] = 64
    device: Annotated[str, replace(DEVICE, help="Where it learns: cpu, cuda, cuda:1 or mps.")] = "cpu"
    seed: Annotated[int, replace(pieces.SEED, help="Which chairs, and from where they are seen.")] = TUNING[0]

    def check(self) -> None:
        """Raises ConfigError."""
        super().check()
        check_pixels(self.pixels)


@dataclass(frozen=True, kw_only=True)
class ViewsNovel(OfUnseen):
    """Draw unseen objects from new sides, from one image each: by their code, turned and decoded, and by a
    generator; beside the truth and what needs no network.
    """

    command: ClassVar[str] = "views novel"

    turns: Annotated[
        tuple[int, ...],
        Option(
            "By how many 31ths of a turn.",
            also=("turn",),
            min=1,
            max=30,
            default="1, 2, 4, 8 and 15",
            once=True,
        ),
    ] = ()
    learned: Annotated[int, pieces.LEARNED] = 3000


@dataclass(frozen=True, kw_only=True)
class ViewsReconstruct(OfUnseen):
    """Make a first 3-D shape of unseen objects from one image each: a ring of new views, their visual hull,
    and depths fused; beside the same from the true views, and compared with the true shape.
    """

    command: ClassVar[str] = "views reconstruct"

    chairs: Annotated[int, Option("How many objects, at most.", metavar="N", min=2)] = 20
    resolution: Annotated[int, Option("Voxels along a side.", min=16, max=256)] = 64
