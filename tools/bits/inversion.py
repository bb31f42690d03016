"""Inversions and maximisation: every preset on several networks, priors, canvases, starts, stops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from bits import names as ni
from bits import tiny

Run = Callable[[Path], dict[str, Any]]
SUBJECTS: dict[str, tuple[str | None, str, int, int]] = {  # network: weights, layer, side, steps
    "posenet": (None, "relu4", 64, 16),
    "objectron-chair": (None, "blocks.7", 128, 9),
    "hog": (None, "cells", 64, 14),
    "alexnet": ("random", "relu3", 96, 6),
    "mobilenet-v2": (None, "blocks.5", 96, 10),
}
PRESETS = tuple(name for name in ni.PRESETS if name != "decoded")  # which has a decoder of few layers alone
MAXIMISING = tuple(ni.MAXIMISING)
PRIORS = ("none", "tv-isotropic", "tv-anisotropic", "tv-quadratic", "tv-huber", "second-order", "batchnorm")


def subject(name: str) -> tuple[Any, torch.Tensor, int]:
    """An encoder, the codes of two photographs, and how many steps are enough."""
    weights, layer, side, steps = SUBJECTS[name]
    encoder = ni.Encoder(ni.load_network(name, weights), layer, size=(side, side))
    with torch.no_grad():
        return encoder, encoder(tiny.photographs((side, side), 2, encoder.preprocessing.channels)), steps


def shortened(how: Any, steps: int = 8) -> Any:  # noqa: ANN401
    """A recipe of a few steps."""
    return how.with_steps(max(steps, len(how.stages)))


def inverted(encoder: Any, code: Any, how: Any, steps: int = 8, **more: Any) -> dict[str, Any]:  # noqa: ANN401
    """What ``invert`` gives by a recipe, or by a preset."""
    how = ni.recipe(how, encoder) if isinstance(how, str) else how
    return tiny.result(ni.invert(encoder, code, preset=shortened(how, steps), **more))


def maximised(encoder: Any, wish: Any, how: str, prior: str | None = None, **more: Any) -> dict[str, Any]:  # noqa: ANN401
    """What ``maximise`` gives by a preset."""
    wish = ni.Activate(wish) if isinstance(wish, torch.Tensor) else wish
    recipe = shortened(ni.maximising_recipe(how, encoder, prior))
    return tiny.result(ni.maximise(encoder, wish, preset=recipe, **more))


def preset(network: str, name: str, _: Path) -> dict[str, Any]:
    encoder, code, steps = subject(network)
    return inverted(encoder, code, name, steps, seed=3)


def unit(network: str, layer: str, name: str, _: Path) -> dict[str, Any]:
    encoder = ni.Encoder(ni.load_network(network), layer, size=(64, 64))
    return maximised(encoder, ni.channel(encoder, 3), name, seed=[1, 2])


def recipes(_: Path) -> dict[str, Any]:
    """The constants of every preset: those of its stages, and the weights of its terms."""
    found = {}
    for network in SUBJECTS:
        encoder = subject(network)[0]
        presets = {f"{name} {network}": ni.recipe(name, encoder) for name in PRESETS}
        units = {f"maximising {name} {network}": ni.maximising_recipe(name, encoder) for name in MAXIMISING}
        for name, how in {**presets, **units}.items():
            weights = [how.data_weight, *(weight for weight, _ in how.priors)]
            found[name] = [*weights, *tiny.constants([how.priors, how.stages]), how.unnormalised]
    return found


def chosen_prior(name: str, _: Path) -> dict[str, Any]:
    encoder = tiny.encoder()
    return inverted(encoder, encoder(tiny.photographs()), ni.recipe("default", encoder, name))


def on_canvas(name: str, _: Path) -> dict[str, Any]:
    encoder, code, steps = subject("posenet")
    return {
        how: inverted(encoder, code, ni.with_canvas(ni.recipe(how, encoder), name), steps, seed=1)
        for how in ("default", "fourier-adam")
    }


def resumed(name: str, folder: Path) -> dict[str, Any]:
    """A run that is stopped in its middle and taken up again, beside a whole one."""
    encoder, code, _ = subject("posenet")
    ready = ni.prepare(encoder, code, shortened(ni.recipe(name, encoder), 12))

    def ctrl_c(info: Any) -> None:  # noqa: ANN401
        if info.step == 7:
            raise KeyboardInterrupt

    kept = {"seed": [4, 5], "checkpoint": folder / "state.safetensors", "checkpoint_seconds": 0.0}
    stopped = ready.run(ni.Run(callback=ctrl_c, **kept))
    again, whole = ready.run(ni.Run(**kept)), ready.run(ni.Run(seed=[4, 5]))
    return {"stopped": stopped.image, "resumed": tiny.result(again), "whole": tiny.result(whole)}


def masked(_: Path) -> dict[str, Any]:
    encoder = tiny.encoder("3")
    code, how = encoder(tiny.photographs()), ni.recipe("fourier-adam", encoder)
    masks = {
        text: ni.parse_mask(encoder, text) for text in ("centre=6", "channels=2:5", "rows=0:5,columns=3:9")
    }
    return {text: inverted(encoder, code, replace(how, mask=mask)) for text, mask in masks.items()}


def starts_and_stops(_: Path) -> dict[str, Any]:
    """From an image; what a callback sees; a stop rule; a code without a batch; the default as it is."""
    encoder, code, _steps = subject("posenet")
    small, seen = tiny.encoder(), []

    def note(info: Any) -> bool:  # noqa: ANN401
        seen.append({name: getattr(info, name).clone() for name in ("losses", "image", "best_loss")})
        return bool(info.step == 5)

    stop = ni.EarlyStopping(patience=2, improvement=0.5)
    return {
        "start": inverted(encoder, code, "default", start=tiny.photographs((50, 70), 1)),
        "callback": inverted(encoder, code, "default", seed=9, callback=note),
        "seen": seen,
        "patience": inverted(encoder, code, "default", seed=1, stop=stop),
        "one code": inverted(encoder, code[0], "default", seed=2),
        "whole default": tiny.result(ni.invert(small, small(tiny.photographs()))),
    }


def diverse(_: Path) -> dict[str, Any]:
    """Several images of a code, and plain restarts."""
    encoder = tiny.encoder("3")
    code, how = encoder(tiny.photographs()), shortened(ni.recipe("fourier-adam", encoder))
    several = {w: ni.diversify(encoder, code, 3, weight=w, preset=how, seed=2) for w in (0.0, 0.3)}
    spreads = {f"spread {w}": ni.spread(each.image.view(2, 3, 3, 32, 32)) for w, each in several.items()}
    return {**{str(w): tiny.result(each) for w, each in several.items()}, **spreads}


def with_decoder(name: str, _: Path) -> dict[str, Any]:
    """A decoder's picture as the start, and its input as the canvas."""
    decoder = ni.load_decoder(name)
    encoder = decoder.encoder()
    code = encoder(tiny.photographs((64, 64)))
    started, on = ({"decoder": decoder}, {"canvas": decoder})
    return {
        "start": inverted(encoder, code, "default", **started),
        "on": inverted(encoder, code, "default", **on),
    }


def other_networks(_: Path) -> dict[str, Any]:
    """Tokens of a transformer, a class vector, dense SIFT."""
    encoders = {
        "tokens": tiny.encoder("block", tiny.Tokens),
        "head": tiny.encoder("8"),
        "dsift": ni.Encoder(ni.load_network("dsift"), "renorm", size=(51, 51)),
        "efficientnet": ni.Encoder(ni.load_network("efficientnet-lite0"), "blocks.4", size=(96, 96)),
        "held out": ni.Encoder(ni.load_network("posenet-judge"), "relu5"),
    }
    images = {k: tiny.photographs(one.size, 1, one.preprocessing.channels) for k, one in encoders.items()}
    return {k: inverted(one, one(images[k]), "default", seed=6) for k, one in encoders.items()}


def units(_: Path) -> dict[str, Any]:
    """A neuron, a direction, a unit of a vector, another prior, a start image, poses."""
    cut, head = tiny.encoder(), tiny.encoder("8")
    found = {
        "neuron": maximised(cut, ni.neuron(cut, 1, (3, 4)), "default"),
        "direction": maximised(cut, tiny.normal(*cut.code_shape)[None], "default"),
        "unit": maximised(head, ni.channel(head, 4), "default", "none", seed=5),
        "start": maximised(cut, ni.channel(cut, 0), "default", start=tiny.photographs((40, 50), 1)),
    }
    rotation = ni.rotation_from_angles(*(torch.tensor([angle]) for angle in (40.0, 20.0, 0.0)))
    for name, layer in (("posenet", "fc8"), ("posenet-judge", "fc6")):
        encoder = ni.Encoder(ni.load_network(name), layer)
        wished = ni.PoseTowards(rotation, encoder.network.pose_error)
        found[f"pose {name}"] = maximised(encoder, wished, "default", seed=2)
    return found


def caricatures(_: Path) -> dict[str, Any]:
    """From the image and from noise, with every preset that draws any."""
    encoder, images = subject("posenet")[0], tiny.photographs((64, 64))
    hows = {name: shortened(ni.maximising_recipe(name, encoder)) for name in ("default", "ijcv16", "maco")}
    return {
        f"{name} {start}": tiny.result(ni.caricature(encoder, images, preset=how, from_image=start, seed=4))
        for name, how in hows.items()
        for start in (True, False)
    }


def optimisers(_: Path) -> dict[str, Any]:
    """Every optimiser in the loop, with jitter, constraints, augmentations where it bears them."""
    found, encoder = {}, tiny.encoder("3")
    energy = ni.Energy(((1.0, ni.Match(encoder(tiny.photographs()))), (0.01, ni.TotalVariation())))
    views = (ni.RandomAffine(), ni.RandomCrop(), ni.RandomErasing(0.9))
    noisy = {"jitter": 4, "projections": (ni.Box(-1.0, 2.0),), "transforms": views}
    hows = [ni.Adam(0.05, halving=3), ni.Momentum(0.002), ni.DecayingAdaGrad(0.5, 16), ni.LBFGS(history=3),
            ni.LBFGS(warm_up=ni.WarmUp(0.05, 0.3, 4)), ni.ConstantRate(0.001), ni.ProgressRate(0.5, 0.01),
            ni.Progress01Rate(0.5, 0.1, 0.01)]  # fmt: skip
    for index, how in enumerate(hows):
        more = {} if how.needs_fixed_objective else noisy
        stages = (ni.Stage(8, how, **more), ni.Stage(4, ni.Adam(0.01), averaged=2))
        canvas = ni.Pixels(tiny.noise(2, 3, 32, 32), (0.5,) * 3)
        found[f"{index}"] = tiny.result(ni.optimize(canvas, energy, encoder, stages, ni.Run(seed=(1, 2))))
    return found


def lucky_views(_: Path) -> dict[str, Any]:
    """A random view that matches better than the image itself, which the next stage has to forget."""
    encoder, view, adam = tiny.encoder("3"), ni.RandomAffine(degrees=15), ni.Adam(1e-5)
    image = tiny.photographs(count=1).expand(6, -1, -1, -1)
    energy = ni.Energy(((1.0, ni.Match(encoder(view(image, ni.generators([3] * 6))))),))
    stages = (ni.Stage(12, adam, transforms=(view,)), ni.Stage(3, adam, jitter=4), ni.Stage(3, adam))
    canvas = ni.Pixels(image, (0.5,) * 3)
    return tiny.result(ni.optimize(canvas, energy, encoder, stages, ni.Run(seed=range(6))))


RUNS: dict[str, Run] = {
    **{f"preset {name} on {each}": partial(preset, each, name) for each in SUBJECTS for name in PRESETS},
    **{f"maximising {name} on posenet": partial(unit, "posenet", "relu4", name) for name in MAXIMISING},
    **{
        f"maximising {name} on mobilenet-v2": partial(unit, "mobilenet-v2", "blocks.5", name)
        for name in MAXIMISING
    },
    **{f"prior {name}": partial(chosen_prior, name) for name in (*PRIORS, "tv-isotropic=0.5+batchnorm=0.02")},
    **{f"canvas {name}": partial(on_canvas, name) for name in ("fourier", "pixels", "phase", "deep-prior")},
    **{f"resumed {name}": partial(resumed, name) for name in ("default", "fourier-adam", "ijcv16")},
    **{f"with {name}": partial(with_decoder, name) for name in ("posenet-fc7", "posenet-conv5")},
    "recipes": recipes,
    "masks": masked,
    "starts and stops": starts_and_stops,
    "diverse": diverse,
    "other networks": other_networks,
    "units": units,
    "caricatures": caricatures,
    "optimisers": optimisers,
    "lucky views": lucky_views,
}
