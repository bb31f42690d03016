"""The lanes of Invert: an image as it comes from a code; and the command that makes it anew, in a folder."""

from __future__ import annotations

import contextlib
import itertools
import os
import shlex
import subprocess
import sys
import time
from collections import OrderedDict

import torch
from torch import Tensor

from netinvert.experiments.configs.images import Invert
from netinvert.experiments.runs import file_part
from netinvert.inversion.invert import prepare
from netinvert.inversion.objectives import code_error
from netinvert.inversion.optimize import Run
from netinvert.inversion.presets.by_name import recipe
from netinvert.inversion.priors import NONE
from netinvert.inversion.result import StepInfo
from netinvert.io.folders import make_directory
from netinvert.io.images import write_png
from netinvert.models.encoder import Encoder
from netinvert.studio.desk import Data, Desk, Task

PRESET = "default"
EVERY = 0.15
"""Seconds between two images."""


class Inverting:
    """One of the two sides."""

    def __init__(self, desk: Desk, side: str) -> None:
        self.desk, self.side = desk, side
        self._encoders: OrderedDict[tuple[str, str], Encoder] = OrderedDict()

    def invert(self, task: Task) -> None:
        """Until all steps are done, or it is cancelled. Where the weight is changed, or the prior, it goes on
        from the image that it has, with the steps that are left."""
        desk, side, data = self.desk, self.side, dict(task.data)
        picture, paused = desk.take(side, data), data.pop("paused", False)
        encoder = desk.encoder(self._encoders, data["network"], data["layer"])
        original = picture_for(encoder, picture)
        with torch.no_grad():
            code = encoder(original)
        desk.show(f"{side}-original", None, original[0])
        start: Tensor | None = None
        done, seconds, shown, since = 0, 0.0, 0.0, time.perf_counter()

        def callback(info: StepInfo) -> bool:
            nonlocal start, seconds, shown, since, paused
            now = time.perf_counter()
            changes = dict(task.changes())
            paused = changes.pop("paused", paused)
            if now - shown >= EVERY or info.step == info.steps or paused:
                with torch.no_grad():
                    error = float(code_error(encoder(info.best_image), code))
                step, steps = done + info.step, data["steps"]
                text = f"code error {error:.3f} · step {step} of {steps} · {seconds + now - since:.1f} s"
                desk.show(f"{side}-image", text, info.best_image[0], share=step / steps)
                shown = now
            if paused:
                seconds += now - since
                desk.show(f"{side}-state", "paused")
                while paused and not task.cancelled.is_set():
                    changes |= task.changes(wait=True)
                    paused = changes.pop("paused", paused)
                desk.show(f"{side}-state", "running")
                since = time.perf_counter()
            if changes:
                data.update(changes)
                start = info.best_image.detach().clone()
            return bool(changes) or task.cancelled.is_set()

        while done < data["steps"] and not task.cancelled.is_set():
            desk.show(f"{side}-state", "running")
            how = recipe(PRESET, encoder, prior_of(data)).with_steps(data["steps"] - done)
            begun = start
            done += prepare(encoder, code, how, start).run(Run(callback=callback)).steps
            if start is begun:  # nothing was changed
                break
        desk.show(f"{side}-state", "stopped" if task.cancelled.is_set() else "done")

    def keep(self, task: Task) -> None:
        """Run the command of these settings into a folder of its own, on the picture as it is here."""
        desk, data, side = self.desk, task.data, self.side
        picture = desk.take(f"keep-{side}", data)
        name = file_part(f"{data['network']}-{data['layer']}-{prior_of(data)}")
        make_directory(desk.kept)
        for number in itertools.count(1):
            out = desk.kept / f"{name}-{number}"
            with contextlib.suppress(FileExistsError):
                out.mkdir()  # others see that it is taken; the run fills it
                break
        source = out.with_name(f"{out.name}.png")
        write_png(picture, source)
        config = Invert(
            input=str(source),
            network=data["network"],
            layer=data["layer"],
            preset=PRESET,
            prior=prior_of(data),
            steps=data["steps"],
            out=out,
        )
        line = config.command_line()
        desk.show(f"{side}-kept", "making the run anew, as its command will …")
        words = [sys.executable, "-m", "netinvert", *shlex.split(line)[1:]]
        environment = {**os.environ, "OMP_NUM_THREADS": str(desk.threads)}
        with subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        ) as command:
            desk.commands.add(command)
            try:
                while command.poll() is None:
                    if task.cancelled.wait(0.2):
                        command.terminate()
                said = (command.stderr.read() if command.stderr else "").strip().splitlines()
            finally:
                desk.commands.discard(command)
        if command.returncode == 0:
            desk.show(f"{side}-kept", f"kept in {out}. The command that repeats it:", command=line)
        elif task.cancelled.is_set():
            desk.show(f"{side}-kept", "stopped; the command goes on with it:", command=line)
        else:
            desk.show(f"{side}-kept", said[-1] if said else f"the command ended with {command.returncode}")


def prior_of(data: Data) -> str:
    """As the command line takes it."""
    return str(data["prior"]) if data["prior"] == NONE else f"{data['prior']}={data['weight']:.3g}"


def picture_for(encoder: Encoder, picture: Tensor) -> Tensor:
    """A colour picture (1, 3, h, w) as a network sees it."""
    grey = encoder.preprocessing.channels == 1
    return encoder.fit((picture.mean(1, keepdim=True) if grey else picture).to(encoder.device, encoder.dtype))
