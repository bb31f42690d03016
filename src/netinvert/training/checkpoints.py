"""The states of a training that it can go on from: safetensors, so that reading them runs no code."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from netinvert.io.files import FileError, load_tensors, plain_json, save_tensors
from netinvert.training.config import TrainingError, TrainingRun

LAST, BEFORE = "checkpoint.safetensors", "checkpoint-before.safetensors"
FIRST_SECONDS = 45.0
"""The first checkpoint comes this soon."""


class Checkpoints:
    """The two last states of a training, in its folder: of ``model``, of its optimisers, and how far it is.

    ``identity`` is what a training may not change when it goes on. A file is written whole or not at all.
    """

    def __init__(
        self,
        run: TrainingRun,
        model: nn.Module,
        optimizers: Sequence[torch.optim.Optimizer],
        identity: Mapping[str, Any],
    ) -> None:
        self._run, self._model, self._optimizers = run, model, optimizers
        self._identity = json.loads(json.dumps(plain_json(identity)))
        self._last, self._before = run.folder / LAST, run.folder / BEFORE
        self._saved, self._wait = time.monotonic(), FIRST_SECONDS

    def load(self) -> tuple[int, float]:
        """Take up the newest whole state: how many steps it has made, in how many seconds.

        Raises TrainingError: no state is whole, or it is of another training.
        """
        damage = ""
        for path in (self._last, self._before):
            if not path.exists():
                continue
            try:
                tensors, metadata = load_tensors(path)
                facts = json.loads(metadata["training"])
                step, seconds, identity = int(facts["step"]), float(facts["seconds"]), facts["identity"]
            except (FileError, KeyError, TypeError, ValueError) as error:
                damage = damage or f"{path} is damaged ({error})"
                continue
            self._check(path, tensors, identity)
            self._take(tensors)
            if damage:
                self._run.note(f"{damage}: the one before it is gone on with, of step {step}")
            return step, seconds
        if damage:
            raise TrainingError(f"{damage}: delete it to start anew, or choose another folder")
        return 0, 0.0

    def due(self) -> bool:
        """Whether it is time to save."""
        return time.monotonic() - self._saved >= self._wait

    def save(self, step: int, seconds: float) -> None:
        """Keep the state after ``step`` steps, and the one that was the last.

        Raises OutputError: the file cannot be written; the last state is kept.
        """
        facts = {"step": step, "seconds": seconds, "identity": self._identity}
        if self._last.exists():
            self._last.replace(self._before)
        save_tensors(self._last, self._tensors(), {"training": json.dumps(facts)})
        self._saved, self._wait = time.monotonic(), 60 * self._run.minutes

    def _tensors(self) -> dict[str, Tensor]:
        found = {f"model.{name}": value for name, value in self._model.state_dict().items()}
        for which, optimizer in enumerate(self._optimizers):
            for index, state in optimizer.state_dict()["state"].items():
                found |= {f"optimizer.{which}.{index}.{name}": value for name, value in state.items()}
        return found

    def _check(self, path: Path, tensors: Mapping[str, Tensor], identity: Mapping[str, Any]) -> None:
        own = self._identity
        changed = [
            f"{name} {identity[name]!r}, not {own[name]!r}" for name in own if identity.get(name) != own[name]
        ]
        state = {f"model.{name}": value.shape for name, value in self._model.state_dict().items()}
        found = {name: value.shape for name, value in tensors.items() if name.startswith("model.")}
        if not changed and state != found:
            changed = ["networks of another shape"]
        if changed:
            raise TrainingError(
                f"{path} is of another training, with {'; '.join(changed)}: give what it began with, or "
                "choose another folder"
            )

    def _take(self, tensors: Mapping[str, Tensor]) -> None:
        start = len("model.")
        self._model.load_state_dict(
            {name[start:]: value for name, value in tensors.items() if name.startswith("model.")}
        )
        for which, optimizer in enumerate(self._optimizers):
            parameters = [one for group in optimizer.param_groups for one in group["params"]]
            state: dict[int, dict[str, Tensor]] = {}
            for name, value in tensors.items():
                kind, *place, key = name.split(".")
                if kind == "optimizer" and int(place[0]) == which:
                    index = int(place[1])
                    # the layout of the parameter (channels last, say): fused steps ask for that
                    like = torch.empty_like(parameters[index]) if value.ndim else torch.empty_like(value)
                    state.setdefault(index, {})[key] = like.copy_(value)
            optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
