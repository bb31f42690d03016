"""The core on a device gives what it gives on the CPU: ``pytest --device cuda -m device``.

Bits are compared on the CPU alone. A GPU adds in another order than a CPU, and where kernels add atomically
(interpolation backwards) or cuDNN chooses its algorithm as it goes, in another order each time. So elsewhere
results agree to the tolerances given here: of float64 networks to 1e-6, for steps of an optimiser magnify
rounding; of float32 ones to a hundredth, for convolutions there have ten bits (TF32).
"""

import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import netinvert as ni
import tiny
from netinvert.evaluation.evaluate import baselines, evaluate_result, shipped_reference
from netinvert.evaluation.metrics import code_errors, gradient_naturalness, naturalness, psnr, ssim
from netinvert.evaluation.probes import METRICS, retrieve
from netinvert.inversion import transforms as a
from netinvert.inversion.canvases import CANVASES
from netinvert.inversion.invert import diversify
from netinvert.inversion.lbfgs_parts import WarmUp
from netinvert.inversion.objectives import Caricature, PairwiseDiversity, PoseTowards
from netinvert.inversion.presets import yosinski15 as c
from netinvert.inversion.presets.yosinski15 import ConstantRate, Progress01Rate, ProgressRate
from netinvert.inversion.priors import AlphaNorm
from netinvert.inversion.schedule import DecayingAdaGrad, Momentum
from netinvert.io.assets import chair, photographs
from netinvert.io.running import generators
from netinvert.models.fused_conv import FusedConvolution
from netinvert.models.zoo.descriptors import load_dsift, load_hog
from netinvert.scenes.dataset_reader import Views
from netinvert.training.pose.batches import SURROUNDINGS, PoseBatches, surroundings_pool

SIZE = (24, 20)
SEEDS = (1, 2)
CPU = torch.device("cpu")


def steep() -> nn.Module:
    """BatchNorm to fold, ReLUs to fuse, and a stride."""
    network = nn.Sequential(
        nn.Conv2d(3, 6, 3, 2, 1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 8, 1),
        nn.ReLU6(),
        nn.Conv2d(8, 4, 3),
    )
    tiny.liven(network)
    return network


def encoder_on(place, build=steep, layer="output", dtype=torch.float64, **how):
    form = ni.Preprocessing(SIZE, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.25), order="BGR")
    return ni.Encoder(tiny.seeded(build, dtype=dtype).to(place), layer, form, **how)


def images(count=2, **how):
    return 0.2 + 0.6 * tiny.images(count, SIZE, **how)


def assert_alike(found, expected, device, most=1e-6):
    """Results on the device, and those on the CPU: the largest difference, relative to the largest number."""
    assert found.device == device
    found, expected = found.detach().cpu().double(), expected.detach().double()
    assert torch.equal(found.isnan(), expected.isnan())
    off = (found - expected).nan_to_num().abs().max()
    assert off <= most * expected.nan_to_num().abs().max().clamp_min(1e-3), f"{off:.3g}"


def assert_repeated(found, expected):
    """The same run twice: to the bit where kernels allow."""
    if found.device.type == "cpu":
        assert torch.equal(found, expected)
    else:
        assert_alike(found, expected.cpu(), found.device)


def assert_same_result(found, expected, device, most=1e-6):
    assert_alike(found.image, expected.image, device, most)
    assert_alike(found.code, expected.code, device, most)
    assert_alike(found.losses, expected.losses, device, most)
    assert found.status == expected.status
    assert found.best_step.device == device


# -- encoders ------------------------------------------------------------------------------------------

NETWORKS = {
    "steep": (steep, "output"),
    "plain": (tiny.plain, "5"),
    "functional": (tiny.Functional, "output"),
    "residual": (tiny.Residual, "norm"),
    "reused": (tiny.Reused, "relu:1"),
    "tokens": (tiny.Tokens, "block"),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("fast", [True, False])
def test_codes_and_gradients(name, fast, device):
    found = []
    for place in (device, CPU):
        encoder = encoder_on(place, *NETWORKS[name], fast=fast)
        assert encoder.device == place
        x = images().to(place).requires_grad_(True)
        code = encoder(x)
        pull = tiny.images(1, (1, code.numel()), 1).to(place).view_as(code)
        found.append((code, *torch.autograd.grad((code * pull).sum(), x)))
    for one, other in zip(*found, strict=True):
        assert_alike(one, other, device, 1e-9)


def test_several_layers_and_images_from_elsewhere(device):
    form = ni.Preprocessing(SIZE)
    encoder = ni.Encoder(tiny.seeded(steep).to(device), preprocessing=form, layers=["2", "output"])
    codes = encoder(images())  # on the CPU
    assert {code.device for code in codes.values()} == {device}
    assert encoder.check_code({name: code.cpu() for name, code in codes.items()})["2"].device == device
    result = ni.invert(encoder, {name: code.cpu() for name, code in codes.items()}, steps=6)
    assert result.error.shape == (2,)
    assert result.error.device == device
    pillow = encoder(tiny.images(1, SIZE)[0].float())
    assert pillow["output"].device == device


def test_an_encoder_moves(device):
    here = encoder_on(CPU)
    there = here.to(device)
    assert there.device == device
    assert there.to(device) is there
    assert there.weights_sha256() == here.weights_sha256()
    assert_alike(there(images()), here(images()), device, 1e-9)
    assert here.device == CPU  # the user's network stays where it was


@pytest.mark.parametrize("load", [lambda: load_hog("hog"), load_dsift], ids=["hog", "dsift"])
def test_histograms_of_orientations(load, device):
    network = load()
    encoder = ni.Encoder(network, network.layers[-1], size=(60, 60))
    x = tiny.images(1, (60, 60), encoder.preprocessing.channels).float()
    assert_alike(encoder.to(device)(x), encoder(x), device, 1e-4)
    assert ni.invert(encoder.to(device), encoder(x), preset="shallow", steps=12).image.device == device


@pytest.mark.parametrize("surroundings", SURROUNDINGS)
def test_batches_for_pose_networks_are_made(surroundings, device):
    generator = torch.Generator().manual_seed(0)
    rgba = torch.randint(256, (16, 4, 128, 128), generator=generator).to(torch.uint8)
    starts, counts = 4 * torch.arange(4), torch.full((4,), 4)
    views = Views(rgba, torch.eye(3).expand(16, 3, 3), torch.ones(16).long(), rgba[:, 3:], starts, counts)
    here = PoseBatches(views, 8, 0, surroundings, surroundings_pool(surroundings, 0, 128)[:9])
    wanted = here(1)
    there = here.to(device)(1)
    assert there.images.device.type == device.type
    torch.testing.assert_close(there.images.cpu(), wanted.images, atol=1e-5, rtol=0)
    assert torch.equal(there.rotation.cpu(), wanted.rotation)


@pytest.mark.parametrize("name", ["posenet", "posenet-judge"])
def test_networks_read_poses(name, device):
    encoder = ni.Encoder(ni.load_network(name), "output")
    there, x = encoder.to(device), chair((64, 64)).image
    assert_alike(there(x), encoder(x), device, 1e-2)
    reading = there.network.read_pose(there(x))
    assert reading.rotation.device == device
    assert_alike(reading.rotation, encoder.network.read_pose(encoder(x)).rotation, device, 1e-2)


CONVOLUTIONS = {
    "1 x 1": nn.Conv2d(4, 6, 1),
    "padded": nn.Conv2d(4, 6, 1, padding=1),
    "3 x 3": nn.Conv2d(4, 6, 3, padding=1, bias=False),
    "strided": nn.Conv2d(4, 6, 3, (2, 1), 1, groups=2),
    "dilated": nn.Conv2d(4, 6, (3, 2), 1, (2, 0), (2, 1)),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize("act", [None, nn.ReLU(), nn.ReLU6()], ids=["none", "relu", "relu6"])
def test_fused_convolutions(name, act, device):
    conv = tiny.seeded(lambda: CONVOLUTIONS[name]).to(device).requires_grad_(False)
    fused = FusedConvolution(conv, act).to(device)
    x = (9 * tiny.images(2, (8, 7), 4) - 4.5).to(device).requires_grad_(True)
    plain, found = conv(x) if act is None else act(conv(x)), fused(x)
    torch.testing.assert_close(found, plain, rtol=1e-12, atol=1e-12)
    pull = tiny.images(1, (1, found.numel()), 1).to(device).view_as(found)
    gradients = [torch.autograd.grad(y, x, pull)[0] for y in (found, plain)]
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-12)


# -- canvases, terms, and what changes images ----------------------------------------------------------


@pytest.mark.parametrize("name", CANVASES)
def test_canvases(name, device):
    """From noise they begin at the same image everywhere; stages, jitter, start images leave them so."""
    pairs = [CANVASES[name](encoder_on(place), SEEDS, None) for place in (device, CPU)]
    assert_alike(*[canvas.checked() for canvas in pairs], device)
    there = pairs[0]
    assert all(tensor.device == device for tensor in there.state_dict().values())
    there.set_jitter(4)
    views = [canvas.view(canvas(), [(0, 3), (2, 1)]) for canvas in pairs if canvas.set_jitter(4) is None]
    assert_alike(*views, device)
    if name == "deep-prior":
        return
    for canvas in pairs:
        canvas.set_jitter(1)
        canvas.replace(images().to(canvas().device))
        if name != "phase":
            canvas.set_resolution(0.3)
            canvas.replace(images().to(canvas().device))
    assert_alike(*[canvas.view(canvas(), None) for canvas in pairs], device)
    starts = [CANVASES[name](encoder_on(place), SEEDS, images().to(place))() for place in (device, CPU)]
    assert_alike(*starts, device)


def term_and_gradient(term, image, code):
    image, code = image.clone().requires_grad_(True), code.clone().requires_grad_(True)
    value = term(image, code)
    gradients = torch.autograd.grad(value.sum(), (image, code), allow_unused=True)
    return [value, *(one for one in gradients if one is not None)]


def terms_on(place):
    encoder = encoder_on(place)
    code = encoder(images()).detach()
    rotation = torch.linalg.qr(tiny.images(2, (3, 3), 1)[:, 0]).Q.to(place)
    pose = lambda output, wanted: (output.flatten(1)[:, :9] - wanted.flatten(1)).square().sum(1)  # noqa: E731
    mask = ni.neuron(encoder, 1) + ni.channel(encoder, 2)
    terms = {name: ni.PRIORS[name].make(encoder) for name in ni.PRIORS}
    terms |= {
        "alpha": AlphaNorm(encoder.centre),
        "match": ni.Match(code),
        "masked match": ni.Match(code, mask),
        "activation": ni.Activate(mask),
        "caricature": Caricature(code, power=4.0),
        "pose": PoseTowards(rotation, pose),
        "diversity": PairwiseDiversity(2, encoder.centre),
    }
    return terms, images(seed=3).to(place), encoder(images(seed=4)).detach()


def test_priors_and_objectives(device):
    (there, *x), (here, *y) = terms_on(device), terms_on(CPU)
    assert len(there) == len(here) >= 13
    for name, term in there.items():
        pairs = zip(term_and_gradient(term, *x), term_and_gradient(here[name], *y), strict=True)
        for found, expected in pairs:
            assert_alike(found, expected, device, 1e-9)


TRANSFORMS = [
    a.RandomAffine(20, 0.2, 0.1),
    a.RandomCrop(),
    a.RandomNoise(0.1),
    a.RandomErasing(1.0),
    a.RandomDownsample(1.0),
]


@pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda one: type(one).__name__)
def test_transforms_draw_the_same(transform, device):
    found, expected = (transform(images().to(place), generators(SEEDS)) for place in (device, CPU))
    assert_alike(found, expected, device, 1e-9)
    assert not torch.equal(expected, images())


GREY = (0.5, 0.4, 0.3)
PROJECTIONS = [
    a.Ball(GREY, 0.2),
    a.Box(0.3, 0.6),
    c.Decay(GREY, 0.1),
    c.Blur(0.8),
    c.ClipSmallNorm(GREY, 30),
    c.ClipSmallContribution(GREY, 30),
]


@pytest.mark.parametrize("projection", PROJECTIONS, ids=lambda one: type(one).__name__)
def test_projections(projection, device):
    found, expected = (projection(images().to(place), images(seed=5).to(place), 1) for place in (device, CPU))
    assert_alike(found, expected, device, 1e-9)


# -- the loop ------------------------------------------------------------------------------------------

OPTIMIZERS = {
    "adam": ni.Adam(0.03),
    "momentum": Momentum(8.0),
    "adagrad": DecayingAdaGrad(0.05, 480),
    "lbfgs": ni.LBFGS(history=3),
    "warm lbfgs": ni.LBFGS(history=3, warm_up=WarmUp(0.02, until=0.6, steps=5)),
    "constant": ConstantRate(0.1),
    "progress": ProgressRate(0.01, 1.0),
    "progress01": Progress01Rate(0.01, 0.1, 1.0),
    "torch's adam": torch.optim.Adam,
    "torch's sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.5),
}


def stages_of(optimizer):
    """With all that a stage can do; a line search wants the energy to stay the same."""
    if isinstance(optimizer, ni.LBFGS):
        return (ni.Stage(8, optimizer, resolution=0.4), ni.Stage(5, ni.Adam(0.01), 3))
    seen = (a.RandomAffine(), a.RandomErasing())
    return (
        ni.Stage(6, optimizer, 3, (a.Box(0.1, 0.9),), resolution=0.4),
        ni.Stage(5, optimizer, transforms=seen, averaged=2),
    )


def inverted(place, stages, code=None, **run):
    encoder = encoder_on(place)
    canvas = ni.Fourier.noise((3, *SIZE), SEEDS, torch.empty(0, dtype=torch.float64, device=place))
    code = encoder(images()).detach() if code is None else code.to(place)
    energy = ni.Energy(((1.0, ni.Match(code)), (0.01, ni.TotalVariation())))
    return ni.optimize(canvas, energy, encoder, stages, ni.Run(seed=SEEDS, **run))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimisers(name, device):
    stages = stages_of(OPTIMIZERS[name])
    found = inverted(device, stages)
    assert_same_result(found, inverted(CPU, stages), device)
    again = inverted(device, stages)
    assert_repeated(again.image, found.image)


@pytest.mark.parametrize("name", ["adam", "lbfgs"])
def test_samples_are_independent(name, device):
    code = encoder_on(CPU)(images()).detach()
    other = code.clone()
    other[1] *= -2
    one, two = (inverted(device, stages_of(OPTIMIZERS[name]), some) for some in (code, other))
    assert_repeated(one.image[0], two.image[0])
    assert_repeated(one.losses[..., 0], two.losses[..., 0])
    assert not torch.equal(one.image[1], two.image[1])


def interrupt_at(step):
    def callback(snapshot):
        if snapshot.step == step:
            os.kill(os.getpid(), signal.SIGINT)

    return callback


@pytest.mark.parametrize("name", ["adam", "momentum", "lbfgs", "warm lbfgs", "torch's adam"])
def test_a_stopped_run_goes_on(name, device, tmp_path):
    stages = stages_of(OPTIMIZERS[name])
    expected = inverted(device, stages)
    for step in (3, 7, 9):
        run = {"checkpoint": tmp_path / f"{step}"}
        assert inverted(device, stages, **run, callback=interrupt_at(step)).interrupted
        found = inverted(device, stages, **run)
        assert_repeated(found.image, expected.image)
        assert_repeated(found.losses, expected.losses)


@pytest.mark.parametrize("name", ["adam", "warm lbfgs"])
def test_a_run_goes_on_elsewhere(name, device, tmp_path):
    """Begun on the CPU, ended on the device."""
    stages, run = stages_of(OPTIMIZERS[name]), {"checkpoint": tmp_path / "checkpoint"}
    code = encoder_on(CPU)(images()).detach()
    assert inverted(CPU, stages, code, **run, callback=interrupt_at(4)).interrupted
    assert_same_result(inverted(device, stages, code, **run), inverted(CPU, stages, code), device)


def test_stopping_and_callbacks(device):
    stages = (ni.Stage(20, ni.Adam(0.03)),)
    losses = inverted(CPU, stages).losses.sum(1).amax(1)
    level = losses[7:9].mean().item()  # between two steps: rounding must not decide
    stop = ni.EarlyStopping(below=level, patience=9)
    seen = []
    found = inverted(device, stages, stop=stop, callback=lambda info: seen.append(info.best_loss.device))
    assert set(seen) == {device}
    assert_same_result(found, inverted(CPU, stages, stop=stop), device)
    assert "stopped by rule" in found.status


class Shut(nn.Module):
    """ReLUs that nothing in the middle of an image's range opens."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=2)

    def forward(self, x):
        return torch.relu(self.conv(x) - 1.2)


def test_dead_relus_leak(device):
    results = []
    for place in (device, CPU):
        encoder = ni.Encoder(tiny.seeded(Shut).to(place), "output", ni.Preprocessing(SIZE, std=(0.1,) * 3))
        canvas = ni.Pixels(torch.full((2, 3, *SIZE), 0.0, dtype=torch.float64, device=place), (0.5,) * 3)
        energy = ni.Energy(((1.0, ni.Match(encoder(torch.ones_like(canvas()).detach()))),))
        results.append(ni.optimize(canvas, energy, encoder, [ni.Stage(20, ni.Adam(0.05))]))
    assert_same_result(*results, device)


# -- what users call -----------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", sorted(set(ni.PRESETS) - {"decoded"}))
def test_presets(preset, device):
    found, expected = (
        ni.invert(
            encoder_on(place, tiny.smooth), encoder_on(CPU, tiny.smooth)(images()), preset=preset, steps=8
        )
        for place in (device, CPU)
    )
    assert_same_result(found, expected, device)
    assert found.target.device == device


@pytest.mark.parametrize("preset", ni.MAXIMISING)
def test_maximising_presets(preset, device):
    found, expected = (
        ni.maximise(encoder_on(place, tiny.smooth), "channel:1", preset=preset, steps=8, seed=SEEDS)
        for place in (device, CPU)
    )
    assert_same_result(found, expected, device)


def test_other_objectives(device):
    """By text, from files and from the CPU."""
    posenet = ni.load_network("posenet")
    towards = ni.maximise(ni.Encoder(posenet, "output").to(device), "azimuth:90", steps=4)
    assert towards.image.device == device
    encoder, direction = encoder_on(device), ni.channel(encoder_on(CPU), 2)
    found = ni.maximise(encoder, [(2.0, ni.Activate(direction)), "neuron:1"], steps=4)
    assert found.losses.device == device
    more = [
        ni.caricature(one, images(1), preset=ni.maximising_recipe("default", one).with_steps(6))
        for one in (encoder, encoder_on(CPU))
    ]
    assert_same_result(*more, device)


def test_codes_and_starts_from_files(device, tmp_path):
    encoder, x = encoder_on(device), images(1)
    np.save(tmp_path / "code.npy", encoder(x)[0].cpu().numpy())
    ni.write_png(x[0].to(device), tmp_path / "x.png")
    found = ni.invert(encoder, tmp_path / "code.npy", start=tmp_path / "x.png", steps=3)
    assert found.image.device == device
    grey = ni.maximise(encoder, "channel:0", start=x, steps=3, prior="tv-huber+batchnorm")
    assert grey.image.device == device


def test_several_images_of_a_code(device):
    found, expected = (
        diversify(encoder_on(place), encoder_on(CPU)(images(1)), 2, preset=short(place))
        for place in (device, CPU)
    )
    assert_same_result(found, expected, device)
    assert ni.spread(found.image[None])["distance"] == pytest.approx(
        ni.spread(expected.image[None])["distance"]
    )


def short(place):
    return ni.recipe("fourier-adam", encoder_on(place)).with_steps(6)


def test_a_canvas_from_the_cpu_goes_where_the_encoder_is(device):
    canvas = ni.Pixels(images(), (0.5,) * 3)
    found = ni.invert(encoder_on(device), encoder_on(CPU)(images()), canvas=canvas, steps=4)
    assert found.image.device == device
    assert canvas().device == CPU


# -- decoders ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def decoder():
    return ni.load_decoder("posenet-fc7")


def test_decoders(decoder, device):
    code = decoder.encoder()(chair((64, 64)).image)
    there = decoder.to(device)
    assert there.device == device
    assert there.to(device) is there
    assert_alike(there(code), decoder(code), device, 1e-2)
    if decoder.has_mask:
        assert_alike(there.mask(code), decoder.mask(code), device, 1e-2)
    wanted = code.to(device).requires_grad_(True)
    (gradient,) = torch.autograd.grad(there(wanted).sum(), wanted)
    assert gradient.device == device


def test_a_decoder_from_the_cpu_as_canvas_and_as_start(decoder, device):
    encoder = decoder.encoder().to(device)
    code = encoder(chair((64, 64)).image)
    on_device = decoder.to(device)
    hows = ({"canvas": decoder}, {"decoder": decoder}, {"decoder": on_device}, {"method": "correct"}, {})
    for how in hows:
        found = ni.invert(encoder, code, steps=4, **how)
        assert found.image.device == device
        assert found.error.item() < 0.7
    assert decoder.device == CPU


# -- evaluation ----------------------------------------------------------------------------------------


def test_results_are_evaluated(device):
    encoder = ni.Encoder(ni.load_network("posenet"), "relu7").to(device)
    original = chair(encoder.size).image
    result = ni.invert(encoder, encoder(original), steps=8)
    reference = shipped_reference(encoder)
    assert reference.codes.device == device
    (metrics,) = evaluate_result(result, encoder, original, reference)
    assert all(metrics.errors.values())
    assert metrics.psnr > 5
    assert metrics.ssim is not None
    assert metrics.held_out_pose.rotation_difference is not None
    assert baselines(result.target, encoder, original, reference)[0].psnr > 5
    tensors, texts = result.to_tensors()
    again = ni.Result.from_tensors({name: one.cpu() for name, one in tensors.items()}, texts, device)
    assert_same_result(ni.Result.join([again, result]), ni.Result.join([on_cpu(result)] * 2), device)
    assert ni.show(result, "inverted").images.device == CPU
    assert "code error" in result._repr_html_()


def on_cpu(result):
    return replace(
        result,
        image=result.image.cpu(),
        code=result.code.cpu(),
        target=result.target.cpu(),
        losses=result.losses.cpu(),
        best_step=result.best_step.cpu(),
    )


def test_figures_of_images_and_codes(device):
    x, y = (images(3, seed=seed) for seed in (1, 2))
    for measure in (psnr, ssim, naturalness, gradient_naturalness):
        assert_alike(measure(x.to(device), y.to(device)), measure(x, y), device, 1e-9)
    _, photos = photographs((32, 32))
    expected = code_errors(x, y, photos)
    for name, errors in code_errors(x.to(device), y.to(device), photos.to(device)).items():
        assert_alike(errors, expected[name], device, 1e-9)
    gallery, own = tiny.images(9, (4, 4)), torch.tensor([1, 3, 5])
    queries = gallery[own] + 0.1 * tiny.images(3, (4, 4), seed=1)
    for metric in METRICS:
        assert retrieve(queries.to(device), gallery.to(device), own, metric) == retrieve(
            queries, gallery, own, metric
        )


def test_probes(device):
    pytest.importorskip("sklearn")
    from netinvert.evaluation.probes import Standard, held_out, inner_products, quadratic_kernel

    codes = tiny.images(20, (3, 3)).flatten(1)
    targets, groups = codes[:, :2] @ codes[:2, :2], torch.arange(20) // 2

    def read(place):
        units = Standard.of(codes.to(place))(codes.to(place))
        return held_out(quadratic_kernel(inner_products(units)), targets.to(place), groups.to(place))

    torch.testing.assert_close(read(device), read(CPU))
