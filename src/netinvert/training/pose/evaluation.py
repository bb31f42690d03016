"""How well a network reads poses: fresh objects, fresh cameras, fresh light and backgrounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from netinvert.errors import ConfigError
from netinvert.evaluation.readers import read_images
from netinvert.io.images import fit
from netinvert.models.network import Network
from netinvert.models.zoo.pose import POSE_NETWORKS, load_pose_file, read_pose_network
from netinvert.models.zoo.pose_heads import SiameseHead, relative_rotation
from netinvert.scenes.cameras import (
    geodesic_degrees,
    pose_summary,
    rotation_from_6d,
    symmetric_geodesic_degrees,
)
from netinvert.scenes.dataset_config import PATH_TRACED, RAY, DatasetConfig
from netinvert.scenes.fresh import TestViews
from netinvert.training.pose.train import prepared

CHUNK = 64
ELEVATIONS = ((-5, 10), (10, 30), (30, 50))


def check_reads_poses(network: Network) -> None:
    """Raises ConfigError where it does not."""
    if network.read_pose is None:
        raise ConfigError(f"{network.name} reads no poses: choose a pose network, such as posenet")


def evaluation_plan(
    network: Network, identities: int, views: int, seed: int, path_traced: bool = False
) -> DatasetConfig:
    """Chairs of a seed at the network's own size; any azimuth, elevation -5 to 50, in-plane ±15 degrees.

    Raises ConfigError: the network reads no poses, or takes images that are not square.
    """
    check_reads_poses(network)
    height, width = network.preprocessing.size
    if height != width:
        raise ConfigError(f"{network.name} takes {height}×{width} images: only square ones are rendered")
    renderer = PATH_TRACED if path_traced else RAY
    return DatasetConfig(identities=identities, views=views, size=height, seed=seed, renderer=renderer)


def read_rotations(network: Network, images: Tensor) -> Tensor:
    """The rotations (N, 3, 3) that a network reads from images (N, 3, H, W) in [0, 1] of its own size."""
    return read_images(network, images).rotation


def evaluate(network: Network, views: TestViews) -> dict[str, Any]:
    """Pose figures of a network over views: all together, and by elevation and by kind of object."""
    predicted = read_rotations(network, views.images)
    error = symmetric_geodesic_degrees(predicted, views.rotation, views.symmetry)
    groups = {
        "elevation": [
            next((f"{low} to {high}" for low, high in ELEVATIONS if low <= elevation < high), "other")
            for elevation in views.elevation.tolist()
        ]
    }
    for name in ("kind", "legs", "back"):
        groups[name] = [str(one[name]) if name in one else "" for one in views.parameters]

    def of_group(own: Tensor) -> dict[str, float]:
        return {
            "views": len(own),
            "median_geodesic_deg": float(own.median()),
            "acc_30": float((own < 30).float().mean()),
        }

    return {
        "views": len(error),
        "identities": len(set(views.identity.tolist())),
        "symmetric_share": float((views.symmetry != 1).float().mean()),
        **pose_summary(predicted, views.rotation, views.symmetry),
        "groups": {
            name: {
                key: of_group(error[torch.tensor([one == key for one in keys])])
                for key in sorted(set(keys) - {""})
            }
            for name, keys in groups.items()
        },
    }


@torch.no_grad()
def full_evaluation(network: Network, views: TestViews, weights: str | Path | None = None) -> dict[str, Any]:
    """``evaluate``, and for netinvert's own pose networks also the code's dead units and the siamese head."""
    figures = evaluate(network, views)
    if network.name not in POSE_NETWORKS or str(weights).partition(":")[0] == "random":
        return figures
    content = load_pose_file(network.name) if weights is None else read_pose_network(weights)
    parts = torch.split(prepared(fit(views.images, network.preprocessing.size)), CHUNK)
    codes = torch.cat([content.network.code(part) for part in parts])
    figures["dead_code_units"] = int((codes <= 0).all(0).sum())
    if len(views.identity) > figures["identities"]:  # or there are no two views of one object
        figures |= evaluate_pairs(content.pairs, codes, views)
        figures["relative_from_absolute_median_deg"] = _relative_from_absolute(network, views)
    return figures


@torch.no_grad()
def evaluate_pairs(pairs: SiameseHead, codes: Tensor, views: TestViews) -> dict[str, float]:
    """Metrics of the siamese head: relative pose of two views of an object, and telling objects apart.

    Positives are neighbouring views of one object, negatives the same view of the next object.
    ``fpr_at_95_recall`` is the share of negatives accepted at the threshold that accepts 95 % of the
    positives (Zamir et al. 2016).
    """
    same = (views.identity[:-1] == views.identity[1:]).nonzero().squeeze(1)
    count = int((views.identity == views.identity[0]).sum())
    other = torch.arange(len(codes) - count)
    relative, positive = pairs(codes[same], codes[same + 1])
    _, negative = pairs(codes[other], codes[other + count])
    truth = relative_rotation(views.rotation[same], views.rotation[same + 1])
    error = geodesic_degrees(rotation_from_6d(relative), truth)[views.symmetry[same] == 1]
    threshold = positive.sort().values[int(0.05 * len(positive))]
    return {
        "relative_median_deg": float(error.median()),
        "relative_acc_30": float((error < 30).float().mean()),
        "fpr_at_95_recall": float((negative >= threshold).float().mean()),
        "match_accuracy": float(torch.cat([positive > 0, negative <= 0]).float().mean()),
    }


def _relative_from_absolute(network: Network, views: TestViews) -> float:
    """Median error in degrees of the relative pose that two absolute readings give, for comparison."""
    predicted = read_rotations(network, views.images)
    same = (views.identity[:-1] == views.identity[1:]).nonzero().squeeze(1)
    same = same[views.symmetry[same] == 1]
    truth = relative_rotation(views.rotation[same], views.rotation[same + 1])
    found = relative_rotation(predicted[same], predicted[same + 1])
    return float(geodesic_degrees(found, truth).median())
