"""What a training is (its result follows from that), and where and how it runs."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor

from netinvert.errors import ConfigError, NetinvertError
from netinvert.models.precision import AUTO, BFLOAT16, FLOAT32, has_bfloat16
from netinvert.scenes.dataset_reader import Damaged

WARM_UP, DECAY = 500, 0.3
"""Steps of rising rate, and the share of all steps in which it falls to zero at the end."""
Precision = Literal["float32", "bfloat16"]
PRECISIONS = (FLOAT32, BFLOAT16)


class TrainingError(NetinvertError):
    """A training that cannot go on."""


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """What all trainings have in common: ``samples`` images in batches of ``batch``.

    ``rate`` is AdamW's peak; ``average`` is the share that the running average keeps at each step;
    ``precision`` is that of the trained network's own layers.

    Raises ConfigError: settings that cannot be.
    """

    samples: int = 500_000
    batch: int = 64
    seed: int = 0
    rate: float = 1e-3
    weight_decay: float = 1e-3
    average: float = 0.999
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        if self.batch < 2 or self.samples < self.batch:
            raise ConfigError(
                f"{self.samples} samples in batches of {self.batch}: give batches of 2 or more, and more "
                "samples than that"
            )
        if not (0 < self.rate < 1 and self.weight_decay >= 0 and self.seed >= 0 and 0 <= self.average < 1):
            raise ConfigError("rate and average must be in (0, 1), weight decay and seed not negative")
        if self.precision not in PRECISIONS:
            raise ConfigError(f"the precision is {' or '.join(PRECISIONS)}, not {self.precision!r}")

    @property
    def steps(self) -> int:
        """How many batches."""
        return self.samples // self.batch

    def rate_at(self, step: int) -> float:
        """The share of the peak rate: rising, constant, then falling to zero.

        As long as the rate is constant, nothing depends on how many steps are still to come.
        """
        left = (self.steps - step) / max(DECAY * self.steps, 1)
        return max(0.0, min(1.0, (step + 1) / WARM_UP, left))

    def autocast(self, device: torch.device) -> torch.autocast:
        """Within, layers compute in the precision."""
        return torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bfloat16")

    def to_json(self) -> dict[str, Any]:
        """All settings as plain values."""
        return asdict(self)


@dataclass(frozen=True)
class TrainingRun:
    """Where and how a training runs; none of it changes the result.

    ``every`` counts steps between checkpoints and figures on held-out images, ``minutes`` is the longest
    time without a checkpoint. ``device``: "auto", "cpu", "cuda", "cuda:1", "mps"; ``devices`` of each of
    ``nodes`` machines. ``workers`` processes make batches; by default several for a GPU, and for a CPU,
    which they would take time from, none. ``compiled``: kernels are fused, which takes a minute at first,
    pays on a GPU, and moves numbers by their rounding. ``damaged`` shards of a dataset are refused or
    skipped; ``tell`` hears what the user should know.
    """

    folder: Path
    every: int = 1000
    minutes: float = 10.0
    device: str = "auto"
    devices: int = 1
    nodes: int = 1
    threads: int | None = None
    workers: int | None = None
    compiled: bool = False
    progress: bool = True
    damaged: Damaged = "refuse"
    tell: Callable[[str], object] = warnings.warn

    def __post_init__(self) -> None:
        if min(self.every, self.devices, self.nodes, self.threads or 1) < 1 or (self.workers or 0) < 0:
            raise ConfigError("steps between checkpoints, devices, machines and threads: give one or more")

    def note(self, text: str) -> None:
        """Tell it once, whatever the number of processes."""
        if is_main_process():
            self.tell(text)


def is_main_process() -> bool:
    """Whether this process writes what was trained; with several devices or machines the others do not."""
    return int(os.environ.get("RANK", "0")) == 0


def relaunch(devices: int, nodes: int) -> None:
    """Start the same program again under torchrun, a process a device, unless it runs so already.

    On several machines, MASTER_ADDR, MASTER_PORT and NODE_RANK in the environment say which is which.

    Raises ConfigError: these are missing, this is a notebook, or torchrun was given another number.
    """
    if devices * nodes == 1:
        return
    if "RANK" in os.environ:
        if int(os.environ["WORLD_SIZE"]) != devices * nodes:
            raise ConfigError(f"torchrun started {os.environ['WORLD_SIZE']} processes: give as many devices")
        return
    main = sys.modules["__main__"]
    name = getattr(getattr(main, "__spec__", None), "name", "").removesuffix(".__main__")
    if not name and not Path(sys.argv[0]).is_file():
        raise ConfigError("several devices train a program that can be started again: write a script")
    options = ["--standalone"]
    if nodes > 1:
        try:
            place = {key: os.environ[key] for key in ("NODE_RANK", "MASTER_ADDR", "MASTER_PORT")}
        except KeyError as error:
            raise ConfigError(f"several machines: say {error} in the environment of each") from error
        options = [f"--{key.lower().replace('_', '-')}={value}" for key, value in place.items()]
    options += [f"--nproc-per-node={devices}", f"--nnodes={nodes}"]
    program = ["-m", name] if name else [sys.argv[0]]
    sys.stdout.flush()
    command = [sys.executable, "-m", "torch.distributed.run", *options, *program, *sys.argv[1:]]
    os.execv(sys.executable, command)


@dataclass(frozen=True)
class Group:
    """The processes of a training: this one is number ``rank`` of ``size``, and computes on ``device``."""

    device: torch.device
    rank: int = 0
    size: int = 1

    def average_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Give all processes the mean of their gradients."""
        if self.size == 1:
            return
        gradients = [one.grad for one in parameters if one.grad is not None]
        flat = torch.cat([one.flatten() for one in gradients])
        dist.all_reduce(flat)
        flat /= self.size
        for one, mean in zip(gradients, torch.split(flat, [one.numel() for one in gradients]), strict=True):
            one.copy_(mean.view(one.shape))

    def any(self, flag: bool) -> bool:
        """Whether a flag is set in any process."""
        if self.size == 1:
            return flag
        found = torch.tensor(float(flag), device=self.device)
        dist.all_reduce(found)
        return bool(found)


def device_of(name: str) -> torch.device:
    """The device of a name, "auto" for the best there is. Raises ConfigError for unknown devices."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        found = torch.device(name)
        torch.empty(1, device=found)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"no device {name!r} here ({str(error).splitlines()[0]}): try auto or cpu"
        ) from error
    return found


def fits_on(device: torch.device, *tensors: Tensor) -> bool:
    """Whether tensors fit on a GPU, in half of what is free there; never on a CPU, where they are already."""
    if device.type != "cuda":
        return device.type != "cpu"
    free, _ = torch.cuda.mem_get_info(device)
    return sum(one.nbytes for one in tensors) < free / 2


def precision_of(name: str, device: str) -> str:
    """A precision; "auto" is bfloat16 where the device has instructions for it."""
    if name != AUTO:
        return name
    return BFLOAT16 if has_bfloat16(device_of(device)) else FLOAT32


@contextmanager
def process_group(device: str, size: int) -> Iterator[Group]:
    """The group of ``size`` processes, which ``relaunch`` started. Raises ConfigError for unknown devices."""
    found = device_of(device)
    if size == 1:
        yield Group(found)
        return
    if found.type == "cuda":
        found = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(found)
    dist.init_process_group("nccl" if found.type == "cuda" else "gloo")
    try:
        yield Group(found, dist.get_rank(), size)
        dist.barrier()  # nobody leaves before all have got the last result
    finally:
        dist.destroy_process_group()
