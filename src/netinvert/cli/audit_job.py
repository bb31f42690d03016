"""A privacy audit from the command line: read and check everything, audit, save."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from netinvert.cli.inputs import Inputs, image_paths, is_code_file, read_inputs, sources_of
from netinvert.cli.loading import load_encoder
from netinvert.errors import CodeError, ConfigError, NetinvertError
from netinvert.evaluation.attributes import Attribute, read_attributes
from netinvert.evaluation.contact_sheet import png_of
from netinvert.evaluation.evaluate import encode_images
from netinvert.evaluation.retrieval import duplicates
from netinvert.evaluation.save_results import labels
from netinvert.experiments.audit import Audit, Settings, Subject, audit
from netinvert.experiments.audit_report import html, sheet, table
from netinvert.experiments.inputs import unique_stems
from netinvert.io.files import plain_json, save_tensors, write_atomic, write_json
from netinvert.io.folders import MANIFEST, OutputFolder
from netinvert.io.images import read_image, write_png
from netinvert.io.manifest import versions
from netinvert.models.decoder import Decoder
from netinvert.models.decoder_files import SHIPPED, load_decoder
from netinvert.models.encoder import Encoder
from netinvert.models.registry import load_network

REPORT, SHEET, TABLE, PICTURES = "report.html", "contact-sheet.png", "audit.json", "pictures"


@dataclass(frozen=True)
class Sources:
    """What ``netinvert audit`` was told to read."""

    codes: str
    network: str
    layer: str
    weights: str | None = None
    decoder: str | None = None
    images: str | None = None
    attributes: str | None = None
    groups: str | None = None
    judge_network: str | None = None
    judge_layer: str | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        if not is_code_file(self.codes):
            raise CodeError(
                f"{self.codes} is no file of codes (.npy, .safetensors, .pt): make one with netinvert encode"
            )
        if (self.judge_network is None) != (self.judge_layer is None):
            raise ConfigError("a judge is a network and a layer: give --judge-network and --judge-layer")
        if self.judge_network is not None and self.images is None:
            raise ConfigError("a judge reads the originals too: give --images as well")
        if self.groups is not None and self.attributes is None:
            raise ConfigError("--groups names a column of --attributes: give that file as well")


@dataclass(frozen=True)
class AuditJob:
    """An audit: where from, and how."""

    sources: Sources
    settings: Settings

    def run(
        self, out: Path, overwrite: bool, progress: Callable[[str], None]
    ) -> tuple[Path, Audit, dict[str, Any]]:
        """Do it; gives the folder, what was found, every figure. Raises NetinvertError before long work."""
        subject, inputs = self._read(progress)
        decoder = self._decoder(subject.encoder, progress)
        with OutputFolder(out, self._run_id(subject, decoder), overwrite) as folder:
            if folder.resumes:
                progress("going on with the audit that was stopped")
            found = audit(
                subject,
                self.settings,
                decoder,
                lambda digest: folder.checkpoint_of(digest[:32]),
                progress,
            )
            figures = table(found)
            self._save(folder.staging, found, figures, inputs)
            folder.commit()
        return folder.path, found, figures

    def _read(self, progress: Callable[[str], None]) -> tuple[Subject, Inputs]:
        sources = self.sources
        encoder = load_encoder(sources.network, sources.layer, sources.weights, sources.device)
        inputs = read_inputs(sources.codes, encoder)
        if inputs.remark is not None:
            progress(f"note: {inputs.remark}")
        names, originals = inputs.stems, None
        if sources.images is not None:
            names, originals = originals_of(sources.images, encoder, inputs)
        attributes: list[Attribute] = []
        if sources.attributes is not None:
            attributes = read_attributes(Path(sources.attributes), names)
        subject = Subject(
            encoder=encoder,
            codes=inputs.codes,
            names=names,
            originals=originals,
            judge=None if originals is None else self._judge(encoder),
            attributes=tuple(attributes),
            groups=_column(attributes, sources.groups),
        )
        return subject, inputs

    def _judge(self, encoder: Encoder) -> Encoder | None:
        """As told; else the network's own, before its output, which is of few numbers."""
        if self.sources.judge_network is None or self.sources.judge_layer is None:
            if encoder.network.held_out_pose_estimator is None:
                return None
            other = load_network(encoder.network.held_out_pose_estimator)
            return Encoder(other, other.layers[-2])
        return load_encoder(self.sources.judge_network, self.sources.judge_layer, None, self.sources.device)

    def _decoder(self, encoder: Encoder, progress: Callable[[str], None]) -> Decoder | None:
        if self.sources.decoder is not None:
            decoder = load_decoder(self.sources.decoder)
            decoder.check_encoder(encoder)
            return decoder.to(encoder.device)
        for name in SHIPPED:
            if not name.startswith(f"{encoder.network.name}-"):
                continue
            try:
                decoder = load_decoder(name)
                decoder.check_encoder(encoder)
            except NetinvertError:
                continue
            progress(f"the decoder {name} fits and is used")
            return decoder.to(encoder.device)
        return None

    def _run_id(self, subject: Subject, decoder: Decoder | None) -> str:
        """The settings and the codes: what is kept of another audit is not taken up."""
        facts = {
            "settings": asdict(self.settings),
            "layer": subject.encoder.layer,
            "weights": subject.encoder.weights_sha256(),
            "decoder": None if decoder is None else decoder.name,
        }
        digest = hashlib.sha256(json.dumps(plain_json(facts), sort_keys=True).encode())
        digest.update(subject.codes.cpu().contiguous().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def _save(self, folder: Path, found: Audit, figures: dict[str, Any], inputs: Inputs) -> None:
        subject = found.subject
        names = [subject.names[row] for row in found.rows]
        (folder / PICTURES).mkdir()
        for one in found.reconstructions:
            for name, image in zip(names, one.images, strict=True):
                write_png(image, folder / PICTURES / f"{name}-{one.method}.png")
            save_tensors(
                folder / f"{one.method}.safetensors", {"image": one.images}, labels(subject.encoder, names)
            )
        write_atomic(folder / REPORT, html(found, self.command()).encode())
        write_atomic(folder / SHEET, png_of(sheet(found)))
        write_json(folder / TABLE, figures)
        write_json(folder / MANIFEST, self._manifest(found, inputs))

    def _manifest(self, found: Audit, inputs: Inputs) -> dict[str, Any]:
        subject, sources = found.subject, self.sources
        read = [Path(sources.attributes)] if sources.attributes else []
        read += image_paths(sources.images) if sources.images else []
        return {
            "command": self.command(),
            "network": subject.encoder.network.name,
            "layer": subject.encoder.layer,
            "code_shape": subject.encoder.code_shape,
            "weights_sha256": subject.encoder.weights_sha256(),
            "judge": None
            if subject.judge is None
            else {
                "network": subject.judge.network.name,
                "layer": subject.judge.layer,
                "weights_sha256": subject.judge.weights_sha256(),
            },
            "settings": found.settings,
            "inputs": [*inputs.sources, *sources_of(read)],
            "cpu_seconds": {one.method: round(one.cpu_seconds, 3) for one in found.reconstructions},
            "codes": len(subject.codes),
            "reconstructed": [subject.names[row] for row in found.rows],
            "notes": found.notes,
            "threads": torch.get_num_threads(),
            "versions": versions(),
        }

    def command(self) -> str:
        """As it would be typed, without the folder."""
        words = ["netinvert", "audit", self.sources.codes]
        plain = Settings()
        for group, default in ((self.sources, None), (self.settings, plain)):
            for field in fields(group):
                value = getattr(group, field.name)
                usual = field.default if default is None else getattr(default, field.name)
                if field.name not in ("codes", "shuffles") and value != usual:
                    words += [f"--{field.name.replace('_', '-')}", str(value)]
        return shlex.join(words)


def originals_of(text: str, encoder: Encoder, inputs: Inputs) -> tuple[tuple[str, ...], Tensor]:
    """Names and images (N, C, *size) in the order of the codes: by name if the codes have the images' names,
    else in the order of the files' names.

    Raises ImageError; ConfigError if there are more or fewer images than codes, or most are of other codes.
    """
    paths = image_paths(text)
    stems = list(unique_stems(paths))
    count = len(inputs.stems)
    if len(paths) != count:
        raise ConfigError(f"{text} holds {len(paths)} images for {count} codes: give one a code")
    if set(stems) == set(inputs.stems):
        place = {stem: index for index, stem in enumerate(stems)}
        paths = [paths[place[stem]] for stem in inputs.stems]
        stems = list(inputs.stems)
    channels = encoder.preprocessing.channels
    images = [encoder.fit(read_image(path, channels).to(encoder.device, encoder.dtype)) for path in paths]
    codes = encode_images(encoder, images)
    group, _ = duplicates(inputs.codes)
    nearest = torch.cdist(codes.flatten(1), inputs.codes.flatten(1)).argmin(1)
    wrong = (group[nearest] != group).nonzero().flatten().tolist()
    if len(wrong) > count / 10:
        raise ConfigError(
            f"{len(wrong)} of {count} images, {stems[wrong[0]]} for one, have codes that are nearer to "
            "another code than to their own: name the files so that their order is the codes', check "
            "network and layer, or leave out --images"
        )
    return tuple(stems), torch.cat(images)


def _column(attributes: list[Attribute], name: str | None) -> Attribute | None:
    if name is None:
        return None
    found = [one for one in attributes if one.name == name]
    if not found:
        raise ConfigError(
            f"there is no column '{name}' to group by; there are {', '.join(one.name for one in attributes)}"
        )
    return found[0]
