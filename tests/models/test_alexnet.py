from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from netinvert import Encoder, invert, maximise
from netinvert.errors import NetworkError
from netinvert.inversion.objectives import code_error
from netinvert.models.registry import list_networks, load_network
from netinvert.models.zoo.alexnet import LAYERS, AlexNet, AlexNet2012, AlexNetCaffe, renamed


@pytest.mark.slow
def test_torchvisions_weights_give_torchvisions_logits(tmp_path):
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(0)
    theirs = torchvision.models.alexnet().eval()
    torch.save(theirs.state_dict(), tmp_path / "alexnet.pt")
    image = torch.rand(1, 3, 224, 224)
    for name in ("alexnet", "torchvision:alexnet"):
        ours = load_network(name, tmp_path / "alexnet.pt")
        with torch.no_grad():
            torch.testing.assert_close(ours.module(image), theirs(image), rtol=0, atol=1e-6)


def test_the_response_normalisation_is_the_papers():
    # b = a / (k + alpha * sum over 5 channels of a^2)^beta, alpha not divided (Krizhevsky 2012, section 3.3)
    torch.manual_seed(0)
    activity = 30 * torch.rand(1, 12, 2, 2)
    padded = F.pad(activity.square(), (0, 0, 0, 0, 2, 2))
    sums = sum(padded[:, shift : shift + 12] for shift in range(5))
    with torch.device("meta"):  # 61 million weights take their time, and a normalisation has none
        new, caffe = AlexNet2012().norm1, AlexNetCaffe().norm2
    torch.testing.assert_close(new(activity), activity / (2 + 1e-4 * sums) ** 0.75)
    # Caffe divides alpha by the 5 channels, with k = 1
    torch.testing.assert_close(caffe(activity), activity / (1 + 1e-4 / 5 * sums) ** 0.75)


@pytest.mark.parametrize("name", ["alexnet", "alexnet-2012", "alexnet-caffe"])
def test_cards_say_what_is_built(name):
    card = next(card for card in list_networks() if card.name == name)
    with torch.device("meta"):
        network = load_network(name, "random")
    assert card.parameters == sum(p.numel() for p in network.module.parameters())
    assert set(LAYERS) <= {layer for layer, _ in network.module.named_children()}


def test_published_shapes():
    shapes = {}
    with torch.device("meta"):
        x = torch.zeros(1, 3, 227, 227)
        for name, part in AlexNet2012().named_children():
            x = part(x)
            shapes[name] = tuple(x.shape[1:])
    assert shapes["conv1"] == (96, 55, 55)
    assert shapes["pool1"] == (96, 27, 27)
    assert shapes["conv2"] == (256, 27, 27)
    assert shapes["pool5"] == (256, 6, 6)
    assert shapes["fc8"] == (1000,)


def test_the_halves_of_grouped_convolutions_do_not_see_one_another():
    with torch.device("meta"):
        network = AlexNet2012()
    network.conv2.to_empty(device="cpu").reset_parameters()
    x = torch.rand(1, 96, 27, 27)
    other = x.clone()
    other[:, 48:] = 0
    torch.testing.assert_close(network.conv2(x)[:, :128], network.conv2(other)[:, :128])
    assert not torch.allclose(network.conv2(x)[:, 128:], network.conv2(other)[:, 128:])


@pytest.mark.parametrize(
    ("name", "where"),
    [("alexnet", "alexnet-owt"), ("alexnet-caffe", "bvlc_alexnet"), ("alexnet-2012", "train")],
)
def test_without_weights_the_error_says_what_to_give(name, where):
    with pytest.raises(NetworkError, match=f"comes without weights.*{where}.*or --weights FILE"):
        load_network(name)


@pytest.mark.slow
def test_the_network_of_2012_is_inverted_and_maximised():
    encoder = Encoder(load_network("alexnet-2012", "random"), "pool5", size=(67, 67))
    image = torch.rand(1, 3, 67, 67, generator=torch.Generator().manual_seed(0))
    result = invert(encoder, encoder(image), steps=8, seed=0)
    flat = encoder(torch.full_like(image, 0.5))
    assert code_error(result.code, result.target) < 0.8 * code_error(flat, result.target)
    most = maximise(encoder, "channel:3", steps=8, seed=0)
    assert most.code[0, 3].mean() > flat[0, 3].mean()


def test_weights_of_another_network_are_refused(tmp_path):
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "wrong.pt")
    with pytest.raises(NetworkError, match="another network"):
        load_network("alexnet", tmp_path / "wrong.pt")


def test_renaming_leaves_other_names():
    state = {"features.0.weight": torch.zeros(1), "conv2.bias": torch.ones(1)}
    assert set(renamed(state)) == {"conv1.weight", "conv2.bias"}


def test_alexnet_2012_takes_blue_first_without_its_mean():
    encoder = Encoder(load_network("alexnet-2012", "random"), "conv1")
    red = torch.zeros(1, 3, 227, 227)
    red[:, 0] = 1
    seen = encoder.network_input(red)[0, :, 0, 0]
    torch.testing.assert_close(seen, torch.tensor([-104.0, -117.0, 255.0 - 123.0]))


def test_the_one_tower_has_five_convolutions_and_three_overlapping_pools():
    with torch.device("meta"):
        parts = dict(AlexNet().named_children())
    assert [name for name in parts if name.startswith("conv")] == [f"conv{k}" for k in range(1, 6)]
    pools = [part for name, part in parts.items() if name.startswith("pool")]
    assert [(pool.kernel_size, pool.stride) for pool in pools] == [(3, 2)] * 3
