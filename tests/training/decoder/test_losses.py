"""The losses that decoders are trained by."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from netinvert import Encoder
from netinvert.errors import ConfigError, LayerError
from netinvert.models.network import built
from netinvert.training.decoder.losses import (
    CONVOLUTIONS,
    DEEPSIM_WEIGHTS,
    MASK_WEIGHT,
    Discriminator,
    Features,
    LossChoice,
    LossTerm,
    SquaredPixels,
    comparisons,
    mask_loss,
)
from tiny import PLAIN, encoder, images, plain

terms = st.builds(
    LossTerm,
    st.just("feature"),
    st.floats(1e-9, 1e9).map(lambda value: float(f"{value:.3g}")),
    st.sampled_from(["relu3", "block.2:1", "net/relu3[0]"]),
) | st.builds(
    LossTerm,
    st.sampled_from(["pixel", "adversarial", "lpips"]),
    st.floats(1e-9, 1e9).map(lambda value: float(f"{value:.3g}")),
)


@given(st.lists(terms, min_size=1, max_size=5, unique_by=lambda term: term.name))
def test_what_is_written_is_read_again(wanted):
    if all(term.kind == "adversarial" for term in wanted):
        wanted.append(LossTerm("pixel", 1.0))
    choice = LossChoice(tuple(wanted))
    assert LossChoice.parse(str(choice)) == choice


def test_weights_of_1_may_be_left_out():
    assert LossChoice.parse("pixel") == LossChoice() == LossChoice.parse("pixel=1.0")
    found = LossChoice.parse(" feature:relu3 + pixel=0.5+ lpips:vgg=2 ")
    assert [(term.name, term.weight) for term in found.terms] == [
        ("feature:relu3", 1.0),
        ("pixel", 0.5),
        ("lpips:vgg", 2.0),
    ]
    assert found.adversarial is None


def test_deepsim_is_the_papers():
    """Dosovitskiy & Brox 2016 (NIPS): λ_feat 0.01, λ_adv 100, λ_img 2e-6, sums of squares."""
    choice = LossChoice.parse("deepsim:alexnet/conv5")
    assert choice.terms == (
        LossTerm("pixel", 2e-6, summed=True),
        LossTerm("feature", 0.01, "alexnet/conv5", summed=True),
        LossTerm("adversarial", 100.0),
    )
    assert DEEPSIM_WEIGHTS == {"image": 2e-6, "feature": 0.01, "adversarial": 100.0}
    assert choice.adversarial.weight == 100
    assert LossChoice.parse("deepsim:conv5+lpips=1").terms[:3] == LossChoice.parse("deepsim:conv5").terms


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no loss ''"),
        ("mse=1", "pixel, feature, adversarial, lpips, deepsim"),
        ("pixel=0", "positive"),
        ("pixel=-1", "positive"),
        ("pixel=nan", "positive"),
        ("pixel=inf", "positive"),
        ("pixel=much", "much"),
        ("pixel=1=2", "positive"),
        ("pixel+pixel=2", "twice"),
        ("deepsim:a+pixel", "twice"),
        ("feature=1", "feature:LAYER"),
        ("feature:=1", "feature:LAYER"),
        ("pixel:conv1", "nothing behind a colon"),
        ("adversarial=1", "never looks at the original"),
        ("pixel+", "no loss ''"),
        ("deepsim", "deepsim:LAYER"),
        ("deepsim:conv5=2", "the paper's"),
    ],
)
def test_losses_that_cannot_be(text, words):
    with pytest.raises(ConfigError, match=words):
        LossChoice.parse(text)


def test_layers_may_have_colons():
    (term,) = LossChoice.parse("feature:relu:2=3").terms
    assert (term.where, term.weight) == ("relu:2", 3)


COMPARED = ["pixel=2", "feature:2=0.5", "deepsim:5"]


@pytest.mark.parametrize("text", COMPARED)
def test_equal_images_lose_nothing_and_others_something_each(text):
    found = comparisons(LossChoice.parse(text), encoder(plain, "5"))
    first, second = images(3), images(3, seed=8)
    second[1] = first[1]
    for weight, compare in found.values():
        assert weight > 0
        assert compare(first, first).tolist() == [0, 0, 0]
        away = compare(second, first)
        assert away.shape == (3,)
        assert away[1] == 0
        assert bool((away[[0, 2]] > 0).all())
        alone = torch.cat([compare(a[None], b[None]) for a, b in zip(second, first, strict=True)])
        torch.testing.assert_close(alone, away)


@pytest.mark.parametrize("text", COMPARED)
def test_gradients_of_comparisons(text):
    target = images(2, (6, 6))
    for _, compare in comparisons(LossChoice.parse(text), encoder(plain, "5")).values():
        scale = compare(images(2, (6, 6), seed=3), target).sum().item()

        def scaled(made, compare=compare, scale=scale):
            return compare(made, target) / scale

        assert torch.autograd.gradcheck(scaled, images(2, (6, 6), seed=3).requires_grad_())


def test_values_by_hand():
    first, second = torch.zeros(1, 3, 2, 2), torch.full((1, 3, 2, 2), 0.5)
    assert SquaredPixels()(first, second).tolist() == [0.25]
    assert SquaredPixels(summed=True)(first, second).tolist() == [12 * 127.5**2]
    square = nn.Sequential(nn.Conv2d(3, 1, 1, bias=False)).eval()  # the sum of channels
    nn.init.ones_(square[0].weight)
    by = Encoder(square, "0", PLAIN, size=(2, 2))
    assert Features(by)(2 * second, second).tolist() == [1]
    assert Features(by, summed=True)(2 * second, second).tolist() == [4 * 1.5**2]
    assert Features(by)(second, first).isfinite().all()  # whose features are all 0


def test_features_of_a_layer_that_is_not_there():
    with pytest.raises(LayerError):
        comparisons(LossChoice.parse("feature:conv77"), encoder(plain, "5"))


def test_targets_of_features_have_no_gradient():
    originals = images().requires_grad_()
    Features(encoder(plain, "2"))(images(seed=3).requires_grad_(), originals).sum().backward()
    assert originals.grad is None


def test_the_loss_of_masks():
    masks = torch.tensor([0.0, 1.0, 1.0]).view(3, 1, 1, 1)
    assert mask_loss(torch.zeros(3, 1, 1, 1), masks).item() == pytest.approx(MASK_WEIGHT * math.log(2))
    assert mask_loss(100 * (masks - 0.5), masks).item() == pytest.approx(0, abs=1e-9)


def discriminator(size=(32, 32), numbers=5):
    return built(lambda: Discriminator(3, numbers, size)).eval()


def test_losses_of_the_discriminator_by_hand(monkeypatch):
    critic = discriminator()
    real, made, codes = torch.zeros(2, 3, 8, 8), torch.ones(2, 3, 8, 8), torch.zeros(2, 5)
    said = {0.0: torch.tensor([1.0, 3.0]), 1.0: torch.tensor([-2.0, 0.5])}
    monkeypatch.setattr(critic, "forward", lambda x, c: said[x.mean().item()])

    def cross_entropy(logit, truth):
        chance = 1 / (1 + math.exp(-logit))
        return -math.log(chance if truth else 1 - chance)

    wanted = (
        sum(cross_entropy(x, True) for x in (1, 3)) / 2 + sum(cross_entropy(x, False) for x in (-2, 0.5)) / 2
    )
    assert critic.loss(real, made, codes).item() == pytest.approx(wanted, rel=1e-5)
    fooled = sum(cross_entropy(x, True) for x in (-2, 0.5)) / 2
    assert critic.fooled(made, codes).item() == pytest.approx(fooled, rel=1e-5)


@pytest.mark.parametrize("size", [(8, 8), (33, 64), (227, 227)], ids=str)
def test_the_discriminator_sees_images_and_codes(size):
    critic = discriminator(size)
    codes = torch.randn(2, 5, generator=torch.Generator().manual_seed(0))
    shown = images(2, size).float()
    with torch.no_grad():
        logits = critic(shown, codes)
        assert logits.shape == (2,)
        assert not torch.equal(critic(1 - shown, codes), logits)
        assert not torch.equal(critic(shown, -codes), logits)
        assert critic(torch.cat([shown[:1], 1 - shown[1:]]), codes)[0] == logits[0]
    strides = [part.stride[0] for part in critic.convolutions if isinstance(part, nn.Conv2d)]
    assert strides == [2 if min(size) < 128 else 4, *[stride for _, stride, _ in CONVOLUTIONS[1:]]]


@pytest.mark.slow
def test_a_discriminator_learns_to_tell_two_kinds_apart():
    critic = built(lambda: Discriminator(3, 5, (16, 16))).train()
    optimizer = torch.optim.Adam(critic.parameters(), lr=1e-3)
    bright, dark, codes = 0.5 + 0.5 * images(8).float(), 0.5 * images(8).float(), torch.zeros(8, 5)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        losses = []
        for _ in range(25):
            loss = critic.loss(bright, dark, codes)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert losses[0] > 1
    assert losses[-1] < 0.2
    assert critic.eval().fooled(dark, codes) > 1
