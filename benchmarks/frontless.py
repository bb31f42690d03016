"""How many objects without a front `posenet` tells, and how many others it takes for such.

    python benchmarks/frontless.py --seed 101 --levels 0.5 0.3 0.2 0.1

Frontless are those of the first 5,000 chairs of a seed that some turn leaves as they are (stools and
benches, one of 62), others the first 300 with a front; of each four views, any azimuth, elevation -5° to 50°,
in-plane ±15°, any background. Prints the shares that are called frontless from a probability on, with 95 %
intervals over objects. The level (`poses.NO_FRONT`) was chosen on seed 101 and tested on 9004. Needs the
extra scenes.
"""

from __future__ import annotations

import argparse

import torch

import netinvert as ni
from netinvert.evaluation.evaluate import read_poses
from netinvert.evaluation.report import Column, Table
from netinvert.evaluation.statistics import estimate
from netinvert.scenes.fresh import TestViews, rendered_views
from netinvert.scenes.poses import NO_FRONT
from netinvert.scenes.seeds import TUNING
from netinvert.training.pose.evaluation import evaluation_plan

COLUMNS = (
    Column("network"),
    Column("from", digits=2),
    Column("frontless objects"),
    Column("of their views called so", percent=True),
    Column("other objects"),
    Column("of their views called so", percent=True, key="wrongly"),
)
A_BATCH = 100


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", default=["posenet", "posenet-only"])
    parser.add_argument("--seed", type=int, default=TUNING[0])
    parser.add_argument("--chairs", type=int, default=5000, help="among which the frontless ones are")
    parser.add_argument("--others", type=int, default=300)
    parser.add_argument("--levels", type=float, nargs="+", default=[0.5, NO_FRONT])
    options = parser.parse_args()
    networks = [ni.load_network(name) for name in options.networks]
    plan = evaluation_plan(networks[0], options.chairs, 4, options.seed)
    source = plan.source()
    turns = [source.make(plan.object_seed(k), k).symmetry for k in range(options.chairs)]
    fronted = [k for k, turn in enumerate(turns) if turn == 1]
    kinds = [k for k, turn in enumerate(turns) if turn != 1], fronted[: options.others]
    views = [rendered_views(plan, source, ids).before(plan.background) for ids in kinds]
    rows = []
    for network in networks:
        encoder = ni.Encoder(network, network.layers[-1])
        said = [probabilities(encoder, one) for one in views]
        for level in options.levels:
            shares = [
                estimate((share >= level).double(), one.identity)
                for share, one in zip(said, views, strict=True)
            ]
            counts = [len(ids) for ids in kinds]
            rows.append((network.name, level, counts[0], shares[0], counts[1], shares[1]))
    print(Table(COLUMNS, rows).markdown())


@torch.no_grad()
def probabilities(encoder: ni.Encoder, views: TestViews) -> torch.Tensor:
    """That an object has no front, view by view (N,)."""
    found = []
    for part in views.images.split(A_BATCH):
        reading = read_poses(encoder, part)
        assert reading is not None
        assert reading.frontless is not None
        found.append(reading.frontless)
    return torch.cat(found)


if __name__ == "__main__":
    main()
