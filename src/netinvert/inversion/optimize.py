"""The one loop: optimise a canvas until an energy of its image and code is small."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FunctionType

import torch
from torch import Tensor, nn

from netinvert.errors import ConfigError, NetworkError
from netinvert.inversion.canvas import Canvas, Shifts
from netinvert.inversion.objectives import AnyEncoder, Energy, Match, Term, term_name
from netinvert.inversion.result import STATUS, Checkpoint, EarlyStopping, Result, StepInfo
from netinvert.inversion.schedule import Stage, Updater, flat_state, parted
from netinvert.inversion.transforms import Transform
from netinvert.io.running import Interrupt, Progress, deferred_interrupt, generators, shifts

GOING, CONVERGED, STOPPED, DIVERGED, NO_GRADIENT = range(len(STATUS))
_KEPT = ("best_image", "best_loss", "best_step", "status", "mark", "marked")


class History:
    """Losses, best images and status of every sample. ``view`` (N, C, H, W) is what the network sees."""

    def __init__(self, view: Tensor, terms: tuple[str, ...], steps: int) -> None:
        count = view.shape[0]
        self.terms = terms
        self.steps = steps
        self.step = 0
        self.losses = view.new_full((steps, len(terms), count), torch.nan)
        self.best_image = view.detach().clone()
        self.best_loss = view.new_full((count,), torch.inf)
        self.best_step = torch.zeros(count, dtype=torch.long, device=view.device)
        self.status = torch.full((count,), GOING, dtype=torch.long, device=view.device)
        self.mark = self.best_loss.clone()  # the energy from which progress is counted, and when it was met
        self.marked = self.best_step.clone()

    @property
    def going(self) -> Tensor:
        """Which samples go on, (N,)."""
        return self.status == GOING

    def forget(self) -> None:
        """Start to look for the best anew: energies of random views say little of the image."""
        self.best_loss.fill_(torch.inf)
        self.mark.fill_(torch.inf)
        self.marked.fill_(self.step)

    def record(
        self, values: Tensor, view: Tensor, finite: Tensor, stop: EarlyStopping, averaged: int | None = None
    ) -> None:
        """Take the weighted terms (T, N) of a step and the views they belong to.

        ``averaged``: this view is to be averaged with so many before it, instead of competing with them.
        """
        going = self.going
        losses = values.sum(0)
        self.losses[self.step] = torch.where(going, values, torch.nan)
        better = going & finite
        if averaged is None:
            better = better & (losses < self.best_loss)
        else:
            view = torch.lerp(view, self.best_image, averaged / (averaged + 1))
        if bool(better.all()):  # the usual case, and a plain copy is much quicker than a masked one
            self.best_image.copy_(view)
        else:
            self.best_image[better] = view[better]
        self.best_loss = torch.where(better, losses, self.best_loss)
        self.best_step[better] = self.step
        progress = better & ~(losses >= self.mark - stop.improvement * self.mark.abs())
        self.mark = torch.where(progress, losses, self.mark)
        self.marked[progress] = self.step
        self.step += 1
        self.end(self.best_loss <= stop.below, STOPPED)
        if stop.patience is not None:
            self.end(self.step - self.marked > stop.patience, STOPPED)

    def end(self, which: Tensor, status: int) -> None:
        """Set the status of those of ``which`` (N,) that were still going."""
        self.status = torch.where(self.going & which, status, self.status)

    def state(self) -> dict[str, Tensor]:
        """Everything, as tensors."""
        return {"losses": self.losses[: self.step], **{name: getattr(self, name) for name in _KEPT}}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from :meth:`state`."""
        self.step = state["losses"].shape[0]
        self.losses[: self.step] = state["losses"]
        for name in _KEPT:
            setattr(self, name, state[name])


LEAKY_STEPS = 16
"""For how many steps a sample with no gradient is helped over its dead ReLUs (Lucid's remedy)."""


@dataclass(frozen=True)
class Run:
    """How to run: seeds (one for all samples, or one each), stop rule, callback, checkpoint, progress.

    The callback sees a :class:`StepInfo` after every step and stops the run by returning True. With
    ``checkpoint``, the state is saved in that file every ``checkpoint_seconds`` and at Ctrl-C, and a run that
    finds its own checkpoint goes on from it, to the same bits. ``progress`` shows a bar, or lines in a pipe.
    """

    seed: int | Sequence[int] = 0
    stop: EarlyStopping = field(default_factory=EarlyStopping)
    callback: Callable[[StepInfo], object] | None = None
    checkpoint: str | Path | None = None
    checkpoint_seconds: float = 30.0
    progress: bool = False

    def seeds(self, count: int) -> list[int]:
        """One seed a sample."""
        if isinstance(self.seed, int):
            return [self.seed] * count
        if len(self.seed) != count:
            raise ConfigError(f"{len(self.seed)} seeds for {count} samples; give one seed, or one each")
        return list(self.seed)


def optimize(
    canvas: Canvas, energy: Energy, encoder: AnyEncoder, stages: Sequence[Stage], run: Run | None = None
) -> Result:
    """Minimise the energy of every sample of the canvas, independently of the others.

    Changing one sample's target changes no other's result by a bit (so stopped samples stay in the batch:
    another batch size would round differently). Raises NetworkError when no sample has a gradient, even
    with leaking ReLUs. Ctrl-C ends the run with what was best so far (``Result.interrupted``); SIGTERM ends
    the process, after a checkpoint, unless a handler of the caller's is there for it.
    """
    if not stages:
        raise ConfigError("optimize needs at least one stage")
    return _Optimization(canvas, energy, encoder, tuple(stages), run or Run()).go()


@dataclass(frozen=True, eq=False)
class _Evaluation:
    """Weighted terms (T, N), the gradients of parameters, canvas image and view, and the latter two."""

    values: Tensor
    gradients: list[Tensor]
    image_gradient: Tensor
    view_gradient: Tensor | None
    image: Tensor
    view: Tensor


class _Optimization:
    """The loop's state: canvas, optimiser, history, generators; all of it goes into a checkpoint."""

    def __init__(
        self, canvas: Canvas, energy: Energy, encoder: AnyEncoder, stages: tuple[Stage, ...], run: Run
    ) -> None:
        self.canvas, self.energy, self.encoder, self.stages, self.run = canvas, energy, encoder, stages, run
        view = canvas.view(canvas.checked(), None)
        count = view.shape[0]
        self.sources = generators(run.seeds(count))
        self.history = History(view, energy.names, sum(stage.steps for stage in stages))
        self.leaks = torch.zeros(count, dtype=torch.long, device=view.device)
        self.updater: Updater
        self.began = 0  # the step before the present stage

    def go(self) -> Result:
        began = time.perf_counter()
        interrupted = False
        with Progress("steps", self.history.steps, self.run.progress) as self.progress:
            try:
                with deferred_interrupt() as interrupt:
                    self._stages(interrupt)
                    if interrupt.pending:  # pressed during the last step
                        raise KeyboardInterrupt
            except KeyboardInterrupt:
                interrupted = True
                interrupt.end_if_terminated()
        history = self.history
        code = self.encoder.confirmed(history.best_image)
        target = next((term.target for _, term in self.energy.terms if isinstance(term, Match)), None)
        return Result(
            image=history.best_image,
            code=code,
            target=target,
            losses=history.losses[: history.step],
            terms=history.terms,
            best_step=history.best_step,
            status=tuple(STATUS[index] for index in history.status.tolist()),
            seconds=time.perf_counter() - began,
            interrupted=interrupted,
        )

    def _stages(self, interrupt: Interrupt) -> None:
        """Run all stages; from the middle if there is a checkpoint."""
        checkpoint, resumed = None, None
        if self.run.checkpoint is not None:
            path = Path(self.run.checkpoint)
            checkpoint = Checkpoint(path, self.run.checkpoint_seconds, self._fingerprint())
            resumed = self._resumed(checkpoint.load())
        last = 0
        for index, stage in enumerate(self.stages):
            self.began, last = last, last + stage.steps
            if self.history.step >= last:
                continue
            self.canvas.set_jitter(stage.jitter)
            self.canvas.set_resolution(stage.resolution)
            before = self.stages[index - 1] if index else None
            if resumed is not None:
                with torch.no_grad():
                    now = self.canvas.state_dict()
                    for name, value in resumed["canvas"].items():
                        now[name].copy_(value)
            elif before and (before.transforms or before.jitter > 1 or before.rounded == before.steps):
                self.history.forget()  # what was best was a lucky view, or in bfloat16
            self.updater = stage.method.start(self.canvas.optimised())
            if resumed is not None:
                self.updater.restore(resumed["updater"])
                resumed = None
            while self.history.step < last:
                if checkpoint is not None and (interrupt.pending or checkpoint.due()):
                    checkpoint.save(self._state())
                if interrupt.pending:
                    raise KeyboardInterrupt
                if self._step(stage) or not bool(self.history.going.any()):
                    return

    def _step(self, stage: Stage) -> bool:
        """One evaluation and one move; True if the callback asks to stop."""
        left = self.began + stage.rounded - self.history.step
        rounds = left > 0  # the network computes in bfloat16
        if stage.rounded and left == 0:  # from here on the objective is a little other
            self.history.forget()
            self.updater.revive()
        shift = shifts(self.sources, stage.jitter) if stage.jitter > 1 else None
        before = [source.get_state() for source in self.sources] if stage.transforms else []
        point = self._evaluate(shift, stage.transforms, rounds)
        losses = point.values.sum(0)
        size = point.image_gradient.flatten(1).abs().amax(1)  # NaN and infinity come through
        finite = torch.isfinite(losses) & torch.isfinite(size)
        searches = stage.method.needs_fixed_objective
        gradients = point.gradients
        dead = self.history.going & finite & self._dead(point)
        if bool(dead.any()):
            for source, state in zip(self.sources, before, strict=False):
                source.set_state(state)  # the same transforms again
            gradients = self._help(dead, (shift, stage.transforms), point, searches)
        # With how many images before it this step's is to be averaged; None where the best counts.
        ahead = self.history.step - self.began - (stage.steps - stage.averaged)
        averaged = ahead if stage.averaged and ahead >= 0 else None
        # Shifted views would average to a blur.
        kept = point.view if averaged is None else self.canvas.view(point.image, None)
        stop = dataclasses.replace(self.run.stop, patience=None) if rounds else self.run.stop
        self.history.record(point.values, kept, finite, stop, averaged)
        going = self.updater.update(losses, gradients)
        # A line search steps back from where the energy is not finite, for as long as it goes on.
        self.history.end(~finite & ~(going & searches), DIVERGED)
        self.history.end(~going & dead, NO_GRADIENT)
        if not rounds:  # there it is bfloat16 that has no more to say, as where patience ends
            self.history.end(~going, CONVERGED)
        for projection in stage.projections:
            with torch.no_grad():
                step = self.history.step - self.began
                self.canvas.replace(projection(self.canvas(), point.image_gradient, step))
        if self.run.progress:
            self.progress.update(self.history.step, f"loss {losses.nanmean().item():.4f}")
        if self.run.callback is None:
            return False
        history, seen = self.history, (point.values, point.view)
        best = (history.best_image, history.best_loss)
        info = StepInfo(history.step, history.steps, history.terms, *seen, *best)
        return bool(self.run.callback(info))

    @torch.enable_grad()
    def _evaluate(self, shift: Shifts | None, transforms: Sequence[Transform], rounds: bool) -> _Evaluation:
        image = self.canvas()
        view = self.canvas.view(image, shift)
        view = view.view_as(view)  # a node of its own, whose gradient is the network's share
        seen = view
        for transform in transforms:
            seen = transform(seen, self.sources)
        code = self.encoder.rounded(seen) if rounds else self.encoder(seen)
        values = self.energy(image, code)
        if not values.requires_grad:
            raise ConfigError(
                f"no gradient comes from {', '.join(self.energy.names)}: what they return does not depend on "
                "the image or the code (a .detach(), .item() or no_grad in between, perhaps)"
            )
        # A sum over samples, not a mean: each sample's gradient is then just its own.
        wanted = (image, view, *self.canvas.optimised())
        of_image, of_view, *gradients = torch.autograd.grad(values.sum(), wanted, allow_unused=True)
        if any(one is None for one in gradients):
            raise ConfigError(f"{type(self.canvas).__name__} optimises a parameter that no image depends on")
        return _Evaluation(values.detach(), gradients, of_image, of_view, image.detach(), view.detach())

    def _dead(self, point: _Evaluation) -> Tensor:
        """Which samples get nothing from the network (priors aside), though their codes do not match."""
        if point.view_gradient is None:  # an energy of priors alone
            return torch.zeros_like(self.history.going)
        silent = ~point.view_gradient.flatten(1).any(1)
        matches = [row for row, (_, term) in enumerate(self.energy.terms) if isinstance(term, Match)]
        return silent & (point.values[matches] != 0).any(0) if matches else silent

    def _help(
        self,
        dead: Tensor,
        how: tuple[Shifts | None, tuple[Transform, ...]],
        point: _Evaluation,
        searches: bool,
    ) -> list[Tensor]:
        """Give samples without any gradient the one that leaks through dead ReLUs, for a few steps.

        Not to a line search, for which that would be the gradient of another function.
        """
        lost, gradients = dead, point.gradients
        if not searches:
            with self.encoder.leaky_relu_gradients():
                leaky = self._evaluate(*how, rounds=False)
            lost = dead & (self._dead(leaky) | (self.leaks >= LEAKY_STEPS))
            self.leaks += dead.long()
            gradients = [
                torch.where(dead.view(-1, *[1] * (new.ndim - 1)), new, old)
                for new, old in zip(leaky.gradients, gradients, strict=True)
            ]
            self.history.end(lost, NO_GRADIENT)
        if self.history.step == 0 and bool(lost.all()):
            remedy = "" if searches else ", not even through leaking ReLUs"
            raise NetworkError(
                f"layer '{self.encoder.layer}' gives no gradient at the start image{remedy}; choose a layer "
                "before the ReLU, another seed, a start image, or a first stage with Adam"
            )
        return gradients

    def _fingerprint(self) -> str:
        """What a checkpoint has to agree on before a run goes on from it."""
        encoder, best = self.encoder, self.history.best_image
        network = (encoder.layer, encoder.size, encoder.preprocessing, encoder.weights_sha256())
        view = (type(self.canvas).__name__, best.shape, best.dtype)
        settings = (self.stages, self.run.stop, self.run.seed, network, view)
        digest = hashlib.sha256(_described(settings).encode())
        for weight, term in self.energy.terms:
            digest.update(f"{weight!r} {term_name(term)}".encode())
            # Field by field, for the repr of a large tensor leaves most of it out.
            for part in _parts(term):
                for one in part.values() if isinstance(part, dict) else [part]:
                    digest.update(_bytes(one) if isinstance(one, Tensor) else _described(one).encode())
        return digest.hexdigest()

    def _state(self) -> dict[str, Tensor]:
        return flat_state(
            {
                "canvas": {name: value.detach() for name, value in self.canvas.state_dict().items()},
                "updater": self.updater.state(),
                "history": self.history.state(),
                "sources": {str(i): source.get_state() for i, source in enumerate(self.sources)},
                "leaks": {"": self.leaks},
            }
        )

    def _resumed(self, state: dict[str, Tensor] | None) -> dict[str, dict[str, Tensor]] | None:
        """Take over a checkpoint's state, if there is one; gives its parts."""
        if state is None:
            return None
        device = self.leaks.device
        parts = parted({k: one if k.startswith("sources.") else one.to(device) for k, one in state.items()})
        self.history.restore(parts["history"])
        self.leaks = parts["leaks"][""]
        for index, source in enumerate(self.sources):
            source.set_state(parts["sources"][str(index)])
        return parts


def _parts(term: Term) -> list[object]:
    """What tells one term from another."""
    if dataclasses.is_dataclass(term):
        return [getattr(term, field.name) for field in dataclasses.fields(term)]
    if isinstance(term, FunctionType):
        cells = [cell.cell_contents for cell in term.__closure__ or ()]
        return [term.__code__.co_code, term.__code__.co_consts, *cells]
    if isinstance(term, nn.Module):
        return [term, *term.state_dict().values()]
    return [term]


def _described(thing: object) -> str:
    """A repr that is the same in the next process."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(thing))


def _bytes(tensor: Tensor) -> bytes:
    array = tensor.detach().cpu().contiguous()
    return f"{tuple(array.shape)}{array.dtype}".encode() + array.view(-1).view(torch.uint8).numpy().tobytes()
