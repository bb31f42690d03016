"""Datasets: what a plan says, shards, their making by workers and their reading."""

import hashlib
import io
import json
import signal
import subprocess
import sys
import tarfile
import time
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import webdataset
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DataLoader

from netinvert.errors import ConfigError, MissingExtraError, OutputError
from netinvert.io import cells, rundir
from netinvert.io.workers import Workers
from netinvert.scenes.catalogue import object_source
from netinvert.scenes.dataset_config import CHAIRS62, PATH_TRACED, DatasetConfig
from netinvert.scenes.dataset_reader import (
    DatasetError,
    DatasetStream,
    load_arrays,
    read_shard,
    shard_paths,
)
from netinvert.scenes.dataset_writer import render_dataset, shard_bytes
from netinvert.scenes.objects import MeshError
from netinvert.scenes.path_traced import PathTracer
from netinvert.scenes.render import Renderer

SMALL = DatasetConfig(identities=6, views=2, size=24, seed=2, splits=(0.6, 0.2, 0.2), identities_a_shard=1)


def hashes(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.tar"))}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "small"
    render_dataset(SMALL, folder)
    return folder


@pytest.mark.slow
@given(st.integers(0, 1000), st.integers(1, 300))
def test_splits_share_no_identity_and_do_not_move(seed, identities):
    plan = DatasetConfig(identities=identities, seed=seed, identities_a_shard=20)
    placed = [(name, identity) for name, members in plan.shards().items() for identity in members]
    assert sorted(identity for _, identity in placed) == list(range(identities))
    larger = replace(plan, identities=identities + 50)
    assert all(name.startswith(larger.split_of(identity)) for name, identity in placed)
    assert max(Counter(name for name, _ in placed).values()) <= 20


def test_splits_have_about_their_shares():
    counts = Counter(map(DatasetConfig(seed=3).split_of, range(4000)))
    assert abs(counts["train"] - 3600) < 80
    assert abs(counts["test"] - 200) < 50


def test_chairs62_is_31_azimuths_at_two_elevations():
    plan = DatasetConfig(identities=1, views=62, protocol=CHAIRS62)
    thing = object_source("chairs").make(0, 0)
    cameras = [plan.camera(thing.vertices, view, plan.generator(0, view)) for view in range(62)]
    assert {round(camera.elevation, 6) for camera in cameras} == {20, 30}
    azimuths = sorted({round(camera.azimuth, 6) for camera in cameras})
    assert np.allclose(np.diff(azimuths), 360 / 31)
    assert len(azimuths) == 31
    assert all(abs(camera.in_plane) < 1e-6 for camera in cameras)
    distances = [np.linalg.norm(camera.position) for camera in cameras]  # as on a turntable
    assert np.allclose(distances, distances[0])
    with pytest.raises(ConfigError, match="62 views"):
        replace(plan, views=20)


@given(st.integers(0, 50), st.integers(0, 50))
def test_random_cameras_stay_within_the_plan(seed, view):
    plan = DatasetConfig(seed=seed, elevation=(-5, 50), in_plane=15, size=64)
    vertices = np.random.default_rng(0).uniform(-0.5, 0.5, (30, 3))
    camera = plan.camera(vertices, view, plan.generator(0, view))
    assert -5 <= camera.elevation <= 50
    assert abs(camera.in_plane) <= 15
    reach = np.abs(camera.project(vertices)[0] - 32).max() / 32
    assert plan.fill[0] - 1e-6 <= reach <= plan.fill[1] + 1e-6
    again = plan.camera(vertices, view, plan.generator(0, view))
    assert np.array_equal(camera.rotation, again.rotation)


@pytest.mark.parametrize("plan", [SMALL, replace(SMALL, renderer=PATH_TRACED)])
def test_plans_come_back_from_json(plan):
    assert DatasetConfig.from_json(json.loads(json.dumps(plan.to_json()))) == plan


def test_datasets_from_before_there_were_two_renderers_are_the_same():
    assert "renderer" not in SMALL.to_json()
    assert replace(SMALL, renderer=PATH_TRACED).to_json() == SMALL.to_json() | {"renderer": PATH_TRACED}


def test_no_two_datasets_share_an_object():
    assert DatasetConfig(seed=0).object_seed(999_999) < DatasetConfig(seed=1).object_seed(0)
    with pytest.raises(ConfigError, match="--count"):
        DatasetConfig(identities=1_000_001)


@pytest.mark.parametrize(
    "bad",
    [
        {"identities": 0}, {"views": 0}, {"size": 4}, {"seed": -1}, {"protocol": "all"}, {"in_plane": 200},
        {"elevation": (50, -5)}, {"elevation": (-100, 0)}, {"fov": 0}, {"fill": (0, 1)}, {"lights": "disco"},
        {"renderer": "raster"},
        {"occlusion": 1.0}, {"splits": (0.5, 0.5, 0.5)}, {"identities_a_shard": 0},
    ],
)  # fmt: skip
def test_plans_that_cannot_be(bad):
    flag = {"identities": "count", "size": "pixels"}
    (name,) = bad
    with pytest.raises(ConfigError, match=f"--{flag.get(name, name).replace('_', '-')}"):
        DatasetConfig(**bad)


def test_a_plan_needs_no_torch():
    made = "import sys; from netinvert.scenes.dataset_config import DatasetConfig; DatasetConfig()"
    subprocess.run([sys.executable, "-c", f"{made}; sys.exit('torch' in sys.modules)"], check=True)


def test_a_shard_is_the_same_bytes_and_holds_what_was_rendered():
    content = shard_bytes(SMALL, [2])
    assert content == shard_bytes(SMALL, [2])
    assert content != shard_bytes(replace(SMALL, seed=6), [2])
    thing = object_source("chairs").make(SMALL.object_seed(2), 2)
    rng = SMALL.generator(2, 1)
    camera = SMALL.camera(thing.vertices, 1, rng)
    image = Renderer(thing).render(camera, SMALL.light(rng))
    members = webdataset_members(content)
    assert np.array_equal(decoded(members["000002_001.rgba.png"]), image.rgba)
    assert np.array_equal(decoded(members["000002_001.mask.png"]), image.mask)
    assert np.array_equal(decoded(members["000002_001.parts.png"]), image.parts)
    record = json.loads(members["000002_001.json"])
    assert np.allclose(np.reshape(record["rotation"], (3, 3)), camera.rotation)
    assert (record["identity"], record["view"], record["split"]) == (2, 1, SMALL.split_of(2))
    assert record["parameters"]["legs"] == thing.parameters["legs"]


def test_path_tracing_changes_the_colours_and_nothing_else(tmp_path):
    plan = replace(SMALL, identities=1, views=2, size=16, splits=(1, 0, 0))
    traced = replace(plan, renderer=PATH_TRACED)
    manifest = render_dataset(traced, tmp_path / "traced")
    assert manifest["plan"]["renderer"] == PATH_TRACED
    assert manifest["versions"]["mitsuba"]
    content = (tmp_path / "traced" / "train-000000.tar").read_bytes()
    assert content == shard_bytes(traced, [0])
    ours, theirs = webdataset_members(shard_bytes(plan, [0])), webdataset_members(content)
    assert {name for name in ours if ours[name] != theirs[name]} == {f"000000_00{k}.rgba.png" for k in (0, 1)}
    thing = object_source("chairs").make(plan.object_seed(0), 0)
    rng = plan.generator(0, 1)
    camera = plan.camera(thing.vertices, 1, rng)
    expected = PathTracer(thing).render(camera, plan.light(rng), seed=1)
    assert np.array_equal(decoded(theirs["000000_001.rgba.png"]), expected)


def webdataset_members(content):
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        return {info.name: tar.extractfile(info).read() for info in tar}


def decoded(content):
    return np.asarray(Image.open(io.BytesIO(content)))


def test_shards_with_backgrounds_and_occluders(tmp_path):
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    Image.new("RGB", (40, 30), (250, 10, 10)).save(photographs / "red.png")
    for background in ("mixed", str(photographs)):
        plan = replace(SMALL, background=background, occlusion=0.3, identities=1)
        render_dataset(plan, tmp_path / background[:5].strip("/"))
        (path,) = (tmp_path / background[:5].strip("/")).glob("*.tar")
        members = webdataset_members(path.read_bytes())
        assert decoded(members["000000_000.rgb.png"]).shape == (24, 24, 3)
    assert tuple(decoded(members["000000_000.rgb.png"])[0, 0]) == (250, 10, 10)


@pytest.mark.filterwarnings("ignore")  # it leaves the file to the garbage collector
def test_webdataset_reads_the_shards(small):
    (path, *_) = shard_paths(small, "train")
    samples = list(webdataset.WebDataset(str(path), shardshuffle=False).decode("rgb8"))
    assert len(samples) == 2
    assert samples[0]["mask.png"].shape[:2] == (24, 24)
    assert samples[1]["json"]["view"] == 1


@pytest.mark.slow
def test_two_workers_make_the_same_bytes_as_one(small, tmp_path):
    manifest = render_dataset(SMALL, tmp_path / "two", Workers(2))
    assert hashes(tmp_path / "two") == hashes(small)
    assert manifest["samples"] == 12
    assert {shard["name"]: shard["sha256"] for shard in manifest["shards"]} == hashes(small)


RENDER = f"""
from netinvert.scenes.dataset_config import DatasetConfig
from netinvert.scenes.dataset_writer import render_dataset
render_dataset(DatasetConfig.from_json({SMALL.to_json()!r}), "data")
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_stopped_render_is_taken_up_and_ends_with_the_same_bytes(small, tmp_path, how):
    out = tmp_path / "data"
    process = subprocess.Popen(
        [sys.executable, "-c", RENDER], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    began = time.monotonic()
    while not any(out.glob("*.tar")) and time.monotonic() - began < 180:
        time.sleep(0.001)
    process.send_signal(how)
    said = process.communicate(timeout=180)[1]
    assert how == signal.SIGKILL or "the same command resumes" in said
    kept = hashes(out)
    assert 0 < len(kept) < len(hashes(small))
    assert not (out / "manifest.json").exists()
    render_dataset(SMALL, out)
    assert kept.items() <= hashes(out).items()
    assert hashes(out) == hashes(small)
    assert not [path for path in out.iterdir() if path.name.startswith(".")]  # nothing half-written is left


def test_a_whole_dataset_is_left_as_it_is(small):
    before = {path.name: path.stat().st_mtime_ns for path in small.iterdir() if path.name != "plan.json"}
    manifest = render_dataset(SMALL, small)
    assert manifest == json.loads((small / "manifest.json").read_text())
    after = {path.name: path.stat().st_mtime_ns for path in small.iterdir() if path.name != "plan.json"}
    assert after == before


@pytest.mark.parametrize(
    ("missing", "extra"),
    [("embreex.mesh_construction", "scenes"), ("trimesh", "scenes"), ("mitsuba", "mitsuba")],
)
def test_a_missing_extra_is_told_before_any_work(tmp_path, monkeypatch, missing, extra):
    mesh = tmp_path / "mesh.obj"
    mesh.write_text("v 0 0 0\nv 1 0 0\nv 0 1 1\nf 1 2 3\n")
    monkeypatch.setitem(sys.modules, missing, None)
    plan = replace(SMALL, objects=str(mesh), renderer=PATH_TRACED)
    with pytest.raises(MissingExtraError, match=extra):
        render_dataset(plan, tmp_path / "out", Workers(2))
    assert not (tmp_path / "out").exists()


def test_bad_objects_and_backgrounds_are_told_before_any_work(tmp_path):
    (tmp_path / "empty").mkdir()
    for changes, error, said in (
        ({"objects": "chars"}, ConfigError, "category"),
        ({"objects": str(tmp_path / "empty")}, MeshError, "holds no mesh"),
        ({"background": "beach"}, ConfigError, "background"),
    ):
        with pytest.raises(error, match=said):
            render_dataset(replace(SMALL, **changes), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_told_before_and_while_rendering(small, tmp_path, monkeypatch):
    out = tmp_path / "full"
    with monkeypatch.context() as patch:
        patch.setattr(rundir.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
        with pytest.raises(OutputError, match="GB free"):
            render_dataset(SMALL, out)
    assert not hashes(out)
    real, written = cells.write_atomic, []

    def fills_up(path, content):
        if len(written) == 2:
            raise OutputError(f"{path}: no space left on device")
        written.append(path)
        real(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(cells, "write_atomic", fills_up)
        with pytest.raises(OutputError, match="no space"):
            render_dataset(SMALL, out)
    assert len(hashes(out)) == 2
    render_dataset(SMALL, out)
    assert hashes(out) == hashes(small)


def test_a_folder_of_another_dataset_is_refused(small, tmp_path):
    with pytest.raises(OutputError, match=r"different dataset\.seed"):
        render_dataset(replace(SMALL, seed=9), small)
    (tmp_path / "train-000000.tar").write_bytes(b"mine")
    with pytest.raises(OutputError, match="choose another directory"):
        render_dataset(SMALL, tmp_path)


def samples_of(stream, workers=0):
    found = list(DataLoader(stream, batch_size=None, num_workers=workers))
    return sorted(found, key=lambda sample: (int(sample["identity"]), sample["rotation"].tolist()))


def test_a_stream_gives_what_arrays_hold(small):
    arrays = load_arrays(small, "train")
    streamed = list(DatasetStream(small, "train"))
    assert np.array_equal(np.stack([s["rgba"].permute(1, 2, 0) for s in streamed]), arrays.rgba)
    for name in ("mask", "parts"):
        assert np.array_equal(np.stack([s[name][0] for s in streamed]), getattr(arrays, name))
    assert np.array_equal(np.stack([s["rotation"] for s in streamed]), arrays.rotation)
    assert [int(s["identity"]) for s in streamed] == list(arrays.identity)
    assert [int(s["symmetry"]) for s in streamed] == list(arrays.symmetry)
    (batch, *_) = DataLoader(DatasetStream(small, "train"), batch_size=3)
    assert batch["rgba"].shape == (3, 4, 24, 24)
    assert batch["rotation"].dtype == torch.float32


def test_a_shuffled_stream_holds_the_same_in_another_order(small):
    plain = [s["rotation"].tolist() for s in DatasetStream(small, "train")]
    orders = []
    for epoch in range(6):
        stream = DatasetStream(small, "train", shuffle=1)
        stream.epoch = epoch
        orders.append([s["rotation"].tolist() for s in stream])
        assert orders[-1] == [s["rotation"].tolist() for s in stream]
        assert sorted(orders[-1]) == sorted(plain)
    assert len({str(order) for order in orders}) > 2


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_workers_share_the_shards(small):
    alone = samples_of(DatasetStream(small, "train", shuffle=1))
    for workers in (2, 7):  # 7: more than there are shards
        shared = samples_of(DatasetStream(small, "train", shuffle=1), workers)
        assert [s["rotation"].tolist() for s in shared] == [s["rotation"].tolist() for s in alone]


def test_arrays_hold_a_split(small):
    arrays = load_arrays(small, "train")
    names = [name for name in SMALL.shards() if name.startswith("train")]
    assert len(arrays.rgba) == 2 * len(names)
    assert arrays.rgba.shape[1:] == (24, 24, 4)
    assert arrays.rotation.dtype == np.float32
    assert np.allclose(np.linalg.det(arrays.rotation), 1, atol=1e-5)
    assert list(arrays.identity) == [record["identity"] for record in arrays.records]
    with pytest.raises(DatasetError, match="no shard"):
        load_arrays(small, "tset")
    with pytest.raises(DatasetError, match="netinvert scenes render"):
        load_arrays(small / "nothing", "train")


def test_a_split_that_there_is(small, tmp_path):
    (first, *_) = shard_paths(small)
    assert first.name.startswith("validation")
    (tmp_path / "train-000000.tar").touch()
    assert [path.name for path in shard_paths(tmp_path)] == ["train-000000.tar"]
    (tmp_path / "train-000000.tar").unlink()
    with pytest.raises(DatasetError, match="no shard: finish"):
        shard_paths(tmp_path)


def copied(small, folder):
    folder.mkdir()
    for path in small.iterdir():
        if path.is_file() and not path.name.startswith("."):
            (folder / path.name).write_bytes(path.read_bytes())
    return folder


@given(share=st.floats(0, 0.999))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_shard_cut_short_is_refused_without_a_manifest(small, tmp_path, share):
    (path, *_) = shard_paths(small, "train")
    content = path.read_bytes()
    torn = tmp_path / path.name
    torn.write_bytes(content[: int(share * len(content))])
    end = content.rstrip(b"\0")  # a tar ends with empty blocks, of which none need be there
    if len(torn.read_bytes()) >= len(end):
        return
    with pytest.raises(DatasetError, match=path.name):
        list(read_shard(torn))


@pytest.mark.slow
@given(place=st.floats(0, 0.999))
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_one_changed_byte_is_found_by_the_manifest(small, tmp_path_factory, place):
    folder = copied(small, tmp_path_factory.mktemp("changed") / "data")
    (path, *_) = shard_paths(folder, "train")
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(DatasetError, match=path.name):
        load_arrays(folder, "train")
    arrays = load_arrays(folder, "train", damaged="skip")
    assert arrays.skipped == (path.name,)
    assert len(arrays.rgba) == len(load_arrays(small, "train").rgba) - 2
    render_dataset(SMALL, folder)  # the same render mends it
    assert hashes(folder) == hashes(small)


def test_nothing_but_damaged_shards(small, tmp_path):
    folder = copied(small, tmp_path / "data")
    for path in shard_paths(folder, "train"):
        path.write_bytes(b"nonsense")
    with pytest.raises(DatasetError, match="no undamaged"):
        load_arrays(folder, "train", damaged="skip")
    (folder / "manifest.json").write_text("[1]")
    with pytest.raises(DatasetError, match="manifest"):
        load_arrays(folder, "test")


def test_photographs_that_were_replaced_are_others(tmp_path):
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    Image.new("RGB", (20, 20), "red").save(photographs / "a.png")
    plan = replace(SMALL, background=str(photographs), identities=1)
    first = render_dataset(plan, tmp_path / "data")
    assert render_dataset(plan, tmp_path / "data") == first
    Image.new("RGB", (20, 20), "blue").save(photographs / "a.png")
    with pytest.raises(OutputError, match="photographs"):
        render_dataset(plan, tmp_path / "data")
