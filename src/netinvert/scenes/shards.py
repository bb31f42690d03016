"""One shard of a dataset: a tar file in WebDataset's layout, the same bytes every time."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import asdict
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from netinvert.scenes.backgrounds import KINDS, composite, random_background, read_photographs
from netinvert.scenes.cameras import Camera
from netinvert.scenes.lights import Light
from netinvert.scenes.objects import Object3D
from netinvert.scenes.occluders import occluded
from netinvert.scenes.plan import DatasetPlan
from netinvert.scenes.render import Renderer
from netinvert.scenes.sources import object_source

PNG_LEVEL = 1
"""zlib's: higher levels would take longer than rendering."""


def shard_bytes(plan: DatasetPlan, identities: list[int]) -> bytes:
    """The whole shard of these identities."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for identity in identities:
            for name, content in identity_files(plan, identity):
                info = tarfile.TarInfo(name)
                info.size, info.mode = len(content), 0o644
                tar.addfile(info, io.BytesIO(content))
    return target.getvalue()


def identity_files(plan: DatasetPlan, identity: int) -> Iterator[tuple[str, bytes]]:
    """Names and contents of an identity's files, view after view."""
    thing = object_source(plan.objects).make(plan.object_seed(identity), identity)
    renderer = Renderer(thing)
    photographs = _photographs(plan.background)
    for view in range(plan.views):
        rng = plan.generator(identity, view)
        camera = plan.camera(thing.vertices, view, rng)
        light = plan.light(rng)
        rendering = renderer.picture(camera, light)
        key = f"{identity:06d}_{view:03d}"
        if plan.background == "none":
            yield f"{key}.rgba.png", png(rendering.rgba)
            mask, parts = rendering.mask, rendering.parts
        else:
            kind = "photographs" if photographs else plan.background
            behind = random_background(rng, plan.size, kind, photographs)
            picture = composite(rendering.rgba, behind)
            picture, mask, parts = occluded(rng, picture, rendering.mask, rendering.parts, plan.occlusion)
            yield f"{key}.rgb.png", png(picture)
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
    plan: DatasetPlan, thing: Object3D, identity: int, camera: Camera, light: Light
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
