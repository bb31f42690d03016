"""A sweep from the command line: read and check everything, try, save."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from netinvert.cli.inputs import Inputs, read_inputs
from netinvert.cli.loading import load_encoder
from netinvert.experiments.sweep import (
    Plan,
    Settings,
    Subject,
    Trial,
    perform,
    plan,
    recommended,
    recommended_for_all,
)
from netinvert.experiments.sweep_report import Report, html, tradeoff
from netinvert.io.files import plain_json, write_atomic, write_json
from netinvert.io.folders import MANIFEST, OutputFolder
from netinvert.io.images import write_png
from netinvert.io.manifest import versions
from netinvert.models.encoder import Encoder

REPORT = "report.html"


@dataclass(frozen=True)
class SweepJob:
    """What ``netinvert sweep`` was asked."""

    source: str
    network: str
    layers: tuple[str, ...]
    settings: Settings
    weights: str | None
    device: str

    def run(self, out: Path, overwrite: bool, progress: Callable[[str], None]) -> tuple[Path, dict[str, Any]]:
        """Do it; gives the folder and the manifest. Raises NetinvertError before any long work."""
        layers = dict.fromkeys(self.layers)
        encoders = [load_encoder(self.network, layer, self.weights, self.device) for layer in layers]
        inputs = [read_inputs(self.source, encoder) for encoder in encoders]
        pairs = zip(encoders, inputs, strict=True)
        planned = plan(self.settings, [Subject(encoder, one.codes, one.originals) for encoder, one in pairs])
        for text in planned.left_out:
            progress(f"left out: {text}")
        with OutputFolder(out, self._run_id(planned, inputs[0]), overwrite) as folder:
            if folder.resumes:
                progress("going on with the sweep that was stopped")
            trials = perform(planned, lambda digest: folder.checkpoint_of(digest[:32]), progress)
            manifest = self._save(folder.staging, planned, trials, inputs[0])
            folder.commit()
        return folder.path, manifest

    def _run_id(self, planned: Plan, inputs: Inputs) -> str:
        """The settings and the codes: what is kept of another sweep is not taken up."""
        facts = {"settings": asdict(self.settings), "layers": self.layers, "stems": inputs.stems}
        digest = hashlib.sha256(json.dumps(plain_json(facts), sort_keys=True).encode())
        for subject, _ in planned.rows:
            digest.update(subject.encoder.weights_sha256().encode())
            digest.update(subject.codes.cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def _save(self, folder: Path, planned: Plan, trials: Sequence[Trial], inputs: Inputs) -> dict[str, Any]:
        encoders = [subject.encoder for subject, _ in planned.rows]
        network = encoders[0].network.name
        plots = {}
        for encoder in encoders:
            layer = [one for one in trials if one.layer == encoder.layer]
            title = f"{network}, {encoder.layer}"
            plots[encoder.layer] = tradeoff(layer, title, self.settings.measure)
            write_atomic(folder / f"{_file_name('tradeoff', encoder.layer)}.png", plots[encoder.layer])
        report = Report(network, planned, trials, plots, inputs.stems, self.command())
        write_atomic(folder / REPORT, html(report).encode())
        files = _save_pictures(folder, planned, trials, inputs)
        manifest = self._manifest(encoders, planned, trials, inputs)
        manifest["trials"] = [
            {**_plain(one), "images": names} for one, names in zip(trials, files, strict=True)
        ]
        write_json(folder / MANIFEST, manifest)
        return manifest

    def _manifest(
        self, encoders: Sequence[Encoder], planned: Plan, trials: Sequence[Trial], inputs: Inputs
    ) -> dict[str, Any]:
        best = {
            encoder.layer: recommended([one for one in trials if one.layer == encoder.layer])
            for encoder in encoders
        }
        everywhere = recommended_for_all(trials) if len(encoders) > 1 else None
        return {
            "command": self.command(),
            "network": encoders[0].network.name,
            "layers": {encoder.layer: encoder.code_shape for encoder in encoders},
            "settings": self.settings,
            "recommended": {layer: one and one.draw.options for layer, one in best.items()},
            "recommended_everywhere": None if everywhere is None else everywhere[0].options,
            "left_out": planned.left_out,
            "inputs": inputs.sources,
            "codes": inputs.stems,
            "threads": torch.get_num_threads(),
            "versions": versions(),
            "weights_sha256": encoders[0].weights_sha256(),
        }

    def command(self) -> str:
        """As it would be typed, without the folder."""
        settings = self.settings
        words = ["netinvert", "sweep", self.source, "--network", self.network, "--layers", *self.layers]
        for name in ("priors", "weights", "canvases"):
            values = getattr(settings, name)
            words += [
                f"--{name}",
                *(f"{value:g}" if name == "weights" else value for value in values),
            ] * bool(values)
        plain = Settings()
        options = {"random": "draws", **{name: name for name in ("preset", "measure", "steps", "seed")}}
        for option, name in options.items():
            value = getattr(settings, name)
            words += [f"--{option}", str(value)] if value != getattr(plain, name) else []
        words += ["--network-weights", self.weights] if self.weights else []
        return shlex.join(words)


def _save_pictures(folder: Path, planned: Plan, trials: Sequence[Trial], inputs: Inputs) -> list[list[str]]:
    """Write every picture; gives the files of each trial."""
    pictures = folder / "pictures"
    pictures.mkdir()
    if inputs.originals is not None:
        for stem, image in zip(inputs.stems, inputs.originals, strict=True):
            write_png(image, pictures / f"original-{stem}.png")
    files = []
    for number, one in enumerate(trials, 1):
        names = []
        if one.outcome.images is not None:
            for stem, image in zip(inputs.stems, one.outcome.images, strict=True):
                name = f"{_file_name(f'{number:03d}', one.layer, one.draw.text, one.draw.canvas)}-{stem}.png"
                write_png(image, pictures / name)
                names.append(f"pictures/{name}")
        files.append(names)
    return files


def _file_name(*parts: str | None) -> str:
    return "-".join(re.sub(r"[^\w.=+-]", "_", part) for part in parts if part)


def _plain(one: Trial) -> dict[str, object]:
    """Every figure of a trial."""
    found = {name: value for name, value in vars(one.outcome).items() if name != "images"}
    return {
        "layer": one.layer,
        "prior": one.draw.text,
        "canvas": one.draw.canvas,
        "weight": one.draw.weight,
        "error": one.error,
        "natural": one.naturalness,
        "on_front": one.on_front,
        "score": one.score,
        **found,
    }
