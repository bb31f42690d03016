import math

import pytest
import torch

from netinvert import ImageError
from netinvert.evaluation.metrics import (
    BINS,
    LUMA,
    STRENGTHS,
    gradient_histogram,
    gradient_naturalness,
    gradient_statistics,
    histogram_intersection,
    naturalness,
)
from netinvert.io.assets import photographs


def ramp(degrees: float, size: int = 33) -> torch.Tensor:
    """Grey that grows in one direction, counterclockwise from the right; (1, 1, size, size)."""
    line = torch.arange(size, dtype=torch.float64) - size // 2
    angle = math.radians(degrees)
    slope = math.cos(angle) * line[None, :] - math.sin(angle) * line[:, None]  # rows count downwards
    return (0.5 + slope / (2 * size))[None, None]


def by_hand(image: torch.Tensor) -> list[float]:
    """exp_naturalness.m, pixel by pixel."""
    grey = (image[0] * torch.tensor(LUMA, dtype=image.dtype).view(-1, 1, 1)).sum(0).tolist()
    height, width = len(grey), len(grey[0])
    edges = [-180 + 20 * k for k in range(19)]
    found = [0.0] * 18
    for y in range(height):
        for x in range(width):

            def at(dy: int, dx: int, y: int = y, x: int = x) -> float:
                return grey[min(max(y + dy, 0), height - 1)][min(max(x + dx, 0), width - 1)]

            weights = ((-1, 1), (0, 2), (1, 1))
            gx = sum(w * (at(d, 1) - at(d, -1)) for d, w in weights)
            gy = sum(w * (at(1, d) - at(-1, d)) for d, w in weights)
            direction = math.degrees(math.atan2(-gy, gx))
            for k in range(18):
                low = direction >= edges[0] if k == 0 else direction > edges[k]
                if low and direction <= edges[k + 1]:
                    found[k] += math.hypot(gx, gy)
    return [value / sum(found) for value in found]


def test_it_is_the_authors_histogram():
    image = torch.rand(1, 3, 9, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert gradient_histogram(image)[0].tolist() == pytest.approx(by_hand(image), abs=1e-12)


@pytest.mark.parametrize("degrees", [-170, -90, -30, 50, 90, 130, 170])
def test_a_ramp_falls_into_the_bin_of_its_direction(degrees):
    # Not at the border, where the repeated pixels turn the gradient.
    histogram = gradient_histogram(ramp(degrees))[0]
    assert histogram.argmax() == (degrees + 180) // 20 - (degrees % 20 == 0)
    assert histogram.max() > 0.8


@pytest.mark.parametrize(("degrees", "place"), [(0, 8), (180, 0)])
def test_directions_at_an_edge_go_where_matlab_puts_them(degrees, place):
    # A gradient to the right is at -0 degrees, the upper edge of its bin; one to the left at -180.
    image = ramp(degrees)
    image[:] = image[..., :1, :]  # no rounding in the other direction
    assert gradient_histogram(image)[0, place] == 1


def test_shares_sum_to_one_and_do_not_depend_on_contrast():
    image = torch.rand(2, 3, 12, 14, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert gradient_histogram(image).sum(1).tolist() == pytest.approx([1, 1])
    assert torch.allclose(gradient_histogram(image / 4), gradient_histogram(image))


def test_an_image_is_as_natural_as_itself_and_turned_ones_less():
    natural = ramp(50)
    assert naturalness(natural, natural).tolist() == pytest.approx([1])
    assert naturalness(ramp(-130), natural) < 0.2
    assert naturalness(ramp(30), natural) < naturalness(ramp(48), natural)


def test_samples_are_independent_and_clipped():
    image = 3 * torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(2)) - 1
    both = gradient_histogram(image)
    assert both.shape == (2, BINS)
    assert torch.equal(both[:1], gradient_histogram(image[:1]))
    assert torch.equal(both, gradient_histogram(image.clamp(0, 1)))


def test_a_constant_image_shares_nothing():
    flat = torch.full((1, 3, 8, 8), 0.5)
    assert histogram_intersection(gradient_histogram(flat), gradient_histogram(flat)).item() == 0


def test_statistics_count_pixels_by_strength_and_direction():
    # Slopes of 3/256 a pixel to the right: in [2/256, 4/256), direction -0, in the ninth bin.
    line = torch.arange(20, dtype=torch.float64) * 3 / 256
    image = line.expand(1, 1, 10, 20).clone()
    image[..., 10:] = image[..., 10:11]  # and flat from there on
    shares = gradient_statistics(image)[0]
    assert shares.shape == (1 + len(STRENGTHS) * BINS,)
    assert shares.sum().item() == pytest.approx(1)
    assert shares[0].item() == pytest.approx(9 / 20)
    full = 1 + STRENGTHS.index(2 / 256) * BINS + 8
    half = 1 + STRENGTHS.index(1 / 256) * BINS + 8  # at both ends, over half the distance
    assert shares[full].item() == pytest.approx(9 / 20)
    assert shares[half].item() == pytest.approx(2 / 20)


def test_statistics_tell_noise_and_blur_from_an_image_where_directions_cannot():
    _, shown = photographs((64, 64))
    noise = torch.rand(shown.shape, generator=torch.Generator().manual_seed(0))
    blurred = torch.nn.functional.avg_pool2d(shown, 9, 1, 4, count_include_pad=False)
    assert naturalness(noise, shown).mean() > 0.8
    for other in (noise, blurred):
        assert gradient_naturalness(other, shown).mean() < 0.6
    assert gradient_naturalness(shown, shown).tolist() == pytest.approx([1] * 7)
    slightly = shown + 0.01 * (noise - 0.5)
    assert (gradient_naturalness(slightly, shown) > gradient_naturalness(noise, shown)).all()


def test_bad_images_are_refused():
    with pytest.raises(ImageError, match="1 or 3"):
        gradient_histogram(torch.rand(3, 8, 8))
    with pytest.raises(ImageError, match="one shape"):
        naturalness(torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 9))
