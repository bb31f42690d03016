"""L-BFGS on a whole batch, for devices on which waiting for a number is slow: once a step for all samples.

All vectors that a step can move along are rows of one tensor. Their inner products come to the CPU together,
where each sample's two-loop recursion is done on coefficients of the rows (Chen et al. 2014, "vector-free
L-BFGS") and its line search by :class:`Search`; one matrix product then makes the directions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from netinvert.inversion.lbfgs_parts import LBFGSSettings, Point, Search
from netinvert.inversion.schedule import Adam, flat_state, parted

CHUNK = 1024
"""Vectors (N, D) are kept as (N, chunks, CHUNK), with zeros behind: sums over all of D at once, by which few
and small products are made, would leave most of a GPU idle."""
Numbers = npt.NDArray[np.float64]


@dataclass(eq=False)
class _Scalars:
    """What a sample needs to know of itself on the CPU: as of :class:`netinvert.inversion.lbfgs._Sample`."""

    curvatures: list[float]
    going: bool = True
    pairs: int = 0
    scale: float = 1.0
    warming: bool = False
    first: float = math.inf
    search: Search | None = None


@dataclass
class _Plan:
    """What is to be done with a sample: go ``moved`` along the old direction for good, keep that as a pair in
    ``slot``, take over the gradient; the new direction in coefficients of the rows, and how far to try it."""

    direction: Numbers
    trial: float = 0.0
    moved: float = 0.0
    slot: int | None = None
    take: bool = False
    warm: bool = False


class BatchedLBFGSUpdater:
    """The same steps as :class:`netinvert.inversion.lbfgs.LBFGSUpdater`, up to rounding."""

    def __init__(self, settings: LBFGSSettings, parameters: Sequence[nn.Parameter]) -> None:
        self._settings, self._parameters = settings, parameters
        self._numbers = sum(parameter[0].numel() for parameter in parameters)
        self._x = self._chunks(parameters)
        count, kept = len(self._x), settings.history
        # Steps, changes of the gradient, the newest change, the direction, the gradient; and one to spare.
        self._change, self._along, self._here, self._spare = range(2 * kept, 2 * kept + 4)
        self._basis = self._x.new_zeros((count, self._x.shape[1], 2 * kept + 4, CHUNK))
        self._gradient = torch.zeros_like(self._x)  # at x
        warm = settings.warm_up is not None
        self._moments = [torch.zeros_like(self._x) for _ in range(2 if warm else 0)]
        self._made = 0  # steps of the warm-up
        self._samples = [_Scalars([0.0] * kept, warming=warm) for _ in range(count)]

    def _chunks(self, tensors: Sequence[Tensor]) -> Tensor:
        flat = torch.cat([tensor.detach().flatten(1) for tensor in tensors], 1)
        return nn.functional.pad(flat, (0, -flat.shape[1] % CHUNK)).view(len(flat), -1, CHUNK)

    @torch.no_grad()
    def update(self, losses: Tensor, gradients: Sequence[Tensor]) -> Tensor:
        """Tell each sample its loss and gradient, and move to the points they want to try next."""
        flat = self._chunks(gradients)
        known = flat.isfinite().flatten(1).all(1)
        basis = self._basis
        flat = torch.where(known[:, None, None], flat, 0.0)  # 0 times NaN would be NaN
        basis[:, :, self._here] = flat
        basis[:, :, self._change] = changed = flat - self._gradient
        rows = basis[:, :, : self._spare].double()
        told = torch.where(known, losses, torch.nan).double()
        inner = torch.matmul(rows, rows.mT).sum(1)
        products = torch.cat([inner.flatten(1), told[:, None]], 1).cpu().numpy()
        size = self._spare
        plans = [
            self._plan(one, row[:-1].reshape(size, size), float(row[-1]))
            for one, row in zip(self._samples, products, strict=True)
        ]
        slots = [(self._spare, self._spare) if p.slot is None else self._rows(p.slot) for p in plans]
        numbers = np.array(
            [
                [*p.direction, p.trial, p.moved, *slot, p.take, p.warm, one.going]
                for p, slot, one in zip(plans, slots, self._samples, strict=True)
            ]
        )
        on_device = torch.from_numpy(numbers).to(flat.device)
        columns = on_device[:, size:].T[:, :, None, None]
        trial, moved, step, change, take, warm, going = columns.to(flat.dtype)
        direction = torch.matmul(on_device[:, None, None, :size], rows)[:, :, 0].to(flat.dtype)
        if any(p.warm for p in plans):
            self._warm(flat, warm > 0)
        along = moved * basis[:, :, self._along]
        self._x += along
        every = torch.arange(len(flat), device=flat.device)
        basis[every, :, step.flatten().long()] = along
        basis[every, :, change.flatten().long()] = changed
        self._gradient = torch.where(take > 0, flat, self._gradient)
        basis[:, :, self._along] = direction
        point = (self._x + trial * direction).flatten(1)
        start = 0
        for parameter in self._parameters:
            end = start + parameter[0].numel()
            parameter.copy_(point[:, start:end].view_as(parameter))
            start = end
        goes: Tensor = going.flatten() > 0
        return goes

    def _rows(self, slot: int) -> tuple[int, int]:
        return slot, self._settings.history + slot

    def _plan(self, one: _Scalars, products: Numbers, loss: float) -> _Plan:
        keep = np.zeros(len(products))
        if not one.going:
            return _Plan(keep)
        if one.warming and self._goes_on(one, loss):
            return _Plan(keep, warm=True)
        one.warming = False
        if one.search is None:
            return self._begin(one, products, loss, _Plan(keep, take=True))
        slope = float(products[self._here, self._along])
        point = Point(one.search.trial, loss, slope)
        trial = one.search.tell(point)
        if trial is not None:
            keep[self._along] = 1.0
            return _Plan(keep, trial)
        accepted = one.search.accepted
        moved = 0.0 if accepted is None else accepted.step
        if accepted is None or accepted.step != point.step:  # as of _Sample._restart
            one.going = moved > 0 or one.pairs > 0
            one.pairs, one.search = 0, None
            return _Plan(keep, moved=moved)
        plan = _Plan(keep, moved=moved, take=True)
        curvature = moved * products[self._along, self._change]
        change = products[self._change, self._change]
        if curvature > 1e-10 * (moved**2 * products[self._along, self._along] * change) ** 0.5:
            one.scale = curvature / change
            plan.slot = one.pairs % self._settings.history
            one.curvatures[plan.slot] = curvature
            one.pairs += 1
        return self._begin(one, products, loss, plan)

    def _goes_on(self, one: _Scalars, loss: float) -> bool:
        settings = self._settings.warm_up
        assert settings is not None
        if self._made == 0:
            one.first = loss
        low = loss <= settings.until * one.first
        return math.isfinite(loss) and not low and self._made < settings.steps

    def _warm(self, flat: Tensor, which: Tensor) -> None:
        settings = self._settings.warm_up
        assert settings is not None
        self._made += 1
        adam = Adam(settings.rate, settings.betas)
        mean, root, rate = adam.direction(flat, self._moments, self._made)
        self._x = torch.where(which, self._x - rate * (mean / root), self._x)

    def _begin(self, one: _Scalars, products: Numbers, loss: float, plan: _Plan) -> _Plan:
        """Start a line search from where the gradient is the newest."""
        first = one.pairs == 0
        steepest = np.zeros(len(products))
        steepest[self._here] = -1.0
        direction = steepest if first else self._two_loops(one, products, plan)
        slope = float(products[self._here] @ direction)
        if slope >= 0 and not first:
            one.pairs, first, direction = 0, True, steepest
            slope = -float(products[self._here, self._here])
        if slope == 0 or not math.isfinite(slope) or not math.isfinite(loss):
            one.going = False
            return plan
        plan.trial = self._settings.first_step * self._numbers**0.5 / (-slope) ** 0.5 if first else 1.0
        plan.direction = direction
        one.search = Search(Point(0.0, loss, slope), plan.trial)
        return plan

    def _two_loops(self, one: _Scalars, products: Numbers, plan: _Plan) -> Numbers:
        history = self._settings.history
        slots = [(one.pairs - 1 - back) % history for back in range(min(one.pairs, history))]  # newest first
        # A pair's rows; the newest has none of its own yet, but is so much of the old direction.
        pairs = [
            (slot, self._along, plan.moved, self._change)
            if slot == plan.slot
            else (slot, slot, 1.0, history + slot)
            for slot in slots
        ]
        q = np.zeros(len(products))
        q[self._here] = -1.0
        alphas = []
        for slot, step, times, change in pairs:
            alphas.append(times * (products[step] @ q) / one.curvatures[slot])
            q[change] -= alphas[-1]
        q *= one.scale
        for (slot, step, times, change), alpha in zip(reversed(pairs), reversed(alphas), strict=True):
            q[step] += times * (alpha - products[change] @ q / one.curvatures[slot])
        return q

    def revive(self) -> None:
        """Let samples that have ended go on, along the gradient: the objective has changed a little."""
        for one in self._samples:
            if not one.going:
                one.going, one.pairs, one.search = True, 0, None

    def state(self) -> dict[str, Tensor]:
        """As of :class:`netinvert.inversion.lbfgs.LBFGSUpdater`, so that a run goes on on any device."""
        return flat_state({str(row): self._state(row) for row in range(len(self._samples))})

    def _state(self, row: int) -> dict[str, Tensor]:
        one, history, rows = self._samples[row], self._settings.history, self._flat(self._basis[row])
        numbers = [one.going, one.pairs, one.search is not None, one.scale]
        state = {
            "numbers": torch.tensor(numbers, dtype=torch.float64),
            "x": self._flat(self._x[row]),
            "direction": rows[self._along],
            "steps": rows[:history],
            "changes": rows[history : 2 * history],
            "curvatures": torch.tensor(one.curvatures, dtype=torch.float64),
            "gradient": self._flat(self._gradient[row]),
        }
        if one.search is not None:
            state["search"] = one.search.state()
        if one.warming:
            mean, square = (self._flat(moment[row]) for moment in self._moments)
            told = torch.tensor([self._made, one.first], dtype=torch.float64)
            state |= flat_state({"warming": {"numbers": told, "mean": mean, "square": square}})
        return {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in state.items()}

    def _flat(self, chunks: Tensor) -> Tensor:
        """(chunks, ..., CHUNK) as (..., D)."""
        return chunks.movedim(0, -2).flatten(-2)[..., : self._numbers]

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from :meth:`state`."""
        for row, found in parted(state).items():
            one, at = self._samples[int(row)], int(row)
            going, pairs, _, one.scale = found["numbers"].tolist()
            one.going, one.pairs, one.curvatures = bool(going), int(pairs), found["curvatures"].tolist()
            one.search = Search.restored(found["search"]) if "search" in found else None
            self._x[at] = self._chunks([found["x"][None]])[0]
            self._gradient[at] = self._chunks([found["gradient"][None]])[0]
            rows = torch.cat([found["steps"], found["changes"]])
            self._basis[at, :, : len(rows)] = self._chunks([rows]).movedim(0, 1)
            self._basis[at, :, self._along] = self._chunks([found["direction"][None]])[0]
            warming = parted(found)["warming"]
            one.warming = bool(warming)
            if warming:
                made, one.first = warming["numbers"].tolist()
                self._made = int(made)
                for moment, name in zip(self._moments, ("mean", "square"), strict=True):
                    moment[at] = self._chunks([warming[name][None]])[0]
