"""Turn a neural network's code back into an image.

An :class:`Encoder` turns an image into a code; :func:`invert` turns a code back into an image; everything
else feeds or judges that round trip. Images are float tensors (N, C, H, W) in [0, 1] everywhere.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # ruff: isort: skip_file
    from netinvert.errors import (
        CodeError as CodeError,
        ConfigError as ConfigError,
        ImageError as ImageError,
        LayerError as LayerError,
        MissingExtraError as MissingExtraError,
        NetinvertError as NetinvertError,
        NetworkError as NetworkError,
        OutputError as OutputError,
    )
    from netinvert.inversion.augmentations import (
        RandomAffine as RandomAffine,
        RandomCrop as RandomCrop,
        RandomErasing as RandomErasing,
        RandomNoise as RandomNoise,
    )
    from netinvert.inversion.canvas import (
        Canvas as Canvas,
        Fourier as Fourier,
        Phase as Phase,
        Pixels as Pixels,
    )
    from netinvert.inversion.canvases import (
        decoded_start as decoded_start,
        on_decoder as on_decoder,
        with_canvas as with_canvas,
    )
    from netinvert.inversion.constraints import Ball as Ball, Box as Box
    from netinvert.inversion.diversify import Diversity as Diversity, diversify as diversify
    from netinvert.inversion.history import (
        EarlyStopping as EarlyStopping,
        Result as Result,
        StepInfo as StepInfo,
    )
    from netinvert.inversion.invert import Inversion as Inversion, invert as invert, prepare as prepare
    from netinvert.inversion.lbfgs import LBFGS as LBFGS, WarmUp as WarmUp
    from netinvert.inversion.maximise import caricature as caricature, maximise as maximise
    from netinvert.inversion.network_canvas import DecoderPrior as DecoderPrior, DeepPrior as DeepPrior
    from netinvert.inversion.objectives import (
        Activate as Activate,
        Caricature as Caricature,
        Energy as Energy,
        Match as Match,
        PairwiseDiversity as PairwiseDiversity,
        PoseTowards as PoseTowards,
        Term as Term,
    )
    from netinvert.inversion.optimize import Run as Run, optimize as optimize
    from netinvert.inversion.optimizers import (
        Adam as Adam,
        DecayingAdaGrad as DecayingAdaGrad,
        Momentum as Momentum,
    )
    from netinvert.inversion.presets.by_name import (
        MAXIMISING as MAXIMISING,
        PRESETS as PRESETS,
        maximising_recipe as maximising_recipe,
        recipe as recipe,
    )
    from netinvert.inversion.prior_spec import PRIORS as PRIORS
    from netinvert.inversion.priors import (
        AlphaNorm as AlphaNorm,
        HuberVariation as HuberVariation,
        SecondOrderVariation as SecondOrderVariation,
        TotalVariation as TotalVariation,
        alpha_norm as alpha_norm,
        total_variation as total_variation,
    )
    from netinvert.inversion.schedule import Recipe as Recipe, Stage as Stage
    from netinvert.inversion.units import (
        centre_mask as centre_mask,
        channel as channel,
        channel_mask as channel_mask,
        neuron as neuron,
        space_mask as space_mask,
    )
    from netinvert.io.files import read_code as read_code
    from netinvert.io.images import fit as fit, read_image as read_image, write_png as write_png
    from netinvert.models.decoder import Decoder as Decoder
    from netinvert.models.decoder_files import load_decoder as load_decoder
    from netinvert.models.encoder import Encoder as Encoder
    from netinvert.models.network import Network as Network, Preprocessing as Preprocessing
    from netinvert.models.registry import list_networks as list_networks, load_network as load_network

__version__ = "0.1.0"

_HOMES = {
    "errors": (
        "CodeError ConfigError ImageError LayerError "
        "MissingExtraError NetinvertError NetworkError OutputError"
    ),
    "inversion.augmentations": "RandomAffine RandomCrop RandomErasing RandomNoise",
    "inversion.canvas": "Canvas Fourier Phase Pixels",
    "inversion.canvases": "decoded_start on_decoder with_canvas",
    "inversion.constraints": "Ball Box",
    "inversion.diversify": "Diversity diversify",
    "inversion.history": "EarlyStopping Result StepInfo",
    "inversion.invert": "Inversion invert prepare",
    "inversion.lbfgs": "LBFGS WarmUp",
    "inversion.maximise": "caricature maximise",
    "inversion.network_canvas": "DecoderPrior DeepPrior",
    "inversion.objectives": "Activate Caricature Energy Match PairwiseDiversity PoseTowards Term",
    "inversion.optimize": "Run optimize",
    "inversion.optimizers": "Adam DecayingAdaGrad Momentum",
    "inversion.presets.by_name": "MAXIMISING PRESETS maximising_recipe recipe",
    "inversion.prior_spec": "PRIORS",
    "inversion.priors": (
        "AlphaNorm HuberVariation SecondOrderVariation TotalVariation alpha_norm total_variation"
    ),
    "inversion.schedule": "Recipe Stage",
    "inversion.units": "centre_mask channel channel_mask neuron space_mask",
    "io.files": "read_code",
    "io.images": "fit read_image write_png",
    "models.decoder": "Decoder",
    "models.decoder_files": "load_decoder",
    "models.encoder": "Encoder",
    "models.network": "Network Preprocessing",
    "models.registry": "list_networks load_network",
}
"""Where the public names live. They are imported when they are first used, for torch takes a second."""
_PLACES = {name: module for module, names in _HOMES.items() for name in names.split()}
__all__ = sorted(_PLACES)  # noqa: PLE0605


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
