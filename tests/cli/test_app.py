"""The command line that is made from the table of commands, and rerun."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import pytest
from PIL import Image

from netinvert.cli import app
from netinvert.errors import ConfigError
from netinvert.experiments import commands
from netinvert.experiments.commands import COMMANDS, GROUPS, SECTIONS, Command
from netinvert.io import pieces
from netinvert.io.config import Option, fields_of, imported
from netinvert.io.files import read_json, sha256_of, write_json
from netinvert.io.manifest import MANIFEST, Outcome, files_of, manifest
from netinvert.io.pieces import Compute, Output, Seed

NOT_YET: set[str] = set()
"""Commands whose run functions are still to be moved to where the table says."""


@dataclass(frozen=True, kw_only=True)
class Paint(Seed, Output, Compute):
    """Paint an image in one colour.

    The colour is read
    from a file.
    """

    command: ClassVar[str] = "scenes paint"

    input: Annotated[str, Option("A file with a number.", positional=True, kept="kept.txt")]
    network: Annotated[str, pieces.NETWORK] = "none"
    brushes: Annotated[tuple[str, ...], Option("Brushes.")] = ()
    trouble: Annotated[str | None, Option("What goes wrong.")] = None


def paint(config: Paint, tell: commands.Tell) -> Outcome:
    """A run function as commands have them."""
    if config.trouble == "input":
        raise ConfigError("--trouble is refused")
    if config.trouble == "stop":
        raise KeyboardInterrupt
    if config.trouble == "bug":
        raise ZeroDivisionError("a bug")
    if config.trouble == "import":
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            raise ImportError("cannot load module more than once per process") from None
    if config.trouble == "wait":
        sys.stdout.write("waiting\n")
        sys.stdout.flush()
        time.sleep(60)
    tell("painting")
    config.out.mkdir(exist_ok=config.overwrite)
    value = int(Path(config.input).read_text())
    (config.out / "kept.txt").write_text(str(value))
    Image.new("L", (4, 4), value + config.seed).save(config.out / "image.png")
    (config.out / "report.html").write_text(str(config.out))
    inputs = [{"option": "input", "name": config.input, "sha256": sha256_of(config.input)}]
    facts = manifest(config, {"inputs": inputs, "threads": 1}) | files_of(config.out)
    write_json(config.out / MANIFEST, facts)
    return Outcome(facts, f"painted {value}", config.out)


@pytest.fixture
def painting(monkeypatch, tmp_path):
    """The command is in the table; its input is a file."""
    row = Command(
        f"{__name__}:Paint", f"{__name__}:paint", "Data", "netinvert scenes paint colour.txt --out out"
    )
    monkeypatch.setitem(COMMANDS, Paint.command, row)
    monkeypatch.chdir(tmp_path)
    Path("colour.txt").write_text("7")


def call(line: str) -> int:
    return app.main(shlex.split(line))


def help_of(line: str, capsys) -> str:
    assert call(f"{line} --help") == 0
    return " ".join(re.sub(r"[│╭╮╰╯─]", " ", capsys.readouterr().out).split())


# -- every command -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_what_its_row_says(name):
    row = COMMANDS[name]
    cls = row.load()
    assert cls.command == name
    assert cls.__doc__
    assert row.section in SECTIONS
    assert " " not in name or name.split()[0] in GROUPS
    assert row.example.startswith(f"netinvert {name}")
    config = app.parse(shlex.split(row.example)[1:])
    assert type(config) is cls
    assert app.parse(shlex.split(config.command_line())[1:]) == config


@pytest.mark.parametrize("name", COMMANDS)
def test_run_functions_are_there(name):
    if name in NOT_YET:
        with pytest.raises((ImportError, AttributeError)):
            imported(COMMANDS[name].run)
    else:
        assert callable(imported(COMMANDS[name].run))


@pytest.mark.parametrize("name", COMMANDS)
def test_options_can_be_expressed(name):
    """Every value has words, every option its own, and what is looked up is there."""
    fields = fields_of(COMMANDS[name].load())
    flags = [flag for field in fields for flag in field.flags]
    assert len(set(flags)) == len(flags)
    for field in fields:
        assert field.option.help.endswith((".", "…"))
        assert field.kind is not bool or field.default is False
        assert not field.optional or field.default is None
        assert field.length != 0 or field.required or field.default == ()
        if isinstance(field.option.choices, str):
            found = imported(field.option.choices)
            assert list(found() if callable(found) else found)
        assert not field.option.check or callable(imported(field.option.check))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_has_an_example_and_all_options(name, capsys):
    text = help_of(name, capsys)
    assert f"Example: {COMMANDS[name].example}" in text
    for field in fields_of(COMMANDS[name].load()):
        assert re.search(rf"(?<![\w-]){field.flag}(?![\w-])", text), field.flag
        assert field.option.help.split()[0] in text


def test_the_overview_names_all_commands_in_their_sections(capsys):
    text = help_of("", capsys)
    places = [text.index(f" {section} ") for section in SECTIONS if f" {section} " in text]
    assert places == sorted(places)
    assert len(places) >= 3
    assert all(f" {name.split()[0]} " in text for name in COMMANDS)
    assert "Measure which attributes" in help_of("study", capsys)


@pytest.mark.slow
def test_what_needs_no_torch_imports_none():
    """The help, the version and errors of options come at once."""
    code = (
        "import sys; from netinvert.cli.app import main; code = main(sys.argv[1:]); "
        "heavy = {'torch', 'numpy', 'matplotlib', 'PIL'} & set(sys.modules); assert not heavy, heavy; "
        "sys.exit(code)"
    )
    for line, status in {
        "--help": 0,
        "--version": 0,
        "": 0,
        "study attributes --help": 0,
        "invert --bogus 3": 2,
        "invert a -n b -l c -o d --steps 0": 2,
        "invert a -n b -l c -o d --steps x": 2,
    }.items():
        done = subprocess.run([sys.executable, "-c", code, *line.split()], capture_output=True, check=False)
        assert done.returncode == status, done.stderr


# -- words ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("inver", 'Unknown command "inver". Did you mean "invert"?'),
        ("study attribute", 'Did you mean "attributes"?'),
        ("invert a -n b -l c -o d --layr 3", "Did you mean --layer"),
        ("invert a -n b -l c", "--out is missing, as in: netinvert invert "),
        ("invert -n b -l c -o d", "INPUT is missing, as in: "),
        ("invert a b -n b -l c -o d", "nothing takes 'b'"),
        ("invert a -n b -l c -o d --steps 1.5", "--steps is a whole number, got '1.5'"),
        ("invert a -n b -l c -o d --steps 0", "--steps is at least 1, got 0"),
        ("invert a -n b -l c -o d --data-weight nan", "--data-weight is a number, got nan"),
        (
            "invert a -n b -l c -o d --preset defualt",
            "--preset: there is no 'defualt'; did you mean default?",
        ),
        ("invert a -n b -l c -o d --prior tv", "there is no prior 'tv'"),
        ("invert a -n b -l c -o d --canvas decoder", "Give --decoder NAME too"),
        ("invert a -n b -l c -o d --diverse 0.1", "give --restarts 2 or more"),
        ("sweep a -n b -l c -o d --prior-weights 0.1 -3", "--prior-weights is above 0, got -3.0"),
        ("study attributes -n b -o d --chairs 5", "--chairs is at least 10, got 5"),
        ("study attributes -n b -o d --attributes hu", "did you mean hue?"),
    ],
)
def test_errors_are_one_line_in_terms_of_options(line, words, capsys):
    assert call(line) == 2
    said = capsys.readouterr()
    assert not said.out
    assert said.err.count("\n") == 1
    assert said.err.startswith("netinvert: ")
    assert words in said.err


def test_several_values_in_all_spellings():
    start = "sweep photos/ -n net -o out --layer a "
    assert app.parse(shlex.split(start + "--layers b c -l d")).layers == ("a", "b", "c", "d")
    for words in ("0.03 0.3", "0.03,0.3", "0.03 --prior-weights 0.3", "=0.03 --prior-weights=.3"):
        line = start + "--prior-weights" + (words if words[0] == "=" else f" {words}")
        assert app.parse(shlex.split(line)).prior_weights == (0.03, 0.3)
    config = app.parse(shlex.split("sweep --layers a b --out=out -nnet --size 32,64 --mean 0.5 -- -odd.png"))
    assert (config.input, config.layers, config.size, config.mean) == (
        "-odd.png",
        ("a", "b"),
        (32, 64),
        (0.5,),
    )


# -- performing ----------------------------------------------------------------------------------------------


def test_what_a_command_says(painting, capsys):
    assert call("scenes paint colour.txt --out out") == 0
    said = capsys.readouterr()
    assert said.out == f"painted 7\nopen {Path('out/report.html').resolve()}\n"
    assert said.err == "netinvert: painting\n"
    assert call("scenes paint colour.txt --out out --overwrite --json") == 0
    assert json.loads(capsys.readouterr().out) == {"folder": "out"} | read_json("out/manifest.json")


def test_what_becomes_of_errors(painting, capsys):
    start = "scenes paint colour.txt --out out --trouble "
    assert call(start + "input") == 2
    assert capsys.readouterr().err == "netinvert: --trouble is refused\n"
    assert call(start + "stop") == 130
    assert capsys.readouterr().err == "netinvert: stopped; the same command resumes\n"
    assert call(start + "import") == 130  # packages make errors of their own of it
    assert capsys.readouterr().err == "netinvert: stopped; the same command resumes\n"
    with pytest.raises(ZeroDivisionError):
        call(start + "bug")


def test_sigterm_stops_as_ctrl_c_does(tmp_path):
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_app; "
        "from netinvert.experiments.commands import COMMANDS, Command; "
        "COMMANDS['scenes paint'] = Command('test_app:Paint', 'test_app:paint', 'Data', ''); "
        "sys.exit(test_app.call('scenes paint x --out y --trouble wait'))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=-1, stderr=-1, cwd=tmp_path, env=os.environ
    ) as process:
        assert process.stdout.readline() == b"waiting\n"
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=180)
    assert process.returncode == 130
    assert said == b"netinvert: stopped; the same command resumes\n"


# -- rerun ---------------------------------------------------------------------------------------------------


def test_a_run_is_repeated_and_compared(painting, capsys):
    assert call("scenes paint colour.txt --out 'first run' --seed 3 --brushes a b") == 0
    assert call("rerun 'first run' -o again") == 0
    assert "bit-identical to the first run (2 files)" in capsys.readouterr().out
    second = read_json("again/manifest.json")
    assert second["rerun"]["identical"] is True
    assert second["command"]["threads"] == 1
    assert second["command"]["brushes"] == ["a", "b"]
    assert call("rerun again/manifest.json -o third --json") == 0
    assert json.loads(capsys.readouterr().out)["rerun"]["sentence"].startswith("bit-identical")


def test_no_run_is_compared_with_itself(painting, capsys):
    call("scenes paint colour.txt --out first")
    capsys.readouterr()
    for out in ("first", "./first", "first --overwrite"):
        assert call(f"rerun first --out {out}") == 2
        assert "compared with itself" in capsys.readouterr().err
    assert "rerun" not in read_json("first/manifest.json")


def test_a_difference_is_named(painting, capsys):
    call("scenes paint colour.txt --out first")
    facts = read_json("first/manifest.json")
    facts["contents"]["image.png"] = "0" * 64
    write_json("first/manifest.json", facts)
    assert call("rerun first -o again") == 0
    assert "not bit-identical to the first run: image.png" in capsys.readouterr().out


def test_inputs_that_are_gone_are_those_that_the_run_kept(painting, capsys):
    call("scenes paint colour.txt --out first")
    Path("colour.txt").write_text("8")
    assert call("rerun first -o again") == 0
    said = capsys.readouterr()
    assert "colour.txt is gone or has changed; going by kept.txt" in said.err
    assert "bit-identical" in said.out
    Path("first/kept.txt").unlink()
    assert call("rerun first -o third") == 2
    assert "colour.txt is gone or has changed since the first run; bring it back" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda facts: facts["command"].update(command="os:system"), "there is no command 'os:system'"),
        (lambda facts: facts["command"].update(command=["x"]), "there is no command"),
        (lambda facts: facts["command"].update(command="rerun"), "says no command"),
        (lambda facts: facts.update(command="netinvert scenes paint"), "says no command"),
        (lambda facts: facts["command"].update(glow=1), "an option 'glow'"),
        (lambda facts: facts["command"].update(seed="1"), "--seed is a whole number"),
        (lambda facts: facts["command"].update(network="module:evil.py:run"), "add --trust if you know it"),
        (lambda facts: facts.update(files={}), "lists no files"),
        (lambda facts: facts.update(inputs=3), "list of inputs is damaged"),
        (lambda facts: facts.update(inputs=[{"option": "out", "name": "x"}]), "x is gone"),
    ],
)
def test_manifests_that_cannot_be_repeated(change, words, painting, capsys):
    call("scenes paint colour.txt --out first")
    facts = read_json("first/manifest.json")
    change(facts)
    write_json("first/manifest.json", facts)
    assert call("rerun first -o again") == 2
    assert words in capsys.readouterr().err
    assert not Path("again").exists()


def test_code_is_run_when_it_is_trusted(painting):
    call("scenes paint colour.txt --out first --network module:mine.py:net")
    assert call("rerun first -o again --trust") == 0


@pytest.mark.parametrize("as_json", [True, False])
def test_names_that_no_terminal_shows_are_escaped(as_json, monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii", write_through=True))
    app.show_outcome(Outcome({"name": "\udcff é"}, "\udcff é"), as_json)
    said = written.getvalue().decode()
    assert json.loads(said) == {"name": "\udcff é"} if as_json else said == "\\udcff \\xe9\n"
