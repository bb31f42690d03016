"""Rendering datasets: shards in WebDataset's layout, each a cell, so the same bytes however they are made."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from netinvert.io.cells import Piece
from netinvert.io.files import fingerprint, read_json, sha256_of, write_json
from netinvert.io.rundir import RunDir
from netinvert.io.workers import Workers, run_cells
from netinvert.scenes.backgrounds import KINDS, composite, occluded, random_background, read_photographs
from netinvert.scenes.cameras import Camera
from netinvert.scenes.dataset_config import RAY, DatasetConfig
from netinvert.scenes.dataset_reader import MANIFEST
from netinvert.scenes.objects import Object3D
from netinvert.scenes.path_traced import PathTracer
from netinvert.scenes.render import RenderedImage, Renderer
from netinvert.scenes.shading import Light

PLAN = "plan.json"
PNG_LEVEL = 1
"""zlib's: higher levels would take longer than rendering."""
PACKAGES = ("netinvert", "numpy", "embreex", "pillow")


def render_dataset(
    plan: DatasetConfig,
    out: str | Path,
    workers: Workers | None = None,
    progress: str | None = None,
    finish: Callable[[RunDir], Mapping[str, Any]] = lambda run: {},
) -> dict[str, Any]:
    """Render what is missing of a dataset into a directory; gives its manifest.

    A shard is whole or absent, its bytes depend on the plan alone, and the manifest comes last; so a render
    that was stopped in any way is finished by the same call. Shards that are no longer what the manifest says
    are rendered anew. ``workers`` is this process if None; ``progress`` as in ``run_cells``. ``finish`` may
    add files once all shards are there, and gives what the manifest is to tell besides. Raises
    MissingExtraError: the extra scenes, or mitsuba for path tracing, is not installed; told before any work;
    ConfigError, MeshError: no
    such objects or background; told before any work; OutputError: the directory holds something else, is
    being written, or the disk is full; WorkerError: a worker was killed again and again over the same
    shard."""
    source = plan.source()
    image_maker(plan, source.make(plan.object_seed(0), 0))
    photographs = _photographs(plan.background)
    began = time.perf_counter()
    # Of what is read, a name does not say what it is: shards of two libraries would be mixed.
    read: dict[str, Any] = {"objects": [sha256_of(file) for file in source.files]} if source.files else {}
    if photographs:
        read["photographs"] = [fingerprint(one.tobytes()) for one in photographs]
    with RunDir(out, {"dataset": plan.to_json(), **read}, staged=False) as run:
        shards = plan.shards()
        missing = [identities for name, identities in shards.items() if not run.path(name).exists()]
        run.require_space(estimated_bytes(plan, plan.views * sum(map(len, missing))))
        write_json(run.path(PLAN), plan.to_json())
        run_cells(run, ShardWork(plan), list(shards), workers or Workers(), progress)
        if run.published != run.files():
            facts = finish(run)
            own = {**_manifest(plan, run.files()), "seconds": time.perf_counter() - began}
            if source.credits:
                own["objects"] = source.credits[: plan.identities]
            run.commit({**facts, **own, "versions": {**facts.get("versions", {}), **own["versions"]}})
        manifest: dict[str, Any] = read_json(run.out / MANIFEST)
        return manifest


def estimated_bytes(plan: DatasetConfig, samples: int) -> int:
    """About how much disk so many samples need."""
    return int(samples * (6000 + 2.2 * plan.size**2))


@dataclass(frozen=True)
class ShardWork:
    """Work for ``run_cells``: the shards of a plan, by their names."""

    plan: DatasetConfig

    def open(self) -> Callable[[str, Piece], bytes]:
        """What renders a shard; photographs for backgrounds are read once a process."""
        photographs = _photographs(self.plan.background)
        shards = self.plan.shards()
        return lambda name, piece: shard_bytes(self.plan, shards[name], photographs, piece.tell)


def shard_bytes(
    plan: DatasetConfig,
    identities: Sequence[int],
    photographs: Sequence[NDArray[np.uint8]] = (),
    tell: Callable[[float, str], object] = lambda share, text: None,
) -> bytes:
    """The whole shard of these identities, the same every time."""
    target, source = io.BytesIO(), plan.source()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for count, identity in enumerate(identities):
            tell(count / len(identities), "")
            thing = source.make(plan.object_seed(identity), identity)
            for name, content in _identity_files(plan, identity, thing, photographs):
                info = tarfile.TarInfo(name)
                info.size, info.mode = len(content), 0o644
                tar.addfile(info, io.BytesIO(content))
    return target.getvalue()


def image_maker(plan: DatasetConfig, thing: Object3D) -> Callable[[Camera, Light, int], RenderedImage]:
    """What renders views of an object as the plan asks, each of a camera, a light and a seed.

    Masks and parts are those of :class:`Renderer`, whatever makes the colours. Raises MissingExtraError: the
    extra scenes, or mitsuba for path tracing, is not installed; MeshError."""
    renderer = Renderer(thing)
    if plan.renderer == RAY:
        return lambda camera, light, seed: renderer.image(camera, light)
    tracer = PathTracer(thing)
    return lambda camera, light, seed: replace(
        renderer.image(camera, light), rgba=tracer.render(camera, light, seed)
    )


def _identity_files(
    plan: DatasetConfig, identity: int, thing: Object3D, photographs: Sequence[NDArray[np.uint8]]
) -> Iterator[tuple[str, bytes]]:
    """Names and contents of an identity's files, view after view."""
    image = image_maker(plan, thing)
    for view in range(plan.views):
        rng = plan.generator(identity, view)
        camera = plan.camera(thing.vertices, view, rng)
        light = plan.light(rng)
        rendered = image(camera, light, view)
        mask, parts = rendered.mask, rendered.parts
        key = f"{identity:06d}_{view:03d}"
        if plan.background == "none":
            yield f"{key}.rgba.png", _png(rendered.rgba)
        else:
            kind = "photographs" if photographs else plan.background
            whole = composite(rendered.rgba, random_background(rng, plan.size, kind, photographs))
            whole, mask, parts = occluded(rng, whole, mask, parts, plan.occlusion)
            yield f"{key}.rgb.png", _png(whole)
        yield f"{key}.mask.png", _png(mask)
        yield f"{key}.parts.png", _png(parts)
        record = _record(plan, thing, identity, camera, light) | {"view": view}
        yield f"{key}.json", json.dumps(record, sort_keys=True).encode()


def _photographs(background: str) -> tuple[NDArray[np.uint8], ...]:
    """The photographs of a plan whose background is a folder."""
    return () if background in ("none", "mixed", *KINDS) else read_photographs(background)


def _png(pixels: NDArray[np.uint8]) -> bytes:
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
        **{name: getattr(camera, name) for name in ("azimuth", "elevation", "in_plane", "distance", "fov")},
        "size": plan.size,
        "rotation": camera.rotation.ravel().tolist(),
        "parameters": dict(thing.parameters),
        "light": asdict(light),
        "split": plan.split_of(identity),
    }


def _manifest(plan: DatasetConfig, files: dict[str, str]) -> dict[str, Any]:
    shards: list[dict[str, Any]] = [
        {"name": name, "samples": plan.views * len(identities), "sha256": files[name]}
        for name, identities in sorted(plan.shards().items())
    ]
    return {
        "plan": plan.to_json(),
        "sha256": hashlib.sha256("".join(shard["sha256"] for shard in shards).encode()).hexdigest(),
        "samples": sum(shard["samples"] for shard in shards),
        "shards": shards,
        "versions": {
            package: version(package) for package in (*PACKAGES, *["mitsuba"] * (plan.renderer != RAY))
        },
    }
