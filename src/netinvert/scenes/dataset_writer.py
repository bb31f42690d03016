"""One shard of a dataset: a tar file in WebDataset's layout, the same bytes every time."""

from __future__ import annotations

import hashlib
import io
import json
import multiprocessing
import os
import shutil
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from netinvert.errors import MissingExtraError, NetinvertError, OutputError
from netinvert.io.files import output_error, read_json, sha256_of, write_atomic, write_json
from netinvert.io.locks import Lock
from netinvert.scenes.backgrounds import KINDS, composite, occluded, random_background, read_photographs
from netinvert.scenes.cameras import Camera
from netinvert.scenes.catalogue import object_source
from netinvert.scenes.dataset_config import DatasetConfig
from netinvert.scenes.dataset_reader import MANIFEST, shard_hashes
from netinvert.scenes.lights import Light
from netinvert.scenes.objects import Object3D
from netinvert.scenes.render import Renderer

PNG_LEVEL = 1
"""zlib's: higher levels would take longer than rendering."""


def shard_bytes(plan: DatasetConfig, identities: list[int]) -> bytes:
    """The whole shard of these identities."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for identity in identities:
            for name, content in identity_files(plan, identity):
                info = tarfile.TarInfo(name)
                info.size, info.mode = len(content), 0o644
                tar.addfile(info, io.BytesIO(content))
    return target.getvalue()


def identity_files(plan: DatasetConfig, identity: int) -> Iterator[tuple[str, bytes]]:
    """Names and contents of an identity's files, view after view."""
    thing = object_source(plan.objects).make(plan.object_seed(identity), identity)
    renderer = Renderer(thing)
    photographs = _photographs(plan.background)
    for view in range(plan.views):
        rng = plan.generator(identity, view)
        camera = plan.camera(thing.vertices, view, rng)
        light = plan.light(rng)
        rendering = renderer.image(camera, light)
        key = f"{identity:06d}_{view:03d}"
        if plan.background == "none":
            yield f"{key}.rgba.png", png(rendering.rgba)
            mask, parts = rendering.mask, rendering.parts
        else:
            kind = "photographs" if photographs else plan.background
            behind = random_background(rng, plan.size, kind, photographs)
            image = composite(rendering.rgba, behind)
            image, mask, parts = occluded(rng, image, rendering.mask, rendering.parts, plan.occlusion)
            yield f"{key}.rgb.png", png(image)
        yield f"{key}.mask.png", png(mask)
        yield f"{key}.parts.png", png(parts)
        record = _record(plan, thing, identity, camera, light) | {"view": view}
        yield f"{key}.json", json.dumps(record, sort_keys=True).encode()


@lru_cache(maxsize=1)
def _photographs(background: str) -> tuple[NDArray[np.uint8], ...]:
    """The photographs of a plan whose background is a folder; read once a process."""
    return () if background in ("none", "mixed", *KINDS) else read_photographs(background)


def png(pixels: NDArray[np.uint8]) -> bytes:
    """The bytes of a PNG."""
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, "PNG", compress_level=PNG_LEVEL)
    return target.getvalue()


def _record(
    plan: DatasetConfig, thing: Object3D, identity: int, camera: Camera, light: Light
) -> dict[str, Any]:
    return {
        "category": thing.category,
        "identity": identity,
        "seed": plan.object_seed(identity),
        "symmetry": thing.symmetry,
        "azimuth": camera.azimuth,
        "elevation": camera.elevation,
        "in_plane": camera.in_plane,
        "distance": camera.distance,
        "fov": camera.fov,
        "size": plan.size,
        "rotation": camera.rotation.ravel().tolist(),
        "parameters": dict(thing.parameters),
        "light": asdict(light),
        "split": plan.split_of(identity),
    }


PLAN, LOCK = "plan.json", ".lock"
TRIES = 3
"""How often a shard is begun anew when its worker dies."""
PACKAGES = ("netinvert", "numpy", "embreex", "pillow")
Shards = Mapping[str, list[int]]
Progress = Callable[[int, int], None]
"""Told how many shards of how many are done."""


class WorkerError(NetinvertError):
    """Workers died again and again."""


@dataclass(frozen=True)
class Farm:
    """Who renders: ``processes`` of this machine (None: one a core), or a Ray cluster at ``ray``
    ("local" starts one here)."""

    processes: int | None = None
    ray: str | None = None


def render_dataset(
    plan: DatasetConfig, out: Path, farm: Farm, progress: Progress | None = None
) -> dict[str, Any]:
    """Render what is missing of a dataset into a folder; gives its manifest.

    A shard is whole or absent, its bytes depend on the plan alone, and the manifest comes last; so a render
    that was stopped in any way is finished by the same call. Shards that are no longer what the manifest
    says are rendered anew.

    Raises:
        OutputError: the folder holds another dataset, is being written, or the disk is full.
        WorkerError: a worker died TRIES times over the same shard.
    """
    _prepare(out, plan)
    lock = Lock(out / LOCK)
    lock.acquire()
    try:
        for stale in out.glob(".netinvert-*.tmp"):
            stale.unlink(missing_ok=True)
        shards = plan.shards()
        missing = {name: shards[name] for name in _missing(shards, out)}
        _check_space(plan, missing, out)
        began, done = time.perf_counter(), len(shards) - len(missing)
        if progress is not None:
            progress(done, len(shards))
        for name, content in _rendered(plan, missing, farm):
            write_atomic(out / name, content)
            done += 1
            if progress is not None:
                progress(done, len(shards))
        manifest = _manifest(plan, shards, out) | {"seconds": time.perf_counter() - began}
        if missing or not (out / MANIFEST).exists():
            write_json(out / MANIFEST, manifest)
        return manifest
    finally:
        lock.release()


def _missing(shards: Shards, out: Path) -> list[str]:
    known = shard_hashes(out)
    return [
        name
        for name in shards
        if not (out / name).exists() or (name in known and sha256_of(out / name) != known[name])
    ]


def estimated_bytes(plan: DatasetConfig, samples: int) -> int:
    """About how much disk so many samples need."""
    return int(samples * (6000 + 2.2 * plan.size**2))


def _prepare(out: Path, plan: DatasetConfig) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(out, error) from error
    if (out / PLAN).exists():
        theirs = read_json(out / PLAN)
        mine = plan.to_json()
        differing = [name for name in mine if not isinstance(theirs, dict) or theirs.get(name) != mine[name]]
        if differing:
            raise OutputError(
                f"{out} holds another dataset (different {', '.join(differing)}): choose another folder or "
                "give the same settings to go on with it"
            )
        return
    if any(out.glob("*.tar")):
        raise OutputError(f"{out} has shards but no {PLAN}: choose another folder")
    write_json(out / PLAN, plan.to_json())


def _check_space(plan: DatasetConfig, missing: Shards, out: Path) -> None:
    needed = estimated_bytes(plan, plan.views * sum(map(len, missing.values())))
    free = shutil.disk_usage(out).free
    if needed > free:
        raise OutputError(
            f"the dataset needs about {needed / 1e9:.1f} GB and {out} has {free / 1e9:.1f} GB free: choose "
            "another disk, or fewer identities or views"
        )


def _rendered(plan: DatasetConfig, missing: Shards, farm: Farm) -> Iterator[tuple[str, bytes]]:
    if not missing:
        return iter(())
    if farm.ray is not None:
        return _by_ray(plan, missing, farm.ray)
    processes = min(farm.processes or os.cpu_count() or 1, len(missing))
    if processes == 1:
        return ((name, shard_bytes(plan, identities)) for name, identities in missing.items())
    return _by_processes(plan, missing, processes)


def _by_processes(plan: DatasetConfig, missing: Shards, processes: int) -> Iterator[tuple[str, bytes]]:
    left, died = dict(missing), 0
    while left:
        try:
            for name, content in _one_pool(plan, left, processes):
                del left[name]
                yield name, content
        except BrokenProcessPool as error:
            died += 1
            if died >= TRIES:
                raise WorkerError(
                    f"worker processes died {died} times (out of memory?); {len(left)} shards are left to be "
                    "rendered: run the same command again, with fewer --processes"
                ) from error


def _one_pool(plan: DatasetConfig, left: Shards, processes: int) -> Iterator[tuple[str, bytes]]:
    """Render with one pool of processes, never more than two shards a process ahead of the writing."""
    context = multiprocessing.get_context("spawn")
    waiting = iter(dict(left).items())
    running: dict[Future[bytes], str] = {}
    with ProcessPoolExecutor(processes, context) as pool:
        try:
            while True:
                for name, identities in waiting:
                    running[pool.submit(shard_bytes, plan, identities)] = name
                    if len(running) >= 2 * processes:
                        break
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    yield running.pop(future), future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _by_ray(plan: DatasetConfig, missing: Shards, address: str) -> Iterator[tuple[str, bytes]]:
    """Render on a Ray cluster; the shards come back here, so that workers need no common disk."""
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError("rendering on many machines", "ray") from error
    ours = not ray.is_initialized()
    if ours:
        ray.init(address=address, log_to_driver=False)
    try:
        task = ray.remote(num_cpus=1, max_retries=TRIES)(shard_bytes)
        resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        ahead = 2 * max(int(resources.get("CPU", 1)), 1)
        waiting = iter(missing.items())
        running: dict[Any, str] = {}
        while True:
            for name, identities in waiting:
                running[task.remote(plan, identities)] = name
                if len(running) >= ahead:
                    break
            if not running:
                return
            for reference in ray.wait(list(running), num_returns=1)[0]:
                name = running.pop(reference)
                try:
                    yield name, ray.get(reference)
                except (ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError) as error:
                    raise WorkerError(
                        f"workers died {TRIES} times over {name}: run the same command again"
                    ) from error
    finally:
        if ours:
            ray.shutdown()


def _manifest(plan: DatasetConfig, shards: Shards, out: Path) -> dict[str, Any]:
    hashes = {name: sha256_of(out / name) for name in sorted(shards)}
    samples = {name: plan.views * len(identities) for name, identities in sorted(shards.items())}
    whole = hashlib.sha256("".join(hashes.values()).encode()).hexdigest()
    return {
        "plan": plan.to_json(),
        "fingerprint": plan.fingerprint,
        "sha256": whole,
        "samples": sum(samples.values()),
        "shards": [{"name": name, "samples": samples[name], "sha256": hashes[name]} for name in hashes],
        "versions": {package: _version(package) for package in PACKAGES},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
