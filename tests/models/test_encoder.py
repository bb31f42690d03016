"""The encoder: the code is what the network computes at the layer, and the network stays as it was."""

import copy
import gc
import weakref

import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

import tiny
from netinvert import CodeError, Encoder, ImageError, LayerError, Network, NetworkError, Preprocessing
from tiny import PLAIN, Counting, encoder, images, seeded


def hooked(network: nn.Module, layer: str, x: torch.Tensor, call: int = 0) -> torch.Tensor:
    """The layer's output in a full forward pass, copied before anything can overwrite it."""
    caught = []
    handle = network.get_submodule(layer).register_forward_hook(lambda m, i, o: caught.append(o.clone()))
    with torch.no_grad():
        network(x)
    handle.remove()
    return caught[call]


def close(found: torch.Tensor, expected: torch.Tensor, relative: float = 1e-6) -> None:
    assert found.shape == expected.shape
    assert (found - expected).norm() <= relative * expected.norm()


# --- the code is the full forward pass's --------------------------------------------------------------


@pytest.mark.parametrize("layer", [str(index) for index in range(9)])
def test_code_equals_the_full_forward_pass(layer):
    network = seeded(tiny.plain)
    x = images(3)
    if layer in "03":  # in front of an in-place ReLU, or of a BatchNorm
        assert hooked(network, layer, x).min() < 0
    close(Encoder(network, layer, PLAIN)(x), hooked(network, layer, x))


@pytest.mark.parametrize("layer", ["first", "second", "head"])
def test_functional_in_place_relu_does_not_overwrite_the_code(layer):
    network = seeded(tiny.Functional)
    code = Encoder(network, layer, PLAIN)(images())
    close(code, hooked(network, layer, images()))
    assert code.min() < 0


def test_input_is_the_preprocessed_image_and_output_the_whole_network():
    network = seeded(tiny.plain)
    form = Preprocessing(tiny.SIZE, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    mean, std = (torch.tensor(v, dtype=torch.float64).view(3, 1, 1) for v in (form.mean, form.std))
    x = images()
    close(Encoder(network, "input", form)(x), (x - mean) / std, 1e-12)
    assert torch.equal(Encoder(network, "input", PLAIN)(x), x)
    with torch.no_grad():
        close(Encoder(network, "output", form)(x), network((x - mean) / std))


def test_real_modules_named_input_and_output_win_over_the_reserved_words():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.input = nn.Conv2d(3, 2, 3)
            self.output = nn.Conv2d(2, 4, 3)
            self.last = nn.Conv2d(4, 5, 3)

        def forward(self, x):
            return self.last(self.output(self.input(x)))

    assert Encoder(seeded(Named), "input", PLAIN).code_shape == (2, 14, 14)
    assert Encoder(seeded(Named), "output", PLAIN).code_shape == (4, 12, 12)


def test_reused_module_by_call():
    network = seeded(tiny.Reused)
    for call in range(3):
        close(Encoder(network, f"relu:{call}", PLAIN)(images()), hooked(network, "relu", images(), call))
    with pytest.raises(LayerError, match="runs 3 times; choose one of relu:0, relu:1, relu:2"):
        Encoder(network, "relu", PLAIN)
    with pytest.raises(LayerError, match="the last call is 'relu:2'"):
        Encoder(network, "relu:3", PLAIN)


@pytest.mark.parametrize(
    ("kind", "features", "pooled"),
    [
        ("tuple", "body[0]", "body[1]"),
        ("dict", "body[features]", "body[pooled]"),
        ("dataclass", "body[features]", "body[pooled]"),
    ],
)
def test_item_of_an_output_of_several_tensors(kind, features, pooled):
    network = seeded(lambda: tiny.Several(kind))
    expected = hooked(network, "body.conv", images())
    close(Encoder(network, features, PLAIN)(images()), expected)
    close(Encoder(network, pooled, PLAIN)(images()), expected.mean((-2, -1)))
    close(Encoder(network, features.replace("[", ":0["), PLAIN)(images()), expected)
    with pytest.raises(LayerError, match="several tensors; choose one of"):
        Encoder(network, "body", PLAIN)
    with pytest.raises(LayerError, match=r"has no \[9\]"):
        Encoder(network, "body[9]", PLAIN)


def test_the_only_tensor_of_a_tuple_needs_no_item():
    network = seeded(lambda: tiny.Several("single"))
    close(Encoder(network, "body", PLAIN)(images()), hooked(network, "body.conv", images()))
    with pytest.raises(LayerError, match="gives a single tensor"):
        Encoder(network, "body.conv[0]", PLAIN)


def test_an_output_without_tensors_is_refused():
    class Wordy(nn.Module):
        def forward(self, x):
            return "words"

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.conv = Wordy(), nn.Conv2d(3, 2, 3)

        def forward(self, x):
            self.words(x)
            return self.conv(x)

    with pytest.raises(LayerError, match="gives no tensor but str"):
        Encoder(seeded(Net), "words", PLAIN)


def test_tokens():
    network = seeded(tiny.Tokens)
    cut = Encoder(network, "block", PLAIN)
    assert cut.code_shape == (16, 8)
    close(cut(images()), hooked(network, "block", images()))


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("resnet18", ["conv1", "bn1", "layer1.0.conv1", "layer1.0.bn1", "layer1.0.relu:1", "layer2.0", "fc"]),
        pytest.param(
            "alexnet",
            ["features.0", "features.5", "features.8", "classifier.1", "classifier.6"],
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "densenet121",
            ["features.conv0", "features.denseblock1.denselayer2.conv2", "features.norm5"],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_torchvision_networks(name, layers):
    # alexnet and densenet need some pixels; their weights are as they are made.
    network = seeded(lambda: torchvision.models.get_model(name), dtype=torch.float32)
    tiny.liven(network) if name == "resnet18" else None
    form = Preprocessing((64, 64))
    x = images(2, (64, 64)).float()
    for layer in layers:
        plain, _, call = layer.partition(":")
        close(Encoder(network, layer, form)(x), hooked(network, plain, x, int(call or 0)), 1e-5)


def test_vision_transformer_block():
    network = seeded(
        lambda: timm.create_model("vit_tiny_patch16_224", pretrained=False, img_size=64), dtype=torch.float32
    )
    x = images(2, (64, 64)).float()
    cut = Encoder(network, "blocks.3", Preprocessing((64, 64)))
    assert cut.code_shape == (17, 192)
    close(cut(x), hooked(network, "blocks.3", x), 1e-5)


def test_gradient_is_the_full_pass_s():
    network = seeded(tiny.plain)
    x = images().requires_grad_(True)
    (found,) = torch.autograd.grad(Encoder(network, "6", PLAIN)(x).square().sum(), x)
    (expected,) = torch.autograd.grad(network[:7](x).square().sum(), x)
    close(found, expected)


def test_nothing_behind_the_layer_runs():
    network = seeded(
        lambda: nn.Sequential(
            nn.Conv2d(3, 4, 3), Counting("before"), nn.Conv2d(4, 4, 3), Counting("after"), nn.ReLU()
        )
    )
    cut = Encoder(network, "2", PLAIN)
    Counting.calls.clear()
    cut(images())
    assert Counting.calls == {"before": 1}


def test_a_head_that_refuses_the_size_does_not_matter():
    network = seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 14 * 14, 3)))
    cut = Encoder(network, "0", PLAIN, size=(20, 24))
    assert cut.code_shape == (4, 18, 22)
    with pytest.raises(NetworkError, match=r"fails on an image of \(20, 24\) pixels"):
        Encoder(network, "2", PLAIN, size=(20, 24))


# --- BatchNorm ----------------------------------------------------------------------------------------


def norms(cut: Encoder) -> int:
    return sum(isinstance(part, nn.BatchNorm2d) for part in cut.module.modules())


def test_batchnorm_is_folded_where_that_is_exact():
    network = seeded(tiny.plain)
    for layer in ("4", "5", "8"):
        cut = Encoder(network, layer, PLAIN)
        assert norms(cut) == 0
        close(cut(images()), hooked(network, layer, images()), 1e-5)


def test_cut_at_a_convolution_before_its_batchnorm_is_not_folded():
    network = seeded(tiny.plain)
    cut = Encoder(network, "3", PLAIN)
    close(cut(images()), hooked(network, "3", images()), 1e-12)


def test_batchnorm_is_left_alone_where_the_convolution_is_used_elsewhere():
    network = seeded(tiny.Residual)
    cut = Encoder(network, "last", PLAIN)
    assert norms(cut) == 1
    close(cut(images()), hooked(network, "last", images()))


def test_a_reused_batchnorm_is_left_alone():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Conv2d(3, 3, 3), nn.Conv2d(3, 3, 3)
            self.norm = nn.BatchNorm2d(3)
            tiny.liven(self)

        def forward(self, x):
            return self.norm(self.two(self.norm(self.one(x))))

    network = seeded(Net)
    cut = Encoder(network, "output", PLAIN)
    assert norms(cut) == 1
    with torch.no_grad():
        close(cut(images()), network(images()))


def test_what_cannot_be_folded_is_left_alone():
    def build():
        network = nn.Sequential(
            nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3)), nn.BatchNorm2d(4, affine=False)
        )
        network[1].running_var.fill_(0.3)
        return network

    network = seeded(build)
    with torch.no_grad():
        close(Encoder(network, "output", PLAIN)(images()), network(images()))


# --- preprocessing ------------------------------------------------------------------------------------


def test_scale_mean_std_and_bgr_in_the_network_s_own_order():
    form = Preprocessing(tiny.SIZE, mean=(104.0, 117.0, 123.0), std=(1.0, 2.0, 4.0), scale=255.0, order="BGR")
    x = images()
    blue_first = x[:, [2, 1, 0]].numpy() * 255
    expected = [(blue_first[:, c] - form.mean[c]) / form.std[c] for c in range(3)]
    code = Encoder(seeded(tiny.smooth), "input", form)(x)
    for channel in range(3):
        torch.testing.assert_close(code[:, channel], torch.from_numpy(expected[channel]))
    centre = Encoder(seeded(tiny.smooth), "input", form).centre
    assert centre == pytest.approx((123 / 255, 117 / 255, 104 / 255))
    assert Encoder(seeded(tiny.smooth), "input", PLAIN).centre == (0.5, 0.5, 0.5)


def test_other_channel_counts():
    network = seeded(lambda: nn.Conv2d(1, 4, 3))
    cut = Encoder(network, "output", Preprocessing(tiny.SIZE, mean=(0.5,), std=(0.5,)))
    assert cut(images(2, channels=1)).shape == (2, 4, 14, 14)
    with pytest.raises(ImageError, match=r"\(N, 1, H, W\)"):
        cut(images(2))


def test_images_of_another_size_are_fitted():
    cut = encoder()
    x = images(2, (24, 40))
    assert torch.equal(cut(x), cut(cut.fit(x)))
    assert cut.fit(x).shape == (2, 3, 16, 16)
    assert torch.equal(cut(images()[0]), cut(images()[:1]))


# --- the user's network stays as it was ---------------------------------------------------------------


def fingerprint(network: nn.Module) -> dict[str, object]:
    tables = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    parts = dict(network.named_modules())
    return {
        "state": {name: value.clone() for name, value in network.state_dict().items()},
        "ids": {name: id(value) for name, value in network.named_parameters()},
        "parts": {name: id(part) for name, part in parts.items()},
        "training": {name: part.training for name, part in parts.items()},
        "grads": {name: value.grad is None for name, value in network.named_parameters()},
        "requires": {name: value.requires_grad for name, value in network.named_parameters()},
        "hooks": {name: [len(getattr(part, table)) for table in tables] for name, part in parts.items()},
        "strides": {name: value.stride() for name, value in network.named_parameters()},
    }


def assert_same(network: nn.Module, before: dict[str, object]) -> None:
    after = fingerprint(network)
    old, new = before.pop("state"), after.pop("state")
    assert after == before
    assert old.keys() == new.keys()
    assert all(torch.equal(old[name], new[name]) for name in old)
    assert all(not any(counts) for counts in after["hooks"].values())


def awkward() -> nn.Module:
    network = tiny.plain()
    network[3].requires_grad_(False)
    return network


def test_network_is_untouched_by_success():
    network = seeded(awkward)
    before = fingerprint(network)
    cut = Encoder(network, "5", PLAIN)
    x = images().requires_grad_(True)
    cut(x).sum().backward()
    assert_same(network, before)
    assert all(not part._forward_hooks for part in cut.module.modules())


class Raising(nn.Module):
    error: BaseException | None = None

    def forward(self, x):
        if Raising.error is not None:
            raise Raising.error
        return x


@pytest.mark.parametrize("error", [ValueError("broken"), KeyboardInterrupt()])
def test_network_is_untouched_by_failure_and_interrupt(error, monkeypatch):
    network = seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), Raising(), nn.BatchNorm2d(4), nn.ReLU()))
    before = fingerprint(network)
    cut = Encoder(network, "3", PLAIN)
    monkeypatch.setattr(Raising, "error", error)
    with pytest.raises(type(error)):
        cut(images())
    assert all(not part._forward_hooks for part in cut.module.modules())
    expected = KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else NetworkError
    with pytest.raises(expected):
        Encoder(network, "3", PLAIN)
    assert_same(network, before)


def test_the_copy_goes_with_the_encoder():
    cut = encoder(tiny.plain, "5")
    gone = weakref.ref(cut.module)
    del cut
    gc.collect()
    assert gone() is None


def test_later_training_does_not_change_the_encoder():
    network = seeded(tiny.plain)
    cut = Encoder(network, "5", PLAIN)
    before = cut(images())
    with torch.no_grad():
        network[0].weight.mul_(3)
    network.train()
    assert torch.equal(cut(images()), before)


# --- what is refused, and how -------------------------------------------------------------------------


def test_unknown_layer_names_the_nearest():
    network = seeded(torchvision.models.resnet18, dtype=torch.float32)
    with pytest.raises(LayerError, match=r"no layer 'layer2\.0\.conv3'; the nearest are .*layer2\.0\.conv2"):
        Encoder(network, "layer2.0.conv3", Preprocessing((64, 64)))
    with pytest.raises(LayerError, match="it has 0, 1, 2"):
        Encoder(seeded(tiny.plain), "zzzzzzzzz", PLAIN)
    for malformed in ("", "a:b", "a[", "0:1:2", "0[1"):
        with pytest.raises(LayerError):
            Encoder(seeded(tiny.plain), malformed, PLAIN)


def test_layer_that_never_runs():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.spare = nn.Conv2d(3, 2, 3), nn.Conv2d(3, 2, 3)

        def forward(self, x):
            return self.used(x)

    with pytest.raises(LayerError, match="'spare' exists but does not run"):
        Encoder(seeded(Net), "spare", PLAIN)


def test_training_mode():
    network = seeded(tiny.plain)
    network[4].train()
    with pytest.raises(NetworkError, match=r"training mode.*call network\.eval\(\)"):
        Encoder(network, "5", PLAIN)


def test_devices_and_dtypes():
    network = seeded(tiny.plain)
    network[0].to("meta")
    with pytest.raises(NetworkError, match=r"several devices.*cpu, meta"):
        Encoder(network, "5", PLAIN)
    with pytest.raises(NetworkError, match="meta device and has no weights"):
        Encoder(seeded(tiny.plain).to("meta"), "5", PLAIN)
    network = seeded(tiny.plain)
    network[0].float()
    with pytest.raises(NetworkError, match=r"mixes dtypes \(torch\.float32, torch\.float64\)"):
        Encoder(network, "5", PLAIN)
    for dtype in (torch.float16, torch.bfloat16):
        with pytest.raises(NetworkError, match="small gradients vanish"):
            Encoder(seeded(tiny.plain, dtype=dtype), "5", PLAIN)


class Then(nn.Module):
    def __init__(self, change):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.change = change

    def forward(self, x):
        return self.change(self.conv(x))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x.detach(), "gives no gradient"),
        (lambda x: x * 0 + 1, "the same code for different images"),
        (lambda x: x / 0, "NaN or infinite"),
        (lambda x: x.argmax(1), r"gives torch\.int64"),
        (lambda x: x.flatten(0, 1), "first dimension has to be the batch"),
        (lambda x: x.sign(), "gradient that is zero"),
        (F.dropout, "not the same twice"),
        (lambda x: x - x.mean(), "other images of the batch"),
    ],
)
def test_codes_that_cannot_be_inverted(change, message):
    with pytest.raises(NetworkError, match=message):
        Encoder(seeded(lambda: Then(change)), "output", PLAIN)


def test_empty_codes():
    nothing = nn.Sequential(nn.Conv2d(3, 4, 3), Sliced()).eval()
    with pytest.raises(NetworkError, match=r"an empty code \(4, 0, 6\); give larger images"):
        Encoder(nothing, "1", preprocessing=Preprocessing((8, 8)))


class Sliced(nn.Module):
    def forward(self, x):
        return x[:, :, 6:]


def test_batchnorm_without_statistics_couples_the_batch():
    build = lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False))  # noqa: E731
    with pytest.raises(NetworkError, match="other images of the batch"):
        Encoder(seeded(build), "1", PLAIN)
    Encoder(seeded(build), "0", PLAIN)


def test_a_code_that_is_zero_for_some_images_is_fine():
    network = seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.ReLU()))
    for sign in (1, -1):  # the encoder tries two images: shut the ReLU for one of them, then for the other
        with torch.no_grad():
            probe = Encoder(network, "input", PLAIN)._probe(2)
            network[0].weight.copy_(sign * network[0].weight.abs())
            network[0].bias.zero_()
            network[0].bias.copy_(-network[:2](probe).mean(0).flatten())
            assert (network(probe).flatten(1).amax(1) == 0).sum() == 1
        assert Encoder(network, "output", PLAIN).code_shape == (4, 1, 1)


def test_nan_weights():
    network = seeded(tiny.plain)
    with torch.no_grad():
        network[3].weight[0, 0] = torch.nan
    with pytest.raises(NetworkError, match="NaN or infinite values; check the network's weights"):
        Encoder(network, "5", PLAIN)
    Encoder(network, "2", PLAIN)


def test_needs_preprocessing_and_a_module():
    with pytest.raises(NetworkError, match=r"how does Sequential want its images.*Preprocessing.*--size"):
        Encoder(seeded(tiny.plain), "5")
    with pytest.raises(NetworkError, match=r"torch\.nn\.Module.*got dict"):
        Encoder({}, "5", PLAIN)
    network = Network("mine", seeded(tiny.plain), PLAIN)
    assert Encoder(network, "5").code_shape == (8, 8, 8)
    assert Encoder(network, "5", Preprocessing((32, 32))).code_shape == (8, 16, 16)


@pytest.mark.filterwarnings("ignore:.*torch.jit:")
def test_torchscript_is_refused():
    network = torch.jit.trace(seeded(tiny.plain), images())
    with pytest.raises(NetworkError, match="TorchScript"):
        Encoder(network, "0", PLAIN)


@pytest.mark.slow
def test_wrappers_are_taken_off():
    network = seeded(tiny.plain)
    expected = hooked(network, "5", images())
    wrapped = nn.DataParallel(network)
    compiled = torch.compile(network)
    for outer in (wrapped, compiled, nn.DataParallel(compiled), torch.compile(wrapped)):
        outer.eval()
        cut = Encoder(outer, "5", PLAIN)
        close(cut(images()), expected)
        assert cut.weights_sha256() == Encoder(network, "5", PLAIN).weights_sha256()


def test_networks_that_cannot_be_copied():
    class Stubborn(nn.Conv2d):
        def __deepcopy__(self, memo):
            raise RuntimeError("no")

    with pytest.raises(NetworkError, match="cannot be copied"):
        Encoder(seeded(lambda: Stubborn(3, 2, 3)), "output", PLAIN)


# --- codes and images that are refused ----------------------------------------------------------------


def test_codes_are_checked():
    cut = encoder(tiny.plain, "5")
    good = cut(images())
    assert torch.equal(cut.check_code(good), good)
    assert torch.equal(cut.check_code(good[0]), good[:1])
    assert cut.check_code(good.float()).dtype == torch.float64
    assert not cut.check_code(cut(images().requires_grad_(True))).requires_grad
    for shape in [(8, 8), (8, 8, 7), (1, 2, 8, 8, 8), (2, 7, 8, 8), (0, 8, 8, 8), ()]:
        with pytest.raises(CodeError):
            cut.check_code(torch.ones(shape, dtype=torch.float64))
    for value in (torch.nan, torch.inf):
        bad = good.clone()
        bad[1, 2, 3, 4] = value
        with pytest.raises(CodeError, match="NaN or infinite"):
            cut.check_code(bad)
    with pytest.raises(CodeError, match="on meta"):
        cut.check_code(good.to("meta"))


def test_codes_too_large_for_the_network_s_dtype():
    cut = Encoder(seeded(tiny.plain, dtype=torch.float32), "5", PLAIN)
    with pytest.raises(CodeError, match="NaN or infinite"):
        cut.check_code(torch.full((8, 8, 8), 1e300, dtype=torch.float64))


def test_images_are_checked():
    cut = encoder()
    for wrong in (images()[:, :2], images()[0, 0], images()[None]):
        with pytest.raises(ImageError, match=r"\(N, 3, H, W\)"):
            cut(wrong)
    with pytest.raises(ImageError, match=r"torch\.uint8.*/ 255"):
        cut((images() * 255).byte())
    assert cut(images().float()).dtype == torch.float64  # moved to the network's type, and its device
    with pytest.raises(ImageError, match="meta"):
        cut(images().to("meta"))


# --- leaky gradients -----------------------------------------------------------------------------------


class Dropping(nn.Module):
    """Uses the in-place function for its effect, not for its result."""

    def forward(self, x):
        x = x * 1
        x.relu_()
        return x


RELUS = [
    nn.ReLU(),
    nn.ReLU(inplace=True),
    nn.ReLU6(),
    nn.ReLU6(inplace=True),
    nn.Hardtanh(0, 1),
    Dropping(),
]


@pytest.mark.parametrize("relu", RELUS, ids=str)
def test_leaky_gradients_keep_values_and_lets_gradients_through(relu):
    network = seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), copy.deepcopy(relu)))
    cut = Encoder(network, "output", PLAIN)
    x = images().requires_grad_(True)
    plain = cut(x)
    assert (plain == 0).any()
    (expected,) = torch.autograd.grad(plain.sum(), x, retain_graph=True)
    with cut.leaky_relu_gradients(0.0):
        code = cut(x)
        (found,) = torch.autograd.grad(code.sum(), x)
    assert torch.equal(code, plain)
    torch.testing.assert_close(found, expected)
    with cut.leaky_relu_gradients(0.25):
        (leaky,) = torch.autograd.grad(cut(x).sum(), x)
    (through,) = torch.autograd.grad(network[0](x).sum(), x)
    torch.testing.assert_close(leaky, 0.75 * expected + 0.25 * through)
    (after,) = torch.autograd.grad(cut(x).sum(), x)
    assert torch.equal(after, expected)


def test_stride_and_depth_of_the_cut():
    network = seeded(tiny.plain)
    cuts = [Encoder(network, layer, PLAIN) for layer in ("input", "0", "2", "5", "8")]
    assert [cut.stride for cut in cuts] == [1, 1, 2, 2, 2]
    assert [cut.depth for cut in cuts] == pytest.approx([0, 1 / 8, 3 / 8, 6 / 8, 1])  # flattening is no layer
