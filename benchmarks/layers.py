"""The tables of Mahendran & Vedaldi for any network, kept with the benchmarks' results.

    python benchmarks/layers.py --network efficientnet-lite0 --protocol ijcv16 --restarts 2

takes the options of ``netinvert study layers``, runs it into out/layers-NETWORK-PROTOCOL, and leaves
layers-NETWORK-PROTOCOL.json (every figure), .md (the tables) and .jpg (the images) in benchmarks/results, or
in the folder that ``--out`` names.
"""

from __future__ import annotations

import re
import shlex
import sys
from dataclasses import replace
from pathlib import Path

from PIL import Image

import netinvert as ni
from netinvert.cli.app import reader
from netinvert.experiments.commands import perform
from netinvert.experiments.configs.studies import StudyLayers
from netinvert.experiments.runs import made_by
from netinvert.io.files import read_json, write_atomic, write_json
from netinvert.io.rundir import FinishedError

RESULTS = ["--out", "benchmarks/results"]


def main() -> None:
    if {"--help", "-h"} & set(sys.argv):
        print(__doc__, flush=True)
    config = reader(StudyLayers)([*([] if {"--out", "-o"} & set(sys.argv) else RESULTS), *sys.argv[1:]])
    if not isinstance(config, StudyLayers):
        return
    name = f"layers-{re.sub('[:/]', '-', config.network)}-{config.protocol}"
    here = replace(config, out=Path("out") / name, overwrite=True)
    try:
        perform(here, print)
    except FinishedError:
        print(f"{here.out} is complete")
    config.out.mkdir(parents=True, exist_ok=True)
    command = shlex.join(["python", "benchmarks/layers.py", *sys.argv[1:]])
    manifest = read_json(here.out / "manifest.json")
    told = ("network", "names", "reference", "threads", "versions", "floors", "cells")
    write_json(config.out / f"{name}.json", {"command": command, **{key: manifest[key] for key in told}})
    text = (here.out / "report.md").read_text().replace("contact-sheet.png", f"{name}.jpg")
    text = text.replace(made_by(here), command)
    write_atomic(config.out / f"{name}.md", text.encode())
    with Image.open(here.out / "contact-sheet.png") as sheet:
        sheet.save(config.out / f"{name}.jpg", quality=85)
    print(f"wrote {config.out / name}.json, .md, .jpg")


if __name__ == "__main__":
    try:
        main()
    except ni.NetinvertError as error:
        sys.exit(f"layers.py: {error}")
