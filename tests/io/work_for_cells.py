"""Work that the tests of cells let run in other processes, and a command that is stopped in its middle."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from netinvert.errors import LayerError, MissingExtraError
from netinvert.io.cells import Cell
from netinvert.io.rundir import RunDir
from netinvert.io.running import Interrupted, deferred_interrupt
from netinvert.io.workers import Workers, run_cells


@dataclass(frozen=True)
class Draw:
    """A tensor that follows from the key; `trouble` for the key 3, once, if there is a file `once`."""

    seed: int = 0
    trouble: str = ""
    once: Path | None = None
    seconds: float = 0.0

    def open(self):
        torch.manual_seed(0)
        return self.make

    def make(self, key, piece):
        if key == 3 and self.trouble and (self.once is None or self.once.exists()):
            if self.once is not None:
                self.once.unlink()
            self.fail()
        for step in range(4):
            time.sleep(self.seconds / 4)
            piece.tell((step + 1) / 4, f"step {step + 1} of 4")
        noise = torch.randn(3, 4, generator=torch.Generator().manual_seed(1000 * self.seed + key))
        return Cell({"noise": noise, "empty": noise[:0]}, {"key": key, "sum": noise.sum().item()})

    def fail(self):
        if self.trouble == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.trouble == "exit":
            os._exit(3)
        elif self.trouble == "extra":
            raise MissingExtraError("reading meshes", "scenes")
        elif self.trouble == "layer":
            raise LayerError("no layer 'x': choose another")
        raise ZeroDivisionError("a fault of the program")


@dataclass(frozen=True)
class Fails:
    """Work that cannot be opened."""

    def open(self):
        raise MissingExtraError("rendering", "scenes")


@dataclass(frozen=True)
class Shards:
    """Files of the run."""

    size: int = 1000

    def open(self):
        return lambda name, piece: name.encode() * self.size


@dataclass(frozen=True)
class Counting:
    """Counts to 30, with its state in the checkpoint; stops at Ctrl-C after the present step."""

    seconds: float = 0.0

    def open(self):
        return self.count

    def count(self, key, piece):
        path = piece.checkpoint
        at = int(path.read_text()) if path.exists() else 0
        with deferred_interrupt() as interrupt:
            while at < 30:
                time.sleep(self.seconds)
                at += 1
                path.write_text(str(at))
                piece.tell(at / 30, f"step {at} of 30")
                if interrupt.pending:
                    raise KeyboardInterrupt
        return Cell({}, {"key": key, "at": at})


def whole_run(out, count, seconds=0.0, keys=12):
    """An experiment: cells, a file of all, commit."""
    with RunDir(out, {"keys": keys}) as run:
        found = run_cells(run, Draw(seconds=seconds), range(keys), Workers(count))
        for key, cell in enumerate(found):
            run.path(f"noise/{key}.txt").write_text(repr(cell.tensors["noise"].tolist()))
        run.commit({"sums": [cell.facts["sum"] for cell in found]})


def main():
    kind, out, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    try:
        if kind == "draw":
            whole_run(out, count, seconds=0.2)
        else:
            with RunDir(out, "counting") as run:
                run_cells(run, Counting(seconds=0.05), range(4), Workers(count))
                run.commit()
    except Interrupted as stop:
        print(stop)  # noqa: T201
        sys.exit(130)


if __name__ == "__main__":
    main()
