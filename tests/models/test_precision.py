"""A network in bfloat16: what it gives, where it pays, and what it is refused for."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor, nn

from netinvert.errors import ConfigError, NetworkError
from netinvert.models import precision
from netinvert.models.encoder import Encoder
from netinvert.models.network import Preprocessing
from netinvert.models.precision import AUTO, BFLOAT16, FLOAT32
from netinvert.models.registry import load_network

FORM = Preprocessing(size=(32, 32))


def dense() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 24, 3, stride=2, padding=1),
        nn.ReLU6(),
        nn.Flatten(),
        nn.Linear(24 * 16 * 16, 10),
    ).eval()


def codes_and_gradient(encode: Callable[[Tensor], Tensor], images: Tensor) -> tuple[Tensor, Tensor]:
    image = images.clone().requires_grad_(True)
    code = encode(image)
    (gradient,) = torch.autograd.grad(code.square().sum(), image)
    return code.detach(), gradient


@pytest.mark.parametrize("layer", ["4", "6"])
@pytest.mark.parametrize("fast", [True, False])
def test_codes_are_those_of_float32_to_rounding(layer, fast):
    encoder = Encoder(dense(), layer, FORM, fast=fast)
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    exact, steepest = codes_and_gradient(encoder, images)
    code, gradient = codes_and_gradient(encoder.rounded, images)
    assert code.dtype == gradient.dtype == torch.float32
    assert 1e-4 < (code - exact).norm() / exact.norm() < 0.02  # it does round
    assert torch.cosine_similarity(gradient.flatten(1), steepest.flatten(1)).min() > 0.99
    again, _ = codes_and_gradient(encoder, images)
    assert torch.equal(again, exact)  # and not any more


def test_it_rounds_as_torch_does():
    """The independent reference: the module itself in bfloat16."""
    module = dense()
    encoder = Encoder(module, "4", FORM)
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        code = encoder.rounded(images)
        plain = module.bfloat16()[:5](images.bfloat16()).float()
    assert (code - plain).norm() < 0.01 * plain.norm()


def test_the_network_stays_as_it_was():
    module = dense()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    encoder = Encoder(module, "6", FORM)
    weights = [value.clone() for value in encoder.module.state_dict().values()]
    encoder.rounded(torch.rand(1, 3, 32, 32))
    after = module.state_dict()
    assert all(
        after[name].dtype == value.dtype and torch.equal(after[name], value) for name, value in before.items()
    )
    assert all(map(torch.equal, weights, encoder.module.state_dict().values()))


def test_an_image_that_is_not_finite_has_a_code_of_nan_and_spares_the_others():
    encoder = Encoder(dense(), "4", FORM)
    images = torch.rand(2, 3, 32, 32)
    images[1, 0, 3, 3] = torch.nan
    with torch.no_grad():
        code = encoder.rounded(images)
    assert code[0].isfinite().all()
    assert code[1].isnan().all()


def test_threads_share_an_encoder_and_get_the_codes_of_their_own_images():
    encoder = Encoder(dense(), "4", FORM)
    images = torch.rand(5, 3, 32, 32)
    with torch.no_grad():
        known = {encode: encode(images) for encode in (encoder, encoder.rounded)}

    def same(turn: int) -> bool:
        encode, row = (encoder, encoder.rounded)[turn % 2], turn % 5
        with torch.no_grad():
            code = encode(images[row])[0]
        return bool((code - known[encode][row]).norm() < 1e-4 * code.norm())

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(same, range(300)))


@pytest.mark.parametrize("has", [True, False])
def test_auto_goes_by_processor_and_layers_alone(monkeypatch, has):
    monkeypatch.setattr("netinvert.models.precision.has_bfloat16", lambda device: has)
    assert Encoder(dense(), "4", FORM).precision_of(AUTO) == (BFLOAT16 if has else FLOAT32)
    assert Encoder(load_network("posenet"), "relu7").precision_of(AUTO) == (BFLOAT16 if has else FLOAT32)
    depthwise = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 8, 1)).eval()
    assert Encoder(depthwise, "2", FORM).precision_of(AUTO) == FLOAT32
    assert Encoder(depthwise, "0", FORM).precision_of(AUTO) == (BFLOAT16 if has else FLOAT32)  # up to there
    assert Encoder(depthwise, "2", FORM).precision_of(BFLOAT16) == BFLOAT16  # who asks gets it
    assert Encoder(dense().double(), "4", FORM).precision_of(AUTO) == FLOAT32
    assert Encoder(Float32Only().eval(), "output", FORM).precision_of(AUTO) == FLOAT32  # it does not run so


class OwnNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.groups, self.weight = 2, nn.Parameter(torch.ones(8))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.group_norm(x, self.groups, self.weight)


@pytest.mark.parametrize("part", [nn.ChannelShuffle(2), OwnNorm()])
def test_groups_that_are_no_convolution_s_do_not_count(part):
    assert precision.gains_by_bfloat16(nn.Sequential(nn.Conv2d(3, 8, 3), part))


def test_what_a_processor_says_of_itself(monkeypatch):
    monkeypatch.setattr(torch.version, "hip", None)
    for capability, has in (((7, 5), False), ((8, 0), True), ((9, 0), True)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, found=capability: found)
        assert precision.has_bfloat16(torch.device("cuda")) == has
    said = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    assert precision.has_bfloat16(torch.device("cpu")) == bool(said and said())


class Float32Only(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.first(x) @ torch.eye(30, dtype=torch.float32)


class Sharp(nn.Module):
    """Differences that three digits do not show."""

    def forward(self, x: Tensor) -> Tensor:
        return 1e4 * ((x + 1000.0) - 1000.0)


class NoGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, gradient):
        if gradient.dtype == torch.bfloat16:
            raise RuntimeError("not implemented for 'BFloat16'")
        return 2 * gradient


class ForwardOnly(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return NoGradient.apply(x)


@pytest.mark.parametrize(
    ("module", "says"),
    [
        (Float32Only(), "does not run in bfloat16"),
        (ForwardOnly(), "does not run in bfloat16"),
        (Sharp(), "gives other codes in bfloat16"),
    ],
)
def test_who_cannot_is_told_the_remedy(module, says):
    encoder = Encoder(module.eval(), "output", FORM)
    with pytest.raises(NetworkError, match=f"{says}.*leave the precision at float32"):
        encoder.rounded(torch.rand(1, 3, 32, 32))
    assert encoder(torch.rand(1, 3, 32, 32)).dtype == torch.float32


def test_precisions_are_named():
    encoder = Encoder(dense(), "4", FORM)
    with pytest.raises(ConfigError, match="the precision is float32, bfloat16, auto, not 'half'"):
        encoder.precision_of("half")
    with pytest.raises(ConfigError, match=r"computes in torch\.float64"):
        Encoder(dense().double(), "4", FORM).precision_of(BFLOAT16)
    with pytest.raises(NetworkError, match="does not run in bfloat16"):
        Encoder(Float32Only().eval(), "output", FORM).precision_of(BFLOAT16)


def test_what_is_made_in_inference_mode_gives_gradients_later():
    encoder = Encoder(dense(), "4", FORM)
    images = torch.rand(1, 3, 32, 32)
    with torch.inference_mode():
        code = encoder.rounded(images)
    again, gradient = codes_and_gradient(encoder.rounded, images)
    assert torch.equal(again, code)
    assert gradient.any()
