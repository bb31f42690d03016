"""The oldest dependencies that pyproject.toml allows, as constraints for pip.

    python tools/oldest.py > constraints.txt
    python tools/oldest.py torch==2.14.1 torchvision==0.29.1    # these instead of the oldest

Of the package and all its extras but `dev`, whose tools test it and are no part of it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.version import Version

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"


def project() -> dict[str, Any]:
    """The table `project` of pyproject.toml."""
    found: dict[str, Any] = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    return found


def requirements(of: Mapping[str, Any]) -> list[Requirement]:
    """What a project needs, and its extras but `dev`; an extra that includes another is left out."""
    extras = (texts for name, texts in of["optional-dependencies"].items() if name != "dev")
    found = map(Requirement, chain(of["dependencies"], *extras))
    return [one for one in found if one.name != of["name"]]


def floors(wanted: Iterable[Requirement]) -> dict[str, str]:
    """The oldest version of each that all allow. Raises ValueError: one has no lowest version."""
    oldest: dict[str, Version] = {}
    for one in wanted:
        lowest = [Version(each.version) for each in one.specifier if each.operator in (">=", "==")]
        if not lowest:
            raise ValueError(f"{one}: give it a lowest version in {PYPROJECT.name}")
        oldest[one.name] = max([*lowest, *([oldest[one.name]] if one.name in oldest else [])])
    return {name: str(version) for name, version in oldest.items()}


if __name__ == "__main__":
    instead = dict(text.split("==") for text in sys.argv[1:])
    for name, version in sorted({**floors(requirements(project())), **instead}.items()):
        print(f"{name}=={version}")
