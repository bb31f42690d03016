"""How long a generator takes for a view, on one core, at 64 and at 128 pixels, one at a time and in batches.

    OMP_NUM_THREADS=1 python benchmarks/views_speed.py --json benchmarks/results/views-speed.json

The time does not depend on the weights: those at 64 pixels are random. CPU time, which other work on the
machine lengthens least; the median of rounds, with quartiles.
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
def times(generator: Generator, batch: int, rounds: int) -> list[float]:
    """CPU milliseconds a view in each round."""
    who = torch.arange(batch) % generator.module.form.identities
    azimuth = torch.linspace(0, 350, batch)
    found = []
    for _ in range(rounds + 2):
        began = time.process_time()
        generator(who, azimuth)
        found.append(1000 * (time.process_time() - began) / batch)
    return found[2:]


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
            low, middle, high = statistics.quantiles(times(generator, batch, rounds), n=4)
            row = {"pixels": size, "batch": batch, "goal_ms": goal, "rounds": rounds}
            print(f"{size} px, batches of {batch}: {middle:.2f} ms ({low:.2f} to {high:.2f})")
            rows.append({**row, "cpu_ms": middle, "cpu_quartiles_ms": [low, high]})
    if arguments.json:
        facts = {"threads": 1, "torch": torch.__version__, "cpu": torch.backends.cpu.get_cpu_capability()}
        write_json(arguments.json, {**facts, "rows": rows})


if __name__ == "__main__":
    main()
