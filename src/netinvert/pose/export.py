"""From a training to a file that anyone can load, and its model card."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from netinvert.files import write_atomic
from netinvert.networks import judge, posenet
from netinvert.networks.judge import JudgeNet
from netinvert.networks.pose_files import PoseFile, save_pose_network
from netinvert.pose.steps import PoseModel


def pose_file(model: PoseModel, facts: Mapping[str, Any]) -> PoseFile:
    """The averaged network of a training, its BatchNorm folded into the layers before."""
    network, pairs = model.average.network, model.average.pairs
    bare = judge.folded(network) if isinstance(network, JudgeNet) else posenet.folded(network)
    return PoseFile(bare, pairs, model.plan.network, model.head, facts)


def export(model: PoseModel, folder: Path, facts: Mapping[str, Any], half: bool = True) -> Path:
    """Write ``NETWORK.safetensors`` and its card ``NETWORK.md`` into a folder; gives the weights' path."""
    path = folder / f"{model.plan.network}.safetensors"
    save_pose_network(path, pose_file(model, facts), half)
    write_atomic(path.with_suffix(".md"), model_card(model, facts).encode())
    return path


def model_card(model: PoseModel, facts: Mapping[str, Any]) -> str:
    """What the network is, what it was made from, and how good it is, as Markdown."""
    plan, data = model.plan, facts.get("data", {})
    count = sum(parameter.numel() for parameter in model.average.network.parameters())
    lines = [
        f"# {plan.network}",
        "",
        "Reads the 3-D pose (object-to-camera rotation, PASCAL3D+ frame) of one chair that fills a picture",
        f"of 64×64 pixels. {count / 1e6:.2f} M parameters, rotation head `{plan.head}`; BatchNorm, used in",
        "training, is folded into the layers before it. A siamese head for two views comes with it.",
        "",
        "- Licence: MIT. Trained on nothing but procedural renders.",
        f"- Data: `{facts.get('data_command', '')}`",
        f"  ({data.get('samples', '?')} samples, SHA-256 of the shards' hashes `{data.get('sha256', '?')}`)",
        f"- Training: `{facts.get('command', '')}`",
        f"  ({plan.samples:,} samples, seed {plan.seed}, {facts.get('hours', '?')} hours of one core)",
        "",
        "## Figures",
        "",
        *(f"- {name}: {value}" for name, value in facts.get("figures", {}).items()),
        "",
        "It was trained on procedural chairs alone: on photographs it is not to be relied on. Chairs without",
        "a back look the same from several sides; their error is the least over these.",
        "",
    ]
    return "\n".join(lines)
