"""The largest responses and where they come from, against the whole of the images at once."""

import pytest
import torch
from torch import nn

from netinvert import CodeError, ConfigError, Encoder
from netinvert.explain.deconvnet import deconvnet, strongest
from netinvert.explain.top_patches import Basis, FieldOfView, Tops, field_of_view, fit_basis, top_responses
from netinvert.models.layers import list_layers
from netinvert.models.registry import load_network
from tiny import PLAIN, images, plain, seeded

FEW = 4


@pytest.fixture(scope="module")
def encoder():
    return Encoder(seeded(plain), "3", PLAIN)


def test_streamed_they_are_those_of_all_at_once(encoder):
    every = images(23)
    basis = Basis.of_units(encoder)
    found = top_responses(encoder, basis, torch.split(every, 5))
    codes = encoder(every).detach()
    largest, at = codes.flatten(2).max(2)
    values, numbers = largest.T.sort(1, descending=True)
    assert torch.equal(found.values, values[:, :9])
    assert torch.equal(found.images, numbers[:, :9])
    for unit, row in enumerate(found.images.tolist()):
        for rank, number in enumerate(row):
            place = at[number, unit].item()
            assert found.places[unit, rank].tolist() == [place // 8, place % 8]


def test_in_two_halves_they_are_the_same_and_each_image_comes_once(encoder):
    every, basis = images(12), Basis.of_units(encoder, [3, 1])
    whole = top_responses(encoder, basis, [every])
    halves = [top_responses(encoder, basis, [every[at : at + 6]], at) for at in (0, 6)]
    both = halves[0].with_later(halves[1])
    assert all(torch.equal(getattr(whole, name), getattr(both, name)) for name in vars(whole))
    assert all(len({*row}) == len(row) for row in whole.images.tolist())
    few = top_responses(encoder, basis, [every[:FEW]])
    assert few.values.shape == (2, FEW)  # there are no more


def test_of_equal_ones_the_earliest_count():
    found = Tops.of(torch.ones(3, 1), 10, 2)
    later = Tops.of(torch.ones(3, 1), 20, 2)
    assert found.with_later(later, 3).images.tolist() == [[10, 11, 20]]


def test_vectors_have_no_places():
    encoder = Encoder(seeded(plain), "8", PLAIN)
    found = top_responses(encoder, Basis.of_units(encoder), [images(3)])
    assert found.places.unique().tolist() == [0]
    assert torch.equal(found.values[:, 0], encoder(images(3)).amax(0))


def test_a_unit_is_sent_down_as_the_deconvnet_does(encoder):
    image, basis = images(1), Basis.of_units(encoder)
    tops = top_responses(encoder, basis, [image])
    row, column = tops.places[5, 0].tolist()
    own = deconvnet(encoder, image, strongest(5))
    assert torch.equal(deconvnet(encoder, image, basis.start(5, row, column)), own)
    assert basis.wanted(encoder, 5)[0, 5, 4, 4] == 1
    assert basis.wanted(encoder, 5).sum() == 1


# -- directions ------------------------------------------------------------------------------------------


def low_rank(rank: int, count: int = 200) -> torch.Tensor:
    """Codes (N, 6, 2, 2) of so many sources, the first by far the strongest, none below zero."""
    source = torch.Generator().manual_seed(3)
    ways = torch.eye(6)[:rank]
    strength = (
        torch.rand(count, rank, 2, 2, generator=source) * torch.tensor([5.0, 1.0, 0.3])[:rank, None, None]
    )
    return torch.einsum("nkhw,kc->nchw", strength, ways)


def test_pca_finds_the_ways_in_which_codes_differ():
    basis = fit_basis("pca", 2, torch.split(low_rank(3), 20))
    assert basis.directions.shape == (2, 6)
    assert basis.directions[0, 0].abs() > 0.99
    assert basis.directions[1, 1].abs() > 0.99
    torch.testing.assert_close(basis.mean, low_rank(3).mean((0, 2, 3)), rtol=0.02, atol=0.02)
    responses = basis.responses(low_rank(3))
    assert responses.mean((0, 2, 3)).abs().max() < 0.02


def test_nmf_finds_the_parts():
    basis = fit_basis("nmf", 2, torch.split(low_rank(2), 20))
    assert (basis.directions >= 0).all()
    assert {row.argmax().item() for row in basis.directions} == {0, 1}


def test_directions_are_the_same_again():
    again = [fit_basis("pca", 2, torch.split(low_rank(3), 20), 5).directions for _ in range(2)]
    assert torch.equal(*again)


@pytest.mark.parametrize(
    ("kind", "count", "codes", "error", "says"),
    [
        ("nmf", 2, [-low_rank(2)], CodeError, "below zero"),
        ("pca", 300, [low_rank(2, 3)], ConfigError, "more images"),
        ("ica", 2, [low_rank(2)], ConfigError, "pca or nmf"),
    ],
)
def test_what_gives_no_directions_is_refused(kind, count, codes, error, says):
    with pytest.raises(error, match=says):
        fit_basis(kind, count, codes)


def test_bad_input_is_refused(encoder):
    with pytest.raises(ConfigError, match="channels 0 to 7"):
        Basis.of_units(encoder, [8])
    with pytest.raises(ConfigError, match="there are none"):
        top_responses(encoder, Basis.of_units(encoder), [])
    tokens = Encoder(nn.Sequential(nn.Conv2d(3, 4, 4, 4), nn.Flatten(2)).double().eval(), "output", PLAIN)
    with pytest.raises(ConfigError, match="neither feature maps nor a vector"):
        Basis.of_units(tokens)


# -- receptive fields ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "layers",
    [
        [nn.Conv2d(3, 2, 3)],
        [nn.Conv2d(3, 2, 5, stride=2, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2)],
        [nn.Conv2d(3, 2, (3, 5), padding=(1, 2)), nn.Conv2d(2, 2, 3, dilation=2)],
    ],
)
def test_a_field_is_all_that_a_place_sees_and_no_more(layers):
    """Pixels outside the field change nothing; each of its outermost rows and columns changes something."""
    form = type(PLAIN)((31, 37))
    encoder = Encoder(seeded(lambda: nn.Sequential(*layers)), "output", form)
    field = field_of_view(encoder)
    row, column = 2, 3
    top, left = (
        start + step * at for start, step, at in zip(field.first, field.stride, (row, column), strict=True)
    )
    height, width = field.side
    image = images(1, (31, 37))

    def value(changed):
        return encoder(changed)[0, :, row, column]

    outside = images(1, (31, 37), seed=8)
    outside[..., top : top + height, left : left + width] = image[
        ..., top : top + height, left : left + width
    ]
    assert torch.equal(value(outside), value(image))
    for rows, columns in (
        (slice(top, top + 1), slice(None)),
        (slice(top + height - 1, top + height), slice(None)),
        (slice(None), slice(left, left + 1)),
        (slice(None), slice(left + width - 1, left + width)),
    ):
        marked = image.clone()
        marked[..., rows, columns] = torch.nan
        assert value(marked).isnan().any()


@pytest.mark.parametrize("layer", ["relu1", "relu2", "relu3", "relu5", "relu7"])
def test_fields_are_as_long_as_the_list_of_layers_says(layer):
    network = load_network("posenet", "random")
    info = next(one for one in list_layers(network) if one.name == layer)
    field = field_of_view(Encoder(network, layer))
    assert field.side[0] == (info.receptive_field or 128)
    if field.side[0] < 128:
        assert field.stride == (info.stride, info.stride)


def test_crops_are_whole_and_grey_outside():
    field = FieldOfView((-1, -1), (2, 2), (3, 3))
    image = torch.arange(16.0).view(1, 4, 4)
    assert torch.equal(field.crop(image, 1, 1), image[:, 1:4, 1:4])
    corner = field.crop(image, 0, 0)[0]
    assert corner.tolist() == [[0.5, 0.5, 0.5], [0.5, 0, 1], [0.5, 4, 5]]
    assert torch.equal(FieldOfView((0, 0), (0, 0), (4, 4)).crop(image, 3, 2), image)
