"""``netinvert study agree``: do inversions show the parts that a pose is read from? A batch of chairs is a
cell."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from netinvert.errors import ConfigError
from netinvert.evaluation.readers import PartReader, part_maps, part_shares, read_images
from netinvert.experiments.agree.report import agree_answer, agree_report
from netinvert.experiments.agree.tables import AgreeStudy
from netinvert.experiments.agree.witnesses import DECODED, OPTIMISED, RANDOM, Arm, Witnesses
from netinvert.experiments.configs.studies import StudyAgree
from netinvert.experiments.features import registration as named
from netinvert.experiments.features.changes import ChangedScene, StudiedView
from netinvert.experiments.features.measures import LEAST_ERROR
from netinvert.experiments.features.registration import PARTS
from netinvert.experiments.features.study import features_plan
from netinvert.experiments.inputs import open_network
from netinvert.experiments.inversions import PresetChoice
from netinvert.experiments.invert import run_told
from netinvert.experiments.registered import AGREE
from netinvert.experiments.runs import ANSWER, network_facts, publish, run_facts, workers_of
from netinvert.explain.part_truth import LEAST_PARTS, mass_in
from netinvert.explain.sanity import all_random, explaining
from netinvert.explain.targets import parse_target
from netinvert.inversion.invert import prepare
from netinvert.inversion.objectives import code_error
from netinvert.io.cells import Cell, Cells, Piece
from netinvert.io.files import Tell, write_atomic
from netinvert.io.images import fit
from netinvert.io.manifest import Outcome
from netinvert.io.rundir import RunDir
from netinvert.io.workers import run_cells
from netinvert.models.decoder import Decoder, fitting_decoder
from netinvert.models.encoder import Encoder
from netinvert.models.network import Network
from netinvert.scenes.cameras import geodesic_degrees
from netinvert.scenes.dataset_config import DatasetConfig

POSE = "pose"
"""What is attributed: of the kinds of poses the first that the network has."""


@dataclass(frozen=True, eq=False)
class Subject:
    """The network on the device, the same with ``random`` weights, and by arm what encodes, with the decoder
    of those that are decoded."""

    network: Network
    random: Network
    arms: dict[Arm, tuple[Encoder, Decoder | None]]

    @classmethod
    def of(cls, config: StudyAgree, network: Network) -> Subject:
        """Raises LayerError."""
        random = all_random(network, network.preprocessing.size, 0)
        arms: dict[Arm, tuple[Encoder, Decoder | None]] = {}
        for layer in config.layers or AGREE.layers:
            encoder = Encoder(network, layer)
            arms[Arm(layer)] = (encoder, None)
            decoder = fitting_decoder(encoder)
            if decoder is not None:
                arms[Arm(layer, DECODED)] = (encoder, decoder)
            arms[Arm(layer, OPTIMISED, RANDOM)] = (Encoder(random, layer), None)
        return cls(network, random, arms)


@dataclass(frozen=True, eq=False)
class AgreeWork:
    """What the witnesses say of some chairs, from the first one's number on; ``weights`` are those of the
    reader of parts."""

    config: StudyAgree
    plan: DatasetConfig
    weights: Tensor

    def open(self) -> Callable[[int, Piece], Cell]:
        """Loads the networks."""
        config, plan = self.config, self.plan
        subject = Subject.of(config, open_network(config, config.device))
        reads = subject.network if config.device == "cpu" else open_network(config)
        parts = PartReader.of_weights(reads, self.weights, PARTS)
        source = plan.source()

        def make(start: int, piece: Piece) -> Cell:
            stop = min(start + config.batch, plan.identities)
            found: list[dict[str, Tensor]] = []
            seeds, names = [], []
            for identity in range(start, stop):
                piece.tell(0, "rendering")
                thing = source.make(plan.object_seed(identity), identity)
                view, backgrounds = StudiedView.of(plan, thing, identity)
                seen, scenes = view.removals() if thing.symmetry == 1 else ({}, [])
                if len(seen) >= LEAST_PARTS:
                    found.append(_chair(seen, scenes, backgrounds, reads))
                    seeds.append(config.seed + identity)
                    names.append(thing.name)
            if not found:
                return Cell()
            tensors = {key: torch.stack([one[key] for one in found]) for key in found[0]}
            original = tensors["original"].float() / 255
            tensors |= self._attributed(subject, original, tensors["masks"])
            made, codes = [], []
            for place, (arm, (encoder, decoder)) in enumerate(subject.arms.items()):
                tell = _told(piece, place / len(subject.arms), arm)
                images, error = self._inverted(encoder, decoder, original, seeds, tell)
                made.append(images)
                codes.append(error)
            tensors |= {"images": torch.stack(made, 1), "code": torch.stack(codes, 1)}
            labels = [parts.labels(each.float() / 255) for each in (tensors["original"], *made)]
            seen_in, *others = (each.to(torch.uint8) for each in labels)
            return Cell(tensors | {"seen": seen_in, "labels": torch.stack(others, 1)}, names)

        return make

    def _attributed(self, subject: Subject, original: Tensor, masks: Tensor) -> dict[str, Tensor]:
        """Each part's share of the map on the chair, over its share of the chair's pixels."""
        explains = explaining(self.config.method, self.config.samples, 0)
        found, heat = [], None
        for network in (subject.network, subject.random):
            target = parse_target(network, POSE)
            seen = original.to(target.encoder.device, target.encoder.dtype)
            maps = explains(target, seen, target.fixed(seen)).float().cpu()
            heat = maps if heat is None else heat
            both = (mass_in(maps, masks), masks.flatten(2).sum(2).double())
            mass, area = (each / each.sum(1, keepdim=True) for each in both)
            found.append(mass / area)  # 0 / 0 of no part
        assert heat is not None
        most = heat.abs().amax((1, 2), keepdim=True).clamp_min(1e-30)
        return {"attribution": torch.stack(found, 1), "heat": (heat / most).half()}

    def _inverted(
        self,
        encoder: Encoder,
        decoder: Decoder | None,
        original: Tensor,
        seeds: list[int],
        tell: Callable[[float, str], None],
    ) -> tuple[Tensor, Tensor]:
        """Images (n, 3, H, W) uint8 of the originals' codes, and their code errors."""
        with torch.no_grad():
            codes = encoder(original.to(encoder.device, encoder.dtype))
        if decoder is not None:
            images = decoder(codes)
        else:
            how = _choice(self.config).recipe(encoder)
            images = run_told(prepare(encoder, codes, how), seeds, tell).image
        images = fit(images, (original.shape[2], original.shape[3]))
        with torch.no_grad():
            error = code_error(encoder(images), codes)
        return (255 * images.clamp(0, 1)).round().to(torch.uint8).cpu(), error.cpu()


def _choice(config: StudyAgree) -> PresetChoice:
    return PresetChoice(config.preset, steps=config.steps)


def _told(piece: Piece, share: float, arm: Arm) -> Callable[[float, str], None]:
    return lambda _, text: piece.tell(share, f"{arm.name}: {text}")


def _chair(
    seen: dict[str, Tensor], scenes: Iterable[ChangedScene], backgrounds: list[Tensor], network: Network
) -> dict[str, Tensor]:
    """What is known of a chair before anything is inverted."""
    known = {one.name: one for one in scenes}
    whole = known[named.UNCHANGED]
    images = torch.stack([one.before(behind) for one in known.values() for behind in backgrounds])
    reading = read_images(network, images).rotation.float()
    errors = geodesic_degrees(reading, whole.rotation).clamp_min(LEAST_ERROR).log()
    logs = dict(zip(known, errors.view(len(known), -1).double(), strict=True))
    nothing = torch.full((len(backgrounds),), torch.nan).double()
    needed = [
        logs.get(named.removed(one), nothing) - logs.get(named.control(named.covered(one)), nothing)
        for one in PARTS
    ]
    sizes = [known[named.removed(one)].share if one in seen else torch.nan for one in PARTS]
    masks = torch.stack([seen.get(one, torch.zeros_like(whole.cut.mask, dtype=torch.bool)) for one in PARTS])
    return {
        "original": (255 * whole.before(backgrounds[0])).round().to(torch.uint8),
        "masks": masks,
        "truth": part_shares(masks).argmax(0).to(torch.uint8),
        "needed": torch.stack(needed, 1),
        "size": torch.tensor(sizes).double(),
    }


def _learned(network: Network, chairs: int) -> Cell:
    maps = part_maps(chairs, size=network.preprocessing.size[0], names=PARTS)
    return Cell({"weights": PartReader.fitted(network, maps).weights})


def study_agree(config: StudyAgree, tell: Tell) -> Outcome:
    """Render, take parts away, attribute, invert, compare; leave report, figures and rows in ``config.out``.

    Raises:
        NetworkError, LayerError: no such network, or layer.
        ConfigError: the network reads no poses, or tells none with a gradient; no chair shows parts enough.
        MissingExtraError: without the extras scenes and imagenet.
    """
    network = open_network(config, config.device, tell)
    plan = features_plan(network, config.chairs, config.seed)
    parse_target(network, POSE)
    subject = Subject.of(config, network)
    for encoder, _ in subject.arms.values():
        _choice(config).recipe(encoder)  # refuses what cannot go together
    PartReader.of_weights(network, torch.zeros(()), PARTS)  # refuses before anything is rendered
    known = network_facts(next(iter(subject.arms.values()))[0])
    with RunDir(config.out, run_facts(config, known), config.overwrite) as run:
        tell(f"rendering {config.learned} views for the reader of parts")
        learned = Cells(run).keep("parts", lambda: _learned(network, config.learned))
        work = AgreeWork(config, plan, learned.tensors["weights"])
        starts = range(0, config.chairs, config.batch)
        cells = [cell for cell in run_cells(run, work, starts, workers_of(config), "batches") if cell.tensors]
        if not cells:
            raise ConfigError(
                f"none of these chairs has a front and {LEAST_PARTS} parts in sight: give more --chairs"
            )
        study = AgreeStudy(config, network.name, Witnesses.joined(cells, tuple(subject.arms)))
        write_atomic(run.path("chairs.csv"), study.witnesses.by_part().csv().encode())
        page = agree_report(study)
        entries = {**known, "chairs": study.witnesses.count, ANSWER: agree_answer(study)}
        return publish(run, config, page, entries, study.registered_table().text())
