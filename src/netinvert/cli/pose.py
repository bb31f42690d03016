"""``netinvert pose``: train networks that read 3-D pose, and measure how well they do."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from netinvert.cli.console import Interrupted, note, show_json

pose = typer.Typer(help="Train pose networks on rendered datasets, and evaluate them.", no_args_is_help=True)


@pose.command("train")
def train(  # noqa: PLR0913  (one parameter an option)
    *,
    data: Annotated[Path, typer.Option(help="A dataset of netinvert scenes render.", metavar="DIR")],
    out: Annotated[Path, typer.Option(help="The folder for checkpoints, logs and weights.", metavar="DIR")],
    network: Annotated[str, typer.Option(help="The topology: posenet or posenet-judge.")] = "posenet",
    head: Annotated[str, typer.Option(help="How rotations are told: 6d or bins.")] = "6d",
    samples: Annotated[int, typer.Option(help="How many views to train on.")] = 1_500_000,
    batch: Annotated[int, typer.Option(help="Views a batch; a multiple of 4.")] = 64,
    seed: Annotated[int, typer.Option(help="Weights, batches and backgrounds follow from it.")] = 0,
    rate: Annotated[float, typer.Option(help="The peak learning rate of AdamW.")] = 2e-3,
    threads: Annotated[
        int | None, typer.Option(help="Threads of torch; torch's own choice if not given.")
    ] = None,
    every: Annotated[
        int, typer.Option(help="Steps between checkpoints, if ten minutes are not less.")
    ] = 1000,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    workers: Annotated[
        int | None,
        typer.Option(help="Processes that make batches; by default some for a GPU, none for a CPU."),
    ] = None,
    skip_damaged: Annotated[
        bool, typer.Option("--skip-damaged", help="Go on without damaged shards; they are named and counted.")
    ] = False,
    devices: Annotated[int, typer.Option(help="Devices of each machine.")] = 1,
    nodes: Annotated[int, typer.Option(help="Machines.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Train a pose network. The same command again takes up a training that was stopped.

    While the learning rate is constant (the first 70 %), --samples may be changed when taking it up.
    """
    from netinvert.io.files import read_json
    from netinvert.training.card import export
    from netinvert.training.config import TrainingRun
    from netinvert.training.parallel import is_main_process
    from netinvert.training.pose.model import PoseConfig
    from netinvert.training.pose.train import final_figures
    from netinvert.training.pose.train import train as run_training

    config = PoseConfig(network=network, head=head, samples=samples, batch=batch, seed=seed, rate=rate)
    run = TrainingRun(
        out,
        every,
        device=device,
        devices=devices,
        nodes=nodes,
        threads=threads,
        workers=workers,
        damaged="skip" if skip_damaged else "refuse",
        tell=note,
    )
    try:
        model = run_training(config, data, run)
    except KeyboardInterrupt:
        raise Interrupted(f"stopped; the same command goes on with {out}") from None
    if not is_main_process():
        return
    manifest: Any = read_json(data / "manifest.json") if (data / "manifest.json").exists() else {}
    figures = final_figures(model, data)
    facts = {
        "command": "netinvert " + shlex.join(sys.argv[1:]),
        "data": {name: manifest.get(name) for name in ("sha256", "samples", "plan", "versions")},
        "hours": round(model.seconds / 3600, 2),
        "figures": {name: round(value, 4) for name, value in figures.items()},
    }
    path = export(out / network, model.file(facts))
    if as_json:
        show_json({"weights": str(path), **facts})
    else:
        typer.echo(f"{path}: median error {figures['median_geodesic_deg']:.1f}° on the validation split")
