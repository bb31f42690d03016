"""One step of training a decoder."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from netinvert import Encoder
from netinvert.errors import ConfigError
from netinvert.evaluation.metrics import error_cvpr16
from netinvert.models.checkpoints import state_sha256
from netinvert.models.network import Network
from netinvert.models.upconv import Architecture
from netinvert.training.config import Group
from netinvert.training.decoder.images import ImageBatch
from netinvert.training.decoder.model import CORRECTION, JITTER, SLOWER, DecoderConfig, DecoderModel
from netinvert.training.decoder.train import figures_of, image_figures, mean_image_figures, sample_rows
from tiny import PLAIN, plain, seeded

PLAN = {"network": "tiny", "layer": "5", "samples": 64, "batch": 8}


def encoder(layer="5"):
    return Encoder(Network("tiny", seeded(plain, 0, torch.float32), PLAIN), layer)


def model(mask=False, layer="5", own=None, **more):
    own = own or encoder(layer)
    made = DecoderModel(
        DecoderConfig(**(PLAN | more)), own, Architecture(own.code_shape, (16, 16), mask=mask)
    )
    made.set_statistics([made.codes(image_batch(16)).detach()])
    return made


def image_batch(count=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return ImageBatch(
        torch.rand(count, 3, 16, 16, generator=generator),
        (torch.rand(count, 1, 16, 16, generator=generator) > 0.5).float(),
    )


@pytest.mark.parametrize(
    "bad",
    [
        {"loss": "mse"},
        {"widths": "huge"},
        {"upsampling": "cubic"},
        {"batch": 1},
        {"samples": 7},
        {"rate": 0.0},
        {"rate": 1.0},
        {"rate": float("nan")},
        {"weight_decay": -1.0},
        {"seed": -1},
    ],
    ids=str,
)
def test_plans_that_cannot_be(bad):
    with pytest.raises(ConfigError):
        DecoderConfig(**(PLAN | bad))


def test_a_plan_is_written_as_plain_values():
    plan = DecoderConfig(**PLAN, loss="pixel=1+feature:2=0.1")
    assert DecoderConfig(**plan.to_json()) == plan
    assert plan.steps == 8


@pytest.mark.parametrize("layer", [pytest.param("5", marks=pytest.mark.slow), "8"])
def test_a_decoder_can_learn_a_batch_by_heart(layer):
    made, batch = model(True, layer, loss="pixel=1+feature:2=0.1"), image_batch()
    optimizer = torch.optim.AdamW(made.optimizers()[0].param_groups, lr=5e-4)
    for group in optimizer.param_groups:
        group["lr"] = 5e-4
    losses = []
    for step in range(40):
        loss, parts, _ = made.loss(batch, made.codes(batch), step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append({name: value.item() for name, value in parts.items()})
    assert losses[-1]["pixel"] < 0.5 * losses[0]["pixel"]
    assert losses[-1]["mask"] < 0.9 * losses[0]["mask"]


def test_the_loss_is_the_weighted_sum_of_its_parts_on_rolled_images():
    made, batch = model(True, loss="pixel=2+feature:2=0.5"), image_batch()
    codes = made.codes(batch)
    loss, parts, images = made.loss(batch, codes, 3)
    wanted = 2 * parts["pixel"] + 0.5 * parts["feature:2"] + parts["mask"]
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-5)
    assert parts["pixel"].item() == pytest.approx((images - batch.images).square().mean().item(), rel=1e-5)
    assert torch.equal(images, made.network(codes)[:, :3])
    assert not any(value.requires_grad for value in parts.values())


@pytest.mark.slow
def test_rolls_change_with_step_and_seed_and_nothing_else():
    def seen(step, seed):
        made, shown = model(seed=seed), []
        made.compare = {"spy": (1.0, lambda a, b: shown.append(b) or (a - b).flatten(1).sum(1))}
        batch = image_batch()
        made.loss(batch, made.codes(batch), step)
        return next(
            (y, x)
            for y in range(JITTER)
            for x in range(JITTER)
            if torch.equal(torch.roll(batch.images, (y, x), (-2, -1)), shown[0])
        )

    assert seen(3, 1) == seen(3, 1)
    assert len({seen(step, 1) for step in range(8)}) > 3
    assert len({seen(3, seed) for seed in range(8)}) > 3


def test_codes_that_images_bring_are_taken():
    made, batch = model(), image_batch()
    own = made.codes(batch)
    assert torch.equal(own, made.encoder(batch.images))
    assert torch.equal(made.codes(ImageBatch(batch.images, codes=own + 1)), own + 1)
    along = model(autoencoder=True)
    assert torch.allclose(along.codes(ImageBatch(batch.images, codes=own + 1)), own, atol=1e-5)


def test_new_models_follow_the_seed_and_leave_the_global_generator():
    torch.manual_seed(11)
    expected = torch.rand(1)
    torch.manual_seed(11)
    first, second, other = model(seed=1), model(seed=1), model(seed=2)
    assert torch.equal(torch.rand(1), expected)
    weights = [one.network.state_dict() for one in (first, second, other)]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    assert not all(torch.equal(value, weights[2][name]) for name, value in weights[0].items())
    average = first.average.state_dict()
    assert all(torch.equal(value, average[name]) for name, value in weights[0].items())


def test_the_average_follows_the_network():
    made = model()
    name, weight = next((n, p) for n, p in made.network.named_parameters() if p.ndim > 1)
    with torch.no_grad():
        before = made.average.state_dict()[name].clone()
        weight.add_(1)
    made.update_average(90)  # keeps 91 / 100
    after = made.average.state_dict()[name]
    torch.testing.assert_close(after, before + 0.09 * (weight - before), rtol=1e-5, atol=1e-6)
    before = after.clone()
    made.update_average(10**7)
    torch.testing.assert_close(
        after, before + (1 - made.config.average) * (weight - before), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("autoencoder", [False, True])
def test_every_parameter_is_trained_once(autoencoder):
    made = model(autoencoder=autoencoder, loss="pixel+adversarial=0.1")
    groups = made.optimizers()[0].param_groups
    ids = [id(p) for group in groups for p in group["params"]]
    wanted = [*made.network.parameters(), *(made.trained_encoder.parameters() if autoencoder else ())]
    assert sorted(ids) == sorted(id(p) for p in wanted if p.requires_grad)
    assert all(p.ndim > 1 for p in groups[0]["params"])
    assert [group["weight_decay"] for group in groups] == [
        made.config.weight_decay,
        *[0.0] * (1 + autoencoder),
    ]
    if autoencoder:
        assert groups[2]["lr"] == SLOWER * made.config.rate
    assert not any(p.requires_grad for p in made.average.parameters())


def test_an_autoencoder_trains_a_copy():
    own = encoder()
    before = state_sha256(own.network.module.state_dict())
    made, batch = model(own=own, autoencoder=True), image_batch()
    made.train()
    assert made.network.training
    assert not any(part.training for part in (made.trained_encoder, made.average, made.average_encoder))
    optimizer = made.optimizers()[0]
    for group in optimizer.param_groups:
        group["lr"] = 1e-2
    learned = {name: value.clone() for name, value in made.trained_encoder.state_dict().items()}
    codes = made.codes(batch)
    made.loss(batch, codes, 0)[0].backward()
    optimizer.step()
    moved = {
        name
        for name, value in made.trained_encoder.state_dict().items()
        if not torch.equal(value, learned[name])
    }
    assert {"0.weight", "3.weight", "4.bias"} <= moved
    assert not any("running" in name or name.startswith("8.") for name in moved)
    assert not torch.allclose(made.codes(batch), codes)
    assert torch.equal(made.codes(batch, averaged=True), made.codes(batch, averaged=True))
    assert torch.allclose(made.codes(batch, averaged=True), codes, atol=1e-5)
    made.update_average(0)
    assert not torch.allclose(made.codes(batch, averaged=True), codes, atol=1e-5)
    assert state_sha256(own.network.module.state_dict()) == before
    assert all(p.grad is None for p in own.network.module.parameters())
    assert not any(part._forward_hooks for part in (*made.trained_encoder.modules(), *own.module.modules()))


def test_the_discriminator_rests_while_it_is_far_ahead():
    """L_discriminator / L_generator < 0.1, Dosovitskiy & Brox 2016 (NIPS)."""
    learns = DecoderModel.discriminator_learns
    assert not learns(torch.tensor(0.099), torch.tensor(1.0))
    assert learns(torch.tensor(0.11), torch.tensor(1.0))
    assert learns(torch.tensor(1.0), torch.tensor(0.0))


def test_gradients_of_the_adversarial_losses_go_where_they_should():
    made, batch = model(loss="pixel+adversarial=0.1"), image_batch()
    codes = made.codes(batch)
    _, _, images = made.loss(batch, codes, 0)
    critic = list(made.discriminator.parameters())
    own = list(made.network.parameters())
    fooled, told = made.adversarial_losses(made.discriminator, batch, images, codes)
    found = torch.autograd.grad(told, own, allow_unused=True, retain_graph=True)
    assert all(gradient is None for gradient in found)
    found = torch.autograd.grad(told, critic)
    assert all(bool((gradient != 0).any()) for gradient in found)
    found = torch.autograd.grad(fooled, own)
    assert all(bool((gradient != 0).any()) for gradient in found)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_discriminator_computes_in_the_precision_of_the_training(precision):
    made, computed = model(loss="pixel+adversarial=0.1", precision=precision), []
    first = made.discriminator.convolutions[0]
    first.register_forward_hook(lambda _layer, _seen, found: computed.append(found.dtype))
    before = first.weight.detach().clone()
    losses = made.learn(image_batch(), 0, made.optimizers(), Group(torch.device("cpu")))
    assert set(computed) == {getattr(torch, precision)}
    assert {losses[name].dtype for name in ("total", "adversarial", "discriminator")} == {torch.float32}
    assert not torch.equal(first.weight, before)


def test_what_the_mean_training_image_reaches():
    made, shades = model(), torch.tensor([0.2, 0.4, 0.9])[:, None, None, None]
    size = image_batch(3).images.shape

    def shade(value, count):
        return torch.full((count, *size[1:]), value)

    trained = SimpleNamespace(batch=lambda step, count: ImageBatch(shade(0.3 + 0.4 * (step % 2), count)))
    watched = ImageBatch(shades.expand(size))
    found = mean_image_figures(made, trained, watched)
    mean, codes = shade(0.5, 3), made.encoder(watched.images)
    assert found["mse"] == pytest.approx((0.3**2 + 0.1**2 + 0.4**2) / 3, rel=1e-5)
    # distances of the originals: 0.2, 0.5 and 0.7 a number
    assert found["image_error"] == pytest.approx((0.3 + 0.1 + 0.4) / (0.2 + 0.5 + 0.7), rel=1e-5)
    wanted = error_cvpr16(made.encoder(mean), codes, codes).mean().item()
    assert found["code_error"] == pytest.approx(wanted, rel=1e-5)


def test_figures_are_of_the_average():
    made, watched = model(), image_batch(6)
    with torch.no_grad():
        codes = made.encoder(watched.images)
        wanted = made.average(codes)
        for parameter in made.network.parameters():  # which counts for nothing
            parameter.zero_()
    figures, images = figures_of(made, ImageBatch(watched.images, codes=codes))
    assert torch.equal(images, wanted)
    again = made.encoder(wanted)
    assert figures["code_error"] == pytest.approx(error_cvpr16(again, codes, codes).mean().item(), rel=1e-6)
    assert {name: figures[name] for name in ("image_error", "mse", "psnr", "ssim")} == image_figures(
        wanted, watched.images
    )


def test_figures_by_hand():
    originals = torch.stack([torch.zeros(3, 12, 12), torch.ones(3, 12, 12)])
    found = image_figures(originals * 0.5, originals)  # the second is half as bright
    assert found["mse"] == pytest.approx(0.125)
    assert found["image_error"] == pytest.approx(0.25)
    assert math.isinf(found["psnr"])


def test_rows_of_samples():
    originals, made = torch.zeros(5, 3, 4, 6), torch.ones(5, 3, 4, 6)
    rows = sample_rows(originals, made, columns=3)
    assert rows.shape == (3, 16, 18)
    assert rows[0, :, 0].tolist() == [0] * 4 + [1] * 4 + [0] * 4 + [1] * 4


def test_a_model_in_training_mode_keeps_its_networks_statistics():
    made = model(autoencoder=True).train()
    norms = [part for part in made.trained_encoder.modules() if isinstance(part, nn.BatchNorm2d)]
    assert norms
    assert not any(part.training for part in norms)


# -- corrections ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [{"corrections": -1}, {"corrections": 1, "autoencoder": True}], ids=str)
def test_corrections_are_learned_of_an_encoder_that_stays(bad):
    with pytest.raises(ConfigError, match="of an encoder that stays as it is"):
        DecoderConfig(**(PLAN | bad))


def corrected(made, codes, count):
    """The images of codes, and of codes corrected once, twice, …"""
    asked, images = codes, [made.network(codes)]
    for _ in range(count):
        asked = asked - CORRECTION * (made.encoder(images[-1][:, :3]) - codes)
        images.append(made.network(asked))
    return images


def test_images_of_corrected_codes_count_as_much_as_the_first():
    made, batch = model(True, loss="pixel=2", corrections=2), image_batch()
    codes = made.codes(batch)
    loss, parts, images = made.loss(batch, codes, 3)
    assert set(parts) == {f"{name}{turn}" for name in ("pixel", "mask") for turn in ("", " 1", " 2")}
    total = 0.0
    wanted = corrected(made, codes, 2)
    assert torch.equal(images, wanted[0][:, :3])
    for turn, other in zip(("", " 1", " 2"), wanted, strict=True):
        pixel = (other[:, :3] - batch.images).square().mean().item()
        assert parts[f"pixel{turn}"].item() == pytest.approx(pixel, rel=1e-4)
        total += (2 * parts[f"pixel{turn}"] + parts[f"mask{turn}"]).item() / 3
    assert loss.item() == pytest.approx(total, rel=1e-5)
    assert len({value.item() for value in parts.values()}) == 6


def test_gradients_run_through_the_corrections():
    made, batch = model(loss="pixel=1", corrections=1), image_batch()
    codes = made.codes(batch)
    own = list(made.network.parameters())
    found = torch.autograd.grad(made.loss(batch, codes, 0)[0], own)
    assert all(bool((gradient != 0).any()) for gradient in found)

    def loss(hold):
        first = made.network(codes)
        asked = codes - CORRECTION * (made.encoder(first) - codes)
        second = made.network(asked.detach() if hold else asked)
        total = sum((images - batch.images).square().mean() / 2 for images in (first, second))
        return torch.autograd.grad(total, own)

    through, held = loss(False), loss(True)
    for gradient, wanted in zip(found, through, strict=True):
        torch.testing.assert_close(gradient, wanted, rtol=1e-3, atol=1e-6)
    assert not all(torch.allclose(a, b, rtol=1e-2) for a, b in zip(found, held, strict=True))
    assert all(p.grad is None for p in made.encoder.network.module.parameters())
