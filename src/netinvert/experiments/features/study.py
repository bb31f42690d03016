"""``netinvert study features``: which features carry an object's orientation; ten objects are a cell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from netinvert.errors import ConfigError
from netinvert.evaluation import report
from netinvert.evaluation.readers import FOREIGN, LearnedViews, PoseReader, network_reader, pose_network
from netinvert.experiments.configs.studies import StudyFeatures
from netinvert.experiments.features.changes import ChangedScene, StudiedView
from netinvert.experiments.features.measures import FeatureReadings
from netinvert.experiments.features.registration import BACKGROUNDS
from netinvert.experiments.features.report import features_answer, features_report
from netinvert.experiments.features.tables import Studied, registered_table
from netinvert.experiments.pose_evaluation import objects_called
from netinvert.experiments.runs import ANSWER, publish, run_facts, workers_of
from netinvert.io.cells import Cell, Cells, Piece
from netinvert.io.files import Tell, sha256_of, write_atomic
from netinvert.io.manifest import Outcome
from netinvert.io.rundir import RunDir
from netinvert.io.workers import run_cells
from netinvert.models.checkpoints import weights_sha256
from netinvert.models.network import Network
from netinvert.models.zoo.pose import POSE_NETWORKS
from netinvert.scenes.cameras import angles_from_rotation, geodesic_degrees
from netinvert.scenes.dataset_config import DatasetConfig
from netinvert.scenes.fresh import UPRIGHT
from netinvert.training.pose.evaluation import evaluation_plan

CHUNK = 10
RANDOM = "random"


@dataclass(frozen=True)
class FeaturesWork:
    """What all readers make of all changes of some objects, from the first one's number on."""

    config: StudyFeatures
    plan: DatasetConfig
    names: tuple[str, ...]
    learned: LearnedViews

    def open(self) -> Callable[[int, Piece], Cell]:
        """Loads the networks."""
        readers = feature_readers(self.names, self.learned)

        def make(start: int, piece: Piece) -> Cell:
            stop = min(start + CHUNK, self.plan.identities)
            found: list[tuple[int, str, list[ChangedScene], Tensor]] = []
            for identity in range(start, stop):
                piece.tell((identity - start) / (stop - start), "rendering and reading")
                scenes, backgrounds, name = self.views(identity)
                if scenes:
                    images = torch.stack([one.before(behind) for behind in backgrounds for one in scenes])
                    poses = torch.stack([reader(images) for reader in readers], 1).float()
                    found.append((identity, name, scenes, poses.view(len(backgrounds), -1, *poses.shape[1:])))
            return _cell(found)

        return make

    def views(self, identity: int) -> tuple[list[ChangedScene], list[Tensor], str]:
        """An object's changes, what it stands before, and its name; no changes of one without a front."""
        plan = self.plan
        thing = objects_called(self.config.objects, self.config.category).make(
            plan.object_seed(identity), identity
        )
        if thing.symmetry != 1:
            return [], [], thing.name
        view, backgrounds = StudiedView.of(plan, thing, identity)
        return list(view.changes()), backgrounds, thing.name


def _cell(found: list[tuple[int, str, list[ChangedScene], Tensor]]) -> Cell:
    """Tensors of FeatureReadings; of no object none."""
    if not found:
        return Cell()
    changes = list(dict.fromkeys(one.name for _, _, scenes, _ in found for one in scenes))
    shape = (len(found), len(BACKGROUNDS), len(changes), found[0][3].shape[2])
    tensors = {key: torch.full(shape, torch.nan) for key in ("error", "azimuth")}
    tensors |= {key: torch.full((shape[0], shape[2]), torch.nan) for key in ("truth", "other", "share")}
    for n, (_, _, scenes, poses) in enumerate(found):
        for k, one in enumerate(scenes):
            place = changes.index(one.name)
            tensors["error"][n, :, place] = geodesic_degrees(poses[:, k], one.rotation)
            tensors["azimuth"][n, :, place] = angles_from_rotation(poses[:, k])[0]
            tensors["truth"][n, place] = angles_from_rotation(one.rotation)[0]
            tensors["share"][n, place] = one.share
            if one.other is not None:
                tensors["other"][n, place] = angles_from_rotation(one.other)[0]
    facts = {"changes": changes, "names": [name for _, name, _, _ in found]}
    return Cell(tensors, {**facts, "identities": [identity for identity, *_ in found]})


def _network(name: str) -> Network:
    """Of an option. Raises NetworkError; ConfigError: it reads no poses."""
    random = name.partition(":")[0] == RANDOM
    network = pose_network("posenet", name) if random else pose_network(name)
    if network.read_pose is None:
        able = ", ".join((*POSE_NETWORKS, FOREIGN))
        raise ConfigError(
            f"{network.name} reads no poses, so there is nothing to measure; these do: {able}, random:SEED, "
            "and files of netinvert pose train"
        )
    return network


def features_plan(network: Network, objects: int, seed: int) -> DatasetConfig:
    """A view each of so many objects as they stand before whoever sits down, in light from anywhere. Raises
    ConfigError: the network reads no poses, or takes images that are not square."""
    return replace(evaluation_plan(network, objects, 1, seed), **{**UPRIGHT, "lights": "random"})


def feature_readers(names: Sequence[str], learned: LearnedViews) -> list[PoseReader]:
    """Networks by their names among the options, and HOG."""
    random = [name.partition(":")[0] == RANDOM for name in names]
    found = [
        network_reader("posenet", name) if blind else network_reader(name)
        for name, blind in zip(names, random, strict=True)
    ]
    return [*found, learned.readers()[0]]


def study_features(config: StudyFeatures, tell: Tell) -> Outcome:
    """Render, change, read, compare; leave report, figures and rows in ``config.out``.

    Raises:
        NetworkError: no such network.
        ConfigError: one reads no poses; no such objects, or none of them has a front.
        MeshError: a mesh or library that cannot be read.
        MissingExtraError: without the extra scenes.
    """
    names = config.networks or ("posenet",)
    if not any(one.partition(":")[0] == RANDOM for one in names):
        names = (*names, f"{RANDOM}:0")
    networks = {name: _network(name) for name in names}
    source = objects_called(config.objects, config.category)
    plan = features_plan(networks[names[0]], min(config.chairs, source.count or config.chairs), config.seed)
    known = {
        "weights_sha256": {name: weights_sha256(one.module) for name, one in networks.items()},
        "plan": plan.to_json(),
        "files": {path.name: sha256_of(path) for path in source.files},
    }
    with RunDir(config.out, run_facts(config, known), config.overwrite) as run:
        tell(f"rendering {config.learned} views for the reader without a network")
        learned = LearnedViews.kept(Cells(run), config.learned)
        work = FeaturesWork(config, plan, names, learned)
        starts = range(0, plan.identities, CHUNK)
        cells = run_cells(run, work, starts, workers_of(config), "tens of objects")
        full = [cell for cell in cells if cell.tensors]
        if not full:
            raise ConfigError("none of these objects has a front to read a pose by: give others, or more")
        readers = feature_readers(names, learned)
        readings = FeatureReadings.joined(
            full, [one.name for one in readers], [one.limited for one in readers]
        )
        blind = next(k for k, one in enumerate(names) if one.partition(":")[0] == RANDOM)
        studied = Studied(readings, names[0], blind, config, plan.identities)
        identities = [one for cell in full for one in cell.facts["identities"]]
        most = readings.truth.isfinite().sum(1).argmax()
        scenes, backgrounds, _ = work.views(identities[int(most)])
        page = features_report(studied, scenes, backgrounds)
        write_atomic(run.path("chairs.csv"), report.Table.of(readings.rows()).csv().encode())
        entries = {**known, ANSWER: features_answer(studied)}
        return publish(run, config, page, entries, registered_table(studied).text())
