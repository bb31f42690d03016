"""Several inversions of each fully connected code of `posenet`, and the poses that its judge reads from them.

    python benchmarks/posenet_codes.py --out benchmarks/results

inverts the codes of unseen chairs (any azimuth, elevation 10° to 35°, before plain paper) from several seeds,
by recipes with and without changing views, and writes posenet-codes.json, posenet-codes.md and a contact
sheet a layer. The judge takes no part in an inversion: it only reads the results, of which none is left out.
Recipes were chosen on the chairs of seeds 101 and 303; the figures are of those of seed 404.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor
from unfamiliar import deviation

import netinvert as ni
from netinvert.evaluation.evaluate import held_out_estimator, read_poses
from netinvert.evaluation.metrics import ssim
from netinvert.evaluation.report import Column, Estimate, GridRow, ImageGrid, Tile
from netinvert.evaluation.report.grid import grid_image
from netinvert.evaluation.statistics import estimate
from netinvert.inversion.presets.by_name import recipe
from netinvert.inversion.schedule import Recipe
from netinvert.io.files import write_json
from netinvert.scenes.cameras import symmetric_geodesic_degrees
from netinvert.scenes.dataset_config import DatasetConfig
from netinvert.scenes.fresh import UPRIGHT, rendered_views
from netinvert.scenes.seeds import OPENED

LAYERS = ("relu6", "relu7", "fc8")
RESTART = 1000
"""Between the seeds of two restarts."""
ON_SHEET = 8


@dataclass(frozen=True, eq=False)
class Chairs:
    """Pictures (N, 3, H, W), their rotations (N, 3, 3), object to camera, and symmetries (N,)."""

    images: Tensor
    rotation: Tensor
    symmetry: Tensor

    def repeated(self, times: int) -> Chairs:
        return Chairs(
            self.images.repeat(times, 1, 1, 1),
            self.rotation.repeat(times, 1, 1),
            self.symmetry.repeat(times),
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--chairs", type=int, default=48)
    parser.add_argument("--restarts", type=int, default=3)
    parser.add_argument("--seed", type=int, default=OPENED, help="of the chairs")
    parser.add_argument("--layers", nargs="+", default=list(LAYERS))
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES)[:4], choices=RECIPES)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    network = ni.load_network("posenet")
    chairs = unseen_chairs(options.chairs, options.seed, max(network.preprocessing.size))
    results: dict[str, Any] = {"chairs": options.chairs, "restarts": options.restarts, "seed": options.seed}
    results["baselines"] = baselines(ni.Encoder(network, "fc8"), chairs)
    rows = results.setdefault("rows", [])
    for layer in options.layers:
        encoder = ni.Encoder(network, layer)
        pictures = {}
        for name in options.recipes:
            images, seconds = inversions(encoder, chairs, RECIPES[name](encoder), options.restarts)
            rows.append({"layer": layer, "recipe": name, **figures(encoder, chairs, images), **seconds})
            pictures[name] = images
            print(table(results).splitlines()[-1], flush=True)
        sheet(chairs, pictures, layer).save(options.out / f"posenet-codes-{layer}.jpg", quality=88)
        write_json(options.out / "posenet-codes.json", results)
    (options.out / "posenet-codes.md").write_text(page(results))


# -- recipes ---------------------------------------------------------------------------------------------

RECIPES: dict[str, Callable[[ni.Encoder], Recipe]] = {
    "robust": lambda encoder: recipe("robust", encoder),
    "default": lambda encoder: recipe("default", encoder),
    "quick": lambda encoder: recipe("quick", encoder),
    "fourier-adam": lambda encoder: recipe("fourier-adam", encoder, "tv-isotropic=1"),
    "plain-40": lambda encoder: ending(encoder, 40),
    "plain-160": lambda encoder: ending(encoder, 160),
}
"""Changing views; those, and then the image as it is; neither; the first without its changes; and the second
with other numbers of steps on the image as it is."""


def ending(encoder: ni.Encoder, steps: int) -> Recipe:
    """The default with so many steps on the image as it is."""
    how = recipe("default", encoder)
    return replace(how, stages=(*how.stages[:-1], replace(how.stages[-1], steps=steps)))


# -- the experiment --------------------------------------------------------------------------------------


def unseen_chairs(count: int, seed: int, size: int) -> Chairs:
    """So many chairs of a seed that neither network was trained on, in images of so many pixels."""
    plan = DatasetConfig(identities=count, views=1, size=size, seed=seed, **UPRIGHT)
    views = rendered_views(plan).before("paper")
    return Chairs(views.images, views.rotation, views.symmetry)


def inversions(
    encoder: ni.Encoder, chairs: Chairs, how: Recipe, restarts: int
) -> tuple[Tensor, dict[str, Any]]:
    """Images (restarts, N, 3, H, W) of seeds that no two codes share, and how long they took."""
    code, count = encoder(chairs.images), len(chairs.images)
    images, seconds = [], 0.0
    for k in range(restarts):
        run = ni.Run(seed=[RESTART * k + index for index in range(count)])
        result = ni.prepare(encoder, code, how).run(run)
        images.append(result.image)
        seconds += result.seconds
    return torch.stack(images), {"steps": how.steps, "seconds_an_image": seconds / (restarts * count)}


def pose_errors(reader: ni.Encoder, images: Tensor, chairs: Chairs) -> Tensor:
    """Geodesic errors (N,) in degrees against the cameras; for symmetric chairs the least."""
    reading = read_poses(reader, images)
    assert reading is not None
    return symmetric_geodesic_degrees(reading.rotation, chairs.rotation, chairs.symmetry)


def figures(encoder: ni.Encoder, chairs: Chairs, images: Tensor) -> dict[str, Any]:
    """Of images (R, N, 3, H, W): code errors, poses as read by the network and its judge, spread."""
    restarts, count = images.shape[:2]
    flat, many = images.flatten(0, 1), chairs.repeated(restarts)
    target = encoder(many.images)
    error = (encoder(flat) - target).norm(dim=1) / target.norm(dim=1)
    judge = held_out_estimator(encoder)
    assert judge is not None
    own = pose_errors(ni.Encoder(encoder.network, "fc8"), flat, many).view(restarts, count)
    judged = pose_errors(judge, flat, many).view(restarts, count)
    said = read_poses(encoder, many.images)
    assert said is not None
    of_code = pose_errors(judge, flat, replace(many, rotation=said.rotation)).view(restarts, count)
    pairs = list(itertools.combinations(range(restarts), 2))
    return {
        "code_error": error.mean().item(),
        "ssim": ssim(flat, many.images).mean().item(),
        "contrast": statistics.median((deviation(flat.clamp(0, 1)) / deviation(many.images)).tolist()),
        "own": summary(own),
        "judge": summary(judged),
        "judge_of_code": summary(of_code),
        "judge_medians": [statistics.median(row) for row in judged.tolist()],
        "judge_worst": summary(judged.amax(0)),
        "judge_errors": judged.tolist(),
        "distance_of_restarts": mean([distance(images[i], images[j]) for i, j in pairs]),
        "ssim_of_restarts": mean([ssim(images[i], images[j]).mean().item() for i, j in pairs]),
    }


def summary(errors: Tensor) -> dict[str, Any]:
    """Of errors (R, N) or (N,) in degrees, with 95 % intervals over the N chairs."""
    chairs = torch.arange(errors.shape[-1]).expand_as(errors).flatten()
    found = {
        "median": estimate(errors.flatten(), chairs, "median"),
        "within_30": estimate((errors < 30).double().flatten(), chairs),
    }
    return {name: asdict(one) for name, one in found.items()}


def told(found: dict[str, Any], digits: int = 1) -> str:
    """A figure and its interval."""
    return Column("", digits=digits).words(Estimate(**found))


def distance(one: Tensor, other: Tensor) -> float:
    """Mean over samples of the root mean squared difference of a pixel."""
    return (one - other).square().flatten(1).mean(1).sqrt().mean().item()


def mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else float("nan")


def baselines(encoder: ni.Encoder, chairs: Chairs) -> dict[str, Any]:
    """What both networks read from the originals, and from pictures that say nothing of the chair."""
    judge = held_out_estimator(encoder)
    assert judge is not None
    pictures = {
        "originals": chairs.images,
        "the mean of the originals": chairs.images.mean(0, keepdim=True).expand_as(chairs.images),
        "grey": torch.full_like(chairs.images, 0.5),
        "another chair": chairs.images.roll(1, 0),
    }
    said = read_poses(encoder, chairs.images)
    assert said is not None
    of_code = replace(chairs, rotation=said.rotation)
    return {
        name: {
            "judge_of_code": summary(pose_errors(judge, images, of_code)),
            "own": summary(pose_errors(encoder, images, chairs)),
            "judge": summary(pose_errors(judge, images, chairs)),
        }
        for name, images in pictures.items()
    }


# -- tables and pictures ---------------------------------------------------------------------------------


def page(results: dict[str, Any]) -> str:
    lines = [
        "# posenet's fully connected codes, and the poses read from their inversions",
        "",
        f"Made by `python benchmarks/posenet_codes.py`: {results['chairs']} chairs of seed "
        f"{results['seed']}, {results['restarts']} inversions of each code. Geodesic errors in degrees",
        "against the cameras, median, and the share within 30°, with 95 % intervals over chairs; the worst",
        "of a code's inversions is the one that the judge reads worst. The code's pose is what posenet",
        "itself reads from the original, and all that `fc8` says. Distance: root mean squared difference of",
        "a pixel between two inversions of one code.",
        "",
        table(results),
        "",
        "For comparison:",
        "",
        "| picture | posenet reads | the judge reads | within 30° | the judge, against the code's pose |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, readings in results["baselines"].items():
        judged = readings["judge"]
        cells = (told(readings["own"]["median"]), told(judged["median"]), told(judged["within_30"], 2))
        lines.append(f"| {' | '.join((name, *cells, told(readings['judge_of_code']['median'])))} |")
    return "\n".join(lines) + "\n"


def table(results: dict[str, Any]) -> str:
    headings = (
        "layer", "recipe", "code error", "posenet reads", "the judge reads", "within 30°",
        "against the code's pose", "each restart", "the worst of a code", "within 30°", "SSIM",
        "SSIM of restarts", "distance", "s an image",
    )  # fmt: skip
    lines = [f"| {' | '.join(headings)} |", f"| {' | '.join(['---'] * len(headings))} |"]
    for row in results["rows"]:
        own, judged, worst = row["own"], row["judge"], row["judge_worst"]
        cells = (
            row["layer"],
            row["recipe"],
            f"{row['code_error']:.3f}",
            told(own["median"]),
            told(judged["median"]),
            told(judged["within_30"], 2),
            told(row["judge_of_code"]["median"]),
            " ".join(f"{value:.1f}°" for value in row["judge_medians"]),
            told(worst["median"]),
            told(worst["within_30"], 2),
            f"{row['ssim']:.2f}",
            f"{row['ssim_of_restarts']:.2f}",
            f"{row['distance_of_restarts']:.2f}",
            f"{row['seconds_an_image']:.2f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def sheet(chairs: Chairs, pictures: dict[str, Tensor], layer: str) -> Image:
    """Rows are chairs, columns the original and every recipe's restarts."""
    restarts = [f"{name} {k + 1}" for name, found in pictures.items() for k in range(len(found))]
    rows = [
        GridRow(
            f"chair {index + 1}",
            (
                Tile(chairs.images[index]),
                *(Tile(one[index].clamp(0, 1)) for found in pictures.values() for one in found),
            ),
        )
        for index in range(min(ON_SHEET, len(chairs.images)))
    ]
    return grid_image(ImageGrid(rows, ["original", *restarts], f"posenet {layer}"))


if __name__ == "__main__":
    main()
