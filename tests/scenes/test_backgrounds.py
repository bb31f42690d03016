import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from netinvert.errors import ConfigError
from netinvert.scenes.backgrounds import KINDS, composite, occluded, random_background, read_photographs


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("kind", [*KINDS, "mixed"])
@pytest.mark.parametrize("size", [1, 8, 65])
def test_every_kind_makes_images_of_the_size_and_the_same_again(kind, size):
    one = random_background(rng(3), size, kind)
    assert one.shape == (size, size, 3)
    assert one.dtype == np.uint8
    assert np.array_equal(one, random_background(rng(3), size, kind))


@pytest.mark.parametrize("kind", KINDS)
def test_colours_vary(kind):
    means = np.array([random_background(rng(seed), 16, kind).mean(axis=(0, 1)) for seed in range(60)])
    assert (means.std(axis=0) > 25).all()
    spread = means.max(axis=1) - means.min(axis=1)
    assert (spread < 20).any()
    assert (spread > 60).any()


def test_plain_is_plain_and_the_others_are_not():
    assert all(np.ptp(random_background(rng(s), 32, "plain"), axis=(0, 1)).max() == 0 for s in range(5))
    for kind in KINDS[1:]:
        assert any(np.ptp(random_background(rng(s), 32, kind), axis=(0, 1)).max() > 30 for s in range(5))


def test_mixed_draws_photographs_too():
    red = np.full((40, 60, 3), (200, 10, 10), np.uint8)
    drawn = [random_background(rng(seed), 16, photographs=(red,)) for seed in range(40)]
    assert any((each == (200, 10, 10)).all() for each in drawn)


def test_photographs_are_cut_at_random_and_squarely(tmp_path):
    y, x = np.mgrid[0:40, 0:90].astype(np.uint8)
    Image.fromarray(np.stack([x, y, x * 0], axis=-1)).save(tmp_path / "b.png")
    Image.fromarray(np.zeros((5, 5, 3), np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "notes.txt").write_text("no image")
    photographs = read_photographs(tmp_path)
    assert [p.shape for p in photographs] == [(5, 5, 3), (40, 90, 3)]
    cuts = [random_background(rng(seed), 20, "photographs", photographs[1:]) for seed in range(10)]
    assert len({cut.tobytes() for cut in cuts}) == 10
    for cut in cuts:
        across, down = np.ptp(cut[..., 0].astype(int)), np.ptp(cut[..., 1].astype(int))
        assert abs(across - down) <= 2
        assert (np.diff(cut[0, :, 0].astype(int)) >= 0).all()


def test_bad_backgrounds(tmp_path):
    with pytest.raises(ConfigError, match="checks"):
        random_background(rng(), 8, "stripes")
    with pytest.raises(ConfigError, match="folder"):
        random_background(rng(), 8, "photographs")
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(ConfigError, match="folder of images"):
            read_photographs(folder)


@given(colour=st.integers(0, 255), behind=st.integers(0, 255), alpha=st.integers(0, 255))
def test_composite_is_the_weighted_mean(colour, behind, alpha):
    rgba = np.array([[[colour, colour, colour, alpha]]], np.uint8)
    mixed = composite(rgba, np.full((1, 1, 3), behind, np.uint8))
    exact = (colour * alpha + behind * (255 - alpha)) / 255
    assert np.abs(mixed.astype(float) - exact).max() <= 0.5 + 1e-3
    assert mixed.dtype == np.uint8


@given(seed=st.integers(0, 10_000), share=st.floats(0.01, 0.6))
def test_occluders_hide_at_most_their_share_and_all_three_alike(seed, share):
    image = np.full((48, 48, 3), 7, np.uint8)
    mask, parts = np.full((48, 48), 255, np.uint8), np.full((48, 48), 2, np.uint8)
    seen, covered, ids = occluded(rng(seed), image, mask, parts, share)
    hidden = covered == 0
    # pixels whose centre lies inside: more than the area by part of the outline at most
    assert hidden.mean() <= share + 4 * np.sqrt(share * 48 * 48) / 48**2 * 4
    assert np.array_equal(ids == 0, hidden)
    assert (ids[~hidden] == 2).all()
    assert (covered[~hidden] == 255).all()
    assert (seen[~hidden] == 7).all()
    again = occluded(rng(seed), image, mask, parts, share)
    assert all(np.array_equal(a, b) for a, b in zip((seen, covered, ids), again, strict=True))
    assert (image == 7).all()


def test_occluders_do_hide_and_none_draws_nothing():
    image, mask = np.full((32, 32, 3), 7, np.uint8), np.full((32, 32), 255, np.uint8)
    hidden = [(occluded(rng(s), image, mask, mask, 0.4)[1] == 0).mean() for s in range(100)]
    assert np.mean(hidden) > 0.08
    assert max(hidden) > 0.25
    generator = rng(1)
    assert occluded(generator, image, mask, mask, 0.0)[0] is image
    assert generator.random() == rng(1).random()
