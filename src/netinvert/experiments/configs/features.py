"""What the study of features is asked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from netinvert.errors import ConfigError
from netinvert.io import pieces
from netinvert.io.pieces import Output, Processes, Seed
from netinvert.scenes.dataset_config import CATEGORY, OBJECTS
from netinvert.scenes.seeds import OPENED


@dataclass(frozen=True, kw_only=True)
class StudyFeatures(Seed, Output, Processes):
    """Find which features of an image carry an object's orientation: parts, outline, texture, shading, light,
    frequencies are taken away or turned, each against a control, and networks read the pose.

    A stopped run is resumed by the same command.
    """

    command: ClassVar[str] = "study features"

    networks: Annotated[
        tuple[str, ...],
        replace(
            pieces.POSE_READERS,
            help="Networks that read poses: by name, as files of 'netinvert pose train', or random:SEED, "
            "posenet with random weights; the first is told most of. Random weights and HOG, which is no "
            "network, are always beside them.",
        ),
    ] = ()
    objects: Annotated[str, OBJECTS] = "chairs"
    category: Annotated[str | None, replace(CATEGORY, default="seats, by their names")] = None
    chairs: Annotated[int, replace(pieces.CHAIRS, help="How many objects, at most.")] = 300
    learned: Annotated[int, pieces.LEARNED] = 3000
    seed: Annotated[int, replace(pieces.SEED, help="Which objects, views, lights and backgrounds.")] = OPENED

    def check(self) -> None:
        """Raises ConfigError."""
        super().check()
        if len(set(self.networks)) < len(self.networks):
            raise ConfigError("--networks names one twice: give each once")
