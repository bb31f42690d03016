"""Make the photographs of the package: crops of pictures that lie in the wheels of other packages.

    pip install scikit-image matplotlib pillow
    pip download --no-deps --python-version 311 --only-binary :all: scipy==1.9.3
    python tools/make_photographs.py --out src/netinvert/data/photographs --scipy scipy-1.9.3-*.whl

Without ``--scipy`` the raccoon is left as it is (later wheels of scipy no longer carry it). Licences are in
CREDITS.md beside the photographs.
"""

from __future__ import annotations

import argparse
import bz2
import zipfile
from pathlib import Path

import matplotlib
import numpy as np
import skimage.data
from PIL import Image

SKIMAGE = Path(skimage.data.__file__).parent
MATPLOTLIB = Path(matplotlib.get_data_path()) / "sample_data"
CROPS = {  # the file, and left, top and side of the square that is kept
    "astronaut": (SKIMAGE / "astronaut.png", (25, 0, 400)),
    "camera": (SKIMAGE / "camera.png", (0, 30, 440)),
    "chelsea": (SKIMAGE / "chelsea.png", (95, 0, 300)),
    "coffee": (SKIMAGE / "coffee.png", (82, 0, 400)),
    "hopper": (MATPLOTLIB / "grace_hopper.jpg", (56, 8, 400)),
    "rocket": (SKIMAGE / "rocket.jpg", (158, 97, 330)),
}
RACCOON = (230, 0, 768)


def save(picture: Image.Image, crop: tuple[int, int, int], file: Path) -> None:
    left, top, side = crop
    square = picture.convert("RGB").crop((left, top, left + side, top + side))
    small = square.resize((256, 256), Image.Resampling.LANCZOS)
    small.save(file, quality=95, subsampling=0, optimize=True)
    print(f"{file.name}: {file.stat().st_size} bytes")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--scipy", type=Path, help="the wheel of scipy 1.9.3")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, (file, crop) in CROPS.items():
        with Image.open(file) as picture:
            save(picture, crop, arguments.out / f"{name}.jpg")
    if arguments.scipy:
        with zipfile.ZipFile(arguments.scipy) as wheel:
            values = bz2.decompress(wheel.read("scipy/misc/face.dat"))
        raccoon = Image.fromarray(np.frombuffer(values, np.uint8).reshape(768, 1024, 3))
        save(raccoon, RACCOON, arguments.out / "raccoon.jpg")


if __name__ == "__main__":
    main()
