"""What ``precision="bfloat16"`` saves of an inversion, and what it costs.

    python benchmarks/precision.py --json benchmarks/results/precision.json

The codes of chairs that no network has seen (a tuning seed) are inverted in float32 and with the first steps
in bfloat16, in turn in one process, in CPU time; the clock stands while code errors are measured, in float32.
Ratios are of a pair of runs, medians of rounds; errors have 95 % intervals over chairs, those of differences
paired.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from pathlib import Path

import torch
from torch import Tensor

import netinvert as ni
from netinvert.evaluation.metrics import ssim
from netinvert.evaluation.statistics import difference, estimate
from netinvert.experiments.held_out_chairs import fresh_chairs
from netinvert.inversion.objectives import code_error
from netinvert.io.files import write_json
from netinvert.models.precision import BFLOAT16, FLOAT32, has_bfloat16

CASES = (
    ("posenet", "relu3", "quick"),
    ("posenet", "relu5", "quick"),
    ("posenet", "relu7", "quick"),
    ("posenet", "relu7", "decoded"),
    ("posenet", "relu7", "default"),
)
NEAR = (0.1, 0.05)
"""Mean code errors that are waited for."""


class Clock:
    """Of one run: CPU seconds, but for those of measuring; when its mean code error first was so small."""

    def __init__(self, encoder: ni.Encoder, codes: Tensor) -> None:
        self.encoder, self.codes = encoder, codes
        self.seconds, self.first = 0.0, dict.fromkeys(NEAR, math.nan)
        self.began = time.process_time()

    def __call__(self, info: ni.StepInfo) -> None:
        self.seconds += time.process_time() - self.began
        if info.step <= 60 or info.step % 10 == 0:
            error = self.errors(info.best_image).mean().item()
            for near, at in self.first.items():
                if error <= near and math.isnan(at):
                    self.first[near] = self.seconds
        self.began = time.process_time()

    @torch.no_grad()
    def errors(self, images: Tensor) -> Tensor:
        """Of images, in float32 though the run may be in another precision just now."""
        cuts = self.encoder
        return code_error(cuts._outputs(cuts._cuts.fast, cuts.network_input(images))[0], self.codes)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--chairs", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, help="in place of the presets' own")
    parser.add_argument("--seed", type=int, default=101)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if not has_bfloat16(torch.device("cpu")):
        print("this processor has no instructions for bfloat16: its times say nothing")
    rows = []
    for name, layer, preset in CASES:
        encoder = ni.Encoder(ni.load_network(name), layer)
        chairs = fresh_chairs(options.chairs, options.seed, max(encoder.size)).images
        codes = encoder(chairs).detach()
        clocks: dict[str, list[Clock]] = {FLOAT32: [], BFLOAT16: []}
        errors, likeness = {}, {}
        ni.invert(encoder, codes, preset=preset, steps=4)  # the first of a process is slower
        for _ in range(options.rounds):
            for precision, own in clocks.items():
                own.append(Clock(encoder, codes))
                result = ni.invert(
                    encoder,
                    codes,
                    preset=preset,
                    steps=options.steps,
                    precision=precision,
                    callback=own[-1],
                )
                errors[precision] = result.error
                likeness[precision] = ssim(result.image, chairs)
        pairs = list(zip(clocks[BFLOAT16], clocks[FLOAT32], strict=True))
        row = {
            "network": name,
            "layer": layer,
            "preset": preset,
            "ms an image": {
                precision: 1000 * statistics.median(one.seconds for one in own) / options.chairs
                for precision, own in clocks.items()
            },
            "time": statistics.median(a.seconds / b.seconds for a, b in pairs),
            **{
                f"time to {near}": statistics.median(a.first[near] / b.first[near] for a, b in pairs)
                for near in NEAR
            },
            "error": {precision: vars(estimate(one)) for precision, one in errors.items()},
            "error, more": vars(difference(errors[BFLOAT16], errors[FLOAT32])),
            "ssim, more": vars(difference(likeness[BFLOAT16], likeness[FLOAT32])),
        }
        rows.append(row)
        print(row, flush=True)
    if options.json:
        write_json(options.json, {"torch": torch.__version__, "chairs": options.chairs, "rows": rows})


if __name__ == "__main__":
    main()
