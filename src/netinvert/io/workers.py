"""Cells made in this process, in several processes, or on a Ray cluster: the same bytes however."""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from functools import lru_cache, partial
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NoReturn, TypeVar, cast, overload

from netinvert.errors import ConfigError, MissingExtraError, NetinvertError
from netinvert.io.cells import Cell, Cells, Content, Kept, Piece, Work, encoded
from netinvert.io.files import fingerprint
from netinvert.io.rundir import RunDir
from netinvert.io.running import Interrupt, Interrupted, Progress, deferred_interrupt, torch_threads

TRIES = 3
"""How often a piece is begun anew when the worker that makes it is killed."""
_DIED = "workers died {} times over the same piece"
_LOOK_EVERY = 0.2  # seconds, for signals and for what workers tell of their steps

K = TypeVar("K")
Made = Generator[tuple[Any, Content], None, None]
Said = tuple[Any, ...]


class WorkerError(NetinvertError):
    """Workers were killed again and again."""


@dataclass(frozen=True)
class Workers:
    """Who makes the cells: `count` processes of this machine (1: this one), or the Ray cluster at `ray`.

    `ray` is an address, or "local", which starts one here. `threads` of torch each: None is, in this
    process, what torch has, and in others an equal share of it (1 on Ray). Sums over threads round
    differently, so only with the same `threads` are results the same to the bit however they are made.
    `gpus` that each worker on Ray holds.
    """

    count: int = 1
    ray: str | None = None
    threads: int | None = None
    gpus: float = 0.0

    def __post_init__(self) -> None:
        if self.count < 1 or self.gpus < 0 or (self.threads is not None and self.threads < 1):
            raise ConfigError("workers and threads are at least 1, and GPUs of each at least 0")


@overload
def run_cells(
    run: RunDir, work: Work[K, Cell], keys: Iterable[K], workers: Workers = ..., progress: str | None = ...
) -> Kept[Cell]: ...
@overload
def run_cells(
    run: RunDir,
    work: Work[str, bytes],
    keys: Iterable[str],
    workers: Workers = ...,
    progress: str | None = ...,
) -> Kept[Path]: ...
def run_cells(
    run: RunDir,
    work: Work[Any, Any],
    keys: Iterable[Any],
    workers: Workers = Workers(),
    progress: str | None = None,
) -> Kept[Any]:
    """The cells of all keys, in their order; those that are kept are not made again.

    `progress` names the pieces in the plural ("inversions"), and shows how far they are; None is silent.

    Raises:
        Interrupted: at Ctrl-C or SIGTERM, when the present steps are done; finished cells stay.
        WorkerError: workers were killed TRIES times over the same cell.
        MissingExtraError: Ray is not installed.
        NetinvertError: what the work itself raises, wherever it runs, at once.
    """
    keys = list(keys)
    cells = Cells(run)
    named = {fingerprint(key): key for key in keys}
    todo = {name: key for name, key in named.items() if cells.find(key) is None}
    shown = Progress(progress or "pieces", len(named), show=progress is not None)
    shown.done = len(named) - len(todo)
    with deferred_interrupt() as interrupt, shown:
        job = _Job(work, todo, run, workers, interrupt, shown)
        try:
            make = _on_ray if workers.ray is not None else _in_processes if workers.count > 1 else _here
            with contextlib.closing(make(job)) as made:
                for key, content in made if todo else ():
                    cells.put(key, content)
                    with contextlib.suppress(OSError):  # commit removes it too
                        run.checkpoint(key).unlink()
                    shown.advance(fingerprint(key))
            if interrupt.pending:
                raise KeyboardInterrupt
        except KeyboardInterrupt:
            done = f"{shown.done} of {len(named)} {shown.what} are done"
            raise Interrupted(f"stopped; {done}; the same command resumes") from None
    return Kept(cells, keys)


@dataclass(frozen=True)
class _Job:
    work: Work[Any, Any]
    todo: dict[str, Any]
    run: RunDir
    workers: Workers
    interrupt: Interrupt
    shown: Progress


def _here(job: _Job) -> Made:
    with torch_threads(job.workers.threads):
        make = job.work.open()
        for name, key in job.todo.items():
            piece = Piece(job.run.checkpoint(key), partial(job.shown.inside, name))
            yield key, encoded(key, make(key, piece))
            if job.interrupt.pending:
                return


def _set_threads(threads: int) -> None:
    """In a process of our own: of libraries that are still to be loaded, and of torch if it is there."""
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)


# -- processes of this machine -----------------------------------------------------------------------------


@dataclass
class _Worker:
    process: BaseProcess
    at: str | None = None


def _in_processes(job: _Job) -> Made:  # noqa: PLR0912
    """Each worker is at the other end of a pipe: it ends when we do, and we see it die."""
    crew: dict[Connection, _Worker] = {}
    waiting, deaths = list(job.todo), dict.fromkeys(job.todo, 0)
    stopping = False
    try:
        while waiting or any(worker.at for worker in crew.values()):
            if job.interrupt.pending and not stopping:
                stopping = True
                waiting.clear()
                for worker in crew.values():
                    worker.process.terminate()  # after the present step
            while waiting and len(crew) < min(job.workers.count, len(job.todo)):
                _hire(job, crew)
            for connection, worker in crew.items():
                if worker.at is None and waiting:
                    worker.at = waiting.pop(0)
                    key = job.todo[worker.at]
                    _send(connection, (key, job.run.checkpoint(key)))
            for connection in cast("list[Connection]", wait(list(crew), _LOOK_EVERY)):
                name = crew[connection].at or ""
                said: Said = ("stopped",)
                with contextlib.suppress(EOFError, OSError):
                    said = pickle.loads(connection.recv_bytes())
                if said[0] == "step":
                    job.shown.inside(name, *said[1:])
                elif said[0] == "done":
                    crew[connection].at = None
                    yield job.todo[name], said[1]
                elif said[0] == "stopped":
                    process = crew.pop(connection).process
                    connection.close()
                    process.join()
                    if name and not stopping:
                        deaths[name] += 1
                        _check_death(process.exitcode, deaths[name])
                        waiting.insert(0, name)
                else:
                    _raise(said)
    finally:
        for connection, worker in crew.items():
            connection.close()  # at which the idle ones leave
            if worker.at is not None:
                worker.process.kill()
        for worker in crew.values():
            worker.process.join()


def _hire(job: _Job, crew: dict[Connection, _Worker]) -> None:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    torch = sys.modules.get("torch")
    own: int = torch.get_num_threads() if torch is not None else os.cpu_count() or 1
    threads = job.workers.threads or max(own // job.workers.count, 1)
    process = context.Process(target=_serve, args=(theirs, threads), daemon=True)
    # Ctrl-C on a terminal reaches every process; only we are to hear it, and to pass it on.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    theirs.close()
    crew[ours] = _Worker(process)
    _send(ours, job.work)


def _send(connection: Connection, value: object) -> None:
    data = pickle.dumps(value)  # not connection.send, by which tensors would be shared instead of sent
    with contextlib.suppress(OSError):  # the worker has died, which is seen when it is listened to
        connection.send_bytes(data)


def _check_death(code: int | None, deaths: int) -> None:
    if code is not None and code > 0:
        raise WorkerError(f"a worker process ended with code {code}; it has said why above")
    if deaths >= TRIES:
        how = f"the last one by signal {-code}: out of memory?" if code else "without saying why"
        raise WorkerError(f"{_DIED.format(deaths)} ({how}): run the same command again, with fewer workers")


def _raise(said: Said) -> NoReturn:
    """What a worker could not do: an error that users can mend as it is, others with their traceback."""
    if said[0] == "refused":
        kind, message = said[1:]
        raise kind.__new__(kind, message)  # not kind(message): it may take other arguments
    raise RuntimeError(f"a worker failed:\n{said[1]}")


def _serve(connection: Connection, threads: int) -> None:
    """What a worker process does."""
    threading.Thread(target=_die_with_parent, daemon=True).start()
    _set_threads(threads)
    told = 0.0

    def tell(share: float, text: str = "") -> None:
        nonlocal told
        if time.monotonic() - told >= _LOOK_EVERY:
            told = time.monotonic()
            _send(connection, ("step", share, text))

    with deferred_interrupt(patient=True) as interrupt, contextlib.suppress(EOFError, OSError):
        work = connection.recv_bytes()
        while not interrupt.pending:
            key, checkpoint = pickle.loads(connection.recv_bytes())
            said = _attempt(work, threads, key, Piece(checkpoint, tell))
            _send(connection, said)
            if said[0] != "done":
                return


def _die_with_parent() -> None:
    """No process is left at work behind a parent that was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _attempt(work: bytes, threads: int, key: object, piece: Piece) -> Said:
    """In a worker: ("done", content), or what else became of it."""
    try:
        return ("done", encoded(key, _opened(work, threads)(key, piece)))
    except KeyboardInterrupt:
        return ("stopped",)
    except NetinvertError as error:
        return ("refused", type(error), str(error))
    except BaseException:
        return ("failed", traceback.format_exc())


@lru_cache(maxsize=1)
def _opened(work: bytes, threads: int) -> Callable[[Any, Piece], Any]:
    """The work, opened once in each process."""
    _set_threads(threads)
    opened: Work[Any, Any] = pickle.loads(work)
    make = opened.open()
    _set_threads(threads)  # of what it has loaded
    return make


# -- Ray -----------------------------------------------------------------------------------------------------


def _tell_nobody(share: float, text: str = "") -> None:
    pass


def _on_ray(job: _Job) -> Made:
    """The cells come back here, so that the machines need no common disk."""
    try:
        ray: Any = importlib.import_module("ray")
    except ImportError as error:
        raise MissingExtraError("running on a Ray cluster", "ray") from error
    running: dict[Any, str] = {}
    with contextlib.ExitStack() as closing:
        if not ray.is_initialized():
            ray.init(address=job.workers.ray, log_to_driver=False)
            closing.callback(ray.shutdown)
        closing.callback(lambda: [ray.cancel(reference, force=True) for reference in running])
        # Ray takes SIGTERM for itself when it starts, so it is taken back.
        interrupt = closing.enter_context(deferred_interrupt())
        threads = job.workers.threads or 1
        task = ray.remote(num_cpus=threads, num_gpus=job.workers.gpus, max_retries=TRIES)(_attempt)
        work, piece = ray.put(pickle.dumps(job.work)), Piece(None, _tell_nobody)
        ahead = 2 * max(int(ray.cluster_resources().get("CPU", 1)) // threads, 1)
        waiting = list(job.todo)
        while (waiting or running) and not interrupt.pending:
            while waiting and len(running) < ahead:
                name = waiting.pop(0)
                running[task.remote(work, threads, job.todo[name], piece)] = name
            for reference in ray.wait(list(running), num_returns=1, timeout=_LOOK_EVERY)[0]:
                name = running.pop(reference)
                try:
                    said: Said = ray.get(reference)
                except (ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError) as error:
                    raise WorkerError(f"{_DIED.format(TRIES)}: run the same command again") from error
                if said[0] != "done":
                    _raise(said)
                yield job.todo[name], said[1]
