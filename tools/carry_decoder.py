"""Carry a decoder over to the codes of another network of the same layers, as a start for its training.

    python tools/carry_decoder.py old/posenet-fc7.safetensors --old old/posenet.safetensors \\
        --data out/chairs --out out/carried

Standardised codes of the old network are guessed from those of the new one by ridge regression, and the guess
is written into the decoder's first layer: a training that begins there (``netinvert decoder train --start``)
has to learn what the two networks know of differently, not how to draw.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from netinvert.models.decoder import decoder_file
from netinvert.models.encoder import Encoder
from netinvert.models.registry import load_network
from netinvert.models.upconv import as_features
from netinvert.training.card import export
from netinvert.training.decoder.images import SceneImages

RIDGE = 1e-2
"""Of the mean square of a feature."""
BATCH, STEPS = 64, 100


def main() -> None:
    """Read the old decoder, carry it over, write it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("decoder", type=Path)
    parser.add_argument("--old", type=Path, required=True, help="weights of the network it was trained for")
    parser.add_argument("--weights", type=Path, help="the new network's, if not those that ship")
    parser.add_argument("--data", type=Path, required=True, help="a dataset of scenes")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    content = decoder_file(str(options.decoder))
    new = None if options.weights is None else str(options.weights)
    encoders = [
        Encoder(load_network(content.network, weights), content.layer) for weights in (str(options.old), new)
    ]
    architecture = content.module.architecture

    def rows(encoder: Encoder, images: Tensor) -> Tensor:
        """Features of codes, (M, F): a map has many places."""
        return as_features(encoder(images), architecture).movedim(1, -1).flatten(0, -2).double()

    source = SceneImages.of(options.data, seed=0)
    with torch.no_grad():
        batches = [source.batch(step, BATCH).images for step in range(STEPS)]
        before, now = (torch.cat([rows(encoder, one) for one in batches]) for encoder in encoders)
        standard = content.module.standardise
        wanted = standard(before.float()).double()
        mean, std = now.mean(0), now.std(0)
        standard.mean.copy_(mean)
        standard.std.copy_(std)
        known = standard(now.float()).double()
        square = known.T @ known / len(known)
        square.diagonal().add_(RIDGE * square.diagonal().mean())
        centre = wanted.mean(0)
        guess = torch.linalg.solve(square, known.T @ (wanted - centre) / len(known))  # known @ guess + centre
        left = (known @ guess + centre - wanted).square().mean() / (wanted - centre).square().mean()
        first = content.module.head[0]
        weight = first.weight.double()
        kernel = weight.flatten(2).sum(-1) if weight.ndim == 4 else weight
        first.bias.add_((kernel @ centre).float())
        first.weight.copy_(torch.einsum("oi...,ji->oj...", weight, guess).float())
    print(f"{content.network}/{content.layer}: {1 - left:.3f} of the old codes' variance is guessed")
    options.out.mkdir(parents=True, exist_ok=True)
    export(options.out / options.decoder.stem, replace(content, network_sha256=encoders[1].weights_sha256()))


if __name__ == "__main__":
    main()
