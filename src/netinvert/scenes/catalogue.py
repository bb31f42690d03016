"""Objects by category and seed."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping

from netinvert.errors import ConfigError
from netinvert.scenes.cars import car
from netinvert.scenes.chairs import chair
from netinvert.scenes.mugs import mug
from netinvert.scenes.objects import Object3D
from netinvert.scenes.tables import table

CATEGORIES: Mapping[str, Callable[[int], Object3D]] = {
    "chairs": chair,
    "cars": car,
    "mugs": mug,
    "tables": table,
}
IDENTITIES_A_SEED = 1_000_000


def make_object(category: str, seed: int) -> Object3D:
    """The object of a category and a seed, the same every time.

    Raises:
        ConfigError: no such category.
    """
    if category not in CATEGORIES:
        near = difflib.get_close_matches(category, CATEGORIES, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(CATEGORIES)}"
        raise ConfigError(f"no category {category!r}: {hint}")
    return CATEGORIES[category](seed)


def identity_seed(seed: int, index: int) -> int:
    """The object seed of identity ``index`` of a dataset of ``seed``; no two datasets share one."""
    if not 0 <= index < IDENTITIES_A_SEED:
        raise ConfigError(f"identity {index}: a dataset has identities 0 to {IDENTITIES_A_SEED - 1}")
    return seed * IDENTITIES_A_SEED + index
