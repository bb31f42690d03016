"""What ``netinvert decode`` is asked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from netinvert.io import pieces
from netinvert.io.config import Option
from netinvert.io.pieces import Device, ImageFormat, Output


@dataclass(frozen=True, kw_only=True)
class Decode(ImageFormat, Output, Device):
    """Turn codes, or the codes of images, into images with a trained decoder.

    A decoder gives in a moment what an optimisation needs minutes for, but it knows only images like those
    that it was trained on.
    """

    command: ClassVar[str] = "decode"

    input: Annotated[str, replace(pieces.INPUT, kept="tensors.safetensors", identity=False)]
    decoder: Annotated[
        str,
        Option("A decoder's name or file; it names its network and layer.", short="D", metavar="NAME|FILE"),
    ]
    weights: Annotated[str | None, replace(pieces.WEIGHTS, metavar="FILE")] = None
