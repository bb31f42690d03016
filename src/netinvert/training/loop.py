"""The loop of all trainings: steps, checkpoints, figures on held-out images, logs."""

from __future__ import annotations

import itertools
import json
import os
import signal
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from netinvert.errors import OutputError
from netinvert.io.files import (
    FileError,
    inside,
    load_tensors,
    output_error,
    plain_json,
    refusing,
    save_tensors,
)
from netinvert.io.folders import alone, set_damaged_aside
from netinvert.io.running import Progress, deferred_interrupt, torch_threads
from netinvert.training.config import Group, TrainingConfig, TrainingError, TrainingRun, process_group

LOG_EVERY = 50
CLIP = 1.0
"""The largest norm of a gradient."""
LAST, BEFORE = "checkpoint.safetensors", "checkpoint-before.safetensors"
LOCK, LOGS = ".training.lock", "logs"
FIRST_SECONDS = 45.0
"""The first checkpoint comes this soon."""
Optimizers = list[torch.optim.Optimizer]
Watched = tuple[Mapping[str, float], Tensor | None]
"""Figures on held-out images, and an image (C, H, W) of some of them."""


class Trainee(nn.Module):
    """Networks in training, their losses, and the running average of their weights that is kept in the end.

    ``seconds`` is how long they have been trained, over all resumes.
    """

    def __init__(self, config: TrainingConfig) -> None:
        super().__init__()
        self.config, self.seconds = config, 0.0

    def place(self, device: torch.device) -> None:
        """Move all that is used to a device."""
        self.to(device)

    def optimizers(self) -> Optimizers:
        """New ones; ``rate_at`` scales the rates of all."""
        raise NotImplementedError

    def losses(self, batch: Any, step: int) -> tuple[Tensor, dict[str, Tensor]]:  # noqa: ANN401
        """The mean loss of a batch, and its parts."""
        raise NotImplementedError

    def averaged(self) -> list[tuple[nn.Module, nn.Module]]:
        """The running averages, each with what it follows."""
        return []

    def update_average(self, step: int) -> None:
        """Move the running averages towards the weights; quickly at first."""
        for average, now in self.averaged():
            move_average(average, now, step, self.config.average)

    def train(self, mode: bool = True) -> Trainee:
        """Training mode for all but the averages."""
        super().train(mode)
        for average, _ in self.averaged():
            average.eval()
        return self

    def fuse(self) -> None:
        """Compile what makes the losses."""
        self.losses = torch.compile(self.losses)  # type: ignore[method-assign]

    def identity(self) -> dict[str, Any]:
        """What a training has to keep when it goes on: all settings but its length."""
        return {name: value for name, value in self.config.to_json().items() if name != "samples"}

    def learn(self, batch: Any, step: int, optimizers: Optimizers, group: Group) -> dict[str, Tensor]:  # noqa: ANN401
        """One step; gives the loss and its parts."""
        (optimizer,) = optimizers
        total, parts = self.losses(batch, step)
        check_finite(total, step)
        optimizer.zero_grad()
        torch.autograd.backward(total)
        parameters = [one for each in optimizer.param_groups for one in each["params"]]
        group.average_gradients(parameters)
        nn.utils.clip_grad_norm_(parameters, CLIP)
        optimizer.step()
        return {"total": total.detach(), **parts}


class Steps(Dataset[Any]):
    """Batches by the number of their step; each is made from that alone, so any process may make it."""

    def __init__(self, batch_at: Callable[[int], Any], group: Group) -> None:
        self.batch_at, self.rank, self.size = batch_at, group.rank, group.size

    def __getitem__(self, step: int) -> Any:  # noqa: ANN401
        return self.batch_at(step * self.size + self.rank)


def fit_trainee(
    model: Trainee, batch_at: Callable[[int], Any], watch: Callable[[], Watched], run: TrainingRun
) -> None:
    """Train for ``config.steps`` steps in all, taking up what ``run.folder`` holds.

    ``batch_at`` makes batches, which have a method ``to(device)``; ``watch`` is called every ``run.every``
    steps. Checkpoints and TensorBoard logs go to the folder.

    Raises TrainingError: the checkpoint is of another training, or the loss is not finite;
    OutputError: the folder cannot be written, or another process trains there; KeyboardInterrupt: Ctrl-C or
    SIGTERM, after a checkpoint.
    """
    try:
        run.folder.mkdir(parents=True, exist_ok=True)
        for name in (LAST, BEFORE, LOGS):  # a link in the folder could lead to any file
            inside(run.folder, name, OutputError)
        with (
            torch_threads(run.threads),
            process_group(run.device, run.devices * run.nodes) as group,
            alone(run.folder / LOCK, run.folder) if group.rank == 0 else nullcontext(),
        ):
            _fit(model, batch_at, watch, run, group)
    except OSError as error:
        raise output_error(run.folder, error) from error


def _fit(
    model: Trainee,
    batch_at: Callable[[int], Any],
    watch: Callable[[], Watched],
    run: TrainingRun,
    group: Group,
) -> None:
    model.place(group.device)
    if run.compiled:
        model.fuse()
    optimizers, steps, main = model.optimizers(), model.config.steps, group.rank == 0
    checkpoints = Checkpoints(run, model, optimizers)
    first, model.seconds = checkpoints.load()
    if first >= steps:
        run.note(f"all {steps:,} steps are done already")
    began, text = time.perf_counter() - model.seconds, ""
    loader = _loader(Steps(batch_at, group), range(first, steps), run, group.device)
    progress = Progress("steps", steps, run.progress and main)
    progress.done = first  # the time left goes by the steps from here on
    with (
        deferred_interrupt() as interrupt,  # before the imports of _log, in which a signal would be lost
        _log(run, first, main and first < steps) as log,
        progress,
    ):
        for step, batch in zip(range(first, steps), loader, strict=True):
            for each in itertools.chain.from_iterable(optimizer.param_groups for optimizer in optimizers):
                each["lr"] = each.setdefault("initial_lr", each["lr"]) * model.config.rate_at(step)
            losses = model.learn(batch.to(group.device), step, optimizers, group)
            model.update_average(step)
            stop, done = group.any(interrupt.pending), step + 1
            if main and step % LOG_EVERY == 0:
                log("loss", {name: value.item() for name, value in losses.items()}, None, step)
                text = f"loss {losses['total'].item():.4g}"
            progress.update(done, text)
            regular = done % run.every == 0
            if main and (regular or stop or done == steps or checkpoints.due()):
                model.seconds = time.perf_counter() - began
                checkpoints.save(done, model.seconds)
            if main and regular and not stop:
                log("validation", *watch(), done)
            if stop:
                break
        if group.any(interrupt.pending):  # also if it came with the last step, or while that was watched
            raise KeyboardInterrupt


def check_finite(loss: Tensor, step: int) -> None:
    """Raise TrainingError for a loss that is NaN or infinite."""
    if not torch.isfinite(loss):
        raise TrainingError(
            f"the loss is {loss.item()} at step {step}: the last checkpoint is kept; train with a "
            "smaller --rate"
        )


def adamw(
    groups: list[dict[str, Any]], rate: float, betas: tuple[float, float] = (0.9, 0.999)
) -> torch.optim.AdamW:
    """AdamW, in one kernel where there is one."""
    fused = all(one.device.type in ("cpu", "cuda") for group in groups for one in group["params"])
    return torch.optim.AdamW(groups, lr=rate, betas=betas, fused=fused)


def decaying(parameters: list[nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Groups for an optimiser: weights, which decay, and biases and norms, which do not."""
    return [
        {"params": [one for one in parameters if one.ndim > 1], "weight_decay": weight_decay},
        {"params": [one for one in parameters if one.ndim <= 1], "weight_decay": 0.0},
    ]


@torch.no_grad()
def move_average(average: nn.Module, now: nn.Module, step: int, keep: float) -> None:
    """Move a running average towards the weights; quickly at first."""
    keep = min(keep, (1 + step) / (10 + step))
    tensors = ([*module.parameters(), *module.buffers()] for module in (average, now))
    pairs = [(a, b) for a, b in zip(*tensors, strict=True) if a.is_floating_point()]
    torch._foreach_lerp_([a for a, _ in pairs], [b for _, b in pairs], 1 - keep)


def _loader(steps: Steps, which: range, run: TrainingRun, device: torch.device) -> DataLoader[Any]:
    workers = run.workers
    if workers is None:
        workers = 0 if device.type == "cpu" else max(1, min(4, (os.cpu_count() or 2) - 1))
    return DataLoader(
        steps,
        batch_size=None,
        sampler=which,
        num_workers=min(workers, len(which)),
        worker_init_fn=_ignore_signals,
        generator=torch.Generator(),  # not the global one, which is the user's
    )


def _ignore_signals(_worker: int) -> None:
    """The training decides when to stop; its workers end with it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def _log(run: TrainingRun, first: int, wanted: bool) -> Iterator[Callable[..., None]]:
    """A function that writes figures, and an image, for TensorBoard; nothing where that is not installed."""
    writer: Any = None

    def log(kind: str, figures: Mapping[str, float], image: Tensor | None, step: int) -> None:
        if writer is not None:
            for name, value in figures.items():
                writer.add_scalar(f"{kind}/{name}", value, step)
            if image is not None:
                writer.add_image("originals above decoded", image, step)

    with ExitStack() as closing:
        if wanted:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # of what TensorBoard imports
                    from torch.utils.tensorboard import SummaryWriter
                writer = closing.enter_context(SummaryWriter(str(run.folder / LOGS), purge_step=first))
            except ImportError:
                run.note("no logs for TensorBoard: install netinvert[training] to have them")
        yield log


class Checkpoints:
    """The two last states of a training, in its folder: of ``model``, of its optimisers, and how far it is.

    A file is safetensors, so that reading it runs no code, and written whole or not at all.
    """

    def __init__(self, run: TrainingRun, model: Trainee, optimizers: Optimizers) -> None:
        self._run, self._model, self._optimizers = run, model, optimizers
        self._identity = json.loads(json.dumps(plain_json(model.identity())))
        self._last, self._before = run.folder / LAST, run.folder / BEFORE
        self._saved, self._wait = time.monotonic(), FIRST_SECONDS

    def load(self) -> tuple[int, float]:
        """Take up the newest whole state: how many steps it has made, in how many seconds.

        Damaged ones are set aside. Raises TrainingError: it is of another training; FileError: it cannot be
        read.
        """
        said = ""
        for path in (self._last, self._before):
            if not path.exists():
                continue
            try:
                with refusing(path, FileError):
                    tensors, metadata = load_tensors(path)
                    facts = json.loads(metadata["training"])
                    step, seconds, identity = int(facts["step"]), float(facts["seconds"]), facts["identity"]
            except FileError as error:
                said = set_damaged_aside(path, error)
                continue
            self._take(path, tensors, identity)
            if said:
                self._run.note(f"{said}; going on from the one before, of step {step}")
            return step, seconds
        if said:
            self._run.note(f"{said}; the training is begun anew")
        return 0, 0.0

    def due(self) -> bool:
        """Whether it is time to save."""
        return time.monotonic() - self._saved >= self._wait

    def save(self, step: int, seconds: float) -> None:
        """Keep the state after ``step`` steps, and the one that was the last.

        Raises OutputError: the file cannot be written; the last state is kept.
        """
        tensors = {f"model.{name}": value for name, value in self._model.state_dict().items()}
        for which, optimizer in enumerate(self._optimizers):
            for index, state in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer.{which}.{index}.{name}": value for name, value in state.items()}
        if self._last.exists():
            self._last.replace(self._before)
        facts = {"step": step, "seconds": seconds, "identity": self._identity}
        save_tensors(self._last, tensors, {"training": json.dumps(facts)})
        self._saved, self._wait = time.monotonic(), 60 * self._run.minutes

    def _take(self, path: Path, tensors: Mapping[str, Tensor], identity: Mapping[str, Any]) -> None:
        own = self._identity
        changed = [
            f"{name} {identity[name]!r}, not {own[name]!r}" for name in own if identity.get(name) != own[name]
        ]
        model = {
            name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")
        }
        shapes = (
            {name: one.shape for name, one in each.items()} for each in (model, self._model.state_dict())
        )
        if not changed and next(shapes) != next(shapes):
            changed = ["networks of another shape"]
        if changed:
            raise TrainingError(
                f"{path} is of another training, with {'; '.join(changed)}: give what it began with, or "
                "choose another folder"
            )
        self._model.load_state_dict(model)
        for which, optimizer in enumerate(self._optimizers):
            parameters = [one for group in optimizer.param_groups for one in group["params"]]
            state: dict[int, dict[str, Tensor]] = defaultdict(dict)
            for name, value in tensors.items():
                if name.startswith(f"optimizer.{which}."):
                    index, key = name.split(".")[2:]
                    # the layout of the parameter (channels last, say): fused steps ask for that
                    like = torch.empty_like(parameters[int(index)] if value.ndim else value)
                    state[int(index)][key] = like.copy_(value)
            optimizer.load_state_dict({**optimizer.state_dict(), "state": dict(state)})
