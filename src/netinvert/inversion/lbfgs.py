"""L-BFGS, sample by sample."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from netinvert.inversion.lbfgs_batched import BatchedLBFGSUpdater
from netinvert.inversion.lbfgs_parts import LBFGSSettings, Point, Search, WarmUp
from netinvert.inversion.schedule import Adam, Updater, flat_state, parted


@dataclass(frozen=True)
class LBFGS(LBFGSSettings):
    """Limited-memory BFGS. ``first_step`` is the root mean square length of the first move tried."""

    needs_fixed_objective: ClassVar[bool] = True

    def start(self, parameters: Sequence[nn.Parameter]) -> Updater:
        """Begin on these parameters, each (N, ...): on a GPU all samples at once."""
        return (BatchedLBFGSUpdater if parameters[0].is_cuda else LBFGSUpdater)(self, parameters)


class LBFGSUpdater:
    """One :class:`_Sample` a row of the batch."""

    def __init__(self, settings: LBFGS, parameters: Sequence[nn.Parameter]) -> None:
        self._parameters = parameters
        count = parameters[0].shape[0]
        flat = torch.cat([parameter.detach().flatten(1) for parameter in parameters], 1)
        self._samples = [_Sample(settings, flat[row]) for row in range(count)]

    @torch.no_grad()
    def update(self, losses: Tensor, gradients: Sequence[Tensor]) -> Tensor:
        """Tell each sample its loss and gradient, and move to the points they want to try next.

        Samples go side by side from one inner product to the next, so that a device is waited for once for
        all of them.
        """
        flat = torch.cat([gradient.flatten(1) for gradient in gradients], 1)
        values = losses.tolist()
        # A copy, for a row alone would keep the whole batch's gradient alive.
        waiting = {
            row: sample.tell(values[row], flat[row].clone())
            for row, sample in enumerate(self._samples)
            if sample.going
        }
        answers: dict[int, float] = {}
        while waiting:
            asked: dict[int, Tensor] = {}
            for row, steps in list(waiting.items()):
                try:
                    asked[row] = steps.send(answers[row]) if row in answers else next(steps)
                except StopIteration as done:
                    self._write(row, done.value)
                    del waiting[row]
            if asked:
                answers = dict(zip(asked, torch.stack(list(asked.values())).tolist(), strict=True))
        return torch.tensor([sample.going for sample in self._samples], device=losses.device)

    def _write(self, row: int, point: Tensor) -> None:
        start = 0
        for parameter in self._parameters:
            size = parameter[row].numel()
            parameter[row].copy_(point[start : start + size].view_as(parameter[row]))
            start += size

    def revive(self) -> None:
        """Let samples that have ended go on, along the gradient: the objective has changed a little."""
        for sample in self._samples:
            if not sample.going:
                sample.going, sample.pairs, sample.search = True, 0, None

    def state(self) -> dict[str, Tensor]:
        """Every sample's state, under its row."""
        return flat_state({str(row): sample.state() for row, sample in enumerate(self._samples)})

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from :meth:`state`."""
        parts = parted(state)
        for row, sample in enumerate(self._samples):
            sample.restore(parts[str(row)])


Steps = Generator[Tensor, float, Tensor]
"""Yields inner products (0-dimensional), is sent their values, and returns the next point (D,)."""


class _Sample:
    """L-BFGS on one vector x (D,)."""

    kept = ("x", "direction", "steps", "changes")

    def __init__(self, settings: LBFGS, x: Tensor) -> None:
        self.settings = settings
        self.going = True
        self.x = x.clone()
        self.gradient: Tensor | None = None  # at x; None until the first evaluation
        self.direction = torch.zeros_like(x)
        self.search: Search | None = None
        self.pairs = 0  # how many (s, y) pairs have been stored, ever
        self.steps = x.new_zeros((settings.history, x.numel()))
        self.changes = x.new_zeros((settings.history, x.numel()))
        self.curvatures = [0.0] * settings.history  # the inner products of the pairs
        self.warming = None if settings.warm_up is None else _Warming(settings.warm_up, x)
        self.scale = 1.0  # of the inverse Hessian, from the newest pair (Nocedal & Wright, equation 7.20)

    def tell(self, loss: float, gradient: Tensor) -> Steps:
        """Take the loss and gradient at the last point given; give the next point to evaluate."""
        if self.warming is not None and self.warming.goes_on(loss):
            return self.warming.move(self.x, gradient)
        self.warming = None
        if self.search is None or self.gradient is None:
            self.gradient = gradient
            return (yield from self._begin(loss, gradient))
        slope = yield torch.dot(gradient, self.direction)
        point = Point(self.search.trial, loss, slope)
        step = self.search.tell(point)
        if step is not None:
            return torch.add(self.x, self.direction, alpha=step)
        accepted = self.search.accepted
        if accepted is None or accepted.step != point.step:
            # The search ended at a point whose gradient is not at hand, or nowhere: forget the curvature and
            # try once more along the gradient; if that was the gradient already, this is the minimum.
            return self._restart(accepted)
        self.x.add_(self.direction, alpha=accepted.step)
        yield from self._remember(gradient, accepted.step)
        self.gradient = gradient
        return (yield from self._begin(loss, gradient))

    def _begin(self, loss: float, gradient: Tensor) -> Steps:
        """Start a line search from x."""
        first = self.pairs == 0
        self.direction = -gradient if first else (yield from self._two_loops(gradient))
        slope = yield torch.dot(gradient, self.direction)
        if slope >= 0 and not first:
            self.pairs = 0
            self.direction = -gradient
            slope = -(yield torch.dot(gradient, gradient))
            first = True
        if slope == 0 or not math.isfinite(slope) or not math.isfinite(loss):
            self.going = False
            return self.x
        step = self.settings.first_step * self.x.numel() ** 0.5 / (-slope) ** 0.5 if first else 1.0
        self.search = Search(Point(0.0, loss, slope), step)
        return torch.add(self.x, self.direction, alpha=step)

    def _restart(self, reached: Point | None) -> Tensor:
        fresh = self.pairs == 0
        self.pairs = 0
        if reached is not None and reached.step > 0:
            self.x.add_(self.direction, alpha=reached.step)
        elif fresh:
            self.going = False
        self.search = None  # evaluate at x again, then begin
        return self.x

    def _remember(self, gradient: Tensor, step: float) -> Generator[Tensor, float, None]:
        assert self.gradient is not None
        moved, changed = self.direction.mul_(step), gradient - self.gradient
        curvature = yield torch.dot(moved, changed)
        change = yield torch.dot(changed, changed)
        size = ((yield torch.dot(moved, moved)) * change) ** 0.5
        if curvature > 1e-10 * size:  # keeps the inverse Hessian positive definite
            self.scale = curvature / change
            slot = self.pairs % self.settings.history
            self.steps[slot], self.changes[slot] = moved, changed
            self.curvatures[slot] = curvature
            self.pairs += 1

    def _two_loops(self, gradient: Tensor) -> Steps:
        kept = min(self.pairs, self.settings.history)
        slots = [(self.pairs - 1 - back) % self.settings.history for back in range(kept)]  # newest first
        rho = {slot: 1.0 / self.curvatures[slot] for slot in slots}
        q = -gradient
        alphas = {}
        for slot in slots:
            alphas[slot] = rho[slot] * (yield torch.dot(self.steps[slot], q))
            q.add_(self.changes[slot], alpha=-alphas[slot])
        q.mul_(self.scale)
        for slot in reversed(slots):
            beta = rho[slot] * (yield torch.dot(self.changes[slot], q))
            q.add_(self.steps[slot], alpha=alphas[slot] - beta)
        return q

    def state(self) -> dict[str, Tensor]:
        """Tensors from which :meth:`restore` makes this sample again."""
        numbers = [self.going, self.pairs, self.gradient is not None, self.scale]
        gradient = torch.zeros_like(self.x) if self.gradient is None else self.gradient
        state = {
            "numbers": torch.tensor(numbers, dtype=torch.float64),
            **{name: getattr(self, name).clone() for name in self.kept},
            "curvatures": torch.tensor(self.curvatures, dtype=torch.float64),
            "gradient": gradient.clone(),
        }
        if self.search is not None:
            state["search"] = self.search.state()
        return state if self.warming is None else state | flat_state({"warming": self.warming.state()})

    def restore(self, state: dict[str, Tensor]) -> None:
        """Become what :meth:`state` described."""
        going, pairs, known, self.scale = state["numbers"].tolist()
        self.going, self.pairs = bool(going), int(pairs)
        for name in self.kept:
            setattr(self, name, state[name].clone())
        self.curvatures = state["curvatures"].tolist()
        self.gradient = state["gradient"].clone() if known else None
        self.search = Search.restored(state["search"]) if "search" in state else None
        warming = parted(state)["warming"]
        if not warming:
            self.warming = None
        elif self.warming is not None:
            self.warming.restore(warming)


class _Warming:
    """Adam on one vector (D,), in place."""

    def __init__(self, settings: WarmUp, x: Tensor) -> None:
        self.settings = settings
        self.made = 0
        self.first = math.inf
        self.mean, self.square = torch.zeros_like(x), torch.zeros_like(x)

    def goes_on(self, loss: float) -> bool:
        """Whether to take another step from where the loss is this. Not from where it is no number."""
        if self.made == 0:
            self.first = loss
        low = loss <= self.settings.until * self.first
        return math.isfinite(loss) and not low and self.made < self.settings.steps

    def move(self, x: Tensor, gradient: Tensor) -> Tensor:
        """Take it; gives x."""
        self.made += 1
        adam = Adam(self.settings.rate, self.settings.betas)
        mean, root, rate = adam.direction(gradient, (self.mean, self.square), self.made)
        return x.add_(mean / root, alpha=-rate)

    def state(self) -> dict[str, Tensor]:
        """For a checkpoint."""
        numbers = torch.tensor([self.made, self.first], dtype=torch.float64)
        return {"numbers": numbers, "mean": self.mean.clone(), "square": self.square.clone()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Become what :meth:`state` described."""
        made, self.first = state["numbers"].tolist()
        self.made = int(made)
        self.mean, self.square = state["mean"].clone(), state["square"].clone()
