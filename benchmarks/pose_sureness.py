"""How far the spread of `netinvert pose read` tells the error of its reading, on held-out chairs.

    python benchmarks/pose_sureness.py --networks posenet posenet-judge

Prints a table: views by their spread, and the error of their readings, with 95 % intervals over chairs. The
thresholds were chosen on the chairs of seed 3 (`seeds.SPREAD`) by networks of 64 px that shipped before, and
are tested on those of seed 1. Needs the extra scenes.
"""

from __future__ import annotations

import argparse

import torch

import netinvert as ni
from netinvert.evaluation.report import Column, Table
from netinvert.evaluation.statistics import estimate
from netinvert.experiments.pose_reading import SURE, UNSURE, steady_reading
from netinvert.scenes.cameras import symmetric_geodesic_degrees
from netinvert.scenes.fresh import fresh_views
from netinvert.scenes.seeds import OPENED_POSE
from netinvert.training.pose.evaluation import evaluation_plan, read_rotations

ROWS = {"sure": (0.0, SURE), "fairly sure": (SURE, UNSURE), "unsure": (UNSURE, 180.0), "all": (0.0, 180.0)}
COLUMNS = (
    Column("network"),
    Column("reading"),
    Column("of the views", percent=True),
    Column("median error", "°", 1),
    Column("within 30°", percent=True),
    Column("one reading alone", "°", 1),
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", default=["posenet", "posenet-judge"])
    parser.add_argument("--chairs", type=int, default=100)
    parser.add_argument("--views", type=int, default=6)
    parser.add_argument("--seed", type=int, default=OPENED_POSE)
    options = parser.parse_args()
    rows = []
    for name in options.networks:
        network = ni.load_network(name)
        encoder = ni.Encoder(network, network.layers[-1])
        views = fresh_views(evaluation_plan(network, options.chairs, options.views, options.seed))
        found = [steady_reading(encoder, image) for image in views.images.split(1)]
        spread = torch.tensor([one.spread for one in found])
        read = torch.stack([one.rotation for one in found])
        error, alone = (
            symmetric_geodesic_degrees(each, views.rotation, views.symmetry)
            for each in (read, read_rotations(network, views.images))
        )
        for word, (low, high) in ROWS.items():
            own = (spread >= low) & (spread < high)
            if own.any():
                share = estimate(own.double(), views.identity)
                within = estimate((error[own] < 30).double(), views.identity[own])
                medians = [estimate(each[own], views.identity[own], "median") for each in (error, alone)]
                rows.append((name, word, share, medians[0], within, medians[1]))
    print(Table(COLUMNS, rows).markdown())


if __name__ == "__main__":
    main()
