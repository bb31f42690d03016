import pytest
import torch

from netinvert import Encoder
from netinvert.models.network import Network
from tiny import PLAIN, plain, seeded


@pytest.fixture
def encoder():
    """A tiny network, cut behind its second ReLU: codes (8, 8, 8)."""
    return Encoder(Network("tiny", seeded(plain, 0, torch.float32), PLAIN), "5")
