"""Datasets: what a plan says, shards, their making by processes and their reading."""

import hashlib
import io
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import webdataset
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from netinvert.errors import ConfigError, OutputError
from netinvert.scenes import dataset_writer as farm
from netinvert.scenes.catalogue import object_source
from netinvert.scenes.dataset_config import CHAIRS62, DatasetConfig
from netinvert.scenes.dataset_reader import DatasetError, load_arrays, read_shard, shard_paths
from netinvert.scenes.dataset_writer import Farm, WorkerError, render_dataset, shard_bytes
from netinvert.scenes.render import Renderer

SMALL = DatasetConfig(identities=6, views=2, size=24, seed=2, splits=(0.6, 0.2, 0.2), identities_a_shard=1)


def hashes(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.tar"))}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "small"
    render_dataset(SMALL, folder, Farm(processes=1))
    return folder


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


def test_plans_come_back_from_json_and_have_a_fingerprint():
    assert DatasetConfig.from_json(json.loads(json.dumps(SMALL.to_json()))) == SMALL
    assert SMALL.fingerprint != replace(SMALL, seed=6).fingerprint


@pytest.mark.parametrize(
    "bad",
    [
        {"identities": 0}, {"views": 0}, {"size": 4}, {"seed": -1}, {"protocol": "all"}, {"in_plane": 200},
        {"elevation": (50, -5)}, {"elevation": (-100, 0)}, {"fov": 0}, {"fill": (0, 1)}, {"lights": "disco"},
        {"occlusion": 1.0}, {"splits": (0.5, 0.5, 0.5)}, {"identities_a_shard": 0},
    ],
)  # fmt: skip
def test_plans_that_cannot_be(bad):
    with pytest.raises(ConfigError, match=next(iter(bad))):
        DatasetConfig(**bad)


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
        members = webdataset_members(shard_bytes(plan, [0]))
        assert decoded(members["000000_000.rgb.png"]).shape == (24, 24, 3)
    assert tuple(decoded(members["000000_000.rgb.png"])[0, 0]) == (250, 10, 10)


@pytest.mark.filterwarnings("ignore")  # it leaves the file to the garbage collector
def test_webdataset_reads_the_shards(small):
    (path, *_) = shard_paths(small, "train")
    samples = list(webdataset.WebDataset(str(path), shardshuffle=False).decode("rgb8"))
    assert len(samples) == 2
    assert samples[0]["mask.png"].shape[:2] == (24, 24)
    assert samples[1]["json"]["view"] == 1


def test_two_processes_make_the_same_bytes_as_one(small, tmp_path):
    manifest = render_dataset(SMALL, tmp_path / "two", Farm(processes=2))
    assert hashes(tmp_path / "two") == hashes(small)
    assert manifest["samples"] == 12
    assert {shard["name"]: shard["sha256"] for shard in manifest["shards"]} == hashes(small)


def test_a_killed_render_is_taken_up_and_ends_with_the_same_bytes(small, tmp_path):
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "netinvert", "scenes", "render", "--identities", "60", "--views", "10"]
    command += ["--size", "24", "--seed", "2", "--out", str(out), "--processes", "1"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    began = time.monotonic()
    while not any(out.glob("*.tar")) and time.monotonic() - began < 60:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    kept = hashes(out)
    assert not (out / "manifest.json").exists()
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    whole = DatasetConfig(identities=60, views=10, size=24, seed=2)
    assert kept.items() <= hashes(out).items()
    assert hashes(out) == {
        name: hashlib.sha256(shard_bytes(whole, members)).hexdigest()
        for name, members in whole.shards().items()
    }
    assert json.loads(done.stdout)["samples"] == 600
    assert not list(out.glob(".netinvert-*"))  # nothing half-written is left


def test_a_worker_that_dies_is_replaced(small, tmp_path):
    killed = []

    def kill_once(_done, _total):
        workers = multiprocessing.active_children()
        if workers and not killed:
            killed.append(workers[0].pid)
            workers[0].kill()

    out = tmp_path / "worker"
    render_dataset(SMALL, out, Farm(processes=2), kill_once)
    assert killed
    assert hashes(out) == hashes(small)


def test_workers_that_die_again_and_again_leave_what_is_done(small, tmp_path, monkeypatch):
    monkeypatch.setattr(farm, "_one_pool", dying_pool)
    out = tmp_path / "dying"
    with pytest.raises(WorkerError, match="run the same command again"):
        render_dataset(SMALL, out, Farm(processes=2))
    assert hashes(out).items() <= hashes(small).items()
    assert len(hashes(out)) == farm.TRIES
    monkeypatch.undo()
    render_dataset(SMALL, out, Farm(processes=1))
    assert hashes(out) == hashes(small)


def dying_pool(plan, left, _processes):
    name, members = next(iter(left.items()))
    yield name, shard_bytes(plan, members)
    raise farm.BrokenProcessPool("a worker died")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_ray_makes_the_same_bytes_though_a_worker_dies(small, tmp_path):
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    killed = []

    def kill_once(done, _total):
        if done and not killed:
            for place in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    busy = place.read_bytes().startswith(b"ray::shard_bytes")
                except OSError:
                    continue
                if busy:
                    killed.append(int(place.parent.name))
                    os.kill(killed[0], signal.SIGKILL)
                    return

    try:
        # more shards than are on their way at once, so that one is being rendered when another is done
        render_dataset(SMALL, tmp_path / "ray", Farm(ray="local"), kill_once)
    finally:
        ray.shutdown()
    assert killed
    assert hashes(tmp_path / "ray") == hashes(small)


def test_a_full_disk_is_told_before_and_while_rendering(small, tmp_path, monkeypatch):
    out = tmp_path / "full"
    with monkeypatch.context() as patch:
        patch.setattr(farm.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
        with pytest.raises(OutputError, match="GB free"):
            render_dataset(SMALL, out, Farm(processes=1))
    assert not hashes(out)
    real, written = farm.write_atomic, []

    def fills_up(path, content):
        if len(written) == 2:
            raise OutputError(f"{path}: no space left on device")
        written.append(path)
        real(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(farm, "write_atomic", fills_up)
        with pytest.raises(OutputError, match="no space"):
            render_dataset(SMALL, out, Farm(processes=1))
    assert len(hashes(out)) == 2
    render_dataset(SMALL, out, Farm(processes=1))
    assert hashes(out) == hashes(small)


def test_a_folder_of_another_dataset_is_refused(small, tmp_path):
    with pytest.raises(OutputError, match="different seed"):
        render_dataset(replace(SMALL, seed=9), small, Farm(processes=1))
    (tmp_path / "train-000000.tar").write_bytes(b"mine")
    with pytest.raises(OutputError, match="choose another folder"):
        render_dataset(SMALL, tmp_path, Farm(processes=1))
    with pytest.raises(ConfigError, match="category"):
        render_dataset(replace(SMALL, objects="chars"), tmp_path / "new", Farm(processes=1))


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


@given(place=st.floats(0, 0.999))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
    render_dataset(SMALL, folder, Farm(processes=1))  # the same render mends it
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
