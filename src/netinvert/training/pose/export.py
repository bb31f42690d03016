"""From a training to a file that anyone can load, and its model card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from netinvert.io.files import write_atomic
from netinvert.models.zoo import posenet
from netinvert.models.zoo.pose_files import PoseFile, read_pose_network, save_pose_network
from netinvert.training.loop import data_command, figures_table
from netinvert.training.pose.model import PoseModel

TESTED = "test"
"""The fact that holds the figures of ``netinvert pose evaluate``."""


def pose_file(model: PoseModel, facts: Mapping[str, Any]) -> PoseFile:
    """The averaged network of a training, its BatchNorm folded into the layers before."""
    network, pairs = model.average.network, model.average.pairs
    return PoseFile(posenet.folded(network), pairs, model.plan.network, model.head, facts)


def export(model: PoseModel, folder: Path, facts: Mapping[str, Any]) -> Path:
    """Write ``NETWORK.safetensors`` (float16) and its card ``NETWORK.md`` into a folder; gives the weights'
    path. ``facts`` go into both: see ``model_card``."""
    path = folder / f"{model.plan.network}.safetensors"
    _write(path, pose_file(model, {"plan": model.plan.to_json(), **facts}))
    return path


def add_test_figures(path: Path, command: str, figures: Mapping[str, Any]) -> None:
    """Write figures of an evaluation, and the command that repeats it, into a file of ``export``.

    Raises:
        NetworkError: no such file, or one that holds something else.
    """
    content = read_pose_network(path)
    numbers = {name: value for name, value in figures.items() if isinstance(value, int | float)}
    tested = {"command": command, "figures": numbers}
    _write(path, replace(content, facts={**content.facts, TESTED: tested}))


def _write(path: Path, content: PoseFile) -> None:
    save_pose_network(path, content, half=True)
    write_atomic(path.with_suffix(".md"), model_card(content).encode())


def model_card(content: PoseFile) -> str:
    """What the network is, what it was made from, and how good it is, as Markdown.

    It tells the facts ``command``, ``data`` (of the dataset's manifest), ``plan`` of the training, ``hours``,
    ``figures`` on the validation split, and those of ``add_test_figures``.
    """
    facts = content.facts
    plan, data = facts["plan"], facts.get("data") or {}
    count = sum(parameter.numel() for parameter in content.network.parameters())
    lines = [
        f"# {content.topology}",
        "",
        "Reads the 3-D pose (object-to-camera rotation, PASCAL3D+ frame) of one chair that fills a picture",
        f"of 64×64 pixels. {count / 1e6:.2f} M parameters, rotation head `{content.head.name}`; BatchNorm,",
        "used in training, is folded into the layers before it. A siamese head for two views comes with it.",
        "",
        "- Licence: MIT. Trained on nothing but procedural renders.",
        f"- Data: `{data_command(data['plan']) if data.get('plan') else 'unknown'}`",
        f"  ({data.get('samples', 'unknown')} samples, SHA-256 of the shards' hashes `{data.get('sha256')}`)",
        f"- Training: `{facts.get('command', 'unknown')}`",
        f"  ({plan['samples']:,} samples, seed {plan['seed']}, {facts.get('hours', 'unknown')} hours)",
        "",
        *figures_table("On the validation split", facts.get("figures")),
        *figures_table(
            f"On fresh chairs, by `{facts.get(TESTED, {}).get('command')}`",
            facts.get(TESTED, {}).get("figures"),
        ),
        "Errors are geodesic; chairs without a back look the same from several sides, and their error is the",
        "least over these. `azimuth_flip_rate` is the share of views whose azimuth is read within 30° of the",
        "opposite one. The network was trained on procedural chairs alone: on photographs it is not to be",
        "relied on.",
        "",
    ]
    return "\n".join(lines)
