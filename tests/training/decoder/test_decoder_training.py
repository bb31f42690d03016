"""Training decoders: the same bits again, whatever happens on the way."""

import json
import math

import pytest
import torch

from netinvert import Encoder
from netinvert.io.files import load_tensors
from netinvert.models.checkpoints import state_sha256
from netinvert.models.network import Network
from netinvert.scenes.dataset_config import DatasetConfig
from netinvert.scenes.dataset_reader import Views, load_arrays
from netinvert.scenes.dataset_writer import render_dataset
from netinvert.training.config import TrainingError, TrainingRun
from netinvert.training.decoder import images as sources
from netinvert.training.decoder.images import FittedImages, ImageBatch, SceneImages
from netinvert.training.decoder.model import DecoderConfig, DecoderModel
from netinvert.training.decoder.train import STATISTICS, held_out_images, new_model, scope, train_decoder
from netinvert.training.loop import CLIP, LAST
from tiny import PLAIN, plain, seeded

PLAN = DecoderConfig(network="tiny", layer="5", samples=48, batch=8, seed=4)
LOSSES = ["pixel=1", "pixel=1+feature:2=0.1+adversarial=0.05"]


class Squares:
    """Pictures of one bright square each, made from the step alone."""

    has_masks, size, count = True, (16, 16), 1 << 30

    def batch(self, step, count):
        source = torch.Generator().manual_seed(step)
        images, masks = torch.rand(count, 3, 16, 16, generator=source) / 4, torch.zeros(count, 1, 16, 16)
        for image, mask in zip(images, masks, strict=True):
            y, x = torch.randint(10, (2,), generator=source).tolist()
            image[:, y : y + 6, x : x + 6] += 0.7
            mask[:, y : y + 6, x : x + 6] = 1
        return ImageBatch(images, masks)

    def held_out(self, count):
        return self.batch(1 << 30, min(count, 24))


def plan(loss=LOSSES[0], **more):
    return DecoderConfig(**(PLAN.to_json() | {"loss": loss} | more))


def run_in(folder, every=2):
    return TrainingRun(folder, every=every, threads=1, progress=False, tell=lambda _: None)


def steps_in(folder):
    return json.loads(load_tensors(folder / LAST)[1]["training"])["step"]


def same_bits(one, other):
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def breaks_at(monkeypatch, call, what):
    """Let a training step fail, or its loss be changed, the ``call``-th time."""
    real, calls = DecoderModel.loss, []

    def loss(self, *arguments):
        calls.append(1)
        found = real(self, *arguments)
        return what(found) if len(calls) == call else found

    monkeypatch.setattr(DecoderModel, "loss", loss)


def power_cut(_found):
    raise RuntimeError("power cut")


@pytest.mark.parametrize(
    ("loss", "autoencoder"),
    [
        (LOSSES[0], False),
        pytest.param(LOSSES[1], False, marks=pytest.mark.slow),
        pytest.param(LOSSES[0], True, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_a_training_that_is_broken_off_goes_on_to_the_same_bits(
    encoder, tmp_path, monkeypatch, loss, autoencoder
):
    what = plan(loss, autoencoder=autoencoder)
    whole = train_decoder(what, encoder, Squares(), run_in(tmp_path / "whole"))
    with monkeypatch.context() as patch:
        breaks_at(patch, 4, power_cut)
        with pytest.raises(RuntimeError, match="power cut"):
            train_decoder(what, encoder, Squares(), run_in(tmp_path / "broken"))
    resumed = train_decoder(what, encoder, Squares(), run_in(tmp_path / "broken"))
    assert same_bits(whole, resumed)
    assert resumed.seconds > 0
    assert any((tmp_path / "whole" / "logs").glob("events*"))
    saved = [load_tensors(tmp_path / name / LAST)[0] for name in ("whole", "broken")]  # with the optimisers'
    assert saved[0].keys() == saved[1].keys()
    assert all(torch.equal(value, saved[1][name]) for name, value in saved[0].items())


@pytest.mark.parametrize("loss", [LOSSES[0], pytest.param(LOSSES[1], marks=pytest.mark.slow)])
def test_the_rate_follows_the_plan(encoder, tmp_path, monkeypatch, loss):
    what, seen, real = plan(loss), [], DecoderModel.learn

    def learn(self, batch, step, optimizers, group):
        seen.append([{each["lr"] for each in one.param_groups} for one in optimizers])
        return real(self, batch, step, optimizers, group)

    monkeypatch.setattr(DecoderModel, "learn", learn)
    train_decoder(what, encoder, Squares(), run_in(tmp_path))
    shares = (1.0, 0.1)[: 1 + ("adversarial" in loss)]
    wanted = [[{share * what.rate * what.rate_at(step)} for share in shares] for step in range(6)]
    assert seen == wanted


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bits_and_another_others(encoder, tmp_path):
    first, again, other = (
        train_decoder(plan(LOSSES[1], seed=seed), encoder, Squares(), run_in(tmp_path / name))
        for seed, name in ((4, "a"), (4, "b"), (5, "c"))
    )
    assert same_bits(first, again)
    assert not same_bits(first, other)


def by_hand(what, encoder, source):
    """What a training without an adversary computes, in a few lines."""
    model = new_model(what, encoder, source).train()
    (optimizer,) = model.optimizers()
    for step in range(what.steps):
        for group in optimizer.param_groups:
            group["lr"] = what.rate * what.rate_at(step)
        batch = source.batch(step, what.batch)
        loss, _, _ = model.loss(batch, encoder(batch.images), step)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.network.parameters(), CLIP)
        optimizer.step()
        model.update_average(step)
    return model


@pytest.mark.slow
def test_a_training_is_what_it_says(encoder, tmp_path):
    found = train_decoder(PLAN, encoder, Squares(), run_in(tmp_path))
    wanted = by_hand(PLAN, encoder, Squares())
    for name, value in wanted.state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], value, rtol=1e-4, atol=1e-6)
    begun = new_model(PLAN, encoder, Squares())
    pairs = zip(begun.network.parameters(), found.network.parameters(), strict=True)
    assert not any(torch.equal(before, after) for before, after in pairs)


@pytest.mark.slow
@pytest.mark.parametrize("autoencoder", [False, True])
def test_the_encoder_comes_back_as_it_was(tmp_path, autoencoder):
    network = Network("tiny", seeded(plain, 0, torch.float32), PLAIN)
    encoder, images = Encoder(network, "5"), Squares().batch(0, 4).images
    before, code = state_sha256(network.module.state_dict()), encoder(images)
    modes = [part.training for part in encoder.module.modules()]
    model = train_decoder(plan(LOSSES[1], autoencoder=autoencoder), encoder, Squares(), run_in(tmp_path))
    assert state_sha256(network.module.state_dict()) == before
    assert torch.equal(encoder(images), code)
    for module in (network.module, encoder.module):
        for part in module.modules():
            assert not part._forward_hooks
            assert not part._backward_hooks
        assert all(parameter.grad is None for parameter in module.parameters())
    assert [part.training for part in encoder.module.modules()] == modes
    assert not any(part.training for part in network.module.modules())
    assert all(parameter.requires_grad for parameter in network.module.parameters())  # as it was given
    assert not any(parameter.requires_grad for parameter in encoder.module.parameters())
    if autoencoder:
        assert not torch.equal(model.trained_encoder[0].weight, network.module[0].weight)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_loss_that_is_not_finite_stops_the_training(encoder, tmp_path, monkeypatch, loss):
    breaks_at(monkeypatch, 4, lambda found: (found[0] * math.nan, *found[1:]))
    with pytest.raises(TrainingError, match="smaller --rate"):
        train_decoder(plan(loss), encoder, Squares(), run_in(tmp_path))
    kept, _ = load_tensors(tmp_path / LAST)
    assert steps_in(tmp_path) == 2
    assert all(value.isfinite().all() for value in kept.values() if value.is_floating_point())


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"widths": "paper"}, "widths 'small', not 'paper'"),
        ({"autoencoder": True}, "autoencoder False, not True"),
        ({"loss": "pixel=2"}, "loss 'pixel=1', not 'pixel=2'"),
        ({"seed": 5}, "seed 4, not 5"),
        ({"rate": 0.1, "batch": 4}, "batch 8, not 4; rate 0.001, not 0.1"),
    ],
    ids=str,
)
def test_a_training_goes_on_with_what_it_began_with(encoder, tmp_path, more, words):
    train_decoder(plan(samples=16), encoder, Squares(), run_in(tmp_path))
    before = (tmp_path / LAST).read_bytes()
    with pytest.raises(TrainingError, match=words):
        train_decoder(plan(**more), encoder, Squares(), run_in(tmp_path))
    assert (tmp_path / LAST).read_bytes() == before


def test_a_checkpoint_of_images_without_masks(encoder, tmp_path):
    class Bare(Squares):
        has_masks = False

    train_decoder(plan(samples=16), encoder, Bare(), run_in(tmp_path))
    with pytest.raises(TrainingError, match="another shape"):
        train_decoder(plan(), encoder, Squares(), run_in(tmp_path))


def test_a_checkpoint_of_other_weights_of_the_network(encoder, tmp_path):
    train_decoder(plan(samples=16), encoder, Squares(), run_in(tmp_path))
    other = Encoder(Network("tiny", seeded(plain, 1, torch.float32), PLAIN), "5")
    with pytest.raises(TrainingError, match="weights of tiny"):
        train_decoder(plan(), other, Squares(), run_in(tmp_path))


def test_a_longer_training_takes_up_a_shorter_one(encoder, tmp_path):
    train_decoder(plan(samples=16), encoder, Squares(), run_in(tmp_path))
    longer = train_decoder(plan(samples=32), encoder, Squares(), run_in(tmp_path))
    assert steps_in(tmp_path) == longer.config.steps == 4


def test_statistics_are_those_of_the_first_batches(encoder):
    codes = torch.cat([encoder(Squares().batch(step, 8).images) for step in range(STATISTICS)])
    made = new_model(PLAN, encoder, Squares())
    for network in (made.network, made.average):
        torch.testing.assert_close(network.standardise.mean, codes.mean((0, 2, 3)))
        torch.testing.assert_close(network.standardise.std, codes.transpose(0, 1).flatten(1).std(1))


class Spoilt(Squares):
    def batch(self, step, count):
        found = super().batch(step, count)
        found.images[0, 0, 0, 0] = math.nan if step == 7 else 0
        return found


class One(Squares):
    def held_out(self, count):
        return ImageBatch(super().held_out(1).images)


class Same(Squares):
    def held_out(self, count):
        return ImageBatch(torch.full((5, 3, 16, 16), 0.5))


@pytest.mark.parametrize(
    ("source", "words"),
    [(Spoilt, "NaN"), (One, "give more images"), (Same, "give more images")],
)
def test_images_that_cannot_be_learnt_from(encoder, tmp_path, source, words):
    with pytest.raises(TrainingError, match=words):
        train_decoder(PLAN, encoder, source(), run_in(tmp_path))
    assert not any(tmp_path.iterdir())


def test_held_out_images_bring_their_codes(encoder):
    found = held_out_images(Squares(), encoder)
    assert torch.equal(found.codes, encoder(found.images))
    assert len(found.images) == 24
    brought = ImageBatch(found.images, codes=found.codes + 1)
    source = Squares()
    source.held_out = lambda count: brought
    assert held_out_images(source, encoder) is brought


def test_too_small_a_batch_for_the_devices(encoder, tmp_path):
    with pytest.raises(TrainingError, match="larger"):
        train_decoder(plan(batch=2), encoder, Squares(), TrainingRun(tmp_path, devices=2, progress=False))


@pytest.mark.parametrize("more", [{"loss": LOSSES[1]}, {"autoencoder": True}], ids=str)
def test_what_is_trained_on_one_device(encoder, tmp_path, more):
    run = TrainingRun(tmp_path, devices=2, progress=False)
    with pytest.raises(TrainingError, match="one device"):
        train_decoder(plan(**more), encoder, Squares(), run)


def test_little_is_said_to_be_little_before_it_begins(encoder, tmp_path):
    few, many = Squares(), Squares()
    few.count = 400
    assert "48 samples of 400 images; decoders need some 100,000 images" in scope(PLAN, few)
    assert "few" in scope(plan(samples=4000), many)
    told = []
    train_decoder(plan(samples=16), encoder, few, TrainingRun(tmp_path, progress=False, tell=told.append))
    assert told == [scope(plan(samples=16), few)]
    assert scope(plan(samples=640_000), many) == "80,000 steps of 8: 640,000 samples of 1,073,741,824 images"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("decode") / "chairs"
    render_dataset(DatasetConfig(identities=8, views=2, size=64, splits=(0.5, 0.25, 0.25)), folder)
    return folder


def test_renders_are_a_function_of_seed_and_step(dataset, monkeypatch):
    monkeypatch.setattr(sources, "POOL", 20)
    first, again, other = (SceneImages.of(dataset, seed) for seed in (3, 3, 4))
    for step in (0, 5):
        batch = first.batch(step, 6)
        assert batch.images.shape == (6, 3, 64, 64)
        assert batch.masks.shape == (6, 1, 64, 64)
        for values in (batch.images, batch.masks):
            assert values.min() >= 0
            assert values.max() <= 1
        assert torch.equal(batch.images, again.batch(step, 6).images)
        assert not torch.equal(batch.masks, other.batch(step, 6).masks)
    assert not torch.equal(first.batch(0, 6).masks, first.batch(1, 6).masks)
    held = first.held_out(512)
    assert len(held.images) == len(first.others) == 2
    assert torch.equal(held.images, again.held_out(512).images)


def test_renders_moved_to_a_device_have_the_same_bits(dataset, monkeypatch):
    monkeypatch.setattr(sources, "POOL", 20)
    here = SceneImages.of(dataset, 3)
    pairs = [(here, here.to(torch.device("cpu")))]
    pairs.append(tuple(FittedImages(one, (24, 24), 1) for one in pairs[0]))
    pairs.append((pairs[1][0], pairs[1][0].to(torch.device("cpu"))))
    for one, other in pairs:
        assert other.size == one.size
        for ours, theirs in ((one.batch(5, 6), other.batch(5, 6)), (one.held_out(2), other.held_out(2))):
            assert torch.equal(ours.images, theirs.images)
            assert torch.equal(ours.masks, theirs.masks)


def test_masks_are_of_objects_without_their_shadows(dataset, monkeypatch):
    monkeypatch.setattr(sources, "POOL", 20)
    source, arrays = SceneImages.of(dataset, 3), load_arrays(dataset, "validation")
    held = source.held_out(2).masks[:, 0]
    masks, alpha = torch.from_numpy(arrays.mask > 0), torch.from_numpy(arrays.rgba[..., 3])
    assert {one.numpy().tobytes() for one in held == 1} == {one.numpy().tobytes() for one in masks}
    assert ((alpha > 0) & ~masks).any()
    pool, splits = torch.zeros(1, 3, 64, 64, dtype=torch.uint8), ("train", "validation")
    black = SceneImages(*(Views.of(load_arrays(dataset, split)) for split in splits), 3, pool)
    assert torch.equal(black.pool, pool)
    assert torch.equal(black.held_out(2).masks, source.held_out(2).masks)
