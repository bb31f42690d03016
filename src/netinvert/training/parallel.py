"""Training on several devices: one process each, started by torchrun, whose gradients are averaged."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from netinvert.errors import ConfigError


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


@contextmanager
def process_group(device: str, size: int) -> Iterator[Group]:
    """The group of ``size`` processes, which ``relaunch`` started. Raises ConfigError for unknown devices."""
    if device == "auto":
        device = (
            "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        )
    try:
        found = torch.device(device)
        torch.empty(1, device=found)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"no device {device!r} here ({str(error).splitlines()[0]}): try auto or cpu"
        ) from error
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
