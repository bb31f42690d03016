"""How to begin at maps of a stride of 32 pixels: with Adam and jitter for 100 steps, or as ``quick`` does.

    python benchmarks/coarse_maps.py --json benchmarks/results/coarse-maps.json

The default does the former where codes say much of contrast, the latter elsewhere. Seven photographs by four
networks, two of which neither was chosen on (``objectron-cup``, ``efficientnet-lite0``). Steps until the best
image so far has a code error, twice as many as there are where it never has; code error and SSIM at the end;
and *read*: how like the original another network finds the image, the cosine of its pooled features.
Differences are paired, with 95 % intervals over photographs; ``--picture`` shows the images.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

import netinvert as ni
from netinvert.evaluation.metrics import ssim
from netinvert.evaluation.report.grid import GridRow, ImageGrid, Tile, grid_image
from netinvert.evaluation.statistics import difference, estimate
from netinvert.inversion.objectives import code_error
from netinvert.inversion.presets.by_name import QUICK, QUICK_BETAS, recipe
from netinvert.inversion.presets.fitting import contrast_of
from netinvert.io.assets import photographs
from netinvert.io.files import write_json

CASES = (
    ("objectron-chair", "blocks.14"),
    ("objectron-cup", "blocks.14"),
    ("mobilenet-v2", "blocks.16"),
    ("efficientnet-lite0", "blocks.15"),
)
JITTER, AS_QUICK = "Adam with jitter", "as quick"
READER = {"mobilenet-v2": "efficientnet-lite0"}
"""The network that reads, of each; else mobilenet-v2."""
NEAR = (0.5, 0.3, 0.2)


def inverted(encoder: ni.Encoder, codes: Tensor, how: ni.Recipe) -> tuple[ni.Result, dict[float, Tensor]]:
    """The result, and when each image first was so near; twice the steps where it never was."""
    first = {near: torch.full((len(codes),), 2.0 * how.steps) for near in NEAR}

    @torch.no_grad()
    def watch(info: ni.StepInfo) -> None:
        if info.step <= 60 or info.step % 5 == 0:
            errors = code_error(encoder(info.best_image), codes)
            for near, at in first.items():
                at[(errors <= near) & (at > info.step)] = info.step

    return ni.invert(encoder, codes, preset=how, callback=watch), first


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--images", type=int, default=7)
    parser.add_argument("--steps", type=int, default=300)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows, shown = [], []
    for name, layer in CASES:
        encoder = ni.Encoder(ni.load_network(name), layer)
        reader = ni.Encoder(ni.load_network(READER.get(name, "mobilenet-v2")), "pool")
        originals = photographs(encoder.size)[1][: options.images]
        codes = encoder(originals).detach()
        latter = replace(recipe("default", encoder), stages=(QUICK,)).with_steps(options.steps)
        third = options.steps // 3
        stages = (
            ni.Stage(third, ni.Adam(0.05, QUICK_BETAS), jitter=encoder.stride // 8),
            ni.Stage(options.steps - third, ni.LBFGS()),
        )
        found = {}
        for what, how in {JITTER: replace(latter, stages=stages), AS_QUICK: latter}.items():
            result, first = inverted(encoder, codes, how)
            with torch.no_grad():
                seen, true = (reader(reader.fit(one)).flatten(1) for one in (result.image, originals))
            found[what] = {
                **{f"log steps to {near}": at.log() for near, at in first.items()},
                "code error": result.error,
                "ssim": ssim(result.image, originals),
                "read": torch.cosine_similarity(seen, true),
            }
            tiles = [
                Tile(image, (f"{error:.3f}",))
                for image, error in zip(result.image, result.error, strict=True)
            ]
            shown.append(GridRow(f"{name}, {what}", tiles))
        row = {
            "network": name,
            "layer": layer,
            "share": contrast_of(encoder).share,
            "ways": [JITTER, AS_QUICK],
        }
        for measure, before in found[JITTER].items():
            later = found[AS_QUICK][measure]
            apart = difference(later, before)
            if measure.startswith("log"):  # as a ratio, and medians of steps
                row[measure.removeprefix("log ")] = [math.exp(one.median()) for one in (before, later)]
                row[f"{measure.removeprefix('log ')}, times"] = [
                    math.exp(one) for one in (apart.value, apart.low or 0.0, apart.high or 0.0)
                ]
            else:
                row[measure] = [estimate(one).value for one in (before, later)]
                row[f"{measure}, more"] = [apart.value, apart.low, apart.high]
        rows.append(row)
        print(row, flush=True)
    if options.picture:
        grid_image(ImageGrid(shown, title="Coarse maps; code errors below")).save(options.picture)
    if options.json:
        write_json(options.json, {"torch": torch.__version__, "images": options.images, "rows": rows})


if __name__ == "__main__":
    main()
