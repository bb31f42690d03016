"""plenoptic 2.1.1, nothing patched: a Metamer of the network up to the layer.

Networks that torch.fx can trace are cut by its ``DeepNetFeatures``, as its guide does; objectron's padding
depends on the size of the picture, so that network is cut by hand.
"""

from __future__ import annotations

import warnings

import plenoptic
import torch
from torch import nn
from torch.fx.proxy import TraceError

from peers.case import Case
from peers.recorder import Recorder

FOREVER = 10**9
LBFGS = {
    "lr": 1.0,
    "max_iter": 2,
    "max_eval": 4,
    "history_size": 10,
    "line_search_fn": "strong_wolfe",
}
"""What its maintainers found best (their issue 365)."""


def standard(case: Case, recorder: Recorder) -> None:
    """Its defaults: Adam with amsgrad at 0.01 from uniform noise."""
    _synthesize(case, recorder, {})


def lbfgs(case: Case, recorder: Recorder) -> None:
    """Its own L-BFGS setting."""
    _synthesize(case, recorder, {"optimizer": torch.optim.LBFGS, "optimizer_kwargs": dict(LBFGS)})


def _synthesize(case: Case, recorder: Recorder, how: dict) -> None:
    model = _model(case)
    plenoptic.remove_grad(model)
    with recorder.watching(lambda pixels: pixels):
        metamer = plenoptic.Metamer(case.image, model)
        metamer.setup(**how)
        metamer.synthesize(max_iter=FOREVER, stop_iters_to_check=FOREVER)


def _model(case: Case) -> nn.Module:
    form = case.network.preprocessing
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            from torchvision.transforms import Normalize

            normalise = Normalize(form.mean, form.std)
            return plenoptic.models.DeepNetFeatures(case.network.module, case.layer, normalise)
        except TraceError:
            cut = case.part().network
    if any(form.mean) or form.scale != 1 or set(form.std) != {1.0}:
        raise SystemExit("a network that cannot be traced is fed [0, 1] here")
    return cut.eval()
