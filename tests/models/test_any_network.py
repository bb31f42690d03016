"""The encoder is the network, however that is made: rewritten, hooked, scripted, exported, in any mode."""

from collections import namedtuple
from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import netinvert as ni
import tiny
from netinvert import ConfigError, Encoder, NetworkError, Preprocessing
from netinvert.inversion.units import channel, channel_mask, neuron
from netinvert.models.checkpoints import state_sha256
from netinvert.models.fused_conv import FusedConvolution
from tiny import PLAIN, images, seeded

FLAT = torch.full((1, 3, *tiny.SIZE), 0.02, dtype=torch.float64)


def same(network, layer="output", want=None, x=None):
    x = images() if x is None else x
    want = network(x) if want is None else want
    found = Encoder(network, layer, PLAIN)(x)
    assert (found - want).norm() <= 1e-5 * want.norm()


class Skip(nn.Module):
    """A ReLU that only dark images need, and its input read beside it by the function given."""

    def __init__(self, read):
        super().__init__()
        self.conv, self.act, self.head, self.read = nn.Conv2d(3, 4, 7), nn.ReLU(), nn.Conv2d(4, 4, 3), read
        nn.init.constant_(self.conv.weight, 1 / 147)
        nn.init.constant_(self.conv.bias, -0.01 * 3)

    def forward(self, x):
        y = self.conv(x)
        return self.head(self.act(y) + self.read(y))


READERS = {
    "function": lambda y: 0.5 * y,
    "view": lambda y: y.flatten(1).mul(2).view_as(y),
    "data": lambda y: y.data * 0.5,
    "detached": lambda y: y.detach().tanh(),
    "reduction": lambda y: y.mean((2, 3), keepdim=True),
}


@pytest.mark.parametrize("read", READERS)
def test_a_second_reader_keeps_the_relu_beside_the_convolution(read):
    network = seeded(lambda: Skip(READERS[read]))
    cut = Encoder(network, "output", PLAIN)
    assert not any(isinstance(part, FusedConvolution) and part.act for part in cut.module.modules())
    same(network, x=FLAT)


class Gate(nn.Module):
    """Bright images, or those above a limit, pass the normalisation by."""

    def __init__(self, limit):
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3)
        self.limit = limit
        tiny.liven(self)

    def forward(self, x):
        y = self.conv(x)
        return self.head((self.norm(y) if x.mean() < self.limit else y).relu())


def test_ways_that_depend_on_the_image():
    network = seeded(lambda: Gate(0.6))
    same(network, x=images(1) * 0.2 + 0.8)
    same(network, x=images(1) * 0.5)
    hidden = seeded(lambda: Gate(0.97))  # a way that no probe takes
    encoder = Encoder(hidden, "output", PLAIN)
    white = torch.ones_like(images(1))
    with pytest.warns(UserWarning, match="fast=False"):
        code = encoder.confirmed(white)
    torch.testing.assert_close(code, hidden(white).detach())
    torch.testing.assert_close(encoder.confirmed(images(1)), encoder(images(1)), rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore")  # torch.func imports what torch calls deprecated
def test_derivatives_of_all_kinds():
    network = seeded(tiny.plain)
    encoder, x = Encoder(network, "5", PLAIN), images(2)
    pull = images(2, seed=9)

    def total(function):
        return lambda image: function(image).square().sum()

    plain = Encoder(network, "5", PLAIN, fast=False)
    for derive in (
        lambda f: torch.func.grad(total(f))(x),
        lambda f: torch.func.jvp(f, (x,), (pull,))[1],
        lambda f: torch.func.vmap(lambda one: f(one[None]))(x),
        lambda f: torch.autograd.functional.hvp(total(f), x, pull)[1],
    ):
        torch.testing.assert_close(derive(encoder), derive(plain))


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("layer", ["block.1", "head"])
def test_checkpoints(reentrant, layer):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 3)
            self.block = nn.Sequential(nn.Conv2d(4, 4, 3), nn.Tanh())

        def forward(self, x):
            return self.head(checkpoint(self.block, self.stem(x), use_reentrant=reentrant))

    network = seeded(Net)
    want = network.block(network.stem(images()))
    same(network, layer, network.head(want) if layer == "head" else want)


def convolutions():
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 3))


def test_everything_in_inference_mode_or_under_autocast():
    def run():
        encoder = Encoder(seeded(convolutions, dtype=torch.float32), "2", PLAIN)
        code = encoder(images(1).float()).float()
        return ni.invert(encoder, code, preset="quick", steps=20).error.item()

    plain = run()
    with torch.inference_mode():
        assert run() == pytest.approx(plain, rel=1e-3)
    with torch.autocast("cpu", torch.bfloat16):
        assert run() == pytest.approx(plain, rel=0.2)
        assert not torch.is_inference_mode_enabled()

    class Auto(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = convolutions()

        def forward(self, x):
            with torch.autocast("cpu", torch.bfloat16):
                return self.net(x)

    encoder = Encoder(seeded(Auto, dtype=torch.float32), "net.2", PLAIN)
    x = images(1).float().requires_grad_(True)
    assert torch.autograd.grad(encoder(x).float().square().sum(), x)[0].any()


def test_a_network_that_changes_its_input_in_place():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 2, 3)

        def forward(self, x):
            return self.conv(x.mul_(2))

    x, network = images(), seeded(Net)
    same(network, want=network(x.clone()).detach(), x=x)
    torch.testing.assert_close(x, images(), rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("norm", [nn.utils.weight_norm, nn.utils.spectral_norm])
def test_old_norms_of_weights_after_a_run_with_gradients(norm):
    network = seeded(lambda: nn.Sequential(norm(nn.Conv2d(3, 8, 3)), nn.BatchNorm2d(8), nn.ReLU()))
    network.train()(images(4))
    same(network.eval())


@pytest.mark.filterwarnings("ignore")
def test_scripted_and_exported():
    class Outer(nn.Module):
        def __init__(self, body):
            super().__init__()
            self.body, self.head = body, nn.Conv2d(4, 2, 3).double()

        def forward(self, x):
            return self.head(self.body(x))

    body = seeded(convolutions)
    outer = Outer(torch.jit.script(body)).eval()
    same(outer, "body", body(images()))
    same(outer)
    with pytest.raises(ni.LayerError, match="choose that part as a whole"):
        Encoder(outer, "body.1", PLAIN)
    many = ({0: torch.export.Dim("n", min=1, max=64)},)
    program = torch.export.export(body, (images(),), dynamic_shapes=many)
    same(program.module(), want=body(images()))
    same(torch.export.unflatten(program).eval(), "1", body[:2](images()))
    with pytest.raises(NetworkError, match="give its"):
        Encoder(program, "output", PLAIN)
    with pytest.raises(NetworkError, match="any number of images"):
        Encoder(torch.export.export(body, (images(1),)).module(), "output", PLAIN)


def test_second_names_and_items_of_items():
    Pair = namedtuple("Pair", "first second")

    @dataclass(slots=True)
    class Slots:
        first: torch.Tensor
        more: object

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)
            self.again = self.conv

        def forward(self, x):
            y = self.conv(x)
            return Slots(y, {"hidden_states": (y, Pair(y.tanh(), None))})

    network = seeded(Net)
    y = network.conv(images())
    same(network, "again", y)
    same(network, "output[first]", y)
    for name in ("[1][first]", "[-1][0]", "[1]"):
        same(network, f"output[more][hidden_states]{name}", y.tanh())
    with pytest.raises(ni.LayerError, match=r"'output\[more\]' has no \[9\]; it has hidden_states"):
        Encoder(network, "output[more][9]", PLAIN)


def test_hooks_stay_in_effect_and_record_nothing_on_the_users_side():
    network, seen, count = seeded(convolutions), [], 0

    def counting(module, inputs, output):
        nonlocal count
        count += 1

    network[0].register_forward_hook(lambda module, inputs, output: seen.append(output))
    network[0].register_forward_hook(counting)
    network[1].register_forward_hook(lambda module, inputs, output: output * 2)
    want = network(images())
    seen.clear()
    count = 0
    encoder = Encoder(network, "output", PLAIN)
    torch.testing.assert_close(encoder(images()), want)
    assert not seen
    assert not count
    assert [len(part._forward_hooks) for part in encoder.module] == [0, 1, 0]


@pytest.mark.filterwarnings("ignore")
def test_hashes_of_what_is_no_tensor():
    weight = torch.ones(2, 3)
    plain = state_sha256({"weight": weight})
    quantised = torch.quantize_per_tensor(weight, 0.1, 0, torch.qint8)
    states = [
        {"more": more} for more in ({"version": 3}, {"version": 4}, (weight, None), quantised, b"1", {2})
    ]
    hashes = [state_sha256({"weight": weight} | state) for state in states]
    assert len({plain, *hashes}) == 7
    assert state_sha256({"x": object()}) == state_sha256({"x": object()})


def test_shapes_are_asked_about():
    network = seeded(convolutions)
    with pytest.raises(ConfigError, match="height, width"):
        Encoder(network, "output", PLAIN, size=(16, 16, 3))
    assert Encoder(network, "output", PLAIN, size=20).size == (20, 20)
    encoder = Encoder(network, "output", PLAIN)
    for wrong in (lambda: channel(encoder, 1.5), lambda: neuron(encoder, 0, (0.5, 1))):
        with pytest.raises(ConfigError, match="0 to"):
            wrong()

    class Number(nn.Module):
        def forward(self, x):
            return x.mean((1, 2, 3))

    number = Encoder(Number().eval(), "output", Preprocessing(tiny.SIZE))
    assert number.code_shape == ()
    for wrong in (lambda: channel(number, 0), lambda: channel_mask(number, slice(1))):
        with pytest.raises(ConfigError, match="no channels"):
            wrong()


def test_codes_are_confirmed_without_tf32():
    """Or a GPU's rounding would be taken for another way through the network."""
    matmul = torch.backends.cuda.matmul
    seen = []

    class Watched(nn.Conv2d):
        def forward(self, x):
            seen.append(matmul.fp32_precision)
            return super().forward(x)

    module = nn.Sequential(Watched(3, 4, 3), nn.ReLU()).double().eval()
    encoder = Encoder(module, "1", PLAIN)
    before, matmul.fp32_precision = matmul.fp32_precision, "tf32"
    try:
        seen.clear()
        encoder.confirmed(images(1))
        assert seen
        assert set(seen) == {"ieee"}
        assert matmul.fp32_precision == "tf32"
    finally:
        matmul.fp32_precision = before


def test_networks_may_ask_for_tf32_while_codes_are_confirmed():
    class Asking(nn.ReLU):
        def forward(self, x):
            with torch.backends.cudnn.flags(enabled=False):
                return super().forward(x)

    encoder = Encoder(nn.Sequential(nn.Conv2d(3, 4, 3), Asking()).double().eval(), "1", PLAIN)
    before = torch.backends.cudnn.allow_tf32
    assert encoder.confirmed(images(1)).shape[1] == 4
    assert torch.backends.cudnn.allow_tf32 == before
