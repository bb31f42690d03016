"""netinvert beside lucent, plenoptic, torch-dreams, Horama and the script of pytorch-cnn-visualizations.

    python benchmarks/peers.py                                     everything, about an hour
    python benchmarks/peers.py --only netinvert --again            netinvert once more
    python benchmarks/peers.py --networks mobilenet-v2 --layers early --seconds 10 --out out/peers-quick

writes peers.json (every figure and setting), peers.md (the tables) and peers.jpg (the last pictures). Each
peer gets an environment of its own in benchmarks/.peers, which borrows torch from the one that runs this;
nothing is added to that one. A stopped run goes on where it was, and jobs with other settings run anew.

On a machine that does other things meanwhile take ``--clock cpu``: seconds on the core, not by the wall.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
from pathlib import Path

import torch
from peers.jobs import LAYERS, Choice, is_done, jobs, key, perform
from peers.runner import Job, picture
from peers.tables import Place, markdown, rows
from peers.tools import PACKAGES, TOOLS

import netinvert
from netinvert.evaluation.report import GridRow, ImageGrid, Tile
from netinvert.evaluation.report.grid import grid_image
from netinvert.io.files import load_tensors, write_json
from netinvert.models.registry import load_network


def main() -> None:
    names = [each.name for each in TOOLS]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument(
        "--images", type=Path, default=Path("out/peers"), help="for jobs, logs and last pictures"
    )
    parser.add_argument(
        "--only", nargs="+", metavar="TOOL", choices=names, default=names, help=", ".join(names)
    )
    parser.add_argument("--networks", nargs="+", choices=list(LAYERS), default=list(LAYERS))
    parser.add_argument("--layers", nargs="+", default=[], help="early, middle, late, or their names")
    parser.add_argument("--pictures", nargs="+", default=[], help="chair, or photographs of the package")
    parser.add_argument("--seconds", type=float, default=40.0, help="of optimisation a job")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--repeat", type=int, default=1, help="with the seeds that follow; tables show medians"
    )
    parser.add_argument("--again", action="store_true", help="run the jobs anew, finished or not")
    options = parser.parse_args()
    settings = {name: getattr(options, name) for name in ("seconds", "threads", "clock", "seed")}
    choice = Choice(
        tuple(options.only),
        tuple(options.networks),
        tuple(options.layers),
        tuple(options.pictures),
        options.repeat,
    )
    options.out.mkdir(parents=True, exist_ok=True)
    record = options.out / "peers.json"
    results = json.loads(record.read_text()) if record.exists() else {}
    results["machine"] = machine(options.threads, options.clock)
    done = results.setdefault("jobs", {})
    wanted = jobs(choice, settings)
    for number, job in enumerate(wanted, 1):
        if options.again or not is_done(job, done):
            done[key(job)] = perform(job, options.images) | {"netinvert": results["machine"]["netinvert"]}
            write_json(record, results)
        print(f"{number}/{len(wanted)} {line(job, done[key(job)])}", flush=True)
    (options.out / "peers.md").write_text(markdown(results))
    sheet(done, options.images, options.out / "peers.jpg")


def line(job: Job, found: dict) -> str:
    """A job in a line."""
    if "failed" in found:
        return f"{key(job)}: failed, {found['failed']}"
    times = " ".join(
        f"{level}: {each['seconds']:.2f}s" if each else f"{level}: –"
        for level, each in found["reached"].items()
    )
    return f"{key(job)}: {times}; {found['steps']} steps, error {found['error']}, SSIM {found['ssim']}"


def machine(threads: int, clock: str) -> dict:
    """What the figures depend on."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
        check=False,
    ).stdout.strip()
    return {
        "cpu": cpu(),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "netinvert": f"{netinvert.__version__} ({commit})",
        "peers": PACKAGES,
        "threads": threads,
        "clock": clock,
    }


def cpu() -> str:
    """The processor's name where the system says it."""
    info = Path("/proc/cpuinfo")
    names = (
        [line for line in info.read_text().splitlines() if line.startswith("model name")]
        if info.exists()
        else []
    )
    return names[0].partition(":")[2].strip() if names else platform.machine()


def sheet(done: dict[str, dict], images: Path, file: Path) -> None:
    """The original and each tool's last picture of the first seed, a place a row."""
    table = rows(done)
    shown = [
        each for each in TOOLS if any(row.tool == each.name for found in table.values() for row in found)
    ]
    lines = []
    for place in table:
        size = load_network(place.network).preprocessing.size
        cells = [Tile(picture(place.picture, size), ("original",))]
        cells += [cell(place, each.name, done, images) for each in shown]
        lines.append(GridRow(f"{place.network}, {place.layer}, {place.picture}", tuple(cells)))
    headings = ["original", *(each.title for each in shown)]
    grid_image(ImageGrid(lines, headings, "The last picture of each tool")).save(file, quality=88)


def cell(place: Place, name: str, done: dict[str, dict], images: Path) -> Tile:
    """A tool's last picture of the first seed; a blank one where there is none."""
    why = "not run"
    for found in done.values():
        job = Job(**found["job"])
        if (Place(job.network, job.layer, job.picture), job.tool) != (place, name):
            continue
        file = images / (key(job).replace(" ", "-") + ".safetensors")
        if "failed" not in found and found["error"] is not None and file.exists():
            figures = f"error {found['error']:.2f}, SSIM {found['ssim']:.2f}"
            return Tile(load_tensors(file)[0]["image"], (figures,))
        why = "failed" if "failed" in found else "diverged" if found["error"] is None else "picture not kept"
    return Tile(torch.full((3, 224, 224), 0.97), (why,))


if __name__ == "__main__":
    main()
