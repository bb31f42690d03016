"""Many images, a few at a time: each chunk with its checkpoint, and with a record when it is done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from netinvert.inversion.canvases import decoded_start, on_decoder
from netinvert.inversion.diversify import prepare_diverse
from netinvert.inversion.history import StepInfo
from netinvert.inversion.invert import Inversion, prepare
from netinvert.inversion.optimize import Run
from netinvert.inversion.result import Result
from netinvert.inversion.schedule import Recipe
from netinvert.io.files import load_tensors, save_tensors
from netinvert.io.folders import OutputFolder
from netinvert.models.decoder import Decoder
from netinvert.models.encoder import Encoder


@dataclass(frozen=True, eq=False)
class Chunk:
    """Images that are made together: their seeds, and what makes them ready to run."""

    seeds: tuple[int, ...]
    prepare: Callable[[], Inversion]


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
            return Chunk(self.seeds[part], lambda: prepare_diverse(self.encoder, codes, self.recipe, apart))
        codes = self.codes[part]
        return Chunk(
            self.seeds[part],
            lambda: prepare(self.encoder, codes, self.recipe_of(codes), self.start_of(codes)),
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
        result = chunk.prepare().run(run)
        if result.interrupted:
            raise KeyboardInterrupt
        results.append(result)
        _save(folder, number, result)
        at_work.unlink(missing_ok=True)
    return Result.join(results)


def _save(folder: OutputFolder, chunk: int, result: Result) -> None:
    save_tensors(folder.checkpoint_of(f"{chunk:05d}-done"), *result.to_tensors())


def _load(folder: OutputFolder, chunk: int, encoder: Encoder) -> Result:
    tensors, texts = load_tensors(folder.checkpoint_of(f"{chunk:05d}-done"))
    return Result.from_tensors(tensors, texts, encoder.device)
