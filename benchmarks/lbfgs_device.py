"""L-BFGS sample by sample, and all samples at once: time and waits for the device a step.

    python benchmarks/lbfgs_device.py --device cuda

prints a table. The function costs next to nothing, so that it is the optimiser that is measured.
"""

import argparse
import time
import warnings

import torch
from torch import nn

from netinvert import LBFGS
from netinvert.inversion.lbfgs import LBFGSUpdater
from netinvert.inversion.lbfgs_batched import BatchedLBFGSUpdater

Kind = type[LBFGSUpdater] | type[BatchedLBFGSUpdater]
SIZE = 3 * 224 * 224
WARM_UP, STEPS = 15, 50  # the first fill the history


def measured(kind: Kind, count: int, device: torch.device) -> tuple[float, float | None]:
    """Seconds and synchronisations a step; the latter None on the CPU."""
    source = torch.Generator().manual_seed(0)
    parameter = nn.Parameter(torch.randn(count, SIZE, generator=source).to(device))
    curvature = torch.logspace(0, 4, SIZE, device=device)
    updater = kind(LBFGS(), [parameter])
    on_gpu = device.type == "cuda"
    found = []
    for step in range(WARM_UP + STEPS):
        x = parameter.detach()
        losses, gradient = (0.5 * curvature * x.square()).sum(1), curvature * x
        if on_gpu:
            torch.cuda.synchronize()
            torch.cuda.set_sync_debug_mode("warn")
        with warnings.catch_warnings(record=True) as waits:
            warnings.simplefilter("always")
            began = time.perf_counter()
            updater.update(losses, [gradient])
            if on_gpu:
                torch.cuda.set_sync_debug_mode("default")
                torch.cuda.synchronize()
        if step >= WARM_UP:
            found.append((time.perf_counter() - began, len(waits)))
    seconds, waits = (sum(values) / STEPS for values in zip(*found, strict=True))
    return seconds, waits if on_gpu else None


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--device", default="cuda")
    place = torch.device(parser.parse_args().device)
    print("| optimiser | batch | ms a step | waits a step |\n| --- | --- | --- | --- |")
    for count in (1, 16):
        for kind in (LBFGSUpdater, BatchedLBFGSUpdater):
            seconds, waits = measured(kind, count, place)
            waited = "-" if waits is None else f"{waits:.1f}"
            print(f"| {kind.__name__} | {count} | {1000 * seconds:.2f} | {waited} |")
