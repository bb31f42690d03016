"""The experiments: methods, attributes, codes, layers, chairs of the demo; as small as they can be."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from bits import names as ni
from bits import tiny
from bits.scenes import Run
from bits.training import CHAIRS
from bits.values import contents


def study(line: str) -> Run:
    """A study, by what it leaves; {data} stands for a dataset."""

    def run(folder: Path) -> dict[str, Any]:
        if "{data}" in line:
            CHAIRS(folder)
        ni.command(f"study {line} --out {folder}/out", data=folder / "data")
        return contents(folder / "out")

    return run


def unseen_chair(layer: str, _: Path) -> dict[str, Any]:
    """A chair of the demonstration, at a layer of posenet."""
    views, encoder = ni.unseen_chairs(), ni.Encoder(ni.load_network("posenet"), layer)
    images, reference = views.images[:1], ni.shipped_reference(encoder)
    result = ni.invert(encoder, encoder(images), steps=12)
    metrics = ni.evaluate_result(result, encoder, images, reference)
    readers = {"own": encoder, "held out": ni.held_out_estimator(encoder)}
    read = {name: ni.read_poses(reader, result.image) for name, reader in readers.items()}
    return {**tiny.result(result), **read, "metrics": metrics, "reference": reference.codes}


LAYERS = ("relu1", "relu2", "relu4", "pool5", "relu6", "relu7", "fc8")
TABLE = "--network module:bits.tiny:layered --layers 1 4 --restarts 2 --steps 6 --batch 4 --count 3"
CONV5, FC7, POSE = (f"--decoders posenet-{name}" for name in ("conv5", "fc7", "pose"))
RUNS: dict[str, Run] = {
    "methods": study(f"methods {POSE} --chairs 2 --steps 12 --bank 12 --learned 20"),
    "methods of maps": study(f"methods {CONV5} --chairs 2 --steps 12 --bank 12 --learned 20 --seed 9"),
    "attributes": study(f"attributes --network posenet --layers relu3 fc8 {POSE} --chairs 10"),
    "perturb": study(f"perturb {FC7} --chairs 4 --data {{data}}"),
    "interpolate": study(f"interpolate {FC7} {POSE} --chairs 4"),
    "random": study(f"random {POSE} --chairs 4 --data {{data}}"),
    "iterate": study(f"iterate {FC7} {POSE} --chairs 4 --rounds 3"),
    **{
        f"layers {name}": study(f"layers {TABLE} --protocol {name}")
        for name in ("cvpr15", "ijcv16", "default")
    },
    **{f"unseen chair {layer}": partial(unseen_chair, layer) for layer in LAYERS},
}
