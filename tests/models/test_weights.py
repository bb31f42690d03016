import os

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from netinvert.errors import NetworkError
from netinvert.models.network import built, load_weights


def net():
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


def filled(value):
    return {key: torch.full_like(tensor, value) for key, tensor in net().state_dict().items()}


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth"])
def test_state_dicts_are_loaded(tmp_path, suffix):
    path = tmp_path / f"weights{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(filled(2), path)
    module = net()
    load_weights(module, path)
    assert torch.equal(module[0].weight, torch.full((2, 3), 2.0))


def test_half_precision_is_widened(tmp_path):
    save_file({key: value.half() for key, value in filled(0.5).items()}, tmp_path / "half.safetensors")
    module = net()
    load_weights(module, tmp_path / "half.safetensors")
    assert module[0].weight.dtype == torch.float32
    assert module[0].weight[0, 0].item() == 0.5


def test_checkpoints_with_a_state_dict_inside(tmp_path):
    torch.save({"state_dict": filled(3), "epoch": 7}, tmp_path / "run.pt")
    module = net()
    load_weights(module, tmp_path / "run.pt")
    assert module[0].bias[0].item() == 3


class Malice:
    """Unpickling it creates a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_pickles_that_run_code_are_refused_and_do_not_run(tmp_path):
    trap = tmp_path / "trap"
    torch.save({"weight": Malice(trap)}, tmp_path / "evil.pt")
    with pytest.raises(NetworkError, match="could run code"):
        load_weights(net(), tmp_path / "evil.pt")
    assert not trap.exists()
    torch.load(tmp_path / "evil.pt", weights_only=False)
    assert trap.exists()  # so the file was dangerous indeed


def test_whole_modules_are_refused(tmp_path):
    torch.save(net(), tmp_path / "module.pt")
    with pytest.raises(NetworkError, match=r"state_dict\(\)"):
        load_weights(net(), tmp_path / "module.pt")


@pytest.mark.parametrize("name", ["broken.safetensors", "broken.pt", "empty.safetensors", "empty.pth"])
def test_damaged_files(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"" if name.startswith("empty") else bytes(range(200)))
    with pytest.raises(NetworkError, match=r"broken|empty"):
        load_weights(net(), path)


def test_truncated_files(tmp_path):
    for suffix, save in ((".safetensors", save_file), (".pt", torch.save)):
        path = tmp_path / f"cut{suffix}"
        save(filled(1), path)
        path.write_bytes(path.read_bytes()[:-100])
        with pytest.raises(NetworkError, match=r"(fetch|make) it again"):
            load_weights(net(), path)


def test_names_and_shapes_have_to_fit(tmp_path):
    path = tmp_path / "weights.safetensors"
    state = filled(1)
    save_file({"extra": torch.zeros(1), **{k: v for k, v in state.items() if k != "0.bias"}}, path)
    with pytest.raises(NetworkError, match=r"1 missing \(0\.bias\); 1 unexpected \(extra\)"):
        load_weights(net(), path)
    save_file({**state, "0.weight": torch.zeros(3, 2)}, path)
    with pytest.raises(NetworkError, match=r"0\.weight has shape \(3, 2\), the network's \(2, 3\)"):
        load_weights(net(), path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_have_to_be_finite(tmp_path, value):
    state = filled(1)
    state["0.bias"][1] = value
    save_file(state, tmp_path / "weights.safetensors")
    module = net()
    before = module[0].weight.clone()
    with pytest.raises(NetworkError, match=r"0\.bias has NaN or infinite"):
        load_weights(module, tmp_path / "weights.safetensors")
    assert torch.equal(module[0].weight, before)


def test_missing_files_and_other_kinds(tmp_path):
    with pytest.raises(NetworkError, match="no weights file"):
        load_weights(net(), tmp_path / "none.pt")
    (tmp_path / "weights.h5").write_bytes(b"x")
    with pytest.raises(NetworkError, match=r"\.safetensors, \.pt or \.pth"):
        load_weights(net(), tmp_path / "weights.h5")


def test_built_leaves_the_generator_alone():
    state = torch.random.get_rng_state()
    assert torch.equal(built(net)[0].weight, built(net)[0].weight)
    assert torch.equal(state, torch.random.get_rng_state())
