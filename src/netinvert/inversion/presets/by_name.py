"""Recipes for inversion by name: our own, and the set-ups of the papers to their constants."""

from __future__ import annotations

from collections.abc import Callable

from netinvert.errors import ConfigError
from netinvert.inversion.canvases import CANVASES, PIXEL, with_canvas
from netinvert.inversion.presets.default import coarse_to_fine, default, fourier_adam, quick, robust
from netinvert.inversion.presets.mahendran15 import (
    CVPR15_DEPTHS,
    CVPR15_LAMBDA_TV,
    cvpr15,
    cvpr15_paper_lambdas,
)
from netinvert.inversion.presets.mahendran16 import ijcv16, ijcv16_lambdas
from netinvert.inversion.presets.maximising import ijcv16_maximising, maco, maximising_default, simonyan13
from netinvert.inversion.presets.shallow import cvpr15_shallow, shallow
from netinvert.inversion.presets.yosinski15 import DEEPVIS, deepvis_preset
from netinvert.inversion.prior_spec import PRIORS, PriorChoice
from netinvert.inversion.schedule import Recipe
from netinvert.models.encoder import Encoder

Preset = Callable[[Encoder, PriorChoice | None], Recipe]
PRESETS: dict[str, Preset] = {
    "default": default,
    "quick": quick,
    "coarse-to-fine": coarse_to_fine,
    "fourier-adam": fourier_adam,
    "robust": robust,
    "cvpr15": cvpr15,
    "ijcv16": ijcv16,
    "shallow": shallow,
    "cvpr15-shallow": cvpr15_shallow,
}
MAXIMISING: dict[str, Preset] = {
    "default": maximising_default,
    "simonyan13": simonyan13,
    "ijcv16": ijcv16_maximising,
    "maco": maco,
    **{name: deepvis_preset(name) for name in DEEPVIS},
}

__all__ = [
    "CANVASES",
    "CVPR15_DEPTHS",
    "CVPR15_LAMBDA_TV",
    "MAXIMISING",
    "PIXEL",
    "PRESETS",
    "PRIORS",
    "PriorChoice",
    "Recipe",
    "cvpr15",
    "cvpr15_paper_lambdas",
    "default",
    "fourier_adam",
    "ijcv16",
    "ijcv16_lambdas",
    "maximising_recipe",
    "recipe",
    "with_canvas",
]


def recipe(preset: str, encoder: Encoder, prior: str | None = None) -> Recipe:
    """A preset's recipe for this encoder; ``prior`` (``name`` or ``name=weight``) replaces its own."""
    if preset not in PRESETS:
        raise ConfigError(f"there is no preset '{preset}'; choose from {', '.join(PRESETS)}")
    return PRESETS[preset](encoder, None if prior is None else PriorChoice.parse(prior))


def maximising_recipe(preset: str, encoder: Encoder, prior: str | None = None) -> Recipe:
    """The same of the presets for activation maximisation and caricatures."""
    if preset not in MAXIMISING:
        raise ConfigError(f"there is no preset '{preset}'; choose from {', '.join(MAXIMISING)}")
    return MAXIMISING[preset](encoder, None if prior is None else PriorChoice.parse(prior))
