"""The house as DESIGN draws it: rooms on floors, arrows that only go down, no circles."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

import netinvert

ROOT = Path(netinvert.__file__).parent
FLOORS = [
    {"io"},
    {"scenes"},
    {"models"},
    {"inversion"},
    {"evaluation"},
    {"training"},
    {"explain", "views"},
    {"experiments"},
    {"studio"},
    {"cli"},
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def imports(path: Path) -> list[tuple[str, bool]]:
    """(module of netinvert without the package's name, whether it is imported when this file is)."""
    tree = ast.parse(path.read_text())
    at_import = set()
    for node in tree.body:
        guarded = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        at_import |= set() if guarded else {id(node)}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "netinvert":
            base = node.module.removeprefix("netinvert").lstrip(".")
            for alias in node.names:
                inner = f"{base}.{alias.name}".strip(".")
                target = inner if (ROOT / f"{inner.replace('.', '/')}.py").exists() else base
                found.append((target, id(node) in at_import))
        elif isinstance(node, ast.Import):
            found += [
                (alias.name.removeprefix("netinvert").lstrip("."), id(node) in at_import)
                for alias in node.names
                if alias.name.split(".")[0] == "netinvert"
            ]
    return found


FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): imports(path)
    for path in sorted(ROOT.rglob("*.py"))
}


def test_nothing_stands_beside_the_rooms():
    assert {path.stem for path in ROOT.glob("*.py")} == {"__init__", "__main__", "errors"}
    assert {path.parent.name for path in ROOT.glob("*/__init__.py")} <= set(FLOOR)


def test_a_room_imports_only_from_rooms_below_it():
    """Also inside functions and for types."""
    upwards = [
        f"{module} imports {target}"
        for module, targets in FILES.items()
        for target, _ in targets
        if module.split(".")[0] in FLOOR
        and target.split(".")[0] != "errors"
        and (
            target.split(".")[0] not in FLOOR
            or FLOOR[target.split(".")[0]] > FLOOR[module.split(".")[0]]
            or (
                FLOOR[target.split(".")[0]] == FLOOR[module.split(".")[0]]
                and target.split(".")[0] != module.split(".")[0]
            )
        )
    ]
    assert upwards == []


def test_no_files_import_one_another_in_a_circle():
    arrows = {module: {target for target, _ in targets} & set(FILES) for module, targets in FILES.items()}
    done: set[str] = set()

    def walk(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, f"a circle: {' → '.join((*path[path.index(module) :], module))}"
        if module not in done:
            for target in sorted(arrows[module]):
                walk(target, (*path, module))
            done.add(module)

    for module in FILES:
        walk(module, ())


def test_files_are_one_concept_long():
    long = {
        str(path.relative_to(ROOT)): count
        for path in ROOT.rglob("*.py")
        if (count := len(path.read_text().splitlines())) > 400
    }
    assert long == {}


PROJECT = Path(__file__).parents[1]
SCRIPTS = [file for folder in ("benchmarks", "tools") for file in sorted((PROJECT / folder).rglob("*.py"))]


@pytest.mark.parametrize("file", SCRIPTS, ids=lambda file: file.name)
def test_what_tools_and_benchmarks_import_is_there(file):
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "netinvert":
            module = importlib.import_module(node.module)
            for name in node.names:
                if not hasattr(module, name.name):
                    importlib.import_module(f"{node.module}.{name.name}")


def test_files_are_written_whole_by_one_function():
    """`write_atomic`, which says what is wrong with the disk; what writes by itself leaves halves."""
    odd = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sorted(ROOT.rglob("*.py"))
        if path != ROOT / "io" / "files.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in ("write_bytes", "write_text")
    ]
    assert odd == []


def test_a_public_name_is_defined_once():
    places: dict[str, list[str]] = {}
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    assert {name: found for name, found in places.items() if len(set(found)) > 1} == {}
