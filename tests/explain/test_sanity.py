"""The checks of saliencies, on networks whose answers are known."""

import pytest
import torch
from torch import nn

import tiny
from netinvert.explain.saliency import Saliency
from netinvert.explain.sanity import (
    SHIFT,
    cascade,
    deleted,
    edge_map,
    likeness,
    random_map,
    randomised,
    rank_correlation,
    shifted,
)
from netinvert.explain.targets import parse_target
from netinvert.models.network import Network, Preprocessing

FORM = Preprocessing(tiny.SIZE, (0.5, 0.4, 0.3), (0.2, 0.3, 0.25))
TINY = Network("tiny", tiny.seeded(tiny.plain), FORM)
CLASS = parse_target(TINY, "class:2")
IMAGES = tiny.images(6)


def weighing(weights):
    """Answers with a weighted sum of all numbers of an image."""
    module = nn.Sequential(nn.Flatten(), nn.Linear(weights.numel(), 2, bias=False)).double().eval()
    module[1].weight.data[:] = torch.stack([weights.flatten(), -weights.flatten()])
    return parse_target(Network("sum", module, tiny.PLAIN), "class:0")


def test_rank_correlation_shares_ties():
    """Kendall's textbook case: mean ranks, Pearson's r of them."""
    one, other = torch.tensor([[1.0, 2.0, 2.0, 4.0]]), torch.tensor([[3.0, 1.0, 5.0, 5.0]])
    ranks = torch.tensor([[1.0, 2.5, 2.5, 4.0], [2.0, 1.0, 3.5, 3.5]])
    assert rank_correlation(one, other).item() == pytest.approx(torch.corrcoef(ranks)[0, 1].item())
    assert rank_correlation(one, torch.ones(1, 4)).item() == 0


def test_a_cascade_goes_down_from_the_output_and_leaves_the_network():
    before = {name: value.clone() for name, value in TINY.module.state_dict().items()}
    names, changed = [], []
    for name, network in cascade(TINY, tiny.SIZE, 0):
        names.append(name)
        state = network.module.state_dict()
        changed.append({key.split(".")[0] for key in before if not torch.equal(state[key], before[key])})
    assert names == ["8", "4", "3", "0"]
    assert changed == [{"8"}, {"8", "4"}, {"8", "4", "3"}, {"8", "4", "3", "0"}]
    assert all(torch.equal(value, before[name]) for name, value in TINY.module.state_dict().items())


def test_gradients_forget_a_random_network_and_edges_do_not():
    gradient = randomised(CLASS, IMAGES, Saliency(), 0)
    assert list(gradient) == ["last layer", "upper half", "all layers"]
    assert gradient["all layers"].mean() < 0.5
    edges = randomised(CLASS, IMAGES, edge_map, 0)
    assert all((one > 1 - 1e-9).all() for one in edges.values())


def test_a_shift_that_the_network_takes_off_moves_what_is_weighed_by_the_image():
    assert (shifted(CLASS, IMAGES, Saliency()) > 1 - 1e-6).all()
    assert (shifted(CLASS, IMAGES, Saliency("grad-cam")) > 1 - 1e-6).all()
    assert (shifted(CLASS, IMAGES, Saliency("gradient-input")) < 0.95).all()
    seen = []
    shifted(CLASS, IMAGES, lambda target, images, fixed: seen.append(target(images, fixed)) or images[:, 0])
    torch.testing.assert_close(*seen)
    assert SHIFT > 0


def test_areas_of_a_sum_are_known():
    """Of weights that are 1 in an eighth of the pixels, the way is gone after two of 16 steps."""
    weights = torch.zeros(3, 16, 16, dtype=torch.float64)
    weights[:, :2] = 1
    target, images = weighing(weights), torch.ones(2, 3, 16, 16, dtype=torch.float64)
    maps = weights[0].expand(2, -1, -1)
    area, way = deleted(target, images, maps)
    torch.testing.assert_close(area, torch.full((2,), 1 / 16, dtype=torch.float64))
    torch.testing.assert_close(way, torch.full((2,), 0.5 * 96, dtype=torch.float64))
    assert (deleted(target, images, -maps)[0] == 1 - 1 / 16).all()
    dots = torch.zeros(3, 16, 16, dtype=torch.float64)
    dots[:, 4:8, ::2] = 1  # a blur takes half of them away
    area, way = deleted(weighing(dots), dots[None], dots[:1], insert=True)
    assert area.item() == pytest.approx(1 - 1 / 16)  # 32 of 256 pixels, two steps
    assert way.item() > 20


def test_floors_are_what_they_are_called():
    image = torch.zeros(1, 3, 8, 8)
    image[..., 4:] = 1.0
    found = edge_map(CLASS, image, torch.zeros(1, 0))[0]
    assert (found[:, 3:5] > 1).all()
    assert (found[:, :3] == 0).all()
    draw = random_map(3)
    first, second = (draw(CLASS, IMAGES, torch.zeros(6, 0)) for _ in range(2))
    assert likeness(first, second).abs().mean() < 0.1
    assert torch.equal(first, random_map(3)(CLASS, IMAGES, torch.zeros(6, 0)))


def interrupted(target, images, fixed):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    "check",
    [
        lambda explains: randomised(CLASS, IMAGES, explains, 0),
        lambda explains: shifted(CLASS, IMAGES, explains),
        lambda explains: deleted(CLASS, IMAGES, explains(CLASS, IMAGES, CLASS.fixed(IMAGES))),
        lambda explains: list(cascade(TINY, tiny.SIZE, 0)) and explains(CLASS, IMAGES, CLASS.fixed(IMAGES)),
    ],
)
@pytest.mark.parametrize("explains", [Saliency("guided"), Saliency("grad-cam"), interrupted])
def test_checks_leave_nothing_on_the_network(check, explains):
    def state():
        parts = [
            (name, part.training, len(part._forward_hooks), len(part._forward_pre_hooks))
            for module in (TINY.module, CLASS.encoder.module)
            for name, part in module.named_modules()
        ]
        return parts, [(one.requires_grad, one.grad, one.sum().item()) for one in TINY.module.parameters()]

    before = state()
    if explains is interrupted:
        with pytest.raises(KeyboardInterrupt):
            check(explains)
    else:
        check(explains)
    assert state() == before
    assert torch.is_grad_enabled()
    assert not IMAGES.requires_grad
