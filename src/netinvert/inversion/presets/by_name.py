"""Recipes for inversion by name: our own, and the set-ups of the papers to their constants."""

from __future__ import annotations

from collections.abc import Callable

from netinvert.inversion.codes import AnyEncoder
from netinvert.inversion.objectives import Terms
from netinvert.inversion.presets.default import coarse_to_fine, default, fourier_adam, quick, robust
from netinvert.inversion.presets.mahendran15 import cvpr15
from netinvert.inversion.presets.mahendran16 import ijcv16
from netinvert.inversion.presets.maximising import ijcv16_maximising, maco, maximising_default, simonyan13
from netinvert.inversion.presets.shallow import cvpr15_shallow, shallow
from netinvert.inversion.presets.yosinski15 import DEEPVIS, deepvis_preset
from netinvert.inversion.schedule import Recipe
from netinvert.io.config import Registry

Preset = Callable[[AnyEncoder, Terms | None], Recipe]
"""Makes the recipe for an encoder; with the user's priors in place of its own, where they are not None."""
PRESETS: Registry[Preset] = Registry("preset", "netinvert.presets")
MAXIMISING: Registry[Preset] = Registry("preset", "netinvert.maximising_presets")


def register_preset(
    name: str, preset: Preset | None = None, maximising: bool = False
) -> Callable[[Preset], Preset]:
    """Give a recipe a name for ``preset=`` and ``--preset``, of ``invert`` or of ``maximise``.

    A decorator, or a call with the function. Raises ConfigError if the name is taken.

    >>> @register_preset("doctest-short")
    ... def short(encoder, prior=None):
    ...     return recipe("quick", encoder, prior).with_steps(20)
    >>> list(PRESETS)[-1]
    'doctest-short'
    >>> PRESETS.remove("doctest-short")
    """
    return (MAXIMISING if maximising else PRESETS).register(name, preset)


register_preset("default", default)
register_preset("quick", quick)
register_preset("coarse-to-fine", coarse_to_fine)
register_preset("fourier-adam", fourier_adam)
register_preset("robust", robust)
register_preset("cvpr15", cvpr15)
register_preset("ijcv16", ijcv16)
register_preset("shallow", shallow)
register_preset("cvpr15-shallow", cvpr15_shallow)
register_preset("default", maximising_default, maximising=True)
register_preset("simonyan13", simonyan13, maximising=True)
register_preset("ijcv16", ijcv16_maximising, maximising=True)
register_preset("maco", maco, maximising=True)
for _name in DEEPVIS:
    register_preset(_name, deepvis_preset(_name), maximising=True)


def recipe(preset: str, encoder: AnyEncoder, prior: Terms | None = None) -> Recipe:
    """A preset's recipe for this encoder; ``prior`` replaces its own (``name``, ``name=weight``, a function).

    Raises ConfigError.
    """
    return PRESETS.find(preset)(encoder, prior)


def maximising_recipe(preset: str, encoder: AnyEncoder, prior: Terms | None = None) -> Recipe:
    """The same of the presets for activation maximisation and caricatures."""
    return MAXIMISING.find(preset)(encoder, prior)
