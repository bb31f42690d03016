"""Decoders of the same codes trained by one loss each: pixels; features too; an adversary too.

    netinvert scenes render --objects chairs --count 1600 --views 5 --pixels 128 --seed 0 --out out/chairs
    # of each LOSS: pixel=1, pixel=1+feature:relu3=0.05, pixel=1+feature:relu3=0.05+adversarial=0.005
    netinvert decoder train --network posenet --layer relu6 --data out/chairs --loss LOSS --rate 2e-3 \\
        --start posenet-fc6 --samples 14400 --batch 16 --precision bfloat16 --device cpu --out out/LOSS
    python benchmarks/decoder_losses.py pixel=out/pixel/decoder.safetensors feature=… sharp=… --out out/losses

decodes the codes of chairs that no network has seen and writes decoder-losses.json, .md and .jpg: each row's
figures with 95 % intervals over chairs, and by how much they are above those of the first row, paired, beside
floors that need no code and the original. All but the code error and the poses are of the chair's own pixels:
outside of them every image is the original. Needs the extra scenes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

import netinvert as ni
from netinvert.evaluation.metrics import gradient_naturalness, ssim
from netinvert.evaluation.readers import RIGHT, LearnedViews, PoseReader, held_out_readers
from netinvert.evaluation.report import Column, Estimate, ImageGrid, Table
from netinvert.evaluation.report.grid import grid_image
from netinvert.evaluation.statistics import Statistic, difference, estimate
from netinvert.experiments.floors import (
    A_CHAIR,
    MEAN,
    ORIGINAL,
    OTHER,
    POSED,
    ViewBank,
    floor_images,
)
from netinvert.experiments.held_out_chairs import FreshChairs, chair_errors, fresh_chairs
from netinvert.inversion.objectives import code_error
from netinvert.io.files import write_json
from netinvert.scenes.dataset_config import DatasetConfig
from netinvert.scenes.fresh import UPRIGHT, rendered_views
from netinvert.scenes.seeds import POSENET, TUNING
from netinvert.training.decoder.losses import Features

SHIPPED = "posenet-fc6"
START = f"{SHIPPED} as it ships"
ROWS = (ORIGINAL, MEAN, POSED, OTHER)
"""Ceiling and floors."""
OTHERS = ("mobilenet-v2", "blocks.9")
"""Features that no decoder was trained by."""
BANK = 2000
"""Training views for the floors."""
SHOWN = 6
FIGURES = {
    "on_chair": Column("on the chair", digits=3, about="distance over the mean distance of other chairs"),
    "l1": Column("L1", digits=3),
    "ssim": Column("SSIM", digits=3),
    "relu3": Column("relu3", digits=3, about="squared distance of features over their squared norm"),
    "others": Column("mobilenet-v2", digits=3, about=f"the same at {OTHERS[1]}: no loss had it"),
    "strength": Column("edges", digits=2, about="differences of neighbouring pixels, over the original's"),
    "natural": Column("natural", digits=3, about="gradients' statistics shared with the original's"),
    "code": Column("code error", digits=3, about="of the whole image"),
}


@dataclass(frozen=True, eq=False)
class Measures:
    """What is measured of images (N, 3, H, W) of the ``chairs``."""

    encoder: ni.Encoder
    chairs: FreshChairs
    readers: Sequence[PoseReader]
    features: Mapping[str, Callable[[Tensor, Tensor], Tensor]]

    @torch.no_grad()
    def of(self, images: Tensor) -> dict[str, Tensor]:
        """Figures chair by chair (N,) by the names in FIGURES, then errors of poses in degrees by reader, NaN
        where a limited one does not read the original right."""
        chairs = self.chairs
        originals, mask = chairs.images, chairs.masks
        own = torch.lerp(originals, images, mask)
        area = mask.flatten(1).sum(1) * images.shape[1]
        found = {
            "on_chair": chair_errors(images, originals, mask),
            "l1": (own - originals).abs().flatten(1).sum(1) / area,
            "ssim": ssim(own, originals),
            **{name: compare(own, originals) for name, compare in self.features.items()},
            "strength": edges(own, mask) / edges(originals, mask),
            "natural": gradient_naturalness(own, originals),
            "code": code_error(self.encoder(images), self.encoder(originals)),
        }
        for reader in self.readers:
            errors = reader.errors(images, chairs.rotation, chairs.symmetry)
            if reader.limited:
                right = reader.errors(originals, chairs.rotation, chairs.symmetry) < RIGHT
                errors = torch.where(right, errors, torch.nan)
            found[reader.name] = errors
        return {name: values.double() for name, values in found.items()}


def edges(images: Tensor, mask: Tensor) -> Tensor:
    """The sum of the differences of neighbouring pixels on the object (N,), of images (N, C, H, W)."""
    right, down = (images.diff(dim=dim).abs().mean(1, keepdim=True) for dim in (-1, -2))
    across, along = right * mask[..., :, 1:], down * mask[..., 1:, :]
    return across.flatten(1).sum(1) + along.flatten(1).sum(1)


def main() -> None:
    """Decode, measure, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("decoders", nargs="+", metavar="NAME=FILE", help="the first is compared with")
    parser.add_argument("--chairs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=TUNING[1])
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    named = dict(one.split("=", 1) for one in options.decoders)
    decoders = {name: ni.load_decoder(file) for name, file in named.items()}
    decoders[START] = ni.load_decoder(SHIPPED)
    encoder = decoders[START].encoder()
    for decoder in decoders.values():
        decoder.check_encoder(encoder)
    chairs = fresh_chairs(options.chairs, options.seed, decoders[START].size[0])
    codes = encoder(chairs.images)
    images = {name: decoder(codes) for name, decoder in decoders.items()}
    floors = floor_images(decoders[START], encoder, chairs, training_views(chairs.images.shape[-1]))
    images |= {name: floors[name] for name in ROWS}
    measures = Measures(
        encoder,
        chairs,
        held_out_readers(encoder.network, LearnedViews.rendered()),
        {
            "relu3": Features(ni.Encoder(encoder.network, "relu3")),
            "others": Features(ni.Encoder(ni.load_network(OTHERS[0]), OTHERS[1])),
        },
    )
    found = {name: measures.of(one) for name, one in images.items()}
    write(options.out, found, measures.readers, f"{options.chairs} chairs of seed {options.seed}")
    shown = {f"chair {k + 1}": [images[name][k] for name in (ORIGINAL, *decoders)] for k in range(SHOWN)}
    grid = ImageGrid.of(shown, ["original", *decoders])
    picture = grid_image(replace(grid, size=128))
    picture.save(options.out / "decoder-losses.jpg", quality=88)


def training_views(side: int) -> ViewBank:
    """Views of chairs that networks and decoders were trained on, seen as the held-out ones are."""
    plan = DatasetConfig(identities=BANK // A_CHAIR, views=A_CHAIR, size=side, seed=POSENET, **UPRIGHT)
    views = rendered_views(plan).before("paper")
    return ViewBank((255 * views.images).round().to(torch.uint8), views.rotation, views.symmetry)


def write(
    out: Path, found: Mapping[str, Mapping[str, Tensor]], readers: Sequence[PoseReader], what: str
) -> None:
    """The figures of each row, and how far they are above those of the first."""
    columns = [Column("images"), *(replace(one, key=name) for name, one in FIGURES.items())]
    for reader in readers:
        about = ", of those whose original it reads within 30°" if reader.limited else ""
        columns.append(Column(reader.name, "°", digits=1, about=f"median error{about}"))
    first = next(iter(found.values()))
    rows = [{"images": name, **{key: figure(key, one[key]) for key in one}} for name, one in found.items()]
    apart = [
        {"images": name, **{key: figure(key, one[key], first[key]) for key in one}}
        for name, one in found.items()
        if one is not first
    ]
    tables = {"figures": Table.of(rows, columns), "above": Table.of(apart, columns)}
    text = "\n\n".join(
        [
            "# Decoders of one code, by one loss each",
            f"{what}; 95 % intervals over chairs. Poses: medians; all else: means.",
            tables["figures"].markdown(),
            f"By how much each is above the row {next(iter(found))}, paired:",
            tables["above"].markdown(),
        ]
    )
    print(text)
    (out / "decoder-losses.md").write_text(f"{text}\n", encoding="utf-8")
    write_json(out / "decoder-losses.json", {name: table.plain() for name, table in tables.items()})


def figure(name: str, values: Tensor, other: Tensor | None = None) -> Estimate:
    """A mean, of a pose a median, of values (N,), or how far it is above that of others."""
    kind: Statistic = "mean" if name in FIGURES else "median"
    known = ~values.isnan()
    if other is None:
        return estimate(values[known], None, kind)
    return difference(values[known], other[known], None, kind)


if __name__ == "__main__":
    main()
