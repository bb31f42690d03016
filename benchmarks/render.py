"""Pictures a second of our renderer, beside Mitsuba's on the same chairs, cameras and lights.

    python benchmarks/render.py --json benchmarks/results/render.json

One process, pinned to one core, renders each chair from a number of sides, with shadow, mask and part ids.
Mitsuba gets the same meshes, textures and key light and a constant sky, and traces 16 samples a pixel with
its direct integrator, into a picture and its alpha. Set-up (what happens once an object) and rendering are
timed apart. Last, one process and two render the same shards of a dataset.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from netinvert.io.files import write_json
from netinvert.io.workers import Workers
from netinvert.scenes.cameras import Camera
from netinvert.scenes.catalogue import make_object
from netinvert.scenes.dataset_config import DatasetConfig
from netinvert.scenes.dataset_writer import render_dataset
from netinvert.scenes.objects import Object3D
from netinvert.scenes.path_traced import mitsuba_sensor, mitsuba_shapes
from netinvert.scenes.render import Renderer
from netinvert.scenes.shading import Light

SAMPLES = 16


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--identities", type=int, default=40)
    parser.add_argument("--views", type=int, default=20)
    parser.add_argument("--peer-identities", type=int, default=4, help="chairs that Mitsuba renders")
    parser.add_argument(
        "--variants",
        nargs="+",
        default=["scalar_rgb"],
        help="Mitsuba's; llvm_ad_rgb needs an LLVM of 16 or newer (pip install karellen-llvm-core, then "
        "DRJIT_LIBLLVM_PATH=.../libLLVM.so.N)",
    )
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[:1])
    rows = []
    for size in (64, 128):
        plan = DatasetConfig(identities=options.identities, views=options.views, size=size, seed=5)
        rows.append(row("netinvert", size, [ours(plan, plan.identities) for _ in range(options.rounds)]))
        for variant in options.variants:
            rows.append(row(f"mitsuba {variant}", size, [mitsuba(plan, options.peer_identities, variant)]))
    os.sched_setaffinity(0, cores)
    dataset = datasets(len(cores))
    if options.json:
        write_json(options.json, {"rows": rows, "dataset": dataset, "cores": len(cores)})


def row(renderer: str, size: int, rounds: list[dict[str, float]]) -> dict[str, Any]:
    found = {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}
    print(
        f"{size:4} px  {renderer:20} {found['pictures_a_second']:7.1f} pictures/s, with set-up "
        f"{found['with_set_up']:7.1f}; set-up {1000 * found['set_up_seconds']:6.1f} ms an object",
        flush=True,
    )
    return {"renderer": renderer, "size": size, **found}


def timed(
    plan: DatasetConfig, count: int, prepare: Callable[[Object3D], Callable[[Camera, Light], object]]
) -> dict[str, float]:
    """Pictures a second over the chairs of a plan, without and with what has to be done once a chair."""
    set_up, render = 0.0, 0.0
    for identity in range(count):
        began = time.perf_counter()
        thing = make_object(plan.objects, plan.object_seed(identity))
        picture = prepare(thing)
        set_up += time.perf_counter() - began
        for camera, light in views(plan, thing, identity):
            began = time.perf_counter()
            picture(camera, light)
            render += time.perf_counter() - began
    pictures = count * plan.views
    return {
        "pictures_a_second": pictures / render,
        "with_set_up": pictures / (render + set_up),
        "set_up_seconds": set_up / count,
    }


def views(plan: DatasetConfig, thing: Object3D, identity: int) -> Iterator[tuple[Camera, Light]]:
    for view in range(plan.views):
        rng = plan.generator(identity, view)
        camera = plan.camera(thing.vertices, view, rng)
        yield camera, plan.light(rng)


def ours(plan: DatasetConfig, count: int) -> dict[str, float]:
    return timed(plan, count, lambda thing: Renderer(thing).picture)


def mitsuba(plan: DatasetConfig, count: int, variant: str) -> dict[str, float]:
    import mitsuba as mi

    mi.set_variant(variant)
    mi.set_log_level(mi.LogLevel.Error)

    def prepare(thing: Object3D) -> Callable[[Camera, Light], object]:
        scene = mi.load_dict(
            {
                "type": "scene",
                "integrator": {"type": "direct", "hide_emitters": True},
                **{f"shape{k}": shape for k, shape in enumerate(mitsuba_shapes(mi, thing))},
                "key": {
                    "type": "directional",
                    "direction": [0, 0, -1],
                    "irradiance": {"type": "rgb", "value": [1, 1, 1]},
                },
                "sky": {"type": "constant", "radiance": {"type": "rgb", "value": 0.3}},
            }
        )
        settings = mi.traverse(scene)

        def picture(camera: Camera, light: Light) -> object:
            settings["key.to_world"] = mi.ScalarTransform4f().look_at(
                [0, 0, 0], [-each for each in light.direction], [0.1, 0.9, 0.3]
            )
            settings["key.irradiance.value"] = mi.Color3f(*light.key)
            settings.update()
            sensor = mi.load_dict(mitsuba_sensor(mi, camera, SAMPLES))
            return np.array(mi.render(scene, sensor=sensor, spp=SAMPLES))

        return picture

    timed(plan, 1, prepare)  # compiles Mitsuba's kernels, which it keeps for all later scenes
    return timed(plan, count, prepare)


def datasets(cores: int) -> dict[str, float]:
    """Samples a second of ``scenes render``, PNG files and all, by one process and by two."""
    plan = DatasetConfig(identities=240, views=20, size=64, seed=6, identities_a_shard=10)
    found: dict[str, float] = {"samples": plan.identities * plan.views}
    for processes in (1, 2):
        if processes > cores:
            break
        with TemporaryDirectory() as folder:
            manifest = render_dataset(plan, Path(folder), Workers(processes))
        found[f"samples_a_second_{processes}"] = manifest["samples"] / manifest["seconds"]
    if len(found) == 3:
        found["two_over_one"] = found["samples_a_second_2"] / found["samples_a_second_1"]
    print({name: round(value, 2) for name, value in found.items()})
    return found


if __name__ == "__main__":
    main()
