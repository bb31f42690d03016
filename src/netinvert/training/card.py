"""From a training to a file that anyone can load, with its model card beside it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from netinvert.errors import OutputError
from netinvert.io.files import inside, write_atomic
from netinvert.io.folders import alone
from netinvert.models.decoder import SUFFIX, DecoderFile, save_decoder
from netinvert.models.generator import GENERATOR_LICENCE, GeneratorFile, save_generator
from netinvert.models.zoo.pose import LICENCE, TOPOLOGIES, PoseFile, save_pose_network
from netinvert.scenes.dataset_config import DatasetConfig
from netinvert.training.loop import LOCK

TESTED = "test"
"""The fact that holds the figures of an evaluation."""
POSE_ABOUT = """\
Reads the 3-D pose (object-to-camera rotation, PASCAL3D+ frame) of one chair that fills an image
of {side}×{side} pixels. {count:.2f} M parameters, rotation head `{head}`; BatchNorm,
used in training, is folded into the layers before it. A siamese head for two views comes with it.
{task} It was trained on nothing but renders."""
TOLD = {
    "both": "Its code was trained for the pose and to match views of the same chair.",
    "pose": "Its code was trained for the pose alone; the head for two views learned to read it as it is.",
    "match": "Its code was trained to match views alone; the pose heads learned to read it as it is.",
}
POSE_LIMITS = """\
Errors are geodesic; chairs without a back look the same from several sides, and their error is the
least over these. `azimuth_flip_rate` is the share of views whose azimuth is read within 30° of the
opposite one. `frontless_found` and `frontless_false` are the shares of views without and with a front
whose probability of having none is above a half (`pose evaluate` asks for 0.2). The network was
trained on renders alone: on photographs it is not to be relied on."""
DECODER_ABOUT = """\
Turns codes {shape} of layer `{layer}` of `{network}` into
images of {height}×{width} pixels{mask}. {count:.2f} M parameters \
(Dosovitskiy & Brox 2016, {widths} widths)."""
DECODER_LIMITS = """\
`image_error` and `code_error` are distances over the mean distance of two different test images
(Dosovitskiy & Brox 2016). A decoder shows what is likely for a code among the images it was
trained on, and knows of no others: for codes of other images it is not to be relied on."""


GENERATOR_ABOUT = """\
Draws {count:,} objects, images of {size}×{size} pixels with a mask, from their number (or a mixture of
embeddings of {embedding} numbers), the view, and a transformation of the image. {parameters:.2f} M parameters
(Dosovitskiy et al. 2015, at smaller widths). {known}"""
GENERATOR_LIMITS = """\
Figures are of views of these objects that the training did not know, on white paper. The generator knows its
own objects and what lies between them, under one light; other objects have to be fitted first."""
Trained = PoseFile | DecoderFile | GeneratorFile
"""What a file of a training holds."""


def export(path: Path, content: Trained) -> Path:
    """Write what was trained (float16) and its card, ``.safetensors`` and ``.md``; gives the first's path.

    Raises OutputError: a file cannot be written.
    """
    target, card = (inside(path.parent, name, OutputError) for name in file_names(path.name))
    if isinstance(content, PoseFile):
        save_pose_network(target, content, half=True)
    elif isinstance(content, DecoderFile):
        save_decoder(target, content, half=True)
    else:
        save_generator(target, content, half=True)
    write_atomic(card, model_card(target.name.removesuffix(SUFFIX), content).encode())
    return target


def file_names(name: str) -> tuple[str, str]:
    """The files of ``export``: weights and card. ``name`` may have the ending of weights; no other is one, so
    that ``mine.v2`` keeps its dot."""
    bare = name.removesuffix(SUFFIX)
    return f"{bare}{SUFFIX}", f"{bare}.md"


def add_test_figures(path: Path, content: Trained, command: str, figures: Mapping[str, Any]) -> None:
    """Write figures of an evaluation, and the command that repeats it, into a file of ``export``, which holds
    ``content``. Of the figures the numbers are taken."""
    numbers = {name: value for name, value in figures.items() if isinstance(value, int | float)}
    facts = {**content.facts, TESTED: {"command": command, "figures": numbers}}
    with alone(path.parent / LOCK, path, file_names(path.name)):
        export(path, replace(content, facts=facts))


def model_card(name: str, content: Trained) -> str:
    """What was trained, on what, by which command, and how good it is, as Markdown.

    It tells the facts ``command``, ``data`` (of the dataset's manifest, or a ``description``), ``plan`` of
    the training, ``hours``, ``threads``, ``note``, ``figures`` on held-out images, and those of
    ``add_test_figures``.
    """
    facts = content.facts
    plan, tested, data = facts["plan"], facts.get(TESTED, {}), facts.get("data") or {}
    about, terms, limits = _about(content)
    for one in (data, *facts.get("more_data", ())):
        if one.get("plan"):
            terms += [
                f"- Data: `{_data_command(one['plan'])}`",
                f"  ({one.get('samples', 'unknown')} samples, SHA-256 of the shards' hashes "
                f"`{one.get('sha256')}`)",
            ]
        else:
            terms += [f"- Data: {one.get('description', 'unknown')}"]
    how = [f"loss `{plan['loss']}`"] if "loss" in plan else []
    how += [f"{plan['samples']:,} samples", f"seed {plan['seed']}"]
    how += [f"{facts['hours']} hours"] if "hours" in facts else []
    threads = f" on {facts['threads']} threads" if "threads" in facts else ""
    lines = [
        *(f"# {name}", "", about, "", *terms),
        f"- Training: `{facts.get('command', 'unknown')}`",
        f"  ({', '.join(how)}{threads})",
        *([f"- Note: {facts['note']}"] if facts.get("note") else []),
        "",
        *_figures_table("On held-out images of the same kind", facts.get("figures")),
        *_figures_table(f"By `{tested.get('command')}`", tested.get("figures")),
        *(limits, ""),
    ]
    return "\n".join(lines)


def _about(content: Trained) -> tuple[str, list[str], str]:
    """What was trained, its licence and the like, and what it is not to be used for."""
    trained = content.network if isinstance(content, PoseFile) else content.module
    count = sum(parameter.numel() for parameter in trained.parameters()) / 1e6
    plan = content.facts["plan"]
    if isinstance(content, PoseFile):
        task, head = TOLD[plan.get("task", "both")], content.head.name
        about = POSE_ABOUT.format(side=TOPOLOGIES[content.topology].side, count=count, head=head, task=task)
        return about, [f"- Licence: {LICENCE}"], POSE_LIMITS
    if isinstance(content, GeneratorFile):
        form, azimuths = content.module.form, plan["known_azimuths"]
        known = f"Of every other object it learned only {azimuths} of 31 azimuths"
        known += f"{' at one elevation' * plan['one_elevation']}."
        about = GENERATOR_ABOUT.format(
            count=form.identities, size=form.size, embedding=form.embedding, parameters=count, known=known
        )
        return about, [f"- Licence: {GENERATOR_LICENCE}"], GENERATOR_LIMITS
    built = content.module.architecture
    about = DECODER_ABOUT.format(
        shape=built.code_shape,
        layer=content.layer,
        network=content.network,
        height=built.size[0],
        width=built.size[1],
        mask=", with a mask of the object" if built.mask else "",
        count=count,
        widths=built.widths,
    )
    sha = f"- Network's weights: SHA-256 `{content.network_sha256}`"
    return about, [f"- Licence: {content.licence}", sha], DECODER_LIMITS


def _figures_table(title: str, figures: Mapping[str, float] | None) -> list[str]:
    if not figures:
        return []
    rows = [f"| {name} | {value:.4g} |" for name, value in figures.items()]
    return [f"{title}:", "", "| figure | value |", "| --- | --- |", *rows, ""]


def _data_command(plan: Mapping[str, Any]) -> str:
    """The command that renders the dataset of a plan (``DatasetConfig.to_json``)."""
    always = ("objects", "identities", "views", "size", "seed")
    usual = DatasetConfig().to_json()
    words = ["netinvert", "scenes", "render"]
    for name, value in DatasetConfig.from_json(plan).to_json().items():
        if name in always or value != usual.get(name):
            words += [f"--{name.replace('_', '-')}", *map(str, value if isinstance(value, list) else [value])]
    return shlex.join(words)
