"""The images that come with netinvert: a chair with its camera, and photographs in the public domain."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

import torch
from torch import Tensor

from netinvert.errors import ConfigError
from netinvert.io.images import fit, read_image

DATA = files("netinvert") / "data"


def sample(name: str = "chair") -> Path:
    """The file of an image that comes with netinvert: ``chair``, or one of its photographs.

    Raises ConfigError, which lists the names.

    >>> sample("chair").name
    'chair.png'
    """
    known = _samples()
    if name not in known:
        raise ConfigError(f"there is no sample '{name}'; choose from {', '.join(sample_names())}")
    return known[name]


def sample_names() -> list[str]:
    """What ``sample`` takes."""
    return sorted(_samples())


def _samples() -> dict[str, Path]:
    paths = [DATA / "chair.png", *(DATA / "photographs").iterdir()]
    return {Path(path.name).stem: Path(str(path)) for path in paths if path.name.endswith((".jpg", ".png"))}


@dataclass(frozen=True, eq=False)
class ChairPicture:
    """A rendered chair (1, 3, H, W); angles in degrees, PASCAL3D+ frame; ``keypoints`` (9, 2) in pixels."""

    image: Tensor
    azimuth: float
    elevation: float
    keypoints: Tensor


def chair(size: tuple[int, int] = (224, 224)) -> ChairPicture:
    """The chair of the demo."""
    camera = json.loads((DATA / "chair.json").read_text())
    with as_file(DATA / "chair.png") as path:
        image = read_image(path)
    keypoints = torch.tensor(camera["keypoints"]) * torch.tensor([size[1], size[0]]) / image.shape[-1]
    return ChairPicture(fit(image, size), camera["azimuth"], camera["elevation"], keypoints)


def photographs(
    size: tuple[int, int] = (224, 224), channels: int = 3, only: str = "*"
) -> tuple[list[str], Tensor]:
    """Names and images (7, ``channels``, *size), colour or grey, or ``only`` the one of a name;
    data/photographs/CREDITS.md says whose."""
    with as_file(DATA / "photographs") as folder:
        paths = sorted(folder.glob(f"{only}.jpg"))
        images = [fit(read_image(path, channels), size) for path in paths]
        return [path.stem for path in paths], torch.cat(images)


@dataclass(frozen=True, eq=False)
class ChairViews:
    """Chairs (N, 3, 64, 64) that posenet never saw, and their rotations (N, 3, 3), object to camera."""

    images: Tensor
    rotation: Tensor


def unseen_chairs() -> ChairViews:
    """The four chairs of the demo; tools/make_unseen_chairs.py rendered them."""
    with as_file(DATA / "unseen-chairs") as folder:
        images = [read_image(path) for path in sorted(folder.glob("*.png"))]
        rotations = json.loads((folder / "rotations.json").read_text())
    # In the layout of images that have just been rendered: sums over channels round by it.
    return ChairViews(torch.cat(images).to(memory_format=torch.channels_last), torch.tensor(rotations))
