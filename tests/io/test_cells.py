"""Cells: kept once they are done, made again when damaged, the same bytes however they are made."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from work_for_cells import Counting, Draw, Fails, Shards, whole_run

from netinvert.errors import ConfigError, LayerError, MissingExtraError, OutputError
from netinvert.io.cells import Cell, Cells
from netinvert.io.files import FileError
from netinvert.io.rundir import RunDir
from netinvert.io.running import Interrupted
from netinvert.io.workers import TRIES, WorkerError, Workers, run_cells
from netinvert.scenes.dataset_config import DatasetConfig
from netinvert.scenes.dataset_writer import render_dataset

HERE = Path(__file__).parent


@pytest.fixture
def run(tmp_path):
    with RunDir(tmp_path / "out", "run") as run:
        yield run


def refuse():
    raise AssertionError("made again")


def content_of(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_cell_is_made_once_and_comes_back_as_it_was(run):
    tensors = {"x": torch.randn(2, 3).T, "n": torch.tensor(7), "b": torch.ones(2, dtype=torch.bfloat16)}
    facts = {"text": "ü\ud800", "nan": math.nan, "inf": math.inf, "list": [1, 2.5, None, True]}
    made = Cells(run).keep({"k": 1}, lambda: Cell(tensors, facts))
    kept = Cells(run).keep({"k": 1}, refuse)
    for cell in (made, kept):
        assert {name: (t.dtype, t.tolist()) for name, t in cell.tensors.items()} == {
            name: (t.dtype, t.tolist()) for name, t in tensors.items()
        }
        assert repr(cell.facts) == repr(facts)


@pytest.mark.parametrize(
    "key",
    [
        "../../escape",
        "/etc/passwd",
        "",
        "a\0b",
        "x" * 5000,
        ("a", 1),
        None,
        {"a": torch.ones(2)},
        b"\xff",
        1.5,
    ],
)
def test_any_key_is_a_name(run, key):
    assert Cells(run).keep(key, lambda: Cell(facts=1)).facts == 1
    assert Cells(run).keep(key, refuse).facts == 1
    assert len(list(run.cells.iterdir())) == 1


def test_keys_are_told_apart(run):
    keys = [
        1,
        1.0,
        "1",
        True,
        None,
        "None",
        [1],
        [[1]],
        {"a": 1},
        math.nan,
        "nan",
        torch.ones(2),
        torch.ones(2, 1),
    ]
    for number, key in enumerate(keys):
        Cells(run).keep(key, lambda number=number: Cell(facts=number))
    assert [Cells(run).find(key).facts for key in keys] == list(range(len(keys)))


@given(place=st.floats(0, 0.999), flip=st.integers(1, 255))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_changed_byte_is_found_and_the_cell_made_again(run, place, flip):
    cell = Cell({"x": torch.arange(40.0)}, {"a": 1})
    Cells(run).keep("key", lambda: cell)
    (path,) = run.cells.iterdir()
    content = path.read_bytes()
    broken = bytearray(content)
    broken[int(place * len(broken))] ^= flip
    for damaged in (bytes(broken), content[: int(place * len(content))]):
        path.write_bytes(damaged)
        assert Cells(run).find("key") is None
        Cells(run).keep("key", lambda: cell)
        assert path.read_bytes() == content


def test_the_cell_of_another_key_is_not_taken(run):
    Cells(run).keep("a", lambda: Cell(facts="a"))
    (path,) = run.cells.iterdir()
    Cells(run).keep("b", lambda: Cell(facts="b"))
    (other,) = set(run.cells.iterdir()) - {path}
    other.write_bytes(path.read_bytes())
    assert Cells(run).find("b") is None


def test_what_cannot_be_kept_is_refused(run):
    with pytest.raises(ConfigError, match="gives a Cell"):
        Cells(run).keep("a", lambda: {"x": 1})
    with pytest.raises(ConfigError, match="file's name"):
        Cells(run).keep(1, lambda: b"x")
    with pytest.raises(OutputError, match="JSON"):
        Cells(run).keep("a", lambda: Cell(facts={1, 2}))
    with pytest.raises(OutputError, match="safetensors"):
        Cells(run).keep("a", lambda: Cell({"x": "no tensor"}))
    with pytest.raises(ConfigError, match="staged"):
        Cells(run).keep("x", lambda: b"x")
    with pytest.raises(ConfigError, match="no fact"):
        Cells(run).keep(print, refuse)
    assert not list(run.cells.iterdir())


# --- many -------------------------------------------------------------------------------------------------


TWO = pytest.param(2, marks=pytest.mark.slow)  # processes


@pytest.mark.parametrize("count", [1, TWO])
def test_cells_are_in_the_order_of_keys_and_made_once(run, count):
    keys = [5, 3, 9, 3, 1]
    found = run_cells(run, Draw(), keys, Workers(count))
    assert [cell.facts["key"] for cell in found] == keys
    assert [cell.facts["key"] for cell in found[1:3]] == [3, 9]
    again = run_cells(run, Fails(), keys, Workers(count))
    assert torch.equal(again[-1].tensors["noise"], found[-1].tensors["noise"])


@pytest.mark.slow
def test_processes_make_the_same_bytes(tmp_path):
    for count in (1, 2):
        with RunDir(tmp_path / str(count), "run") as run:
            run_cells(run, Draw(), range(5), Workers(count, threads=1))
            kept = content_of(run.cells)
        if count == 1:
            expected = kept
    assert len(kept) == 5
    assert kept == expected


@pytest.mark.parametrize("count", [1, TWO])
@pytest.mark.parametrize(
    ("work", "error", "says"),
    [
        (Draw(trouble="extra"), MissingExtraError, r"pip install 'netinvert\[scenes\]'"),
        (Draw(trouble="layer"), LayerError, "choose another"),
        (Fails(), MissingExtraError, "rendering needs"),
    ],
)
def test_errors_of_the_work_are_passed_on_at_once(run, count, work, error, says):
    began = time.monotonic()
    with pytest.raises(error, match=says):
        run_cells(run, work, [1, 3, 5, 7], Workers(count))
    assert time.monotonic() - began < 120
    if count == 1 and work != Fails():
        assert Cells(run).find(1) is not None


@pytest.mark.slow
def test_faults_keep_their_traceback(run):
    with pytest.raises(ZeroDivisionError):
        run_cells(run, Draw(trouble="fault"), [3])
    with pytest.raises(RuntimeError, match=r"work_for_cells\.py") as caught:
        run_cells(run, Draw(trouble="fault"), [3, 1], Workers(2))
    assert "ZeroDivisionError: a fault of the program" in str(caught.value)
    with pytest.raises(WorkerError, match="code 3"):
        run_cells(run, Draw(trouble="exit"), [3, 1], Workers(2))


@pytest.mark.slow
def test_a_worker_that_dies_is_replaced_but_not_for_ever(run, tmp_path):
    (tmp_path / "once").touch()
    found = run_cells(run, Draw(trouble="kill", once=tmp_path / "once"), [2, 3], Workers(2))
    assert [cell.facts["key"] for cell in found] == [2, 3]
    for path in run.cells.iterdir():
        path.unlink()
    with pytest.raises(WorkerError, match=f"died {TRIES} times .* signal 9"):
        run_cells(run, Draw(trouble="kill"), [2, 3], Workers(2))


@pytest.mark.slow
def test_files_as_cells(tmp_path):
    names = [f"part/{k}.bin" for k in range(3)]
    for count in (1, 2):
        out = tmp_path / f"shards-{count}"
        with RunDir(out, {"size": 1000}, staged=False) as run:
            found = run_cells(run, Shards(), names, Workers(count))
            assert list(found) == [out / name for name in names]
            (out / names[1]).write_bytes(b"damaged")
            assert Cells(run).find(names[1]) is None
            run_cells(run, Shards(), names)
            run.commit()
        assert (out / names[1]).read_bytes() == names[1].encode() * 1000
    (out / names[2]).write_bytes(b"damaged later")
    with RunDir(out, {"size": 1000}, staged=False) as run:  # the complete directory is mended
        assert Cells(run).keep(names[0], refuse) == out / names[0]
        run_cells(run, Shards(), names)
        run.commit()
    assert content_of(out) == content_of(tmp_path / "shards-1")


def test_hostile_names_of_files(tmp_path):
    with RunDir(tmp_path / "out", "run", staged=False) as run:
        for name in ("../x", "/etc/passwd", "manifest.json", ".netinvert/run.json"):
            with pytest.raises(OutputError, match="no name for a file"):
                Cells(run).keep(name, lambda: b"x")
    assert list(tmp_path.iterdir()) == []


def test_workers_that_cannot_be():
    for wrong in ({"count": 0}, {"threads": 0}, {"gpus": -1}):
        with pytest.raises(ConfigError, match="at least"):
            Workers(**wrong)


def test_what_is_damaged_later_is_told(run):
    found = run_cells(run, Draw(), [1])
    next(run.cells.iterdir()).write_bytes(b"")
    with pytest.raises(FileError, match="damaged"):
        found[0]


# --- stopped ----------------------------------------------------------------------------------------------


def started(kind, out, count):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "error", str(HERE / "work_for_cells.py"), kind, str(out), str(count)]
    return subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for(what, process, seconds=60):
    until = time.monotonic() + seconds
    while not what() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.01)


def alive_in_session(session):
    found = []
    for place in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = place.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[3] == str(session) and fields[0] != "Z":
            found.append(place.parent.name)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_stopped_in_any_way_and_resumed_to_the_same_bytes(tmp_path, count, number):
    cells = tmp_path / ".out.partial" / "cells"
    process = started("draw", tmp_path / "out", count)
    wait_for(lambda: cells.is_dir() and len(list(cells.glob("*.safetensors"))) >= 3, process)
    process.send_signal(number)
    said, errors = process.communicate(timeout=180)
    assert errors == ""
    if number == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
    else:
        assert process.returncode == 130
        assert "the same command resumes" in said
    kept = content_of(cells)
    assert 3 <= len(kept) < 12
    assert not (tmp_path / "out").exists()
    until = time.monotonic() + 60
    while alive_in_session(process.pid) and time.monotonic() < until:
        time.sleep(0.05)
    assert not alive_in_session(process.pid)  # no worker is left behind
    whole_run(tmp_path / "out", 3 - count if number == signal.SIGKILL else 1)
    whole_run(tmp_path / "whole", 1)
    assert content_of(tmp_path / "out") == content_of(tmp_path / "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "whole"]


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2])
def test_a_piece_goes_on_from_its_checkpoint(tmp_path, count):
    process = started("count", tmp_path / "out", count)
    checkpoints = tmp_path / ".out.partial" / "checkpoints"
    wait_for(lambda: checkpoints.is_dir() and len(list(checkpoints.iterdir())) >= count, process)
    time.sleep(0.2)
    process.terminate()
    said, errors = process.communicate(timeout=180)
    assert (process.returncode, errors) == (130, "")
    assert said == "stopped; 0 of 4 pieces are done; the same command resumes\n"
    states = [int(path.read_text()) for path in checkpoints.iterdir()]
    assert len(states) == count
    assert all(0 < state < 30 for state in states)
    with RunDir(tmp_path / "out", "counting") as run:
        assert run.resumes
        assert [cell.facts["at"] for cell in run_cells(run, Counting(), range(4))] == [30] * 4
        assert not list(checkpoints.iterdir())


def test_ctrl_c_in_this_process(run):
    class Stops(Draw):
        def make(self, key, piece):
            if key == 2:
                os.kill(os.getpid(), signal.SIGINT)
            return super().make(key, piece)

    with pytest.raises(Interrupted, match="stopped; 3 of 5 draws are done; the same command resumes"):
        run_cells(run, Stops(), range(5), progress="draws")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert len(run_cells(run, Draw(), range(5))) == 5


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_ray_makes_the_same_bytes(tmp_path, monkeypatch):
    """Of cells and of a dataset, on one cluster, for it takes long to start."""
    ray, ends = pytest.importorskip("ray"), []
    shutdown = ray.shutdown
    monkeypatch.setattr(ray, "shutdown", lambda: ends.append("the first"))
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
    )
    with RunDir(tmp_path / "here", "run") as run:
        run_cells(run, Draw(), range(5))
        expected = content_of(run.cells)
    (tmp_path / "once").touch()
    plan = DatasetConfig(identities=6, views=2, size=24, splits=(0.6, 0.2, 0.2), identities_a_shard=1)
    try:
        with RunDir(tmp_path / "ray", "run") as run:
            work = Draw(trouble="kill", once=tmp_path / "once")
            found = run_cells(run, work, range(5), Workers(ray="local"))
            assert [cell.facts["key"] for cell in found] == list(range(5))
            assert content_of(run.cells) == expected
            with pytest.raises(MissingExtraError, match="netinvert"):
                run_cells(run, Fails(), [9], Workers(ray="local"))
        render_dataset(plan, tmp_path / "rendered", Workers(ray="local"))
    finally:
        shutdown()
    assert ends == ["the first"]  # who started the cluster ends it
    render_dataset(plan, tmp_path / "plain")
    manifest, shards = "manifest.json", [content_of(tmp_path / name) for name in ("rendered", "plain")]
    assert {**shards[0], manifest: b""} == {**shards[1], manifest: b""}
