"""A few steps of each training, what is written, evaluations of what is shipped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bits import names as ni
from bits import tiny
from bits.scenes import Run, dataset
from bits.values import contents, numbers

CHAIRS = dataset("--count 12 --views 2 --seed 3 --splits 0.6 0.3 0.1")
FEW = "--batch 8 --threads 1 --every 2 --json"


def said(line: str, **words: object) -> list[str]:
    """The numbers that a command prints."""
    return sorted(numbers(json.loads(ni.command(line, **words))))


def pose(network: str, head: str, more: str = "") -> Run:
    """A pose network after six steps, and taken up again for two more."""

    def run(folder: Path) -> dict[str, Any]:
        CHAIRS(folder)
        where = f"--data {folder}/data --out {folder}/out"
        line = f"pose train --network {network} --head {head} {more} {where} {FEW} --samples"
        found: dict[str, Any] = {"first": said(f"{line} 48"), "files": contents(folder / "out")}
        return {**found, "on": said(f"{line} 64"), "longer": contents(folder / "out")}

    return run


def decoder(options: str) -> Run:
    """A decoder after six steps, and what it makes of noise."""

    def run(folder: Path) -> dict[str, Any]:
        CHAIRS(folder)
        where = f"--data {folder}/data --out {folder}/out"
        line = f"decoder train --network posenet --seed 2 {options} {where} {FEW} --samples 48"
        found: dict[str, Any] = {"said": said(line), "files": contents(folder / "out")}
        file = folder / "out" / "decoder.safetensors"
        made = ni.load_autoencoder(file)[1] if "--autoencoder" in options else ni.load_decoder(file)
        return {**found, "decoded": made(tiny.noise(2, *made.code_shape))}

    return run


def photographs(folder: Path) -> dict[str, Any]:
    """A decoder trained on the package's photographs."""
    few = f"--pixels 32 --out {folder}/out {FEW} --samples 32"
    found = said(f"decoder train --network mobilenet-v2 --layer pool --data photographs {few}")
    crops = ni.shipped_photographs((32, 40), 3, 5)
    return {
        "said": found,
        "files": contents(folder / "out"),
        "crops": crops.batch(2, 4),
        "held out": crops.held_out(4),
    }


def losses(_: Path) -> dict[str, Any]:
    """Losses of images, and their gradients."""
    encoder = tiny.encoder("5", side=64)
    images, originals = tiny.noise(3, 3, 64, 64), tiny.photographs((64, 64), 3)
    found: dict[str, Any] = {}
    for text in ("pixel=2+feature:3=0.1", "deepsim:1"):
        for name, (weight, compare) in ni.comparisons(ni.LossChoice.parse(text), encoder).items():
            values = tiny.with_gradient(lambda x, compare=compare: compare(x, originals), images)
            found[f"{text} {name}"] = {"weight": weight, **values}
    logits, masks = tiny.normal(3, 1, 64, 64), (tiny.noise(3, 1, 64, 64) > 0.5).float()
    return {**found, "mask": ni.mask_loss(logits, masks)}


def schedules(_: Path) -> dict[str, Any]:
    """Learning rates, weight decays, running averages and defaults of configs."""
    encoder = ni.Encoder(ni.load_network("posenet"), "fc8")
    architecture = ni.Architecture(encoder.code_shape, (64, 64), mask=True)
    configs = [ni.PoseConfig(), ni.DecoderConfig(network="posenet", layer="fc8")]
    models = [ni.PoseModel(configs[0]), ni.DecoderModel(configs[1], encoder, architecture)]
    found: dict[str, Any] = {"constants": tiny.constants(configs)}
    for model in models:
        name = type(model).__name__
        for index, each in enumerate(model.network.parameters()):
            each.data.fill_(1 + index)
        groups = [group for optimizer in model.optimizers() for group in optimizer.param_groups]
        found[f"{name} rates"] = [
            model.config.rate_at(step) for step in (0, 100, 499, 5000, 5500, 7000, 7800)
        ]
        found[f"{name} decays"] = [group["weight_decay"] for group in groups]
        for step in (3, 100_000):
            model.update_average(step)
            found[f"{name} after {step}"] = [each.flatten()[0] for each in model.average.parameters()]
    return found


def evaluation(line: str) -> Run:
    """The figures of a shipped network or decoder."""

    def run(folder: Path) -> dict[str, Any]:
        images = tiny.pictures(folder, 3, (64, 64))
        return {
            "said": said(f"{line} --json --out {folder}/out", images=images),
            "left": contents(folder / "out"),
        }

    return run


POSED, DECODERS = (
    ("posenet", "posenet-judge", "objectron-chair"),
    ("posenet-fc6", "posenet-pose", "objectron-chair"),
)
RUNS: dict[str, Run] = {
    "pose posenet 6d": pose("posenet", "6d", "--seed 4"),
    "pose judge bins": pose("posenet-judge", "bins", "--rate 0.001"),
    "decoder pixel": decoder("--layer fc8"),
    "decoder adversarial": decoder("--layer relu7 --loss pixel=1+feature:relu2=0.1+adversarial=0.05"),
    "decoder of maps": decoder("--layer relu5 --upsampling transposed"),
    "decoder autoencoder": decoder("--layer fc8 --start posenet-pose --autoencoder"),
    "decoder cached": decoder("--layer relu6 --cache 32"),
    "decoder of photographs": photographs,
    "losses": losses,
    "schedules": schedules,
    **{
        f"evaluation of {name}": evaluation(
            f"pose evaluate --network {name} --chairs 4 --views 2 --learned 20"
        )
        for name in POSED
    },
    "evaluation path traced": evaluation(
        "pose evaluate --network posenet --chairs 1 --views 2 --learned 20 --path-traced"
    ),
    **{
        f"evaluation of decoder {name}": evaluation(f"decoder evaluate {name} --chairs 3")
        for name in DECODERS
    },
    "evaluation on images": evaluation("decoder evaluate posenet-fc7 --images {images}"),
}
