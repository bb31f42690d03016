"""Do layers treat an image as they treat natural ones? (Geirhos et al. 2023, "Don't trust your eyes", arXiv
2306.04719, section 4.) An image that was optimised for a code or a unit may reach it by another way."""

from __future__ import annotations

import torch
from torch import Tensor

from netinvert.explain.sanity import rank_correlation
from netinvert.inversion.objectives import AnyEncoder, layers_of
from netinvert.models.private_copy import plain_torch


@plain_torch()
@torch.no_grad()
def path_similarity(encoder: AnyEncoder, images: Tensor, natural: Tensor) -> dict[str, Tensor]:
    """By layer, for each of images (N, C, H, W) the mean rank correlation (N,) of its activations with those
    of natural images (M, C, H, W). One that is the same as a natural image is compared with the others.

    A layer is on the natural path where this is as high as natural images have among themselves.
    """
    coded = [
        layers_of(encoder(encoder.fit(one.to(encoder.device, encoder.dtype)))) for one in (images, natural)
    ]
    same = torch.stack([(natural == one).flatten(1).all(1) for one in images])
    found = {}
    for name in coded[0]:
        mine, theirs = (one[name].flatten(1).cpu() for one in coded)
        rows = []
        for code, own in zip(mine, same, strict=True):
            others = theirs[~own]
            rows.append(rank_correlation(code.expand_as(others), others).mean())
        found[name or encoder.layer] = torch.stack(rows)
    return found
