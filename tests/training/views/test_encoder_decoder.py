"""The encoder-decoder that is told the view: what its batches hold, and that it learns."""

import pytest
import torch

from netinvert.models.generator import view_numbers
from netinvert.scenes.dataset_config import DatasetConfig
from netinvert.training.config import TrainingConfig, TrainingRun
from netinvert.training.views.encoder_decoder import EncoderDecoder, TurnBatches, train_encoder_decoder
from netinvert.training.views.turntables import Turntables

PAPER = 0.5


@pytest.fixture(scope="module")
def tables():
    """Objects whose views are flat colours: red tells the object, green the view; the mask is all."""
    plan = DatasetConfig(identities=2, views=62, size=16, protocol="chairs62", lights="studio")
    rings = torch.zeros(2, 62, 4, 16, 16, dtype=torch.uint8)
    rings[:, :, 0] = torch.tensor([60, 200])[:, None, None, None]
    rings[:, :, 1] = torch.arange(62)[:, None, None] * 4
    rings[:, :, 3] = 255
    return Turntables.joined(list(rings), range(plan.identities), [2.0, 2.0])


def test_a_batch_pairs_views_of_one_object_in_the_same_colours(tables):
    batch = TurnBatches(tables, 64, 0, PAPER)(3)
    assert batch.images.shape == (64, 3, 16, 16)
    assert batch.planes.shape == (64, 4, 16, 16)
    same = (batch.images - batch.planes[:, :3]).abs().amax((1, 2, 3))
    assert (same > 0.1).any()  # another view
    first = view_numbers(tables.azimuth[:31], tables.elevation[:31])
    apart = torch.cdist(batch.view, first)
    assert bool((apart.amin(1) < 0.01).all())
    assert len(apart.argmin(1).unique()) > 15
    again = TurnBatches(tables, 64, 0, PAPER)(3)
    assert torch.equal(batch.images, again.images)
    assert not torch.equal(batch.images, TurnBatches(tables, 64, 0, PAPER)(4).images)


def test_what_is_given_stands_before_paper(tables):
    empty = Turntables.joined(list(torch.zeros_like(tables.planes)), range(2), [2.0, 2.0])
    batch = TurnBatches(empty, 4, 0, PAPER)(0)
    assert torch.equal(batch.images, torch.full_like(batch.images, PAPER))
    assert float(batch.planes.abs().max()) == 0


def test_it_learns_what_it_is_shown_and_the_same_again(tables, tmp_path):
    plan = TrainingConfig(samples=32 * 40, batch=32, rate=2e-2, average=0.5)
    made = [
        train_encoder_decoder(
            plan, tables, TrainingRun(tmp_path / name, device="cpu", progress=False), 16, PAPER
        )
        for name in "ab"
    ]
    shown = TurnBatches(tables, 64, 1, PAPER)(0)
    with torch.no_grad():
        drawn, again = (one(shown.images, shown.view) for one in made)
    assert torch.equal(drawn, again)
    always = shown.planes.mean(0, keepdim=True)
    assert (drawn - shown.planes).square().mean() < 0.5 * (always - shown.planes).square().mean()


def test_images_of_other_sizes_are_fitted():
    network = EncoderDecoder(16).eval()
    view = view_numbers(torch.zeros(2), torch.zeros(2))
    assert network(torch.rand(2, 3, 40, 40), view).shape == (2, 4, 16, 16)
