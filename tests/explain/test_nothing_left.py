"""Whatever happens, the user's network is as it was: no hook, flag or gradient, and the encoder goes on."""

import pytest
import torch
from torch import Tensor, nn

from netinvert import Encoder, Network, NetworkError
from netinvert.explain.deconvnet import deconvnet, strongest
from netinvert.explain.occlusion import Occluder
from netinvert.explain.targets import parse_target
from netinvert.explain.top_patches import Basis, field_of_view, fit_basis, top_responses
from netinvert.models.private_copy import HOOKS
from tiny import PLAIN, images, plain, seeded


class Trap(nn.Module):
    """Passes its input on, until it is told to raise; all copies of it are told at once."""

    told: list[BaseException]

    def __init__(self) -> None:
        super().__init__()
        Trap.told = []

    def forward(self, x: Tensor) -> Tensor:
        if Trap.told:
            raise Trap.told[0]
        return x


CALLS = {
    "deconvnet": lambda encoder, target: deconvnet(encoder, images(1), strongest(1)),
    "deconvnet-sum": lambda encoder, target: deconvnet(encoder, images(1), None, "sum"),
    "deconvnet-bad": lambda encoder, target: deconvnet(encoder, images(1), strongest(99)),
    "occlusion": lambda encoder, target: Occluder(8, 8)(target, images(1), "6"),
    "occlusion-bad": lambda encoder, target: Occluder(8, 8)(target, images(1), "9"),
    "top": lambda encoder, target: top_responses(encoder, Basis.of_units(encoder), [images(2)]),
    "basis": lambda encoder, target: fit_basis("pca", 2, iter([encoder(images(80)).detach()])),
    "field": lambda encoder, target: field_of_view(encoder),
}
"""Of every public function that runs a network."""


def state(module: nn.Module) -> list[object]:
    """All that could be left on it."""
    found: list[object] = []
    for part in module.modules():
        found += [part.training, type(part), "forward" in vars(part)]
        found += [len(vars(part).get(name, {})) for name in HOOKS]
    for tensor in module.parameters():
        found += [tensor.requires_grad, tensor.grad is None, tensor._version, tensor.detach().sum().item()]
    return found


@pytest.mark.parametrize("trap", [None, RuntimeError("the network fails"), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_the_network_is_as_it_was(call, trap):
    module = seeded(lambda: nn.Sequential(*plain()[:2], Trap(), *plain()[2:]))
    network = Network("trap", module, PLAIN)
    encoder, target = Encoder(network, "6"), parse_target(network, "class")
    own, grad = encoder(images(1)).detach(), torch.is_grad_enabled()
    before, copied = state(module), state(encoder.module)
    Trap.told = [] if trap is None else [trap]
    raised = None
    try:
        call(encoder, target)
    except BaseException as error:  # Ctrl-C too
        raised = error
    Trap.told = []
    bad = call in (CALLS["deconvnet-bad"], CALLS["occlusion-bad"])
    assert bad or raised is trap or (raised is not None and raised.__cause__ is trap)
    assert state(module) == before
    assert state(encoder.module) == copied
    assert torch.equal(encoder(images(1)).detach(), own)
    assert torch.is_grad_enabled() == grad
    assert torch.overrides._get_current_function_mode_stack() == []


def test_networks_in_training_mode_are_refused():
    with pytest.raises(NetworkError, match="training mode"):
        Encoder(Network("training", seeded(plain).train(), PLAIN), "5")
