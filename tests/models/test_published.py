"""Decoders and encoders of diffusers' AutoencoderRAE, small and random; nothing here needs the internet."""

import json
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

import netinvert as ni
from netinvert.errors import CodeError, MissingExtraError, NetworkError
from netinvert.models.decoder import load_decoder
from netinvert.models.importers.diffusers_rae import WEIGHTS
from netinvert.models.layers import list_layers
from netinvert.models.network import Network
from netinvert.models.registry import load_network

WIDTH, GRID = 64, 4
SMALL = {
    "encoder_hidden_size": WIDTH,
    "encoder_patch_size": 4,
    "encoder_num_hidden_layers": 2,
    "encoder_input_size": 4 * GRID,
    "decoder_hidden_size": 32,
    "decoder_num_hidden_layers": 2,
    "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 48,
    "patch_size": 5,  # images of 20 from images of 16, as the published ones give 256 from 224
    "encoder_norm_mean": [0.5, 0.4, 0.3],
    "encoder_norm_std": [0.2, 0.3, 0.4],
}
KINDS = ("dinov2", "mae", "siglip2")


@pytest.fixture(scope="module")
def diffusers():
    pytest.importorskip("transformers")
    return pytest.importorskip("diffusers")


def saved(diffusers, path, **settings):
    """A random autoencoder with the mean and deviation of its latents, in a folder."""
    torch.manual_seed(1)
    shape = (WIDTH, GRID, GRID) if settings.get("reshape_to_2d", True) else (GRID * GRID, WIDTH)
    statistics = {
        "latents_mean": torch.randn(shape).tolist(),
        "latents_std": (0.5 + torch.rand(shape)).tolist(),
    }
    model = diffusers.AutoencoderRAE(**{**SMALL, **statistics, **settings}).eval()
    with torch.no_grad():
        model.decoder.decoder_pred.weight.mul_(0.3)  # images that lie in [0, 1] for the most part
        model.decoder.trainable_cls_token.normal_()
    model.save_pretrained(path)
    return model


def siglip_can_be_built():
    transformers = pytest.importorskip("transformers")
    model = transformers.SiglipVisionModel(transformers.SiglipVisionConfig(num_hidden_layers=1))
    return hasattr(model, "vision_model")


@pytest.fixture(scope="module", params=KINDS)
def pair(request, diffusers, tmp_path_factory):
    """diffusers' own model, and the folder it lies in."""
    if request.param == "siglip2" and not siglip_can_be_built():
        pytest.skip("this diffusers cannot build SigLIP with this transformers")
    path = tmp_path_factory.mktemp(request.param)
    return saved(diffusers, path, encoder_type=request.param), path


@pytest.fixture(scope="module")
def folder(diffusers, tmp_path_factory):
    path = tmp_path_factory.mktemp("rae")
    saved(diffusers, path)
    return path


@pytest.fixture(scope="module")
def decoder(folder):
    return load_decoder(f"diffusers:{folder}")


@pytest.fixture(scope="module")
def encoder(decoder):
    return decoder.encoder()


def pictures(count=2, size=(16, 16)):
    return torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(2))


@torch.no_grad()
def theirs(model, x):
    """Latents and image of diffusers."""
    latents = model.encode(x).latent
    return latents, model.decode(latents).sample


def same(ours, other):
    torch.testing.assert_close(ours, other, rtol=1e-4, atol=1e-5)


# -- the same numbers as diffusers -------------------------------------------------------------------------


def test_the_round_trip_is_that_of_diffusers(pair):
    model, path = pair
    encoder = ni.Encoder(load_network(f"diffusers:{path}"), "output")
    decoder = load_decoder(f"diffusers:{path}")
    decoder.check_encoder(encoder)
    x = pictures()
    latents, images = theirs(model, x)
    code = encoder(x)
    same(code, latents)
    same(decoder(latents), images.clamp(0, 1))
    same(decoder(code), images.clamp(0, 1))
    assert ((images > 0) & (images < 1)).float().mean() > 0.5  # or the comparison would say little
    assert decoder.code_shape == encoder.code_shape == (WIDTH, GRID, GRID)
    assert decoder(code).shape == (2, 3, *decoder.size) == (2, 3, 20, 20)
    assert (encoder.size, encoder.preprocessing.mean) == ((16, 16), pytest.approx((0.5, 0.4, 0.3)))
    same(decoder(code[0]), decoder(code)[:1])


@pytest.mark.parametrize(
    "settings",
    [{"reshape_to_2d": False}, {"scaling_factor": 0.5}, {"latents_mean": None, "latents_std": None}],
    ids=lambda settings: next(iter(settings)),
)
def test_other_forms_of_latents(diffusers, tmp_path, settings):
    model = saved(diffusers, tmp_path, **settings)
    decoder = load_decoder(f"diffusers:{tmp_path}")
    encoder = decoder.encoder()
    latents, images = theirs(model, pictures())
    same(encoder(pictures()), latents)
    same(decoder(encoder(pictures())), images.clamp(0, 1))
    assert decoder.code_shape == tuple(latents.shape[1:])


def test_half_precision_is_read_as_float32(diffusers, tmp_path):
    model = saved(diffusers, tmp_path).half()
    model.save_pretrained(tmp_path)
    decoder = load_decoder(f"diffusers:{tmp_path}")
    latents, images = theirs(model.float(), pictures())
    same(decoder.encoder()(pictures()), latents)
    same(decoder(latents), images.clamp(0, 1))


def test_names_of_older_transformers_are_understood(pair, tmp_path):
    """The published files have those; diffusers alone would take random numbers for the layers renamed."""
    model, _ = pair
    if model.config.encoder_type == "siglip2":
        pytest.skip("its names have not changed where it can be built")
    model.save_pretrained(tmp_path)
    model.encoder.save_pretrained(tmp_path / "encoder")  # transformers writes the old names
    old = load_file(tmp_path / "encoder" / "model.safetensors")
    state = {key: value for key, value in load_file(tmp_path / WEIGHTS).items() if key[:8] != "encoder."}
    assert "encoder.layer.0.attention.attention.query.weight" in old
    state |= {f"encoder.{key}": value for key, value in old.items()}
    save_file(state, tmp_path / WEIGHTS)
    latents, images = theirs(model, pictures())
    decoder = load_decoder(f"diffusers:{tmp_path}")
    same(decoder.encoder()(pictures()), latents)
    same(decoder(latents), images.clamp(0, 1))
    save_file({key: value for key, value in state.items() if "query" not in key}, tmp_path / WEIGHTS)
    with pytest.raises(NetworkError, match="do not fit: 4 tensors are missing"):
        load_decoder(f"diffusers:{tmp_path}")


def test_the_codes_are_those_of_transformers_last_layer(diffusers, folder, encoder):
    """Patch tokens of DINOv2's layernorm, less its scale and shift, standardised."""
    transformers = pytest.importorskip("transformers")
    model = diffusers.AutoencoderRAE.from_pretrained(folder, low_cpu_mem_usage=False)
    whole = transformers.Dinov2WithRegistersModel(model.encoder.config)
    scale, shift = torch.rand(WIDTH) + 0.5, torch.randn(WIDTH)
    whole.load_state_dict({**model.encoder.state_dict(), "layernorm.weight": scale, "layernorm.bias": shift})
    network = Network("dinov2", whole.eval(), encoder.preprocessing)
    tokens = (ni.Encoder(network, "layernorm")(pictures())[:, 5:] - shift) / scale
    maps = tokens.transpose(1, 2).unflatten(2, (GRID, GRID))
    codes = (maps - model._latents_mean) / (model._latents_std + 1e-5)
    same(codes, encoder(pictures()))


def test_images_of_other_sizes_are_cropped(encoder):
    wide = pictures(1, (24, 40))
    same(encoder(wide), encoder(encoder.fit(wide)))
    assert torch.equal(encoder.fit(pictures(1, (16, 24))), pictures(1, (16, 24))[..., 4:20])


# -- used as any other -------------------------------------------------------------------------------------


def test_gradients_reach_codes_and_images(decoder, encoder):
    x = pictures().requires_grad_(True)
    code = encoder(x)
    loss = (decoder(code) - 0.5).square().sum()
    to_code, to_image = torch.autograd.grad(loss, [code, x])
    assert to_code.abs().amax(dim=(1, 2, 3)).min() > 0
    assert to_image.abs().amax(dim=(1, 2, 3)).min() > 0
    step = 1e-2 * to_code / to_code.norm()
    with torch.no_grad():
        ahead, behind = ((decoder(code + way * step) - 0.5).square().sum() for way in (1, -1))
    assert float(ahead - behind) / 2 == pytest.approx(1e-2 * float(to_code.norm()), rel=0.02)
    assert not decoder(code.detach()).requires_grad


def test_samples_of_a_batch_are_independent(decoder, encoder):
    code = encoder(pictures(3))
    changed = code.clone()
    changed[1] += 1
    assert torch.equal(decoder(code)[[0, 2]], decoder(changed)[[0, 2]])


def test_each_half_is_there_once(folder, decoder):
    network = load_network(f"diffusers:{folder}")
    assert not any(name.startswith("model.encoder.") for name in decoder.module.state_dict())
    assert not any(name.startswith("model.decoder.") for name in network.module.state_dict())
    assert not any(part.requires_grad for part in decoder.module.parameters())


def test_the_layers_of_the_encoder_can_be_inverted_too(pair):
    _, path = pair
    network = load_network(f"diffusers:{path}")
    assert len(network.layers) == 3
    assert network.layers[-1] == "output"
    encoder = ni.Encoder(network, network.layers[0])
    assert encoder(pictures()).shape[0] == 2
    assert list_layers(network)
    with pytest.raises(CodeError, match="belongs to layer 'output'"):
        load_decoder(f"diffusers:{path}").check_encoder(encoder)


def test_a_decoder_knows_its_own_weights(folder, decoder):
    network = load_network(f"diffusers:{folder}")
    with torch.no_grad():
        next(network.module.parameters()).mul_(1.5)
    with pytest.raises(CodeError, match="other weights"):
        decoder.check_encoder(ni.Encoder(network, "output"))


# -- bad input ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(WIDTH, GRID), (1, GRID * GRID, WIDTH), (1, WIDTH, GRID, 2 * GRID)])
def test_codes_of_another_shape(decoder, shape):
    with pytest.raises(CodeError, match=r"have the shape \(64, 4, 4\)"):
        decoder(torch.zeros(shape))


@pytest.mark.parametrize("load", [load_decoder, load_network])
def test_errors_name_the_remedy(diffusers, folder, tmp_path, monkeypatch, load):
    name = f"diffusers:{tmp_path}"
    with pytest.raises(NetworkError, match=r"configuration of .* cannot be had .*: give a folder"):
        load(name)
    config = json.loads((folder / "config.json").read_text())
    for change, message in (
        ({"_class_name": "AutoencoderKL"}, "holds AutoencoderKL: .* only AutoencoderRAE"),
        ({"num_channels": 4}, "images of 4 channels"),
        ({}, r"model of .* cannot be had .*no file named diffusion_pytorch_model.safetensors"),
    ):
        (tmp_path / "config.json").write_text(json.dumps({**config, **change}))
        with pytest.raises(NetworkError, match=message):
            load(name)
    (tmp_path / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:5000])
    with pytest.raises(NetworkError, match=r"model of .* cannot be had"):
        load(name)
    state = load_file(folder / WEIGHTS)
    save_file(state, tmp_path / WEIGHTS)
    (tmp_path / "config.json").write_text(json.dumps({**config, "encoder_type": "clip"}))
    with pytest.raises(NetworkError, match=r"model of .* cannot be had .*Unknown encoder_type"):
        load(name)
    (tmp_path / "config.json").write_text(json.dumps(config))
    state.pop("decoder.decoder_pred.bias")
    save_file(state, tmp_path / WEIGHTS)
    with pytest.raises(NetworkError, match=r"do not fit: 1 tensors are missing \(decoder.decoder_pred.bias"):
        load(name)

    def offline(*_, **__):
        raise OSError("couldn't connect to the hub\nmore of it")

    monkeypatch.setattr(diffusers.AutoencoderRAE, "load_config", offline)
    with pytest.raises(NetworkError, match=r"connect to the hub\): give a folder .* needs the internet"):
        load("diffusers:owner/name")


def test_siglip_that_cannot_be_built(folder, tmp_path):
    if siglip_can_be_built():
        pytest.skip("this transformers builds it")
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "encoder_type": "siglip2"}))
    (tmp_path / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes())
    with pytest.raises(NetworkError, match="an older transformers"):
        load_decoder(f"diffusers:{tmp_path}")


def test_weights_cannot_be_given(folder):
    with pytest.raises(NetworkError, match="leave weights out"):
        load_network(f"diffusers:{folder}", "random")


@pytest.mark.parametrize("missing", ["diffusers", "transformers"])
@pytest.mark.parametrize("load", [load_decoder, load_network])
def test_without_the_extra(monkeypatch, missing, load):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(MissingExtraError, match=r"netinvert\[diffusers\]"):
        load("diffusers:owner/name")


def test_loading_says_nothing_and_leaves_the_generator(folder, capfd):
    before = torch.get_rng_state()
    load_decoder(f"diffusers:{folder}")
    assert torch.equal(before, torch.get_rng_state())
    assert capfd.readouterr() == ("", "")
