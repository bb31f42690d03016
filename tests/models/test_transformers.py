"""Transformers as networks, tokens as codes, of timm and transformers; nothing here needs the internet."""

import json
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

import netinvert as ni
from netinvert.errors import MissingExtraError, NetworkError
from netinvert.evaluation.metrics import psnr
from netinvert.inversion.objectives import Match
from netinvert.models.checkpoints import weights_sha256
from netinvert.models.layers import list_layers
from netinvert.models.registry import load_network

SMALL = {"hidden_size": 96, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64}
VIT = {**SMALL, "image_size": 32, "patch_size": 4}  # patches of 48 numbers: a block can hold all of them
TOKENS = 1 + 8 * 8
CROP = {"height": 32, "width": 32}


@pytest.fixture(scope="module")
def transformers():
    return pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def folder(transformers, tmp_path_factory):
    """A small ViT classifier as a training script would save it."""
    path = tmp_path_factory.mktemp("vit")
    torch.manual_seed(1)
    transformers.ViTForImageClassification(transformers.ViTConfig(**VIT)).save_pretrained(path)
    settings = {"do_resize": True, "size": {"height": 32, "width": 32}, "do_rescale": True}
    settings |= {"rescale_factor": 1 / 255, "do_normalize": True}
    settings |= {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4]}
    (path / "preprocessor_config.json").write_text(json.dumps(settings))
    return path


@pytest.fixture(scope="module")
def network(folder):
    return load_network(f"transformers:{folder}")


def picture():
    """A coloured disc before a slanting shade, (1, 3, 32, 32)."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 32), torch.linspace(-1, 1, 32), indexing="ij")
    disc = ((x - 0.2) ** 2 + y**2 < 0.3).float()
    shade = 0.5 + 0.2 * x + 0.1 * y
    return torch.stack([shade + 0.3 * disc, shade - 0.2 * disc, shade])[None].clamp(0, 1)


# -- loading ---------------------------------------------------------------------------------------------


def test_a_folder_gives_network_weights_and_preprocessing(network, folder, transformers):
    form = network.preprocessing
    assert (form.size, form.mean, form.std, form.scale) == ((32, 32), (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), 1.0)
    assert not network.module.training
    assert network.source == f"transformers {transformers.__version__}"
    assert [layer.rpartition(".")[2] for layer in network.layers] == ["0", "1", "2"]
    whole = transformers.ViTForImageClassification.from_pretrained(folder).eval()
    x = picture()
    pixels = (x - torch.tensor(form.mean).view(-1, 1, 1)) / torch.tensor(form.std).view(-1, 1, 1)
    with torch.no_grad():
        hidden = whole(pixels, output_hidden_states=True).hidden_states
        for block, layer in enumerate(network.layers[:2]):
            code = ni.Encoder(network, layer)(x)
            assert code.shape == (1, TOKENS, 96)
            torch.testing.assert_close(code, hidden[block + 1], rtol=1e-4, atol=1e-5)


def test_a_pooler_that_was_not_saved_is_left_out(network):
    assert network.module.pooler is None


def test_weights_from_a_file_are_those_of_the_folder(network, folder):
    file = folder / "model.safetensors"
    assert weights_sha256(load_network(f"transformers:{folder}", file).module) == weights_sha256(
        network.module
    )


def test_random_weights_are_the_same_each_time_and_leave_the_generator(folder):
    before = torch.get_rng_state()
    first, second = (load_network(f"transformers:{folder}", "random").module for _ in range(2))
    assert weights_sha256(first) == weights_sha256(second)
    assert bool((torch.get_rng_state() == before).all())


def test_a_kind_with_its_default_configuration(transformers, monkeypatch):
    monkeypatch.setitem(
        transformers.CONFIG_MAPPING._extra_content, "vit", lambda: transformers.ViTConfig(**VIT)
    )
    network = load_network("transformers:vit", "random")
    assert network.preprocessing.size == (32, 32)
    assert network.preprocessing.mean == (0.485, 0.456, 0.406)
    with pytest.raises(NetworkError, match="kind of network, without weights"):
        load_network("transformers:vit")


def test_half_precision_is_read_as_float32(transformers, tmp_path):
    transformers.ViTModel(transformers.ViTConfig(**VIT)).half().save_pretrained(tmp_path)
    module = load_network(f"transformers:{tmp_path}").module
    assert {tensor.dtype for tensor in module.state_dict().values()} == {torch.float32}
    assert module.pooler is not None


@pytest.mark.parametrize(
    ("settings", "size", "mean", "scale"),
    [
        ({"size": {"shortest_edge": 40}, "do_center_crop": True, "crop_size": CROP}, 32, 0.5, 1.0),
        ({"size": 32, "do_normalize": False}, 32, 0.0, 1.0),
        ({"size": {"shortest_edge": 32}, "do_rescale": False}, 32, 0.5, 255.0),
    ],
)
def test_preprocessing_as_older_files_say_it(folder, tmp_path, settings, size, mean, scale):
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    settings = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, **settings}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    form = load_network(f"transformers:{tmp_path}", "random").preprocessing
    assert (form.size, form.mean, form.scale) == ((size, size), (mean,) * 3, scale)


def test_of_a_model_of_images_and_text_the_part_that_sees(transformers, tmp_path):
    vision = {**SMALL, "image_size": 32, "patch_size": 8}
    transformers.CLIPConfig(vision_config=vision).save_pretrained(tmp_path)
    network = load_network(f"transformers:{tmp_path}", "random")
    assert type(network.module).__name__ == "CLIPVisionModel"
    assert ni.Encoder(network, network.layers[0]).code_shape == (1 + 4 * 4, 96)


def test_errors_name_the_remedy(transformers, folder, tmp_path, monkeypatch):
    with pytest.raises(NetworkError, match="no model of images"):
        load_network("transformers:bert", "random")
    state = load_file(folder / "model.safetensors")
    fewer = {name: value for name, value in state.items() if ".2." not in name}
    from safetensors.torch import save_file

    save_file(fewer, tmp_path / "fewer.safetensors")
    with pytest.raises(NetworkError, match=r"weights of another network: \d+ tensors are missing"):
        load_network(f"transformers:{folder}", tmp_path / "fewer.safetensors")

    def offline(*_, **__):
        raise OSError("We couldn't connect to the hub\nand more")

    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", offline)
    with pytest.raises(NetworkError, match=r"couldn't connect to the hub\): give a folder"):
        load_network("transformers:some/vit")
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    monkeypatch.undo()
    with pytest.raises(NetworkError, match=r'weights of transformers:.* cannot be had .*weights="random"'):
        load_network(f"transformers:{tmp_path}")


def test_without_transformers(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtraError, match=r"netinvert\[transformers\]"):
        load_network("transformers:vit", "random")


# -- tokens as codes -------------------------------------------------------------------------------------


def test_strides_and_fields_of_tokens(network):
    found = {info.name: info for info in list_layers(network)}
    first = network.layers[0]
    assert (found["embeddings"].stride, found["embeddings"].receptive_field) == (4, 4)
    assert (found[first].stride, found[first].receptive_field) == (4, 32)  # attention sees everything
    assert found[first].code_shape == (TOKENS, 96)


def test_strides_of_timm_whose_heads_are_no_maps():
    timm = pytest.importorskip("timm")
    module = timm.models.VisionTransformer(
        img_size=32, patch_size=4, embed_dim=24, depth=2, num_heads=2, num_classes=5, qk_norm=True
    )
    network = ni.Network("vit", module.eval(), ni.Preprocessing((32, 32)))
    assert ni.Encoder(network, "blocks.1").stride == 4
    found = {info.name: info for info in list_layers(network)}
    assert (found["blocks.1"].stride, found["blocks.1"].receptive_field) == (4, 32)
    assert found["blocks.0.attn.q_norm"].code_shape == (2, TOKENS, 12)
    assert found["blocks.0.attn.q_norm"].stride is None


def test_parts_that_give_a_tuple(network):
    name = next(info.name for info in list_layers(network) if info.name.endswith("attention[0]"))
    whole = name.removesuffix("[0]")
    x = picture()
    assert bool((ni.Encoder(network, name)(x) == ni.Encoder(network, whole)(x)).all())


def test_the_gradient_of_fused_attention(network):
    double = replace(network, module=network.module.double())
    try:
        encoder = ni.Encoder(double, double.layers[-1])
        x = picture().double().requires_grad_(True)
        direction = torch.linspace(-1, 1, x.numel(), dtype=x.dtype).sin().view_as(x)
        (gradient,) = torch.autograd.grad(encoder(x).square().sum(), x)
        with torch.no_grad():
            ahead, behind = (encoder(x + step * direction).square().sum() for step in (1e-5, -1e-5))
        torch.testing.assert_close((gradient * direction).sum(), (ahead - behind) / 2e-5, rtol=1e-6, atol=0)
    finally:
        network.module.float()


@pytest.mark.slow
@pytest.mark.parametrize(("block", "worst", "least"), [(0, 0.05, 30), (2, 0.05, 27)])
def test_blocks_give_the_picture_back(network, block, worst, least):
    encoder = ni.Encoder(network, network.layers[block])
    x = picture()
    result = ni.invert(encoder, encoder(x), preset=ni.recipe("default", encoder).with_steps(150))
    assert result.error.item() < worst
    assert psnr(result.image, x).item() > least


@pytest.mark.slow
def test_the_class_token_alone(network):
    encoder = ni.Encoder(network, network.layers[-1])
    x, other = picture(), picture().flip(-1)
    target, code = encoder(x), encoder(other)
    mask = torch.zeros(TOKENS, 1)
    mask[0] = 1
    alone = Match(target, mask)(other, code)
    expected = (code - target)[:, 0].square().sum() / target[:, 0].square().sum()
    torch.testing.assert_close(alone, expected[None])
    how = replace(ni.recipe("default", encoder).with_steps(100), mask=mask)
    found = ni.prepare(encoder, target, how).run(ni.Run()).image
    assert Match(target, mask)(found, encoder(found)).item() < 0.01
    assert Match(target, 1 - mask)(found, encoder(found)).item() > 0.03  # the other tokens were free
