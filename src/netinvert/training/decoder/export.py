"""From a training to a file that anyone can load, and its model card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from netinvert.io.files import write_atomic
from netinvert.models.decoder_files import SUFFIX, DecoderFile, as_stored, read_decoder, save_decoder
from netinvert.models.network import state_sha256
from netinvert.training.decoder.model import DecoderModel
from netinvert.training.loop import data_command, figures_table

TESTED = "test"
"""The fact that holds the figures of ``netinvert decoder evaluate``."""


def export(model: DecoderModel, path: Path, facts: Mapping[str, Any]) -> Path:
    """Write the averaged decoder (float16) and its card beside it; gives the path of the weights.

    ``facts`` go into both: see ``model_card``.
    """
    learned = model.average_learner
    half = (
        None if learned is None else {name: as_stored(value) for name, value in learned.state_dict().items()}
    )
    content = DecoderFile(
        module=model.average,
        network=model.encoder.network.name,
        layer=model.encoder.layer,
        network_sha256=model.encoder.weights_sha256() if half is None else state_sha256(half),
        facts={"plan": model.plan.to_json(), **facts},
        encoder_state=half,
    )
    return _write(path, content)


def add_test_figures(path: Path, command: str, figures: Mapping[str, float]) -> None:
    """Write figures of an evaluation, and the command that repeats it, into a file of ``export``.

    Raises:
        NetworkError: no such file, or one that holds something else.
    """
    content = read_decoder(path)
    tested = {"command": command, "figures": dict(figures)}
    _write(path, replace(content, facts={**content.facts, TESTED: tested}))


def model_card(name: str, content: DecoderFile) -> str:
    """What the decoder is, what it was made from, and how good it is, as Markdown.

    It tells the facts ``command``, ``data``, ``plan`` of the training, ``hours``, ``note``, ``figures`` on
    held-out pictures, and those of ``add_test_figures``.
    """
    facts, architecture = content.facts, content.module.architecture
    plan, tested = facts["plan"], facts.get(TESTED, {})
    count = sum(parameter.numel() for parameter in content.module.parameters())
    height, width = architecture.size
    lines = [
        f"# {name}",
        "",
        f"Turns codes {architecture.code_shape} of layer `{content.layer}` of `{content.network}` into",
        f"pictures of {height}×{width} pixels{', with a mask of the object' if architecture.mask else ''}. "
        f"{count / 1e6:.2f} M parameters (Dosovitskiy & Brox 2016, {architecture.widths} widths).",
        "",
        f"- Licence: {content.licence}",
        f"- Network's weights: SHA-256 `{content.network_sha256}`",
        *_data(facts.get("data") or {}),
        f"- Training: `{facts.get('command', 'unknown')}`",
        f"  (loss `{plan['loss']}`, {plan['samples']:,} samples, seed {plan['seed']}, "
        f"{facts.get('hours', 'unknown')} hours on {facts.get('threads', 'unknown')} threads)",
        *([f"- Note: {facts['note']}"] if facts.get("note") else []),
        "",
        *figures_table("On held-out pictures of the same kind", facts.get("figures")),
        *figures_table(f"By `{tested.get('command')}`", tested.get("figures")),
        "`image_error` and `code_error` are distances over the mean distance of two different test pictures",
        "(Dosovitskiy & Brox 2016). A decoder shows what is likely for a code among the pictures it was",
        "trained on, and knows of no others: for codes of other pictures it is not to be relied on.",
        "",
    ]
    return "\n".join(lines)


def _write(path: Path, content: DecoderFile) -> Path:
    target = path.with_suffix(SUFFIX)
    save_decoder(target, content, half=True)
    write_atomic(target.with_suffix(".md"), model_card(target.stem, content).encode())
    return target


def _data(data: Mapping[str, Any]) -> list[str]:
    if data.get("plan"):
        return [
            f"- Data: `{data_command(data['plan'])}`",
            f"  ({data.get('samples')} samples, SHA-256 of the shards' hashes `{data.get('sha256')}`)",
        ]
    return [f"- Data: {data.get('description', 'unknown')}"]
