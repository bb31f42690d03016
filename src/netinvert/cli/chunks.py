"""Many images, a few at a time: each chunk with its checkpoint, and with a record when it is done."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from netinvert.inversion.canvases import decoded_start, on_decoder
from netinvert.inversion.diversify import prepare_diverse
from netinvert.inversion.history import Result, StepInfo
from netinvert.inversion.invert import Inversion, prepare
from netinvert.inversion.optimize import Run
from netinvert.inversion.schedule import Recipe
from netinvert.io.files import load_tensors, save_tensors
from netinvert.io.folders import OutputFolder
from netinvert.models.decoder import Decoder
from netinvert.models.encoder import Encoder

TENSORS = ("image", "code", "target", "losses", "best_step")


@dataclass(frozen=True, eq=False)
class Chunk:
    """Images that are made together: their seeds, and what makes them ready to run."""

    seeds: tuple[int, ...]
    prepare: Callable[[Run], Inversion]


@dataclass(frozen=True, eq=False)
class Plan:
    """What to invert, and how: ``codes`` (N, ...), one of ``seeds`` each; ``start`` (1, C, H, W).

    With ``apart`` (how many, weight) neighbouring samples are of one code, and are to differ. With a
    ``decoder`` each starts from its picture, or, ``on_decoder``, has the decoder's input as its canvas.
    """

    encoder: Encoder
    recipe: Recipe
    codes: Tensor
    seeds: tuple[int, ...]
    start: Tensor | None
    batch: int
    apart: tuple[int, float] | None = None
    decoder: Decoder | None = None
    on_decoder: bool = False

    def recipe_of(self, codes: Tensor) -> Recipe:
        """The recipe for some of the codes: a decoder's canvas begins at them."""
        if self.decoder is None or not self.on_decoder:
            return self.recipe
        return on_decoder(self.recipe, self.decoder, self.encoder, codes)

    def start_of(self, codes: Tensor) -> Tensor | None:
        """What to start from for some of the codes."""
        if self.decoder is None or self.on_decoder:
            return self.start
        return decoded_start(self.decoder, self.encoder, codes)

    def chunks(self) -> list[Chunk]:
        """``batch`` codes each; those that are to differ stay together."""
        group = 1 if self.apart is None else self.apart[0]
        batch = max(self.batch // group, 1) * group
        return [self._chunk(slice(k, k + batch)) for k in range(0, self.codes.shape[0], batch)]

    def _chunk(self, part: slice) -> Chunk:
        if self.apart is not None:
            apart, codes = self.apart, self.codes[part][:: self.apart[0]]
            return Chunk(
                self.seeds[part], lambda run: prepare_diverse(self.encoder, codes, self.recipe, apart, run)
            )
        codes = self.codes[part]
        return Chunk(
            self.seeds[part],
            lambda run: prepare(self.encoder, codes, self.recipe_of(codes), self.start_of(codes), run),
        )


def run_chunks(
    chunks: Sequence[Chunk],
    encoder: Encoder,
    folder: OutputFolder,
    callback_of: Callable[[int], Callable[[StepInfo], None]],
) -> Result:
    """Make all images; chunks that are done are not done again. KeyboardInterrupt at Ctrl-C."""
    results = []
    for number, chunk in enumerate(chunks):
        if folder.checkpoint_of(f"{number:05d}-done").exists():
            results.append(_load(folder, number, encoder))
            continue
        at_work = folder.checkpoint_of(f"{number:05d}")
        run = Run(seed=chunk.seeds, callback=callback_of(number), checkpoint=at_work)
        result = chunk.prepare(run).run(run)
        if result.interrupted:
            raise KeyboardInterrupt
        results.append(result)
        _save(folder, number, result)
        at_work.unlink(missing_ok=True)
    return join(results)


def join(results: Sequence[Result]) -> Result:
    """One result of all samples; losses of those that stopped sooner end with NaN."""
    steps = max(result.steps for result in results)
    losses = [
        torch.nn.functional.pad(result.losses, (0, 0, 0, 0, 0, steps - result.steps), value=torch.nan)
        for result in results
    ]
    first = results[0]
    targets = [result.target for result in results if result.target is not None]
    return Result(
        image=torch.cat([result.image for result in results]),
        code=torch.cat([result.code for result in results]),
        target=torch.cat(targets) if targets else None,
        losses=torch.cat(losses, dim=2),
        terms=first.terms,
        best_step=torch.cat([result.best_step for result in results]),
        status=tuple(status for result in results for status in result.status),
        seconds=sum(result.seconds for result in results),
    )


def _save(folder: OutputFolder, chunk: int, result: Result) -> None:
    tensors = {name: getattr(result, name) for name in TENSORS if getattr(result, name) is not None}
    rest = {"terms": result.terms, "status": result.status, "seconds": result.seconds}
    save_tensors(folder.checkpoint_of(f"{chunk:05d}-done"), tensors, {"rest": json.dumps(rest)})


def _load(folder: OutputFolder, chunk: int, encoder: Encoder) -> Result:
    tensors, texts = load_tensors(folder.checkpoint_of(f"{chunk:05d}-done"))
    rest = json.loads(texts["rest"])
    tensors = {name: tensor.to(encoder.device) for name, tensor in tensors.items()}
    return Result(
        image=tensors["image"],
        code=tensors["code"],
        target=tensors.get("target"),
        losses=tensors["losses"],
        terms=tuple(rest["terms"]),
        best_step=tensors["best_step"],
        status=tuple(rest["status"]),
        seconds=rest["seconds"],
    )
