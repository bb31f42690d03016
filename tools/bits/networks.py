"""Codes, layers and pose readings of every network; decoders; measures of images and codes, probes."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from bits import names as ni
from bits import tiny

DATA = Path(__file__).parents[2] / "tests" / "data"
CHAIRS = ("carver-000", "carver-120", "dining-060", "dining-240")
NETWORKS: dict[str, tuple[str | None, str, tuple[int, int] | None]] = {  # weights, layers, size
    "posenet": (None, "", None),
    "posenet-judge": (None, "", None),
    **{f"objectron-{name}": (None, "", None) for name in ("chair", "camera", "cup", "sneakers")},
    "mobilenet-v2": (None, "", (128, 128)),
    "efficientnet-lite0": (None, "", (128, 128)),
    "hog": (None, "", (96, 80)),
    "hogb": (None, "", (96, 80)),
    "dsift": (None, "", (75, 75)),
    **{f"alexnet{which}": ("random", "conv1 pool2 pool5 fc8", None) for which in ("", "-2012", "-caffe")},
    "torchvision:resnet18": ("random", "relu layer1 layer2.0 layer3.1.bn2 fc", (64, 64)),
    "timm:mobilenetv3_small_050": ("random", "blocks.1 conv_head", (96, 96)),
    "tflite:operators": (None, "conv_0 maxpool_0 resize_3 softmax_0 mean_1", None),
    "tflite:hand_recrop": (None, "maxpool_0 maxpool_3 maxpool_5", None),
}


def network(name: str, _: Path) -> dict[str, Any]:
    """Codes at a network's layers, its listing, what it reads of poses in photographs of chairs."""
    weights, layers, size = NETWORKS[name]
    kind, _, file = name.partition(":")
    loaded = ni.load_network(f"tflite:{DATA}/{file}.tflite" if kind == "tflite" else name, weights)
    form = loaded.preprocessing
    found: dict[str, Any] = {"form": [*form.size, *form.mean, *form.std, form.scale, form.order]}
    for layer in layers.split() or loaded.layers:
        encoder = ni.Encoder(loaded, layer, size=size)
        drawn = tiny.noise(2, form.channels, *encoder.size)
        images = tiny.photographs(encoder.size, 2, form.channels) if form.channels in (1, 3) else drawn
        with torch.no_grad():
            found[layer] = {
                "code": encoder(images),
                "facts": [*encoder.code_shape, encoder.stride, encoder.depth],
            }
    if loaded.read_pose is not None:
        chairs = [ni.fit(ni.read_image(f"{DATA}/chairs/{chair}.png"), encoder.size) for chair in CHAIRS]
        with torch.no_grad():
            found["poses"] = ni.read_poses(encoder, torch.cat(chairs))
    known = weights is None and form.size[0] <= 256
    return {**found, "weights": encoder.weights_sha256(), "layers": listing(loaded) if known else None}


def listing(loaded: Any) -> dict[str, list[Any]]:  # noqa: ANN401
    return {
        one.name: [one.type, *one.code_shape, one.stride, one.receptive_field]
        for one in ni.list_layers(loaded)
    }


def listings(_: Path) -> dict[str, Any]:
    """The layers of small networks; the cards of all."""
    form, made = ni.Preprocessing((32, 32)), {"plain": tiny.plain, "tokens": tiny.Tokens}
    found = {name: listing(ni.Network(name, tiny.seeded(build), form)) for name, build in made.items()}
    return {
        **found,
        **{one.name: [one.task, one.licence, one.size, one.parameters] for one in ni.list_networks()},
    }


def encoders(_: Path) -> dict[str, Any]:
    """What an encoder does with a network: folding, fusing, leaking, inputs in other units, gradients."""
    found: dict[str, Any] = {}
    images = tiny.photographs()
    for layer in "0134568":
        encoder = tiny.encoder(layer)
        with encoder.leaky_relu_gradients():
            leaking = tiny.with_gradient(encoder, images)
        found[layer] = {"leaking": leaking, "centre": encoder.centre, **tiny.with_gradient(encoder, images)}
    for layer in ("patches", "block", "head", "output", "input"):
        found[f"tokens {layer}"] = tiny.encoder(layer, tiny.Tokens)(images)
    form = ni.Preprocessing((20, 28), (104.0, 117.0, 123.0), (1.0, 2.0, 3.0), 255.0, "BGR")
    scaled = ni.Encoder(ni.Network("tiny", tiny.seeded(tiny.plain), form), "3")
    return {**found, "bgr": scaled.network_input(tiny.photographs((20, 28))), "fit": scaled.fit(images)}


def decoder(name: str, _: Path) -> dict[str, Any]:
    """What a shipped decoder makes of codes of photographs and of drawn codes."""
    made = ni.load_decoder(name)
    encoder = made.encoder()
    with torch.no_grad():
        code = encoder(tiny.photographs(encoder.size, 3))
        drawn = code[torch.tensor([1, 2, 0])] * tiny.noise(*code.shape)
        mask = made.mask(code) if made.has_mask else None
        return {
            "code": code,
            "images": made(code),
            "drawn": made(drawn),
            "mask": mask,
            "of": made.network_sha256,
        }


def pictures(folder: Path) -> dict[str, Any]:
    """Reading, fitting and writing images."""
    path = folder / "one.png"
    ni.write_png(tiny.noise(1, 3, 20, 31), path)
    ways = list(itertools.product(("crop", "stretch", "pad"), ((16, 16), (50, 20), (20, 31))))
    shown = tiny.photographs((48, 64))
    fitted = {f"{how} {size}": ni.fit(shown, size, how) for how, size in ways}
    return {
        **fitted,
        "read": ni.read_image(path),
        "grey": ni.read_image(path, 1),
        "chair": ni.chair((64, 64)),
    }


def likeness(_: Path) -> dict[str, Any]:
    """PSNR, SSIM, naturalness, spread of images; the three normalised errors of codes."""
    images, others = tiny.photographs((48, 40), 4), tiny.noise(4, 3, 48, 40)
    mixed = 0.8 * images + 0.2 * others
    measures = (ni.psnr, ni.ssim, ni.naturalness, ni.gradient_naturalness)
    pairs = {"mixed": (mixed, images), "noise": (others, images), "same": (images, images)}
    found = {f"{each.__name__} {name}": each(*pair) for each in measures for name, pair in pairs.items()}
    code, target, reference = (tiny.normal(5, 4, 3, 3, seed=seed) for seed in (1, 2, 3))
    errors = {f"errors {k}": ni.code_errors(code, target, one) for k, one in enumerate((reference, None))}
    return {**found, **errors, "spread": ni.spread(torch.stack([images, mixed, others], 1))}


def probes(_: Path) -> dict[str, Any]:
    """Ridge regression, held out by group; the audit's probes and their chance."""
    codes, groups = tiny.normal(80, 30), torch.arange(20).repeat_interleave(4)
    targets = codes @ tiny.normal(30, 2, seed=3) + 3 + 2 * tiny.normal(80, 2, seed=4)
    standard = ni.Standard.of(codes)
    products = ni.inner_products(standard(codes))
    seen = ni.inner_products(standard(0.5 * codes), standard(codes))
    found: dict[str, Any] = {
        "held out": ni.held_out(products, targets, groups),
        "seen": ni.held_out(products, targets, groups, seen),
        "quadratic": ni.held_out(ni.quadratic_kernel(products), targets, groups),
        "within": ni.within_groups(codes, groups),
    }
    numbers, kinds = targets.T.tolist()
    number = ni.Attribute("number", tuple(f"{value:.4f}" for value in numbers), True)
    kind = ni.Attribute("kind", tuple("abc"[int(value > 2) + int(value > 5)] for value in kinds), False)
    who = ni.Attribute("who", tuple(map(str, groups.tolist())), False)
    for name, attribute, grouped in (
        ("number", number, None),
        ("kind", kind, None),
        ("grouped", number, who),
    ):
        question = ni.question_of(attribute, grouped, 20, 5)
        others = codes + 0.1 * tiny.normal(80, 30, seed=6)
        found[name] = [question, ni.probe(codes, question), ni.probe(codes, question, others)]
    return found


DECODERS = ("posenet-conv5", "posenet-fc6", "posenet-fc7", "posenet-pose", "objectron-chair")
RUNS: dict[str, Callable[[Path], dict[str, Any]]] = {
    **{name: partial(network, name) for name in NETWORKS},
    **{f"decoder {name}": partial(decoder, name) for name in DECODERS},
    "listings": listings,
    "encoders": encoders,
    "pictures": pictures,
    "likeness": likeness,
    "probes": probes,
}
