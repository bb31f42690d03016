r"""What an occlusion map costs over the bare forward passes that it needs.

    python benchmarks/occlusion.py --networks mobilenet-v2 objectron-chair --rounds 1 \
        --json benchmarks/results/occlusion.json

A square of 32 pixels moves by 8 over an image of the network's size; the bare passes are as many images of
noise, already preprocessed, through the network as it was loaded, in batches of the same size, cut at the
target's layer. Both are measured in turn in one process, in CPU seconds, and ratios are taken round by round.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import torch

import netinvert as ni
from netinvert.explain.occlusion import Occluder
from netinvert.explain.targets import Target, parse_target
from netinvert.io.files import write_json
from netinvert.models.cut import LayerCut, LayerName

TARGETS = {
    "mobilenet-v2": "pool/channel:3",
    "objectron-chair": "keypoint:1",
    "efficientnet-lite0": "class",
    "posenet": "pose",
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--networks", nargs="+", default=list(TARGETS))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--batch", type=int, default=32)
    options = parser.parse_args()
    rows = []
    for name in options.networks:
        target = parse_target(ni.load_network(name), TARGETS[name])
        pairs = [measure(target, options.batch) for _ in range(options.rounds + 1)][1:]  # the first warms up
        ratios = [ours / bare for ours, bare in pairs]
        row = {"network": name, "ratio": statistics.median(ratios), "ratios": ratios, "seconds": pairs}
        rows.append(row)
        print(
            f"{name:20} {pairs[0][0]:5.1f} s, bare {pairs[0][1]:5.1f} s, ratio {row['ratio']:.2f}", flush=True
        )
    if options.json:
        facts = {"threads": torch.get_num_threads(), "torch": torch.__version__, "batch": options.batch}
        write_json(options.json, {**facts, "rows": rows})


@torch.no_grad()
def measure(target: Target, batch: int) -> tuple[float, float]:
    """CPU seconds of an occlusion map, and of its bare passes."""
    encoder = target.encoder
    module = encoder.network.module
    cut = LayerCut(module, LayerName.parse(encoder.layer, module))
    start = time.process_time()
    found = Occluder(window=32, stride=8, batch=batch)(target, ni.sample("chair"))
    ours, count = time.process_time() - start, found.values.numel() + 1
    noise = torch.randn(batch, 3, *encoder.size, generator=torch.Generator().manual_seed(0))
    start = time.process_time()
    for done in range(0, count, batch):
        cut(noise[: count - done])
    return ours, time.process_time() - start


if __name__ == "__main__":
    main()
