"""The ranges of versions that pyproject.toml allows, and what SECURITY.md promises."""

from __future__ import annotations

import importlib.util
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
BAD = [
    ("torch", "2.5.1", "CVE-2025-32434"),
    ("torch", "2.9.1", "CVE-2026-24747"),
    ("pillow", "10.0.0", "CVE-2023-4863"),
    ("pillow", "12.1.0", "CVE-2026-25990"),
    ("pillow", "12.2.0", "PYSEC-2026-2253"),
    ("filelock", "3.20.0", "CVE-2025-68146"),
    ("filelock", "3.20.2", "CVE-2026-22701"),
    ("jinja2", "3.1.5", "CVE-2025-27516"),
    ("transformers", "5.2.0", "CVE-2026-4372"),
    ("transformers", "5.4.0", "CVE-2026-5241"),
    ("diffusers", "0.37.1", "CVE-2026-44513"),
    ("onnx", "1.15.0", "CVE-2024-27318"),
    ("onnx", "1.20.1", "CVE-2026-27489"),
    ("protobuf", "6.33.4", "CVE-2026-0994"),
    ("ray", "2.51.0", "CVE-2025-62593"),
    ("ray", "2.53.0", "CVE-2026-32981"),
    ("scikit-learn", "1.4.2", "CVE-2024-5206"),
    ("nicegui", "3.4.1", "CVE-2026-21874"),
    ("nicegui", "3.9.0", "CVE-2026-39844"),
]
"""Releases with known holes: the newest, or nearly so, of those that have one."""
NEVER = {
    "lightning": "2.6.2 and 2.6.3 stole credentials",
    "pytorch-lightning": "as lightning",
    "diskcache": "pickles",
}


@pytest.fixture(scope="module")
def oldest():
    spec = importlib.util.spec_from_file_location("oldest", ROOT / "tools" / "oldest.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def wanted(oldest):
    return oldest.requirements(oldest.project())


def test_floors_are_the_highest_of_the_lowest(oldest):
    project = {"name": "a", "dependencies": ["b>=1.2,<3", "c==2"]}
    extras = {"x": ["b>=1.10", "a[y]"], "y": ["d>=0.3,!=0.4"], "dev": ["e", "b>=2"]}
    wanted = oldest.requirements({**project, "optional-dependencies": extras})
    assert oldest.floors(wanted) == {"b": "1.10", "c": "2", "d": "0.3"}
    with pytest.raises(ValueError, match="give it a lowest version"):
        oldest.floors([Requirement("f<2")])


@pytest.mark.parametrize(("name", "release", "why"), BAD, ids=[f"{name}-{why}" for name, _, why in BAD])
def test_releases_with_known_holes_are_out_of_range(wanted, name, release, why):
    ranges = [one.specifier for one in wanted if one.name == name]
    assert ranges
    assert not any(one.contains(release) for one in ranges), why
    assert why in (ROOT / "SECURITY.md").read_text()


def test_the_oldest_is_in_the_range_and_so_is_what_is_installed(oldest, wanted):
    floors = oldest.floors(wanted)
    for one in wanted:
        assert one.specifier.contains(floors[one.name])
        try:
            assert one.specifier.contains(version(one.name), prereleases=True), one
        except PackageNotFoundError:
            continue


@pytest.mark.parametrize("name", NEVER)
def test_packages_that_are_not_wanted_are_not_required(wanted, name):
    assert name not in {one.name for one in wanted}


def test_the_tests_that_hold_the_promises_are_there():
    named = set(re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", (ROOT / "SECURITY.md").read_text()))
    assert len(named) > 10
    for file, test in named:
        assert (ROOT / file).is_file(), file
        assert not test or f"def {test}(" in (ROOT / file).read_text(), test
