"""Turn a neural network's code back into an image.

An :class:`Encoder` turns an image into a code; :func:`invert` turns a code back into an image; everything
else feeds or judges that round trip. Images are float tensors (N, C, H, W) in [0, 1] everywhere.
"""

from netinvert.canvas import Canvas, Fourier, Pixels
from netinvert.decoders import Decoder, load_decoder
from netinvert.deep_prior import DecoderPrior, DeepPrior
from netinvert.descend import Run, descend
from netinvert.directions import centre_mask, channel, channel_mask, neuron, space_mask
from netinvert.diversify import Diversity, diversify
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
from netinvert.lbfgs import LBFGS, WarmUp
from netinvert.maximise import caricature, maximise
from netinvert.networks import Network, Preprocessing, list_networks, load_network
from netinvert.objectives import Activate, Apart, Caricature, PoseTowards
from netinvert.optimizers import Adam, DecayingAdaGrad, Momentum
from netinvert.phase import Phase
from netinvert.presets import MAXIMISING, PRESETS, PRIORS, Recipe, maximising_recipe, recipe, with_canvas
from netinvert.priors import (
    AlphaNorm,
    HuberVariation,
    SecondOrderVariation,
    TotalVariation,
    alpha_norm,
    total_variation,
)
from netinvert.progress import Snapshot, Stop
from netinvert.projections import Ball, Box
from netinvert.result import Result
from netinvert.stages import Stage
from netinvert.transforms import RandomCover, RandomCrop, RandomNoise, RandomView
from netinvert.with_decoder import decoded_start, on_decoder

__version__ = "0.1.0"

__all__ = [
    "LBFGS",
    "MAXIMISING",
    "PRESETS",
    "PRIORS",
    "Activate",
    "Adam",
    "AlphaNorm",
    "Apart",
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
    "Phase",
    "Pixels",
    "PoseTowards",
    "Preprocessing",
    "RandomCover",
    "RandomCrop",
    "RandomNoise",
    "RandomView",
    "Recipe",
    "Result",
    "Run",
    "SecondOrderVariation",
    "Snapshot",
    "Stage",
    "Stop",
    "Term",
    "TotalVariation",
    "WarmUp",
    "alpha_norm",
    "caricature",
    "centre_mask",
    "channel",
    "channel_mask",
    "decoded_start",
    "descend",
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
    "prepare",
    "read_code",
    "read_image",
    "recipe",
    "space_mask",
    "total_variation",
    "with_canvas",
    "write_png",
]
