import pytest
import torch

from netinvert import ConfigError, Encoder, invert, load_network, recipe
from netinvert.inversion.objectives import code_error
from netinvert.inversion.presets.fitting import contrast_of
from netinvert.inversion.priors import AlphaNorm, Exposure, TotalVariation
from netinvert.inversion.schedule import Momentum

NO_CODE = torch.empty(0)


def test_exposure_by_hand():
    image = torch.tensor([0.2, 0.6]).repeat(32).view(1, 1, 8, 8)  # mean 0.4, deviation 0.2 in each 2 × 2
    other = torch.full((1, 1, 8, 8), 0.5)
    other[..., :2], other[..., -2:] = 0.2, 0.8  # from dark to light, but flat in each of the 4 × 4 parts
    found = Exposure(mean=0.5, deviation=0.1)(torch.cat([image, other]), NO_CODE)
    torch.testing.assert_close(found, torch.tensor([(0.1**2 + 0.1**2) / 0.1**2, 1.0]), rtol=0, atol=3e-3)


def test_exposure_of_a_constant_image_has_a_gradient():
    image = torch.full((1, 3, 8, 8), 0.2, requires_grad=True)
    (gradient,) = torch.autograd.grad(Exposure()(image, NO_CODE).sum(), image)
    assert bool(torch.isfinite(gradient).all())
    assert bool((gradient < 0).all())  # brighter


def test_exposure_needs_a_deviation():
    with pytest.raises(ConfigError, match="above zero"):
        Exposure(deviation=0)


@pytest.mark.parametrize(
    ("name", "layer", "knows"),
    [
        ("hog", "cells", False),
        ("hogb", "clamp", False),
        ("dsift", "renorm", False),
        ("dsift", "pooling", True),
    ],
)
def test_normalised_codes_do_not_know_contrast(name, layer, knows):
    assert contrast_of(Encoder(load_network(name), layer)).known is knows


def test_the_codes_of_a_cnn_know_contrast():
    assert contrast_of(Encoder(load_network("posenet"), "fc8")).known


def test_cvpr15_shallow_constants():
    # experiment_shallow_quantitative.m: 0.004 * [1, .1, .01, .001] * 200 steps each, TVbeta 2, lambdaTV 1,
    # lambdaL2 8e-10; the energies are halved and over sigma², whatever the size
    how = recipe("cvpr15-shallow", Encoder(load_network("hog"), "cells"))
    sigma2 = 27098.1157**2
    assert [stage.steps for stage in how.stages] == [200] * 4
    for stage, drop in zip(how.stages, (1, 0.1, 0.01, 0.001), strict=True):
        assert isinstance(stage.optimizer, Momentum)
        assert stage.optimizer.learning_rate == pytest.approx(0.004 * drop * sigma2)
    (tv_weight, tv), (alpha_weight, alpha) = how.priors
    assert isinstance(tv, TotalVariation)
    assert tv.beta == 2
    assert tv_weight == pytest.approx(1 / 2 * 224**2 * 255**2 / sigma2)
    assert isinstance(alpha, AlphaNorm)
    assert alpha_weight == pytest.approx(8e-10 / 2 * 224**2 * 255**6 / sigma2)


def test_shallow_finds_a_well_exposed_image_of_the_code():
    encoder = Encoder(load_network("hogb"), "cells", size=(48, 48))
    y, x = torch.meshgrid(torch.linspace(-1, 1, 48), torch.linspace(-1, 1, 48), indexing="ij")
    original = 0.3 + 0.1 * torch.sin(6 * x * y)[None, None]  # dark and of low contrast
    code = encoder(original)
    result = invert(encoder, code, preset=recipe("shallow", encoder).with_steps(150))
    assert code_error(result.code, code).item() < 0.15
    within = result.image.view(4, 12, 4, 12).std((1, 3)).square().mean().sqrt()
    assert within.item() == pytest.approx(0.15, abs=0.03)
    assert result.image.mean().item() == pytest.approx(0.5, abs=0.03)
    likeness = torch.corrcoef(torch.stack([result.image.flatten(), original.flatten()]))[0, 1]
    assert likeness > 0.5
