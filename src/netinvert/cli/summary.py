"""What ``invert`` and ``rerun`` print when they are done."""

from __future__ import annotations

from typing import Any

import typer

from netinvert.cli.console import figure, show_json, show_table
from netinvert.cli.job import Finished
from netinvert.evaluation.evaluate import ERROR_NAMES


def show_run(done: Finished, as_json: bool) -> None:
    """The manifest as JSON with the folder, or a table of the samples and the folder's path."""
    if as_json:
        show_json({"folder": str(done.folder), **done.manifest})
        return
    samples: list[dict[str, Any]] = list(done.manifest["samples"])  # type: ignore[call-overload]
    poses = any(sample["pose"] for sample in samples)
    judged = any(sample.get("judged") for sample in samples)
    objectives: dict[str, float] | None = done.manifest.get("objectives")  # type: ignore[assignment]
    headings = ["image", *(f"error {name}" for name in ERROR_NAMES), "PSNR", "SSIM"]
    if objectives is not None:
        headings = ["image", done.result.terms[0]]
    rows = []
    for sample in samples:
        if objectives is not None:
            row = [sample["name"], figure(objectives[sample["name"]])]
        else:
            row = [sample["name"], *(figure(sample["errors"][name]) for name in ERROR_NAMES)]
            row += [figure(sample["psnr"], 1), figure(sample["ssim"])]
        row += [_pose(sample["pose"])] if poses else []
        row += [_pose(sample["judged"])] if judged else []
        rows.append([*row, sample["status"]])
    headings += ["azimuth (original)"] if poses else []
    headings += ["as the judge reads it"] if judged else []
    show_table([*headings, "status"], rows)
    seconds, steps = done.manifest["seconds"], done.manifest["steps"]
    how = f"{len(samples)} × {steps} steps" if steps else f"{len(samples)} decoded"
    typer.echo(f"\n{how} in {seconds:.2g} s: {done.folder}")


def _pose(pose: dict[str, Any]) -> str:
    ours = f"{pose['reconstruction']['azimuth']:.0f}°"
    return f"{ours} ({pose['original']['azimuth']:.0f}°)" if pose["original"] else ours
