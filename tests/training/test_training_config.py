"""The precision of a training."""

import pytest
import torch

from netinvert.errors import ConfigError
from netinvert.training.config import PRECISIONS, TrainingConfig, precision_of


@pytest.mark.parametrize("name", PRECISIONS)
@pytest.mark.parametrize("device", ["cpu", "cuda", "nothing"])
def test_a_precision_that_is_named_is_taken(name, device):
    assert precision_of(name, device) == name


@pytest.mark.parametrize(("known", "wanted"), [(True, "bfloat16"), (False, "float32")])
def test_on_a_cpu_auto_goes_by_its_instructions(monkeypatch, known, wanted):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: known, raising=False)
    assert precision_of("auto", "cpu") == wanted


def test_where_torch_does_not_tell_auto_is_float32(monkeypatch):
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported", raising=False)
    assert precision_of("auto", "cpu") == "float32"


def test_elsewhere_auto_is_bfloat16():
    assert precision_of("auto", "meta") == "bfloat16"


def test_auto_is_no_precision_of_a_plan_and_devices_are_checked():
    assert TrainingConfig(precision=precision_of("auto", "cpu")).precision in PRECISIONS
    with pytest.raises(ConfigError, match="auto"):
        TrainingConfig(precision="auto")
    with pytest.raises(ConfigError, match="no device"):
        precision_of("auto", "abacus")
