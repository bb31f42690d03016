"""netinvert itself: what ``ni.invert`` does, watched by a callback."""

from __future__ import annotations

import time

import netinvert as ni
from netinvert.inversion.result import StepInfo
from peers.case import Case
from peers.recorder import Finished, Recorder


def default(case: Case, recorder: Recorder) -> dict[str, float]:
    """The default preset."""
    return _invert(case, recorder, "default")


def quick(case: Case, recorder: Recorder) -> dict[str, float]:
    """The preset that is made for a small error soon."""
    return _invert(case, recorder, "quick")


def _invert(case: Case, recorder: Recorder, preset: str) -> dict[str, float]:
    """Making the encoder (which tries the network out) is timed by itself.

    What counts at any time is the best picture so far: what a run stopped there would give back.
    """
    began = time.perf_counter()
    encoder = ni.Encoder(case.network, case.layer)
    spent = time.perf_counter() - began
    code = encoder(case.image)

    def stepped(snapshot: StepInfo) -> bool:
        try:
            recorder.step(lambda: snapshot.best_image)
        except Finished:
            return True
        return False

    with recorder.running():
        inversion = ni.prepare(encoder, code, ni.recipe(preset, encoder))
        result = inversion.run(ni.Run(seed=case.seed, callback=stepped))
    recorder.last(result.image)
    return {"encoder_seconds": spent}
