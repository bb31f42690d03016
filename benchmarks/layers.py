"""The tables of Mahendran & Vedaldi for any network: layers × λ or C; errors, class, naturalness, spread.

    python benchmarks/layers.py --network efficientnet-lite0 --protocol ijcv16 --restarts 2

repeats the IJCV 2016 protocol over the photographs of netinvert (or ``--images FOLDER``, or ``--images
chairs`` for the unseen chairs of the demo) at the network's suggested layers; ``--protocol cvpr15`` that of
CVPR 2015, ``default`` that of our default by the weight of its prior. Writes layers-NETWORK-PROTOCOL.json
(every figure), .md (the tables) and .jpg (the pictures). A stopped run goes on where it was.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

import torch

import netinvert as ni
from netinvert.experiments import layers_report as layer_report
from netinvert.experiments.inputs import image_paths
from netinvert.experiments.layers import PROTOCOLS, Photographs, Settings, run
from netinvert.io.assets import photographs, unseen_chairs
from netinvert.io.files import write_atomic, write_json


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", required=True)
    parser.add_argument("--weights", help="a .safetensors or .pt file, or 'random'")
    parser.add_argument("--layers", nargs="+", help="instead of the suggested ones")
    parser.add_argument("--images", help="a folder or quoted glob, or 'chairs'")
    parser.add_argument("--photographs", type=int, help="only the first so many")
    parser.add_argument("--protocol", choices=list(PROTOCOLS), default="ijcv16")
    parser.add_argument("--values", nargs="+", type=value, default=(), help="numbers, or 'none'")
    parser.add_argument("--restarts", type=int, default=1, help="inversions a code")
    parser.add_argument("--steps", type=int, help="instead of the protocol's own")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=8, help="inversions at once")
    parser.add_argument("--classes", action=argparse.BooleanOptionalAction, help="are the outputs classes?")
    parser.add_argument("--show", type=int, default=0, help="which photograph the sheet shows")
    parser.add_argument("--keep", type=Path, default=Path("out/layers"), help="for finished inversions")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    network = ni.load_network(options.network, options.weights)
    settings = Settings(
        protocol=options.protocol,
        values=tuple(options.values),
        restarts=options.restarts,
        steps=options.steps,
        seed=options.seed,
        batch=options.batch,
        classes=options.classes,
    )
    shown = read(options.images, network, options.photographs)
    if not 0 <= options.show < len(shown.names):
        parser.error(f"--show is from 0 to {len(shown.names) - 1}")
    options.out.mkdir(parents=True, exist_ok=True)
    table = run(network, options.layers or network.layers, shown, settings, options.keep)
    command = shlex.join(["python", "benchmarks/layers.py", *sys.argv[1:]])
    name = f"layers-{network.name.replace(':', '-').replace('/', '-')}-{options.protocol}"
    write_json(options.out / f"{name}.json", layer_report.record(table, command))
    write_atomic(options.out / f"{name}.md", layer_report.markdown(table, command).encode())
    layer_report.sheet(table, options.show).save(options.out / f"{name}.jpg", quality=85)
    print(f"wrote {options.out / name}.json, .md, .jpg")


def value(text: str) -> float | None:
    return None if text == "none" else float(text)


def read(source: str | None, network: ni.Network, count: int | None) -> Photographs:
    """The images at the network's size."""
    size = network.preprocessing.size
    if source is None:
        names, images = photographs(size)
    elif source == "chairs":
        images = ni.fit(unseen_chairs().images, size)
        names = [f"chair {k + 1}" for k in range(len(images))]
    else:
        paths = image_paths(source)
        names = [path.stem for path in paths]
        images = torch.cat([ni.fit(ni.read_image(path), size) for path in paths])
    return Photographs(tuple(names[:count]), images[:count])


if __name__ == "__main__":
    try:
        main()
    except ni.NetinvertError as error:
        sys.exit(f"layers.py: {error}")
