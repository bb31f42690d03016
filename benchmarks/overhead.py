"""What a step of `optimize` costs over the bare forward and backward of the same network and layer.

    python benchmarks/overhead.py --json benchmarks/results/overhead.json

All are measured in turn in one process, and ratios are taken round by round, so that a machine that slows
down slows all. Two bare passes: the network as it was loaded, stopped at the layer (what one would write
without netinvert), and the same rewritten by the encoder (BatchNorm folded, channels last).
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from pathlib import Path

import torch

import netinvert as ni
from netinvert.io.assets import photographs
from netinvert.io.files import write_json
from netinvert.models.cut import LayerCut

LAYERS = {
    "mobilenet-v2": {"early": "blocks.5", "middle": "blocks.9", "late": "blocks.16"},
    "objectron-chair": {"early": "blocks.2", "middle": "blocks.7", "late": "blocks.14"},
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--presets", nargs="+", default=["default", "fourier-adam", "ijcv16"])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=25, help="steps a round")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = []
    for name, layers in LAYERS.items():
        network = ni.load_network(name)
        _, originals = photographs(network.preprocessing.size)
        for depth, layer in layers.items():
            encoder = ni.Encoder(network, layer)
            code = encoder(originals[:1])
            for preset in options.presets:
                row = measure(encoder, code, preset, options.rounds, options.steps)
                rows.append({"network": name, "depth": depth, "layer": layer, "preset": preset, **row})
                print(
                    f"{name:16} {depth:6} {layer:9} {preset:13} step {row['step_ms']:5.1f} ms; network alone "
                    f"{row['plain_ms']:5.1f} ms, ratio {row['ratio']:.2f}; "
                    f"rewritten {row['rewritten_ms']:5.1f} ms, ratio {row['ratio_to_rewritten']:.2f}",
                    flush=True,
                )
    if options.json:
        write_json(options.json, {"threads": options.threads, "torch": torch.__version__, "rows": rows})


def measure(
    encoder: ni.Encoder, code: torch.Tensor, preset: str, rounds: int, steps: int
) -> dict[str, float]:
    """Medians over rounds; the first round warms up."""
    how = ni.recipe(preset, encoder)
    # The stage in which the recipe spends most of its steps, alone: the same work at every step.
    stage = max(how.stages, key=lambda stage: stage.steps)
    plain, bare, step = [], [], []
    original = LayerCut(copy.deepcopy(encoder.network.module).requires_grad_(False), encoder.trace.layer)
    image = torch.rand(1, encoder.preprocessing.channels, *encoder.size, requires_grad=True)
    for _ in range(rounds + 1):
        for times, cut in (
            (plain, lambda x: original(encoder.network_input(x))),
            (bare, encoder),
        ):
            began = time.perf_counter()
            for _ in range(steps):
                torch.autograd.grad((cut(image) - code).square().sum(), image)
            times.append((time.perf_counter() - began) / steps)
        inversion = ni.prepare(encoder, code, how)
        alone = [ni.Stage(steps + 1, stage.optimizer, stage.jitter, stage.projections)]
        ticks: list[float] = []
        run = ni.Run(callback=lambda snapshot, ticks=ticks: ticks.append(time.perf_counter()))
        ni.optimize(inversion.canvas(), inversion.energy, encoder, alone, run)
        step.append((ticks[-1] - ticks[0]) / steps)
    return {
        "plain_ms": 1000 * statistics.median(plain[1:]),
        "rewritten_ms": 1000 * statistics.median(bare[1:]),
        "step_ms": 1000 * statistics.median(step[1:]),
        "ratio": statistics.median(a / b for a, b in zip(step[1:], plain[1:], strict=True)),
        "ratio_to_rewritten": statistics.median(a / b for a, b in zip(step[1:], bare[1:], strict=True)),
    }


if __name__ == "__main__":
    main()
