"""The calls that most users need, and what importing netinvert does: nothing."""

import subprocess
import sys

import numpy as np
import pytest
import torch

import netinvert
import tiny
from netinvert import CodeError, ConfigError, Encoder, ImageError, Run, caricature, invert, prepare, recipe
from netinvert.inversion.canvases import decoded_start, on_decoder
from netinvert.io.assets import chair
from netinvert.io.images import write_png
from tiny import encoder, images


def short(cut, preset="default", steps=12, prior=None):
    return recipe(preset, cut, prior).with_steps(steps)


def test_round_trip():
    cut = encoder(tiny.smooth)
    x = 0.2 + 0.6 * images(2)
    result = invert(cut, cut(x), prior="tv-isotropic=0.0001")
    assert result.image.shape == x.shape
    assert (result.error < 0.05).all()
    assert ((result.image >= 0) & (result.image <= 1)).all()
    assert not result.interrupted


def test_presets_by_name_are_prepared_and_what_is_made_says_itself_without_its_numbers():
    cut, steps = encoder(), []
    code = cut(images(1)).detach()
    made = prepare(cut, code, "quick", start=images(1))
    assert torch.equal(made.run(Run()).image, invert(cut, code, preset="quick", start=images(1)).image)
    result = invert(cut, code, steps=2, callback=steps.append)
    for one in (made, *made.energy.terms, steps[0], result, netinvert.show(result)):
        assert "tensor(" not in repr(one)


def test_one_code_or_several_arrays_and_lists():
    cut = encoder()
    code = cut(images(1)).detach()
    how = short(cut)
    expected = invert(cut, code, preset=how)
    for same in (code[0], code.numpy(), code[None, 0]):
        assert torch.equal(invert(cut, same, preset=how).image, expected.image)
    float32 = invert(cut, code.float(), preset=how)
    assert float32.image.dtype == torch.float64


def test_seed():
    cut = encoder()
    code = cut(images(1)).detach()
    one, two, three = (invert(cut, code, preset=short(cut, steps=6), seed=seed).image for seed in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, three)


def test_an_encoder_s_caller_may_still_hold_a_graph():
    cut = encoder()
    x = images(1).requires_grad_(True)
    code = cut(x)
    result = invert(cut, code, preset=short(cut, steps=3))
    assert not result.image.requires_grad
    code.sum().backward()
    assert x.grad is not None


def test_start_images():
    cut = encoder()
    x = 0.2 + 0.6 * images(2)
    code = cut(x).detach()
    how = short(cut, steps=8)
    first = []
    run = Run(callback=lambda snapshot: first.append(snapshot.image.clone()))
    prepare(cut, code, how, start=x).run(run)
    torch.testing.assert_close(first[0], x)
    for start in (x[:1], x[0], x[0].float()):
        first.clear()
        prepare(cut, code, how, start=start).run(run)
        torch.testing.assert_close(first[0], x[:1].expand(2, -1, -1, -1), atol=1e-6, rtol=0)
    first.clear()
    prepare(cut, code, how, start=images(1, (32, 48))).run(run)
    assert first[0].shape == x.shape
    with pytest.raises(ConfigError, match="3 start images for 2 codes"):
        prepare(cut, code, how, start=images(3))


@pytest.mark.parametrize(
    "start",
    [
        torch.full((1, 3, 16, 16), torch.nan, dtype=torch.float64),
        torch.full((1, 3, 16, 16), 200.0, dtype=torch.float64),
        torch.zeros(1, 3, 16, 16, dtype=torch.uint8),
        torch.zeros(1, 1, 16, 16, dtype=torch.float64),
        torch.zeros(16, 16, dtype=torch.float64),
    ],
    ids=["nan", "0..255", "integers", "channels", "shape"],
)
def test_start_images_are_checked(start):
    cut = encoder()
    with pytest.raises(ImageError):
        prepare(cut, cut(images(1)), short(cut), start=start)


def test_codes_are_checked_before_any_work():
    cut = encoder()
    code = cut(images(2)).detach()
    for wrong in (code[:, 1:], code.flatten(), code * torch.nan, code * 0, code[:0]):
        with pytest.raises(CodeError):
            invert(cut, wrong)
    half = code.clone()
    half[1] = 0
    with pytest.raises(CodeError, match="zero everywhere"):
        invert(cut, half)


def test_a_recipe_brings_its_own_priors():
    cut = encoder()
    with pytest.raises(ConfigError, match="a Recipe brings its priors"):
        invert(cut, cut(images(1)), preset=short(cut), prior="none")
    with pytest.raises(ConfigError, match="no preset"):
        invert(cut, cut(images(1)), preset="nonesuch")


def test_a_zero_code_in_front_of_a_relu_can_be_inverted_elsewhere():
    network = tiny.seeded(tiny.plain)
    cut = Encoder(network, "3", tiny.PLAIN)
    assert invert(cut, cut(images(1)), preset=short(cut, steps=3)).losses.isfinite().all()


# --- importing ----------------------------------------------------------------------------------------

HEAVY = ("matplotlib", "typer", "rich", "torchvision", "timm", "onnx", "tflite", "skimage", "PIL.ImageShow")
IMPORT = f"""
import sys, warnings, logging, random, signal
import numpy, torch

def globals_():
    return (
        torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads(),
        torch.get_num_interop_threads(), list(warnings.filters), torch.get_rng_state().tolist(),
        random.getstate(), str(numpy.random.get_state()), torch.backends.cudnn.benchmark,
        torch.are_deterministic_algorithms_enabled(), torch.get_default_device(), signal.getsignal(2),
        logging.getLogger().handlers[:], logging.getLogger().level, torch.get_float32_matmul_precision(),
        numpy.geterr(),
    )

before, modules = globals_(), set(sys.modules)
import netinvert
assert globals_() == before
loaded = [name for name in {HEAVY!r} if name in sys.modules and name not in modules]
assert not loaded, loaded
print(len(netinvert.__all__))
"""


def test_import_is_light_and_changes_nothing():
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", IMPORT], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert int(done.stdout) == len(netinvert.__all__)


@pytest.mark.slow
def test_an_inversion_does_not_wait_for_torchs_compiler():
    script = """
import sys, torch, netinvert as ni
encoder = ni.Encoder(ni.load_network("posenet"), "relu3")
ni.invert(encoder, encoder(torch.rand(1, 3, 64, 64)).detach(), steps=2, progress=False)
assert "torch._dynamo" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_everything_that_is_promised_is_there():
    assert all(hasattr(netinvert, name) for name in netinvert.__all__)
    assert len(set(netinvert.__all__)) == len(netinvert.__all__)


# --- values, words and files --------------------------------------------------------------------------


def test_a_prepared_inversion_is_a_value():
    """Twice the same result, and the seed is that of the run."""
    cut = encoder()
    ready = prepare(cut, cut(images(1)), short(cut, steps=5))
    first, again, other = (ready.run(Run(seed=seed)) for seed in (5, 5, 77))
    assert torch.equal(first.image, again.image)
    assert torch.equal(first.losses, again.losses)
    assert not torch.equal(first.image, other.image)
    assert torch.equal(first.image, invert(cut, cut(images(1)), preset=short(cut, steps=5), seed=5).image)


def test_words_for_how_to_run(tmp_path, capsys):
    cut = encoder()
    code = cut(images(2)).detach()
    seen = []
    result = invert(
        cut,
        code,
        preset="fourier-adam",
        steps=20,
        stop=netinvert.EarlyStopping(below=1e9),
        callback=lambda info: seen.append(info.step),
        seed=(3, 4),
    )
    assert result.steps == 1
    assert seen == [1]
    path = str(tmp_path / "checkpoint")
    stopped = invert(cut, code, steps=6, callback=lambda info: info.step == 3, checkpoint=path)
    assert stopped.steps == 3
    assert invert(cut, code, steps=6, progress=True).steps == 6


@pytest.mark.parametrize("answer", [True, np.bool_(True), torch.tensor(True), 1])
def test_any_truth_stops_a_run(answer):
    cut = encoder()
    assert invert(cut, cut(images(1)), steps=6, callback=lambda info: answer).steps == 1
    assert invert(cut, cut(images(1)), steps=6, callback=lambda info: np.bool_(False)).steps == 6


@pytest.mark.slow
def test_files_stand_for_images_and_codes(tmp_path):
    cut = encoder()
    x = (images(1) * 255).round() / 255
    write_png(x[0], tmp_path / "x.png")
    np.save(tmp_path / "code.npy", cut(x)[0].numpy().astype(np.float32))
    by_file = invert(cut, tmp_path / "code.npy", preset="quick", start=tmp_path / "x.png", steps=1)
    by_tensor = invert(cut, cut(x).float(), preset="quick", start=x.float(), steps=1)
    torch.testing.assert_close(by_file.image, by_tensor.image, rtol=0, atol=1e-6)
    more = caricature(Encoder(tiny.seeded(tiny.plain), "5", tiny.PLAIN), tmp_path / "x.png")
    assert more.image.shape == x.shape


def test_a_decoder_as_canvas_and_as_start():
    decoder = netinvert.load_decoder("posenet-fc7")
    cut = decoder.encoder()
    code = cut(chair((64, 64)).image)
    how = recipe("default", cut).with_steps(3)
    start = invert(cut, code, preset="default", decoder=decoder, steps=3)
    own = decoded_start(decoder, cut, code)
    assert torch.equal(start.image, invert(cut, code, preset="default", start=own, steps=3).image)
    canvas = invert(cut, code, canvas=decoder, steps=3)
    assert torch.equal(canvas.image, invert(cut, code, preset=on_decoder(how, decoder, cut, code)).image)
