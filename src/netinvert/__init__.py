"""Turn a neural network's code back into an image.

An :class:`Encoder` turns an image into a code; :func:`invert` turns a code back into an image; everything
else feeds or judges that round trip. Images are float tensors (N, C, H, W) in [0, 1] everywhere.
"""

from netinvert.canvas import Canvas, Fourier, Pixels
from netinvert.descend import Run, descend
from netinvert.encoder import Encoder
from netinvert.energy import Energy, Match, Term
from netinvert.errors import (
    CodeError,
    ConfigError,
    ImageError,
    LayerError,
    MissingExtraError,
    NetinvertError,
    NetworkError,
    OutputError,
)
from netinvert.files import read_code
from netinvert.images import fit, read_image, write_png
from netinvert.invert import Inversion, invert, prepare
from netinvert.lbfgs import LBFGS
from netinvert.networks import Network, Preprocessing, list_networks, load_network
from netinvert.optimizers import Adam, DecayingAdaGrad, Momentum
from netinvert.presets import PRESETS, PRIORS, Recipe, recipe
from netinvert.priors import AlphaNorm, TotalVariation, alpha_norm, total_variation
from netinvert.progress import Snapshot, Stop
from netinvert.projections import Ball, Box
from netinvert.result import Result
from netinvert.stages import Stage

__version__ = "0.1.0"

__all__ = [
    "LBFGS",
    "PRESETS",
    "PRIORS",
    "Adam",
    "AlphaNorm",
    "Ball",
    "Box",
    "Canvas",
    "CodeError",
    "ConfigError",
    "DecayingAdaGrad",
    "Encoder",
    "Energy",
    "Fourier",
    "ImageError",
    "Inversion",
    "LayerError",
    "Match",
    "MissingExtraError",
    "Momentum",
    "NetinvertError",
    "Network",
    "NetworkError",
    "OutputError",
    "Pixels",
    "Preprocessing",
    "Recipe",
    "Result",
    "Run",
    "Snapshot",
    "Stage",
    "Stop",
    "Term",
    "TotalVariation",
    "alpha_norm",
    "descend",
    "fit",
    "invert",
    "list_networks",
    "load_network",
    "prepare",
    "read_code",
    "read_image",
    "recipe",
    "total_variation",
    "write_png",
]
