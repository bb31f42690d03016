"""What a decoder saves: correction, and a few steps from its image, beside optimisation from noise.

    OMP_NUM_THREADS=1 python benchmarks/correction.py --out benchmarks/results  # 5 minutes, two decoders

inverts codes of chairs that no network has seen, all together, and writes correction.json and correction.md:
what each method ends with, and after how many CPU milliseconds an image the mean code error of its best
images first is at a bound or below. Setting up the encoder, loading and measuring are not counted.
Intervals (95 %) are of a bootstrap over the chairs. The settings of ``correct`` and of the preset ``decoded``
were chosen on seed 101. With --near, a third of the time, the default is left out, and
``quick`` ends where it is near. Needs the extra scenes.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import netinvert as ni
from netinvert.evaluation.evaluate import held_out_estimator
from netinvert.evaluation.report import Column, Table, number
from netinvert.experiments.held_out_chairs import CodeSubject, fresh_chairs
from netinvert.inversion.correct import STEPS
from netinvert.inversion.objectives import code_error
from netinvert.inversion.presets.by_name import DECODED_STEPS
from netinvert.io.files import write_json
from netinvert.io.images import fit
from netinvert.training.decoder.train import image_figures

BOUNDS = (0.3, 0.2, 0.17, 0.13, 0.1, 0.07, 0.05, 0.04)
LONGER = 30
"""Passes and steps for the times of correction and of ``decoded``, to see where they stall."""
CLOSE = 60
"""Up to this step each is measured, from there every tenth."""
NEAR = 0.04
"""The mean code error at which ``quick`` ends with --near."""
DRAWS = 1000


@dataclass(frozen=True, eq=False)
class Track:
    """CPU ``seconds`` (S,) of all images together and the least code ``errors`` (S, N) until then; what came
    of it, and the seconds of all."""

    seconds: Tensor
    errors: Tensor
    image: Tensor
    whole: float

    def first(self, bound: float, chosen: Tensor) -> Tensor:
        """Milliseconds an image until the mean error of chosen chairs (..., K) is there, (...), or inf."""
        there = self.errors.cummin(0).values[:, chosen].mean(-1) <= bound
        at = there.int().argmax(0)
        return torch.where(there.any(0), 1000 * self.seconds[at] / self.errors.shape[1], torch.inf)


def corrected(subject: CodeSubject, steps: int) -> Track:
    """By answers, after each of which the clock is read."""
    seconds: list[float] = []
    began = time.process_time()

    def answers(images: Tensor) -> Tensor:
        code: Tensor = subject.encoder(images)
        seconds.append(time.process_time() - began)
        return code

    result = ni.correct(answers, subject.codes, subject.decoder, steps=steps)
    whole = time.process_time() - began
    return Track(torch.tensor(seconds), result.losses[:, 0].sqrt(), result.image, whole)


def inverted(subject: CodeSubject, until: float = 0.0, **how: Any) -> Track:  # noqa: ANN401
    """By ``invert``, with a clock that stands still while the best images so far are encoded; it ends at a
    mean code error of ``until``."""
    seconds: list[float] = []
    errors: list[Tensor] = []
    measuring = 0.0
    began = time.process_time()

    def callback(info: ni.StepInfo) -> bool:
        nonlocal measuring
        now = time.process_time()
        if info.step <= CLOSE or info.step % 10 == 0:
            errors.append(code_error(subject.encode(info.best_image), subject.codes))
            seconds.append(now - began - measuring)
            measuring += time.process_time() - now
        return errors[-1].mean().item() <= until

    result = ni.invert(subject.encoder, subject.codes, callback=callback, **how)
    whole = time.process_time() - began - measuring
    return Track(torch.tensor(seconds), torch.stack(errors), result.image, whole)


def decoded(subject: CodeSubject) -> Track:
    """The decoder alone."""
    began = time.process_time()
    image = subject.decode(subject.codes)
    whole = time.process_time() - began
    error = code_error(subject.encode(image), subject.codes)
    return Track(torch.tensor([whole]), error[None], image, whole)


def interval(values: Tensor, others: Tensor | None, draws: Tensor) -> str:
    """The mean of values (N,), over that of others, with its interval."""
    means = [each.double()[draws].mean(-1) for each in (values, others) if each is not None]
    ratio = means[0] / means[1] if len(means) > 1 else means[0]
    whole = values.mean() / (1 if others is None else others.mean())
    low, high = (torch.quantile(ratio, share).item() for share in (0.025, 0.975))
    return f"{number(whole.item(), 3)} ({number(low, 3)} to {number(high, 3)})"


def rows_of(
    name: str, chairs: int, seed: int, near: bool
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Of one decoder: where each method ends, and when it first is where."""
    decoder = ni.load_decoder(name)
    encoder = decoder.encoder()
    some = fresh_chairs(chairs, seed, max(encoder.size))
    codes = encoder(some.images).detach()
    estimator = held_out_estimator(encoder)
    subject = CodeSubject(decoder, encoder, estimator or encoder, some, codes)
    source = torch.Generator().manual_seed(0)
    draws, everyone = torch.randint(chairs, (DRAWS, chairs), generator=source), torch.arange(chairs)
    corrected(subject, 2)
    inverted(subject, preset="decoded", steps=2)  # the first of a process is slower
    ends = {
        "decode": decoded(subject),
        f"correct, {STEPS} passes": corrected(subject, STEPS),
        f"decoded, {DECODED_STEPS} steps at most": inverted(subject, preset="decoded", decoder=decoder),
    }
    noise = {"quick": inverted(subject, NEAR if near else 0.0, preset="quick")}
    if not near:
        noise["default"] = inverted(subject, preset="default")
    ends |= {method + f", to {NEAR}" * near: track for method, track in noise.items()}
    plain, found = subject.chair_errors(ends["decode"].image), []
    for method, track in ends.items():
        clipped = fit(track.image, decoder.size).clamp(0, 1)
        error = code_error(subject.encode(clipped), codes)
        pose = None if estimator is None else subject.pose_figures(clipped)["pose"].value
        found.append(
            {
                "decoder": name,
                "method": method,
                "code error": interval(error, None, draws),
                "on the chair, over the decoder's": interval(subject.chair_errors(clipped), plain, draws),
                "SSIM": image_figures(clipped, subject.originals)["ssim"],
                "held-out pose": pose,
                "ms": 1000 * track.whole / chairs,
            }
        )
    longer = {
        "correct": corrected(subject, LONGER),
        "decoded": inverted(subject, preset="decoded", decoder=decoder, steps=LONGER),
        **noise,
    }
    times = []
    for bound in BOUNDS:
        row: dict[str, Any] = {"decoder": name, "code error": bound}
        own = longer["decoded"].first(bound, draws)
        for method, track in longer.items():
            ms, each = track.first(bound, everyone).item(), track.first(bound, draws)
            row[method] = ms if ms < float("inf") else None
            if method in noise:
                row[f"{method} over decoded"] = _over(
                    each / own, ms / longer["decoded"].first(bound, everyone)
                )
        times.append(row)
    return found, times


def _over(ratios: Tensor, whole: Tensor) -> str:
    """With the interval of those ratios of which both times are known, if they are most."""
    known = ratios[torch.isfinite(ratios) & (ratios > 0)]
    if not bool(torch.isfinite(whole)) or 2 * len(known) < len(ratios):
        return "–"
    low, high = (number(torch.quantile(known, share).item(), 1) for share in (0.025, 0.975))
    return f"{number(whole.item(), 1)} ({low} to {high})"


ENDS = (
    Column("decoder"),
    Column("method"),
    Column("code error"),
    Column("on the chair, over the decoder's"),
    Column("SSIM", digits=2),
    Column("held-out pose", "°", 1),
    Column("ms", digits=1),
)
TIMES = (
    Column("decoder"),
    Column("code error", digits=2),
    *(Column(name, digits=1) for name in ("correct", "decoded", "quick", "default")),
    Column("quick over decoded"),
    Column("default over decoded"),
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--decoders", nargs="+", default=["posenet-fc7", "posenet-fc6"])
    parser.add_argument("--chairs", type=int, default=24)
    parser.add_argument("--seed", type=int, default=101)
    parser.add_argument("--out", type=Path, help="a folder for correction.json and correction.md")
    parser.add_argument("--near", action="store_true", help=f"without default; quick ends at {NEAR}")
    options = parser.parse_args()
    ends, times = [], []
    for name in options.decoders:
        some, more = rows_of(name, options.chairs, options.seed, options.near)
        ends += some
        times += more
    how = (
        f"{options.chairs} chairs of seed {options.seed}, all together, {torch.get_num_threads()} thread(s); "
        f"CPU milliseconds an image. python benchmarks/correction.py --decoders "
        f"{' '.join(options.decoders)} --chairs {options.chairs} --seed {options.seed}"
        + " --near"
        * options.near
    )
    text = "\n\n".join(
        [
            "# What a decoder saves",
            how,
            "Where each ends (images clipped to [0, 1], as they are saved; intervals over chairs):",
            Table.of(ends, ENDS).markdown(),
            "When the mean code error of the best images is first there, and the times over `decoded`:",
            Table.of(times, [column for column in TIMES if column.name in times[0]]).markdown(),
        ]
    )
    print(text)
    if options.out is not None:
        write_json(options.out / "correction.json", {"how": how, "ends": ends, "times": times})
        (options.out / "correction.md").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
