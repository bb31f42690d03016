"""``netinvert study perturb|interpolate|random|iterate``: experiments on codes with decoders."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from netinvert.cli.console import note, show_json
from netinvert.errors import ConfigError

if TYPE_CHECKING:
    from netinvert.experiments.codes.findings import Findings
    from netinvert.experiments.codes.subjects import Subject

Decoders = Annotated[
    list[str],
    typer.Option("--decoder", help="A decoder's name or file; more than once for more.", metavar="NAME|FILE"),
]
Out = Annotated[Path, typer.Option(help="The folder to write.", metavar="DIR")]
Chairs = Annotated[int, typer.Option(help="How many fresh chairs.")]
Seed = Annotated[int, typer.Option(help="Which chairs, and of what is random.")]
Data = Annotated[
    Path | None,
    typer.Option(
        help="A dataset of netinvert scenes render for the statistics of codes; other chairs if not given.",
        metavar="DIR",
    ),
]
Overwrite = Annotated[bool, typer.Option(help="Replace the run in the folder.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the table as JSON.")]
SEED, CHAIRS = 404, 100


@dataclass(frozen=True)
class Asked:
    """What all four commands have in common."""

    experiment: str
    decoders: tuple[str, ...]
    chairs: int
    seed: int
    data: Path | None = None
    bank: bool = True
    """Whether it needs statistics of codes."""


def perturb(  # noqa: PLR0913  (one parameter an option)
    *,
    decoder: Decoders,
    out: Out,
    chairs: Chairs = CHAIRS,
    seed: Seed = SEED,
    data: Data = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Change codes (signs alone, half left out, the largest numbers, noise), decode them, and compare."""
    from netinvert.experiments.codes.perturbed import perturbed

    asked = Asked("perturb", tuple(decoder), chairs, seed, data)
    _run(asked, lambda subjects: perturbed(subjects, seed), (out, overwrite), as_json)


def interpolate(
    *,
    decoder: Decoders,
    out: Out,
    chairs: Chairs = CHAIRS,
    seed: Seed = SEED,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Decode codes between those of two chairs, and see how evenly the pose turns."""
    from netinvert.experiments.codes.interpolated import interpolated

    asked = Asked("interpolate", tuple(decoder), chairs, seed, bank=False)
    _run(asked, lambda subjects: interpolated(subjects, seed), (out, overwrite), as_json)


def random(  # noqa: PLR0913  (one parameter an option)
    *,
    decoder: Decoders,
    out: Out,
    chairs: Chairs = CHAIRS,
    seed: Seed = SEED,
    data: Data = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Decode codes drawn at random, number by number or all together, and compare with chairs' own codes."""
    from netinvert.experiments.codes.random import random_codes

    asked = Asked("random", tuple(decoder), chairs, seed, data)
    _run(asked, lambda subjects: random_codes(subjects, seed), (out, overwrite), as_json)


def iterate(  # noqa: PLR0913  (one parameter an option)
    *,
    decoder: Decoders,
    out: Out,
    chairs: Chairs = CHAIRS,
    rounds: Annotated[int, typer.Option(help="How often to encode and decode.")] = 8,
    seed: Seed = SEED,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Encode and decode pictures again and again, and see what stays."""
    from netinvert.experiments.codes.iterated import iterated

    if rounds < 1:
        raise ConfigError(f"--rounds is at least 1, got {rounds}")
    asked = Asked("iterate", tuple(decoder), chairs, seed, bank=False)
    _run(asked, lambda subjects: iterated(subjects, rounds), (out, overwrite), as_json)


def _run(
    asked: Asked, experiment: Callable[[Sequence[Subject]], Findings], place: tuple[Path, bool], as_json: bool
) -> None:
    from netinvert.evaluation.save_results import versions
    from netinvert.experiments.codes.subjects import subjects_of
    from netinvert.io.files import write_json
    from netinvert.io.folders import OutputFolder
    from netinvert.models.decoder_files import load_decoder

    out, overwrite = place
    decoders = [load_decoder(name) for name in asked.decoders]
    with OutputFolder(out, f"study {asked}", overwrite) as folder:
        findings = experiment(subjects_of(decoders, asked.chairs, asked.seed, asked.bank, asked.data))
        record = {"command": "netinvert " + shlex.join(sys.argv[1:]), **asdict(asked), "versions": versions()}
        known = [
            {
                "name": one.name,
                "network": one.network,
                "layer": one.layer,
                "network_sha256": one.network_sha256,
            }
            for one in decoders
        ]
        findings.save(folder.staging, record)
        write_json(folder.staging / "manifest.json", {**record, "decoders": known})
        folder.commit()
    if as_json:
        show_json({"out": str(out), **findings.plain()})
        return
    note(f"pictures.png, table.md and table.json in {out}")
    typer.echo(findings.table())
