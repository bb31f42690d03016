"""Turn a neural network's code back into an image.

An :class:`Encoder` turns an image into a code; :func:`invert` turns a code back into an image; everything
else feeds or judges that round trip. Images are float tensors (N, C, H, W) in [0, 1] everywhere.
"""

from __future__ import annotations

from importlib import import_module
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
    from netinvert.evaluation.evaluate import evaluate_result as evaluate_result
    from netinvert.evaluation.metrics import spread as spread
    from netinvert.evaluation.save_results import save_result
    from netinvert.inversion.canvas import Canvas as Canvas, Fourier as Fourier, Pixels as Pixels
    from netinvert.inversion.canvases import CANVASES as CANVASES, register_canvas as register_canvas
    from netinvert.inversion.correct import correct as correct
    from netinvert.inversion.invert import (
        caricature as caricature,
        diversify as diversify,
        invert as invert,
        maximise as maximise,
        prepare as prepare,
    )
    from netinvert.inversion.lbfgs import LBFGS as LBFGS
    from netinvert.inversion.objectives import Activate as Activate, Energy as Energy, Match as Match
    from netinvert.inversion.optimize import Run as Run, optimize as optimize
    from netinvert.inversion.presets.by_name import (
        MAXIMISING as MAXIMISING,
        PRESETS as PRESETS,
        maximising_recipe as maximising_recipe,
        recipe as recipe,
        register_preset as register_preset,
    )
    from netinvert.inversion.priors import (
        PRIORS as PRIORS,
        TotalVariation as TotalVariation,
        register_prior as register_prior,
    )
    from netinvert.inversion.result import (
        EarlyStopping as EarlyStopping,
        Result as Result,
        StepInfo as StepInfo,
        show as show,
        watch as watch,
    )
    from netinvert.inversion.schedule import Adam as Adam, Recipe as Recipe, Stage as Stage
    from netinvert.inversion.units import channel as channel, neuron as neuron
    from netinvert.io.assets import sample as sample
    from netinvert.io.codes import read_code as read_code
    from netinvert.io.images import fit as fit, read_image as read_image, write_png as write_png
    from netinvert.models.decoder import Decoder as Decoder
    from netinvert.models.decoder import load_decoder as load_decoder
    from netinvert.models.encoder import Encoder as Encoder
    from netinvert.models.generator import load_generator as load_generator
    from netinvert.models.layers import list_layers
    from netinvert.models.network import Network as Network, Preprocessing as Preprocessing
    from netinvert.models.registry import (
        list_networks as list_networks,
        load_network as load_network,
        register_network as register_network,
    )

    layers, save = list_layers, save_result

__version__ = "0.1.0"

_MODULES = {
    "errors": (
        "CodeError ConfigError ImageError LayerError MissingExtraError NetinvertError NetworkError "
        "OutputError"
    ),
    "evaluation.evaluate": "evaluate_result",
    "evaluation.metrics": "spread",
    "evaluation.save_results": "save=save_result",
    "inversion.canvas": "Canvas Fourier Pixels",
    "inversion.canvases": "CANVASES register_canvas",
    "inversion.correct": "correct",
    "inversion.invert": "caricature diversify invert maximise prepare",
    "inversion.lbfgs": "LBFGS",
    "inversion.objectives": "Activate Energy Match",
    "inversion.optimize": "Run optimize",
    "inversion.presets.by_name": "MAXIMISING PRESETS maximising_recipe recipe register_preset",
    "inversion.priors": "PRIORS TotalVariation register_prior",
    "inversion.result": "EarlyStopping Result StepInfo show watch",
    "inversion.schedule": "Adam Recipe Stage",
    "inversion.units": "channel neuron",
    "io.assets": "sample",
    "io.codes": "read_code",
    "io.images": "fit read_image write_png",
    "models.decoder": "Decoder load_decoder",
    "models.encoder": "Encoder",
    "models.generator": "load_generator",
    "models.layers": "layers=list_layers",
    "models.network": "Network Preprocessing",
    "models.registry": "list_networks load_network register_network",
}
# Public name: (module, its name there). Each is imported on its first use, so that the import is quick.
_NAMES = {
    entry.partition("=")[0]: (module, entry.rpartition("=")[2])
    for module, names in _MODULES.items()
    for entry in names.split()
}

__all__ = sorted(_NAMES)  # noqa: PLE0605


def __getattr__(name: str) -> object:
    if name not in _NAMES:
        raise AttributeError(f"module 'netinvert' has no attribute '{name}'")
    module, there = _NAMES[name]
    found: object = getattr(import_module(f"netinvert.{module}"), there)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
