"""Configs: facts, checks, command lines, and manifests of them."""

from __future__ import annotations

import ast
import json
import math
import shlex
import subprocess
import sys
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, ClassVar

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save_file

import netinvert
from netinvert.cli.app import reader
from netinvert.errors import ConfigError
from netinvert.io import pieces
from netinvert.io.config import Config, Option, fields_of
from netinvert.io.manifest import compare, files_of, manifest
from netinvert.io.pieces import Compute, OfLayer, OfLayers, Output, Seed, Unit

COLOURS = ("red", "blue")


def no_odd(value: int) -> None:
    if value % 2:
        raise ConfigError(f"--even is even, got {value}")


@dataclass(frozen=True, kw_only=True)
class Toy(OfLayers, Seed, Output, Compute):
    """A toy."""

    command: ClassVar[str] = "toy box"

    input: Annotated[str, pieces.INPUT]
    names: Annotated[tuple[str, ...], Option("Names.")] = ()
    numbers: Annotated[tuple[float, ...], Option("Numbers.")] = ()
    units: Annotated[tuple[int, ...], Option("Units.", short="c", name="unit", also=("units",))] = ()
    pair: Annotated[tuple[float, float], Option("Two.")] = (-5.0, 50.0)
    rate: Annotated[float, Option("A rate.", above=0, max=10)] = 0.1
    steps: Annotated[int | None, Option("Steps.", min=1)] = None
    text: Annotated[str | None, Option("A text.")] = None
    start: Annotated[Path | None, Option("A file.")] = None
    colour: Annotated[str, Option("A colour.", choices=COLOURS)] = "red"
    shade: Annotated[str, Option("A shade.", choices=f"{__name__}:COLOURS")] = "red"
    even: Annotated[int, Option("An even number.", check=f"{__name__}:no_odd")] = 2
    fast: Annotated[bool, Option("A switch.")] = False


TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
PATHS = TEXTS.map(Path)
read_toy = reader(Toy)
TOYS = st.builds(
    Toy,
    input=TEXTS,
    network=TEXTS,
    layers=st.lists(TEXTS, min_size=1, max_size=3, unique=True).map(tuple),
    out=PATHS,
    weights=st.none() | TEXTS,
    size=st.lists(st.integers(1, 999), max_size=2).map(tuple),
    order=st.sampled_from([None, "RGB", "BGR"]),
    scale=st.none() | st.floats(1e-9, 1e9),
    seed=st.integers(0, 2**63 - 1),
    names=st.lists(TEXTS, max_size=3).map(tuple),
    numbers=st.lists(NUMBERS, max_size=3).map(tuple),
    units=st.lists(st.integers(-9, 9), max_size=3).map(tuple),
    pair=st.tuples(NUMBERS, NUMBERS),
    rate=st.floats(0, 10, exclude_min=True),
    steps=st.none() | st.integers(1, 10**9),
    text=st.none() | TEXTS,
    start=st.none() | PATHS,
    colour=st.sampled_from(COLOURS),
    even=st.integers(-(10**8), 10**8).map(lambda value: 2 * value),
    **dict.fromkeys(("fast", "overwrite", "json"), st.booleans()),
)


def toy(**changes: object) -> Toy:
    given = {"input": "photo.jpg", "network": "net", "layers": ("a",), "out": "out", **changes}
    return Toy(**given)


@pytest.mark.slow
@given(TOYS)
def test_facts_as_json_give_the_config_back(config):
    assert Toy.from_facts(json.loads(json.dumps(config.to_facts()))) == config


@pytest.mark.slow
@given(TOYS)
def test_a_command_line_gives_the_config_back(config):
    program, first, second, *words = shlex.split(config.command_line())
    assert (program, first, second) == ("netinvert", "toy", "box")
    assert read_toy(words) == config


def test_values_get_their_exact_types():
    config = toy(out="x", start="y.png", layers=["a", "b"], numbers=[1, 2.5], rate=1)
    assert config.out == Path("x")
    assert config.start == Path("y.png")
    assert config.layers == ("a", "b")
    assert config.numbers == (1.0, 2.5)
    assert type(config.rate) is float
    assert type(config.numbers[0]) is float
    assert config == toy(out=Path("x"), start=Path("y.png"), layers=("a", "b"), numbers=(1.0, 2.5), rate=1.0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"steps": 0}, "--steps is at least 1, got 0"),
        ({"steps": 1.5}, "--steps is a whole number, got 1.5"),
        ({"steps": True}, "--steps is a whole number, got True"),
        ({"rate": 0}, "--rate is above 0, got 0"),
        ({"rate": 11}, "--rate is at most 10, got 11"),
        ({"rate": math.nan}, "--rate is a number, got nan"),
        ({"rate": 10**400}, "--rate is a number, got inf"),
        ({"numbers": (1.0, math.inf)}, "--numbers is a number, got inf"),
        ({"numbers": 3}, "--numbers takes several values, got 3"),
        ({"names": "ab"}, "--names takes several values, got 'ab'"),
        ({"units": (1, "2")}, "--unit is a whole number, got '2'"),
        ({"pair": (1.0,)}, "--pair takes 2 values, got 1"),
        ({"text": 3}, "--text is a text, got 3"),
        ({"fast": 1}, "--fast is true or false, got 1"),
        ({"network": None}, "--network is a text, got None"),
        ({"input": 3}, "INPUT is a text, got 3"),
        ({"colour": "rod"}, "--colour: there is no 'rod'; did you mean red? There are red, blue"),
        ({"shade": "x"}, "--shade: there is no 'x'; choose from red, blue"),
        ({"even": 3}, "--even is even, got 3"),
        ({"layers": ()}, "--layers takes at least one value"),
        ({"layers": ("a", "a")}, "--layers names one twice"),
        ({"seed": -1}, "--seed is at least 0"),
        ({"workers": 0}, "--workers is at least 1"),
        ({"size": (1, 2, 3)}, "--size is one number or two"),
        ({"mean": (0.5,), "std": (1.0, 1.0)}, "--mean and --std"),
        ({"order": "rgb"}, "--order: there is no 'rgb'"),
    ],
)
def test_bad_values_are_refused_in_terms_of_options(changes, words):
    with pytest.raises(ConfigError) as refused:
        toy(**changes)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda facts: facts | {"glow": 3}, "has an option 'glow'.*use the version"),
        (lambda facts: facts | {"command": "invert"}, "not the manifest of a 'netinvert toy box' run"),
        (
            lambda facts: {key: facts[key] for key in facts if key not in ("network", "input")},
            "lacks INPUT, --net",
        ),
        (lambda facts: facts | {"steps": "3"}, "--steps is a whole number, got '3'"),
        (lambda facts: facts | {"out": None}, "--out is a path"),
        (lambda facts: facts | {"__class__": "x"}, "has an option '__class__'"),
        (lambda facts: [1], "not the manifest"),
        (lambda facts: None, "not the manifest"),
    ],
)
def test_facts_of_something_else_are_refused(change, words):
    with pytest.raises(ConfigError, match=words):
        Toy.from_facts(change(toy().to_facts()))


def test_the_identity_is_what_results_depend_on():
    config = toy()
    same = replace(config, out="elsewhere", overwrite=True, json=True, threads=3, workers=4, ray="local")
    assert same.identity() == config.identity()
    assert replace(config, seed=1).identity() != config.identity()
    assert replace(config, device="cuda").identity() != config.identity()


def test_a_command_line_is_what_one_would_type():
    config = toy(numbers=(0.1, 3), input="a b.png", overwrite=True, pair=(1, 2))
    assert config.command_line() == (
        "netinvert toy box 'a b.png' --network net --layers a --numbers 0.1 3.0 --pair 1.0 2.0 "
        "--out out --overwrite"
    )
    assert "--out" not in config.command_line(without=("out", "overwrite"))


def test_one_unit_is_asked_for():
    @dataclass(frozen=True, kw_only=True)
    class Look(OfLayer, Unit):
        """Look."""

    about = {"network": "n", "layer": "l"}
    Look(**about, channel=(3, 7), at="centre")
    Look(**about, objective=("class:flamingo",))
    with pytest.raises(ConfigError, match="one of --channel, --class"):
        Look(**about)
    with pytest.raises(ConfigError, match="one of --channel, --class"):
        Look(**about, channel=(3,), classes=("tabby",))
    with pytest.raises(ConfigError, match="--at says where"):
        Look(**about, classes=("tabby",), at="centre")


def test_pieces_agree_on_short_flags():
    """One letter for one thing."""
    letters: dict[str, str] = {}
    for piece in (OfLayer, OfLayers, Seed, Output, Compute, Unit):
        for field in fields_of(piece):
            if letter := field.option.short:
                assert letters.setdefault(letter, field.name.rstrip("s")) == field.name.rstrip("s")


# -- manifests -----------------------------------------------------------------------------------------------


def write_run(folder: Path, pixel: int = 0, number: float = 1.0, note: str = "") -> None:
    folder.mkdir()
    Image.new("L", (3, 2), pixel).save(folder / "image.png", compress_level=1 + bool(note))
    save_file({"code": torch.full((2, 2), number)}, folder / "tensors.safetensors", {"note": note})
    (folder / "table.csv").write_text("a,b\n1,2\n")
    (folder / "report.html").write_text(f"<p>{folder}</p>")
    (folder / ".lock").write_text(str(folder))


def test_a_manifest_tells_same_from_different_content(tmp_path):
    for name, how in {"a": {}, "b": {"note": "other bytes"}, "c": {"pixel": 1}, "d": {"number": 2.0}}.items():
        write_run(tmp_path / name, **how)
    a, b, c, d = (manifest(toy(), {}) | files_of(tmp_path / name) for name in "abcd")
    assert set(a["files"]) == {"image.png", "tensors.safetensors", "table.csv", "report.html"}
    assert a["files"]["image.png"] != b["files"]["image.png"]
    assert compare(a, b).identical
    assert compare(a, b).sentence == "bit-identical to the first run (3 files)"
    assert compare(a, c).different == ("image.png",)
    assert compare(a, d).different == ("tensors.safetensors",)
    assert json.loads(json.dumps(a)) == a
    assert Toy.from_facts(a["command"]) == toy()


def test_missing_files_and_other_versions_are_named(tmp_path):
    write_run(tmp_path / "a")
    first = manifest(toy(), {"threads": 2}) | files_of(tmp_path / "a")
    assert first["threads"] == 2
    second = {**first, "files": {**first["files"]}, "versions": {**first["versions"], "torch": "0.1"}}
    del second["files"]["table.csv"]
    found = compare(first, second)
    assert not found.identical
    assert found.different == ("table.csv",)
    assert f"torch {torch.__version__} → 0.1" in found.sentence
    assert not compare({}, {}).identical


# -- the package ---------------------------------------------------------------------------------------------


def test_public_names_are_there_and_lazy():
    for name in netinvert.__all__:
        assert getattr(netinvert, name) is not None
    assert set(netinvert.__all__) <= set(dir(netinvert))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = netinvert.nothing
    code = (
        "import sys, netinvert, netinvert.experiments.configs.images; "
        "heavy = {'torch', 'numpy', 'matplotlib', 'cyclopts'} & set(sys.modules); assert not heavy, heavy; "
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_type_checkers_see_the_same_names():
    tree = ast.parse(Path(netinvert.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    seen = {(node.module, name.name) for node in imports for name in node.names}
    assert seen == {(f"netinvert.{module}", name) for module, name in netinvert._NAMES.values()}


def test_every_field_of_a_piece_says_what_it_is():
    for piece in (OfLayer, OfLayers, Seed, Output, Compute, Unit):
        assert {field.name for field in fields_of(piece)} == {field.name for field in fields(piece)}
        assert all(field.option.help.endswith(".") for field in fields_of(piece))
    assert issubclass(Toy, Config)
