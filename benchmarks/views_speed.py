"""How long a generator takes for a view, on one core, at 64 and at 128 pixels, one at a time and in batches.

    OMP_NUM_THREADS=1 python benchmarks/views_speed.py --json benchmarks/results/views-speed.json

The time does not depend on the weights: those at 64 pixels are random. Wall clock, and CPU time, which
other work on the machine does not lengthen; the median of rounds, with quartiles.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import torch

from netinvert.io.files import write_json
from netinvert.models.generator import (
    Generator,
    GeneratorFile,
    GeneratorForm,
    GeneratorNetwork,
    load_generator,
)

GOALS = {64: 5.0, 128: 15.0}
"""Milliseconds a view."""
BATCHES = (1, 64)


def generator_of(size: int) -> Generator:
    """The one that ships, or one of its form with other images."""
    shipped = load_generator("chairs")
    form = shipped.module.form
    if size == form.size:
        return shipped
    other = GeneratorForm(form.identities, size, form.embedding, form.hidden, form.first)
    return GeneratorFile(GeneratorNetwork(other).eval(), shipped.facts).generator(f"random, {size} px")


@torch.no_grad()
def times(generator: Generator, batch: int, rounds: int) -> dict[str, list[float]]:
    """Milliseconds a view in each round, by both clocks."""
    who = torch.arange(batch) % generator.module.form.identities
    azimuth = torch.linspace(0, 350, batch)
    clocks = {"wall": time.perf_counter, "cpu": time.process_time}
    found: dict[str, list[float]] = {name: [] for name in clocks}
    for k in range(rounds + 2):
        began = {name: clock() for name, clock in clocks.items()}
        generator(who, azimuth)
        if k >= 2:
            for name, clock in clocks.items():
                found[name].append(1000 * (clock() - began[name]) / batch)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for size, goal in GOALS.items():
        generator = generator_of(size)
        for batch in BATCHES:
            rounds = max(5, arguments.rounds // batch)
            row = {"pixels": size, "batch": batch, "goal_ms": goal, "rounds": rounds}
            for clock, each in times(generator, batch, rounds).items():
                low, middle, high = statistics.quantiles(each, n=4)
                row |= {f"{clock}_ms": middle, f"{clock}_quartiles_ms": [low, high]}
                print(f"{size} px, batches of {batch}, {clock}: {middle:.2f} ms ({low:.2f} to {high:.2f})")
            rows.append(row)
    if arguments.json:
        facts = {"threads": 1, "torch": torch.__version__, "cpu": torch.backends.cpu.get_cpu_capability()}
        write_json(arguments.json, {**facts, "rows": rows})


if __name__ == "__main__":
    main()
