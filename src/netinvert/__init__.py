"""Turn a neural network's code back into an image.

An :class:`Encoder` turns an image into a code; :func:`invert` turns a code back into an image; everything
else feeds or judges that round trip. Images are float tensors (N, C, H, W) in [0, 1] everywhere.
"""

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
from netinvert.inversion.augmentations import RandomAffine, RandomCrop, RandomErasing, RandomNoise
from netinvert.inversion.canvas import Canvas, Fourier, Phase, Pixels
from netinvert.inversion.canvases import decoded_start, on_decoder, with_canvas
from netinvert.inversion.constraints import Ball, Box
from netinvert.inversion.diversify import Diversity, diversify
from netinvert.inversion.history import EarlyStopping, Result, StepInfo
from netinvert.inversion.invert import Inversion, invert, prepare
from netinvert.inversion.lbfgs import LBFGS, WarmUp
from netinvert.inversion.maximise import caricature, maximise
from netinvert.inversion.network_canvas import DecoderPrior, DeepPrior
from netinvert.inversion.objectives import (
    Activate,
    Caricature,
    Energy,
    Match,
    PairwiseDiversity,
    PoseTowards,
    Term,
)
from netinvert.inversion.optimize import Run, optimize
from netinvert.inversion.optimizers import Adam, DecayingAdaGrad, Momentum
from netinvert.inversion.presets.by_name import MAXIMISING, PRESETS, maximising_recipe, recipe
from netinvert.inversion.prior_spec import PRIORS
from netinvert.inversion.priors import (
    AlphaNorm,
    HuberVariation,
    SecondOrderVariation,
    TotalVariation,
    alpha_norm,
    total_variation,
)
from netinvert.inversion.schedule import Recipe, Stage
from netinvert.inversion.units import centre_mask, channel, channel_mask, neuron, space_mask
from netinvert.io.files import read_code
from netinvert.io.images import fit, read_image, write_png
from netinvert.models.decoder import Decoder
from netinvert.models.decoder_files import load_decoder
from netinvert.models.encoder import Encoder
from netinvert.models.network import Network, Preprocessing
from netinvert.models.registry import list_networks, load_network

__version__ = "0.1.0"

__all__ = [
    "LBFGS",
    "MAXIMISING",
    "PRESETS",
    "PRIORS",
    "Activate",
    "Adam",
    "AlphaNorm",
    "Ball",
    "Box",
    "Canvas",
    "Caricature",
    "CodeError",
    "ConfigError",
    "DecayingAdaGrad",
    "Decoder",
    "DecoderPrior",
    "DeepPrior",
    "Diversity",
    "EarlyStopping",
    "Encoder",
    "Energy",
    "Fourier",
    "HuberVariation",
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
    "PairwiseDiversity",
    "Phase",
    "Pixels",
    "PoseTowards",
    "Preprocessing",
    "RandomAffine",
    "RandomCrop",
    "RandomErasing",
    "RandomNoise",
    "Recipe",
    "Result",
    "Run",
    "SecondOrderVariation",
    "Stage",
    "StepInfo",
    "Term",
    "TotalVariation",
    "WarmUp",
    "alpha_norm",
    "caricature",
    "centre_mask",
    "channel",
    "channel_mask",
    "decoded_start",
    "diversify",
    "fit",
    "invert",
    "list_networks",
    "load_decoder",
    "load_network",
    "maximise",
    "maximising_recipe",
    "neuron",
    "on_decoder",
    "optimize",
    "prepare",
    "read_code",
    "read_image",
    "recipe",
    "space_mask",
    "total_variation",
    "with_canvas",
    "write_png",
]
