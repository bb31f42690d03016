"""What an optimisation gives, what is seen and saved of it on the way, and when it may stop."""

from __future__ import annotations

import json
import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from netinvert.errors import ConfigError
from netinvert.inversion.objectives import Code, code_error, layers_of
from netinvert.io.files import FileError, load_tensors, save_tensors
from netinvert.io.folders import set_damaged_aside
from netinvert.io.images import ImageLike, as_images
from netinvert.io.running import notebook
from netinvert.io.shown import Shown

STATUS = ("all steps done", "converged", "stopped by rule", "diverged (NaN)", "no gradient")


@dataclass(frozen=True)
class EarlyStopping:
    """When a sample may stop early: at an energy of ``below``, or after ``patience`` steps without progress.

    Progress is an energy smaller than the best by the share ``improvement`` of it.

    >>> EarlyStopping(below=0.01, patience=50).improvement
    0.0001
    """

    below: float = -math.inf
    patience: int | None = None
    improvement: float = 1e-4


@dataclass(frozen=True, eq=False)
class StepInfo:
    """What a callback sees after a step.

    ``losses`` (T, N) weighted values of ``terms``; ``image`` (N, C, H, W) the view just evaluated;
    ``best_image`` (N, C, H, W) and ``best_loss`` (N,) so far. Tensors are live: clone what you keep.
    """

    step: int
    steps: int
    terms: tuple[str, ...]
    losses: Tensor = field(repr=False)
    image: Tensor = field(repr=False)
    best_image: Tensor = field(repr=False)
    best_loss: Tensor = field(repr=False)


class Checkpoint:
    """A file with the state of one run, known by its fingerprint; written whole or not at all."""

    def __init__(self, path: Path, seconds: float, fingerprint: str) -> None:
        self.path = path
        self.seconds = seconds
        self.fingerprint = fingerprint
        self._saved = time.monotonic()

    def load(self) -> dict[str, Tensor] | None:
        """The state, None if there is no file; ConfigError if the file belongs to another run.

        A damaged file is set aside, with a warning.
        """
        if not self.path.exists():
            return None
        try:
            state, metadata = load_tensors(self.path)
        except FileError as error:
            warnings.warn(f"{set_damaged_aside(self.path, error)}; the run is begun anew", stacklevel=2)
            return None
        if metadata.get("fingerprint") != self.fingerprint:
            raise ConfigError(
                f"{self.path} is the checkpoint of a run with another code, network, seed or settings; "
                "delete it, or name another checkpoint"
            )
        return state

    def due(self) -> bool:
        """Whether it is time to save."""
        return time.monotonic() - self._saved >= self.seconds

    def save(self, state: dict[str, Tensor]) -> None:
        """Write the state."""
        save_tensors(self.path, state, {"fingerprint": self.fingerprint})
        self._saved = time.monotonic()


_FACTS = "result"
_KEPT = ("terms", "status", "seconds", "interrupted")


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """The best image found for each sample, and how it got there.

    ``image`` (N, C, H, W) as optimised (only a canvas without bounds leaves [0, 1]); ``code`` (N, ...) of
    that image and ``target`` (N, ...), or dicts of such by layer; ``losses`` (steps, T, N), one row a term of
    ``terms``, NaN where a sample had stopped; ``best_step`` (N,); ``status`` one text a sample. In a notebook
    it shows its images.
    """

    image: Tensor
    code: Code
    target: Code | None
    losses: Tensor
    terms: tuple[str, ...]
    best_step: Tensor
    status: tuple[str, ...]
    seconds: float
    interrupted: bool = False

    @property
    def steps(self) -> int:
        """How many evaluations of network and gradient were made."""
        return self.losses.shape[0]

    @property
    def error(self) -> Tensor:
        """The code error ‖Φ - Φ0‖ / ‖Φ0‖ of each sample, (N,). Raises ValueError without a target."""
        if self.target is None:
            raise ValueError("this energy had no target code, so there is no code error")
        return code_error(self.code, self.target)

    @property
    def best_losses(self) -> Tensor:
        """The weighted terms of the images that are kept, (T, N)."""
        if not self.steps:
            return self.losses.new_full(self.losses.shape[1:], torch.nan)
        rows = torch.arange(len(self.status), device=self.losses.device)
        return self.losses[self.best_step, :, rows].T

    def __repr__(self) -> str:
        count, size = self.image.shape[0], "×".join(map(str, self.image.shape[1:]))
        return (
            f"<Result of {count} image{'' if count == 1 else 's'} {size}, {self._found()} after "
            f"{self.steps} steps in {self.seconds:.3g} s; {', '.join(dict.fromkeys(self.status))}>"
        )

    def _repr_html_(self) -> str:
        after = f"after {self.steps} steps in {self.seconds:.3g} s"
        return show(self.image, [f"{text}, {after}" for text in self._values()])._repr_html_()

    def _values(self) -> list[str]:
        if self.target is not None:
            return [f"code error {error:.3g}" for error in self.error.tolist()]
        if not self.terms:
            return [""] * len(self.status)
        sign = -1 if self.terms[0] == "activation" else 1  # of which as much as can be is wanted
        name = self.terms[0]
        return [f"{name} {sign * value:.3g}" for value in self.best_losses[0].tolist()]

    def _found(self) -> str:
        values = self._values()
        numbers = ", ".join(value.rpartition(" ")[2] for value in values[:4])
        return f"{values[0].rpartition(' ')[0]} {numbers}{', …' if len(values) > 4 else ''}"

    def to_tensors(self) -> tuple[dict[str, Tensor], dict[str, str]]:
        """As tensors and texts, as safetensors keeps them; :meth:`from_tensors` undoes it."""
        tensors = {"image": self.image, "losses": self.losses, "best_step": self.best_step}
        for name, code in (("code", self.code), ("target", self.target)):
            if code is not None:
                tensors |= {f"{name}/{layer}".rstrip("/"): one for layer, one in layers_of(code).items()}
        facts = {name: getattr(self, name) for name in _KEPT}
        return tensors, {_FACTS: json.dumps(facts)}

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, Tensor], texts: Mapping[str, str], device: torch.device | str = "cpu"
    ) -> Result:
        """What :meth:`to_tensors` gave, on a device."""
        facts = json.loads(texts[_FACTS])
        found = {name: tensor.to(device) for name, tensor in tensors.items()}

        def code(name: str) -> Code | None:
            layers = {k.partition("/")[2]: one for k, one in found.items() if k.partition("/")[0] == name}
            return layers[""] if set(layers) == {""} else layers or None

        kept = code("code")
        assert kept is not None
        plain: dict[str, Any] = {name: found[name] for name in ("image", "losses", "best_step")}
        facts = {name: tuple(one) if isinstance(one, list) else one for name, one in facts.items()}
        return cls(code=kept, target=code("target"), **plain, **facts)

    @classmethod
    def join(cls, results: list[Result]) -> Result:
        """One result of all samples; losses of those that stopped sooner end with NaN."""
        steps = max(result.steps for result in results)
        losses = [
            torch.nn.functional.pad(result.losses, (0, 0, 0, 0, 0, steps - result.steps), value=torch.nan)
            for result in results
        ]
        targets = [result.target for result in results if result.target is not None]
        return cls(
            image=torch.cat([result.image for result in results]),
            code=_joined([result.code for result in results]),
            target=_joined(targets) if targets else None,
            losses=torch.cat(losses, dim=2),
            terms=results[0].terms,
            best_step=torch.cat([result.best_step for result in results]),
            status=tuple(status for result in results for status in result.status),
            seconds=sum(result.seconds for result in results),
            interrupted=any(result.interrupted for result in results),
        )


def _joined(codes: list[Code]) -> Code:
    first = codes[0]
    if isinstance(first, dict):
        return {layer: torch.cat([layers_of(code)[layer] for code in codes]) for layer in first}
    return torch.cat([layers_of(code)[""] for code in codes])


def show(
    images: ImageLike | Result | Sequence[ImageLike], captions: str | Sequence[str] | None = None
) -> Shown:
    """Show images in a notebook: tensors, files, Pillow images, a Result, or a list of images of one size.

    ``captions``: one each, or one for all. Values outside [0, 1] are clipped. Raises ImageError, ConfigError.

    >>> show(torch.zeros(2, 3, 8, 8), ["first", "second"]).pil(columns=2).size
    (20, 8)
    """
    if isinstance(images, Result) and captions is None:
        captions = images._values()
    several: Sequence[Any] = images if isinstance(images, list | tuple) else [images]
    tensors = [one.image if isinstance(one, Result) else _clipped(one) for one in several]
    if len({tensor.shape[1:] for tensor in tensors}) != 1:
        raise ConfigError("images shown together have one size: use netinvert.fit, or show them one by one")
    together = torch.cat([tensor.detach().cpu().float() for tensor in tensors])
    if captions is None or isinstance(captions, str):
        captions = [captions or ""] * len(together)
    if len(captions) != len(together):
        raise ConfigError(
            f"{len(captions)} captions for {len(together)} images; give one each, or one for all"
        )
    return Shown(together, tuple(captions))


def watch(seconds: float = 0.5) -> Callable[[StepInfo], None]:
    """A callback that shows the best images so far in a notebook, anew after so many ``seconds``, while an
    inversion runs; elsewhere it does nothing.

    >>> from netinvert import Encoder, Preprocessing, invert
    >>> network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Tanh()).eval()
    >>> encoder = Encoder(network, "output", Preprocessing(size=(16, 16)))
    >>> invert(encoder, encoder(torch.rand(1, 3, 16, 16)), steps=10, callback=watch()).steps
    10
    """
    ipython, handle, drawn = notebook(), None, -math.inf

    def callback(info: StepInfo) -> None:
        nonlocal handle, drawn
        if ipython is None or (info.step < info.steps and time.monotonic() - drawn < seconds):
            return
        after = f"after {info.step} of {info.steps} steps"
        shown = show(info.best_image, [f"loss {loss:.3g}, {after}" for loss in info.best_loss.tolist()])
        if handle is None:
            handle = ipython.display(shown, display_id=True)
        else:
            handle.update(shown)
        drawn = time.monotonic()

    return callback


def _clipped(images: ImageLike) -> Tensor:
    if isinstance(images, Tensor) and images.is_floating_point():
        images = images.detach().clamp(0, 1)
    return as_images(images)
