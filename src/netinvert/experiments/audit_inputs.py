"""What an audit is given: codes, and what is known of the images that they are of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from netinvert.errors import CodeError, ConfigError, NetinvertError
from netinvert.evaluation.attributes import Attribute, read_attributes
from netinvert.evaluation.evaluate import encode_images
from netinvert.evaluation.retrieval import duplicates
from netinvert.experiments.commands import Tell
from netinvert.experiments.configs.studies import Audit
from netinvert.experiments.inputs import (
    Source,
    image_paths,
    is_code_file,
    on_device,
    open_network,
    read_inputs,
    sources_of,
    unique_stems,
)
from netinvert.experiments.inversions import Targets
from netinvert.inversion.objectives import Match
from netinvert.io.images import read_image
from netinvert.models.decoder import Decoder
from netinvert.models.decoder_files import SHIPPED, load_decoder
from netinvert.models.encoder import Encoder
from netinvert.models.registry import load_network


@dataclass(frozen=True, eq=False)
class Audited:
    """What is audited: ``codes`` (N, ...) of the encoder, with a name each, and what is known of them:
    the originals (N, C, *size), a ``judge`` (an encoder that took no part), attributes, the attribute whose
    equal values keep codes together in a fold. Raises CodeError, ConfigError for what cannot be audited."""

    encoder: Encoder
    codes: Tensor
    names: tuple[str, ...]
    originals: Tensor | None = None
    judge: Encoder | None = None
    attributes: tuple[Attribute, ...] = ()
    groups: Attribute | None = None

    def __post_init__(self) -> None:
        codes = self.encoder.check_code(self.codes)
        if len(codes) < 2:
            raise CodeError(
                "an audit compares codes with one another and needs two at least; for one code, use "
                "netinvert invert"
            )
        if len(duplicates(codes)[1]) < 2:
            raise CodeError(f"all {len(codes)} codes are equal, so none can be told from another")
        Match(codes)  # refuses codes that cannot be matched
        if len(self.names) != len(codes):
            raise ConfigError(f"{len(self.names)} names for {len(codes)} codes: give one each")
        if self.judge is not None:
            self._check_judge(self.judge)
        if self.groups is not None and None in self.groups.values:
            raise ConfigError(f"the groups '{self.groups.name}' are unknown for some codes: fill them in")

    def _check_judge(self, judge: Encoder) -> None:
        if self.originals is None:
            raise ConfigError("a judge reads the originals too: give --images, or leave out --judge-network")
        if judge.weights_sha256() == self.encoder.weights_sha256():
            raise ConfigError("a judge that is the audited network is no judge: choose another network")
        if judge.preprocessing.channels != self.encoder.preprocessing.channels:
            raise ConfigError(
                f"{judge.network.name} takes images of {judge.preprocessing.channels} channels, the audited "
                f"network of {self.encoder.preprocessing.channels}: choose another judge"
            )

    @property
    def targets(self) -> Targets:
        """Its codes, to be inverted."""
        originals = None if self.originals is None else self.originals.cpu()
        return Targets(self.encoder.layer, self.encoder.check_code(self.codes).cpu(), originals)


def read_audited(config: Audit, tell: Tell) -> tuple[Audited, list[Source]]:
    """What the options name, checked, and its files. Raises NetinvertError."""
    if not is_code_file(config.codes):
        raise CodeError(
            f"{config.codes} is no file of codes (.npy, .safetensors, .pt): make one with netinvert encode"
        )
    encoder = Encoder(open_network(config, config.device), config.layer)
    inputs = read_inputs(str(config.codes), encoder)
    if inputs.remark is not None:
        tell(inputs.remark)
    sources = list(sources_of("codes", [config.codes]))
    names, originals = inputs.stems, None
    if config.images is not None:
        paths = image_paths(config.images)
        names, originals = _originals(paths, encoder, inputs.codes, inputs.stems)
        sources += sources_of("images", paths)
    attributes: list[Attribute] = []
    if config.attributes is not None:
        attributes = read_attributes(config.attributes, names)
        sources += sources_of("attributes", [config.attributes])
    subject = Audited(
        encoder=encoder,
        codes=inputs.codes,
        names=names,
        originals=originals,
        judge=None if originals is None else _judge(config, encoder),
        attributes=tuple(attributes),
        groups=_column(attributes, config.groups),
    )
    return subject, sources


def _originals(
    paths: Sequence[Path], encoder: Encoder, stored: Tensor, names: tuple[str, ...]
) -> tuple[tuple[str, ...], Tensor]:
    """Names and images (N, C, *size) in the order of the codes: by name if the codes have the images' names,
    else in the order of the files' names.

    Raises ImageError; ConfigError if there are more or fewer images than codes, or most are of other codes.
    """
    stems = unique_stems(paths)
    count = len(names)
    if len(paths) != count:
        raise ConfigError(f"--images has {len(paths)} images for {count} codes: give one a code")
    if set(stems) == set(names):
        place = {stem: index for index, stem in enumerate(stems)}
        paths, stems = [paths[place[stem]] for stem in names], names
    channels = encoder.preprocessing.channels
    images = [encoder.fit(read_image(path, channels).to(encoder.device, encoder.dtype)) for path in paths]
    group, _ = duplicates(stored)
    nearest = torch.cdist(encode_images(encoder, images).flatten(1), stored.flatten(1)).argmin(1)
    wrong = (group[nearest] != group).nonzero().flatten().tolist()
    if len(wrong) > count / 10:
        raise ConfigError(
            f"{len(wrong)} of {count} images, {stems[wrong[0]]} for one, have codes that are nearer to "
            "another code than to their own: name the files so that their order is the codes', check "
            "network and layer, or leave out --images"
        )
    return tuple(stems), torch.cat(images)


def _column(attributes: Sequence[Attribute], name: str | None) -> Attribute | None:
    found = next((one for one in attributes if one.name == name), None)
    if name is not None and found is None:
        raise ConfigError(
            f"--groups: there is no column '{name}'; there are {', '.join(one.name for one in attributes)}"
        )
    return found


def _judge(config: Audit, encoder: Encoder) -> Encoder | None:
    """As told; else the network's own, before its output, which is of few numbers."""
    if config.judge_network is not None and config.judge_layer is not None:
        return Encoder(on_device(load_network(config.judge_network), config.device), config.judge_layer)
    if encoder.network.held_out_pose_estimator is None:
        return None
    other = load_network(encoder.network.held_out_pose_estimator)
    return Encoder(other, other.layers[-2]).to(encoder.device)


def audit_decoder(config: Audit, encoder: Encoder, tell: Tell) -> Decoder | None:
    """As told; else a shipped one of this very layer and these weights."""
    if config.decoder is not None:
        decoder = load_decoder(config.decoder)
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
        tell(f"the decoder {name} fits and is used")
        return decoder.to(encoder.device)
    return None
