"""What ``netinvert layers`` and ``netinvert networks`` are asked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from netinvert.io import pieces
from netinvert.io.pieces import ImageFormat, Json


@dataclass(frozen=True, kw_only=True)
class Layers(ImageFormat, Json):
    """List a network's layers: their codes' shapes, strides and receptive fields in pixels.

    No weights are needed for that.
    """

    command: ClassVar[str] = "layers"

    network: Annotated[str, replace(pieces.NETWORK, positional=True, short="", metavar="NETWORK")]
    weights: Annotated[str | None, replace(pieces.WEIGHTS, default="none")] = None


@dataclass(frozen=True, kw_only=True)
class Networks(Json):
    """List the networks that come with netinvert, and the families it can load."""

    command: ClassVar[str] = "networks"
