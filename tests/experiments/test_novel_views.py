"""``netinvert views novel`` and ``views reconstruct``: what they write, and what bad input gets."""

import json

import pytest
import torch

from netinvert.errors import ConfigError
from netinvert.experiments.configs.views import ViewsNovel
from netinvert.io.files import read_json
from netinvert.models.decoder import load_decoder
from netinvert.models.generator import load_generator
from netinvert.training.views.encoder_decoder import EncoderDecoder
from netinvert.training.views.turntables import Turntables
from netinvert.views.novel import (
    CEILINGS,
    DECODED,
    FLOORS,
    LINEAR,
    MEAN,
    METHODS,
    NEAREST,
    SAME,
    TRUE,
    NovelViews,
    view_measures,
)
from netinvert.views.truth import Truth
from small_generator import small_generator


@pytest.fixture(scope="module")
def generator(tmp_path_factory):
    return small_generator(tmp_path_factory.mktemp("generator") / "small.safetensors", objects=3, size=32)


@pytest.fixture(scope="module")
def problem(generator):
    """Two known objects stand for unseen ones, so that all is known of them."""
    loaded, decoder = load_generator(generator), load_decoder("posenet-fc6")
    rings = Turntables.rendered(Truth.of(loaded).plan, range(3))
    objects = Turntables.joined(rings.planes[:2], (0, 1), rings.distance[:2].tolist())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        told = EncoderDecoder(32).eval()
    return NovelViews(objects, torch.tensor([3, 30]), rings, torch.arange(3), loaded, decoder, told)


@pytest.mark.slow
def test_every_way_gives_images_of_the_generators_size(problem):
    for method in (*CEILINGS, *METHODS, *FLOORS):
        images = problem.images(method, 4)
        assert images.shape == (2, 3, 32, 32), method
        assert 0 <= float(images.min()) <= float(images.max()) <= 1
        assert not images.requires_grad


def test_a_turn_ends_at_the_view_it_says(problem):
    assert problem.target(4).tolist() == [7, 3]  # around the ring
    paper = problem.objects.images(torch.tensor([0, 1]), torch.tensor([7, 3]), 214 / 255)
    torch.testing.assert_close(problem.images(TRUE, 4), paper, atol=0.02, rtol=0)
    torch.testing.assert_close(problem.images(SAME, 4), problem.images(TRUE, 0))


def test_a_known_object_is_nearest_to_itself(problem):
    assert problem.nearest.tolist() == [0, 1]
    for method in (CEILINGS[2], FLOORS[2]):
        torch.testing.assert_close(problem.images(method, 4), problem.images(TRUE, 4))


@pytest.mark.slow
def test_a_ring_of_turned_codes_begins_with_the_code_as_it_is(problem):
    ring = problem.ring(LINEAR)[0].float() / 255
    assert ring.shape == (31, 4, 32, 32)
    assert bool((ring[:, :3] <= ring[:, 3:] + 0.01).all())
    decoded = ring[3, :3] + (1 - ring[3, 3:]) * 214 / 255
    torch.testing.assert_close(decoded, problem.images(DECODED, 0)[0], atol=0.02, rtol=0)


def test_a_ring_has_each_view_at_its_place(problem):
    assert torch.equal(problem.ring(TRUE), problem.objects.planes[:, :31])
    given = problem.objects.planes[torch.arange(2), problem.start]
    assert torch.equal(problem.ring(SAME), given[:, None].expand(-1, 31, -1, -1, -1))


def test_unknown_ways_are_refused(problem):
    with pytest.raises(ConfigError, match="no way 'magic'"):
        problem.images("magic", 1)


def test_measures_look_at_the_objects_pixels_alone():
    true, mask = (
        torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)),
        torch.zeros(2, 1, 16, 16),
    )
    mask[:, :, 4:12, 4:12] = 1
    elsewhere = torch.where(mask > 0, true, 1 - true)
    off = view_measures(elsewhere, true, mask)
    assert off["l1"].tolist() == [0, 0]
    assert torch.allclose(off["ssim"].float(), torch.ones(2))
    wrong = view_measures((true + 0.1 * mask), true, mask)
    assert torch.allclose(wrong["l1"], torch.full((2,), 0.1))
    assert bool((wrong["ssim"] < 1).all())


@pytest.mark.slow
def test_novel_views_and_shapes(command, generator, tmp_path):
    words = ("--generator", generator, "--chairs", 2, "--bank", 3, "--seed", 101, "--samples", 64)
    out = tmp_path / "novel"
    assert command("views", "novel", *words, "--turns", 2, 8, "--learned", 20, "--out", out).code == 0
    rows = read_json(out / "manifest.json")["rows"]
    assert [row["method"] for row in rows] == [*CEILINGS, *METHODS, *FLOORS]
    assert rows[0]["l1"]["value"] < 0.002  # bytes
    assert len((out / "views.csv").read_text().splitlines()) == 1 + 12 * 4
    by_angle, poses = read_json(out / "manifest.json")["by_angle"]
    assert [len(one["rows"]) for one in (by_angle, poses)] == [12, 12]
    both = [by_angle["rows"][-1][angle]["value"] for angle in ("23°", "93°")]
    assert sum(both) / 2 == pytest.approx(rows[-1]["l1"]["value"])
    shapes = tmp_path / "shapes"
    assert command("views", "reconstruct", *words, "--resolution", 16, "--out", shapes).code == 0
    rows = {row["views"]: row for row in read_json(shapes / "manifest.json")["rows"]}
    assert [*rows] == [TRUE, *METHODS, NEAREST, MEAN, SAME]
    assert rows[TRUE]["hull iou"]["value"] > rows[MEAN]["hull iou"]["value"]
    assert len([*shapes.glob("*.obj")]) == 6
    assert json.loads((shapes / "report.json").read_text())["title"] == "Shapes from one image"


def test_bad_input(command, generator, tmp_path):
    with pytest.raises(ConfigError, match="--turns names one twice"):
        ViewsNovel(out=tmp_path, turns=(2, 2))
    with pytest.raises(ConfigError, match="a power of two"):
        ViewsNovel(out=tmp_path, pixels=48)
    said = command("views", "novel", "--generator", generator, "--decoder", "nothing", "--out", tmp_path)
    assert (said.code, "no decoder 'nothing'" in said.err) == (2, True)
    said = command("views", "novel", "--generator", generator, "--objects", "sofas", "--out", tmp_path)
    assert (said.code, "sofas" in said.err) == (2, True)
