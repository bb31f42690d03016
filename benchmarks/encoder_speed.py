"""What packed convolutions, slices and bfloat16 save in an encoder's forward and backward pass.

    python benchmarks/encoder_speed.py --json benchmarks/results/encoder-speed.json

Four ways, in turn in one process, in CPU time: the network as it was loaded, stopped at the layer; the same
rewritten with torch's own convolutions; as the encoder runs it, with oneDNN's, large batches in slices; and
that in bfloat16. Ratios are medians of rounds; ``code`` and ``gradient`` say how far (relative L2) the third
is off the second, ``code, bf16`` and ``cosine, bf16`` how far the last is off, and its gradient's direction;
they are missing where bfloat16 is refused.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

import netinvert as ni
from netinvert.io.files import write_json
from netinvert.models.fused_conv import FusedConvolution

LAYERS = {
    "mobilenet-v2": ("blocks.5", "blocks.9", "blocks.16"),
    "objectron-chair": ("blocks.2", "blocks.7", "blocks.14"),
    "posenet": ("relu5", "relu7"),
    "torchvision:resnet18": ("layer3",),
    "torchvision:vgg16": ("features.22",),
}
Cut = Callable[[Tensor], list[Tensor]]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = []
    for name, layers in LAYERS.items():
        # whose weights do not matter for the time
        network = ni.load_network(name, weights="random" if name.startswith("torchvision:") else None)
        for layer in layers:
            encoder = ni.Encoder(network, layer)
            for batch in options.batches:
                row = measured(encoder, batch, options.rounds)
                rows.append({"network": name, "layer": layer, "batch": batch, **row})
                print(name, layer, batch, *(f"{key} {value:.3g}" for key, value in row.items()), flush=True)
    if options.json:
        instructions = torch.backends.cpu.get_cpu_capability()
        facts = {"threads": options.threads, "torch": torch.__version__, "cpu": instructions}
        write_json(options.json, {**facts, "rows": rows})


def measured(encoder: ni.Encoder, batch: int, rounds: int) -> dict[str, float]:
    """Medians over rounds of CPU milliseconds a pass, and of their ratios."""
    plain = copy.deepcopy(encoder._cuts.fast)
    for part in plain.module.modules():
        if isinstance(part, FusedConvolution):
            part._packs = None
    source = torch.Generator().manual_seed(1)
    images = torch.rand(batch, encoder.preprocessing.channels, *encoder.size, generator=source)
    images.requires_grad_(True)

    def run(cut: Cut) -> tuple[Tensor, Tensor]:
        code = cut(encoder.network_input(images))[0]
        return code.detach(), torch.autograd.grad(code.square().sum(), images)[0]

    cuts: dict[str, Cut] = {
        "loaded": encoder._cuts.plain.outputs,
        "rewritten": plain.outputs,
        "packed": lambda x: encoder._outputs(encoder._cuts.fast, x),
    }
    with contextlib.suppress(ni.NetworkError):  # depthwise networks give other codes
        rounded = encoder._in_bfloat16()
        cuts["bf16"] = lambda x: encoder._outputs(rounded, x)
    found = {name: run(cut) for name, cut in cuts.items()}  # and warm up
    pairs = zip(("code", "gradient"), found["packed"], found["rewritten"], strict=True)
    off = {what: float((ours - theirs).norm() / theirs.norm()) for what, ours, theirs in pairs}
    if "bf16" in found:
        (code, gradient), (exact, steepest) = found["bf16"], found["packed"]
        off["code, bf16"] = float((code - exact).norm() / exact.norm())
        off["cosine, bf16"] = float(torch.cosine_similarity(gradient.flatten(), steepest.flatten(), 0))
    passes = max(1, 6 // batch)
    times: dict[str, list[float]] = {name: [] for name in cuts}
    for _ in range(rounds):
        for name, cut in cuts.items():
            began = time.process_time()
            for _ in range(passes):
                run(cut)
            times[name].append(1000 * (time.process_time() - began) / passes)
    compared = (("packed", "rewritten"), ("packed", "loaded"), ("bf16", "packed"))
    ratios = {
        f"{ours} / {theirs}": statistics.median(
            a / b for a, b in zip(times[ours], times[theirs], strict=True)
        )
        for ours, theirs in compared
        if ours in times
    }
    return {**{f"{name}, ms": statistics.median(values) for name, values in times.items()}, **ratios, **off}


if __name__ == "__main__":
    main()
