import io
import os
import warnings
import zipfile

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from netinvert.errors import NetworkError
from netinvert.models.network import built, built_with, load_weights


def net():
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


def filled(value):
    return {key: torch.full_like(tensor, value) for key, tensor in net().state_dict().items()}


def zipped():
    with zipfile.ZipFile(made := io.BytesIO(), "w") as archive:
        archive.writestr("a", "b")
    return made.getvalue()


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


def wrapped_inside(state):
    """As of a network in which DataParallel holds the first layer alone."""
    return {name.replace("0.", "0.module.", 1): value for name, value in state.items()}


CHECKPOINTS = {
    "model": lambda state: {"epoch": 3, "model": state, "optimizer": {"state": {0: {"step": torch.ones(2)}}}},
    "model_state_dict": lambda state: {"model_state_dict": state, "loss": 0.5},
    "net": lambda state: {"net": state, "acc": 90},
    "deeper": lambda state: {"checkpoint": {"ema": {"params": state}}},
    "DataParallel": lambda _: nn.DataParallel(full()).state_dict(),
    "DataParallel, state_dict": lambda _: {"state_dict": nn.DataParallel(full()).state_dict()},
    "torch.compile": lambda _: torch.compile(full()).state_dict(),
    "both": lambda _: nn.DataParallel(torch.compile(full())).state_dict(),
    "averaged": lambda _: torch.optim.swa_utils.AveragedModel(full()).state_dict(),
    "Lightning": lambda state: {
        "state_dict": {**{f"model.{k}": v for k, v in state.items()}, "criterion.weight": torch.ones(2)}
    },
    "wrapped inside": wrapped_inside,
    "no counters": lambda state: {k: v for k, v in state.items() if "num_batches" not in k},
    "no counters, DataParallel": lambda state: {
        f"module.{k}": v for k, v in state.items() if "num_batches" not in k
    },
    "bfloat16": lambda state: {k: v.to(torch.bfloat16) for k, v in state.items()},
    "half": lambda state: {k: v.half() for k, v in state.items()},
    "double": lambda state: {k: v.double() for k, v in state.items()},
    "twice the same": lambda state: {"model": state, "ema": {k: v.clone() for k, v in state.items()}},
}


def full():
    module = net()
    module.load_state_dict(filled(3))
    return module


@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_checkpoints_as_trainings_leave_them(tmp_path, kind):
    file = tmp_path / "run.pth.tar"
    torch.save(CHECKPOINTS[kind](filled(3)), file)
    module = net()
    load_weights(module, file)
    want = full().state_dict()
    counter = "1.num_batches_tracked"  # torch's strict loading leaves it out too
    assert all(torch.equal(value, want[key]) for key, value in module.state_dict().items() if key != counter)
    wrapped = nn.DataParallel(net())
    load_weights(wrapped, file)
    assert torch.equal(wrapped.module[0].weight, want["0.weight"])


@pytest.mark.parametrize("after", [b"", zipped()], ids=["as it is", "before an archive"])
def test_the_old_layout_of_torch_is_not_opened(tmp_path, after):
    """Torch goes by how a file begins, zipfile by how it ends."""
    file = tmp_path / "run.pth"
    torch.save(filled(3), file, _use_new_zipfile_serialization=False)
    file.write_bytes(file.read_bytes() + after)
    with pytest.raises(NetworkError, match="layout before"):
        load_weights(net(), file)


def test_a_few_bytes_that_say_they_are_many(tmp_path):
    torch.save({"0.weight": torch.zeros(1).expand(1 << 40)}, tmp_path / "run.pt")
    with pytest.raises(NetworkError, match="larger than the file"):
        load_weights(net(), tmp_path / "run.pt")


def test_of_several_sets_of_weights_one_is_named(tmp_path):
    file = tmp_path / "run.pt"
    torch.save({"model": filled(1), "ema": {"module": filled(2)}}, file)
    with pytest.raises(
        NetworkError, match=r"fit: model, ema\.module\. Name one, as in .*run\.pt:ema\.module"
    ):
        load_weights(net(), file)
    for name, value in (("model", 1), ("ema", 2), ("ema.module", 2)):
        module = net()
        load_weights(module, f"{file}:{name}")
        assert module[0].bias[0].item() == value
    with pytest.raises(NetworkError, match="no part 'emma'"):
        load_weights(net(), f"{file}:emma")


class Stateful(nn.Linear):
    """Keeps more than tensors."""

    def get_extra_state(self):
        return {"step": 7}

    def set_extra_state(self, state):
        self.step = state["step"]


def test_what_torch_itself_takes_is_taken(tmp_path):
    torch.save({"model": nn.Sequential(Stateful(3, 2)).state_dict()}, tmp_path / "extra.pt")
    module = nn.Sequential(Stateful(3, 2))
    load_weights(module, tmp_path / "extra.pt")
    assert module[0].step == 7
    # the names of weight_norm before it was a parametrisation
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        old = nn.Sequential(nn.utils.weight_norm(nn.Linear(3, 2)))
    torch.save(nn.DataParallel(old).state_dict(), tmp_path / "old.pt")
    module = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(3, 2)))
    load_weights(module, tmp_path / "old.pt")
    image = torch.rand(4, 3)
    assert torch.allclose(module(image), old(image))


def test_weights_that_do_not_fit_leave_the_module_as_it_was(tmp_path):
    torch.save({**filled(1), "1.weight": torch.zeros(3)}, tmp_path / "run.pt")
    module = full()
    with pytest.raises(NetworkError, match=r"1\.weight has shape"):
        load_weights(module, tmp_path / "run.pt")
    assert all(map(torch.equal, module.state_dict().values(), full().state_dict().values()))


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


class Drawing(nn.Module):
    """Needs the values of what it draws, and draws its weights in every way."""

    def __init__(self) -> None:
        super().__init__()
        if not torch.zeros(64, device="cpu").normal_().any():
            raise ValueError("drew nothing")
        self.weight = nn.Parameter(torch.empty(4).normal_(std=0.1))
        nn.init.normal_(tensor=self.weight, std=0.02)


def test_only_draws_without_values_are_left_out():
    assert built_with(Drawing, {"weight": torch.ones(4)}, "a file").weight.sum() == 4
