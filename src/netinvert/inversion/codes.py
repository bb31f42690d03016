"""Codes of one layer, a tensor (N, ...), or of several, a dict of such; and how far one is from another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from netinvert.errors import CodeError, ConfigError
from netinvert.models.encoder import Encoder

Code = Tensor | dict[str, Tensor]
AnyEncoder = Encoder[Any, Any]
"""Of one layer or of several."""


def layers_of(code: Code) -> dict[str, Tensor]:
    """The codes by layer; a single one goes by the empty name."""
    return code if isinstance(code, dict) else {"": code}


def map_code(change: Callable[[Tensor], Tensor], code: Code) -> Code:
    """The change of every layer's code."""
    return {name: change(one) for name, one in code.items()} if isinstance(code, dict) else change(code)


def count_of(code: Code) -> int:
    """How many samples there are."""
    return next(iter(layers_of(code).values())).shape[0]


def shapes_of(encoder: AnyEncoder) -> list[tuple[int, ...]]:
    """The shape of each layer's codes, without the sample."""
    shape = encoder.code_shape
    return list(shape.values()) if isinstance(shape, dict) else [shape]


def one_layer(code: Code, what: str) -> Tensor:
    """The code of an encoder with one layer. Raises ConfigError."""
    if isinstance(code, dict):
        raise ConfigError(f"{what} is of one layer, not of {', '.join(code)}; use an encoder of one of them")
    return code


def paired(code: Code, target: Code) -> list[tuple[str, Tensor, Tensor]]:
    """Name, code and target of each layer of the target. Raises CodeError."""
    ours, theirs = layers_of(code), layers_of(target)
    if not theirs.keys() <= ours.keys():
        raise CodeError(
            f"the target is of the layers {', '.join(theirs) or 'of no name'}, the code of "
            f"{', '.join(ours) or 'no name'}; use an encoder with all of the target's layers"
        )
    return [(name, ours[name], theirs[name]) for name in theirs]


def code_error(code: Code, target: Code) -> Tensor:
    """The code error ‖Φ - Φ0‖ / ‖Φ0‖ of each sample, (N,) (Mahendran & Vedaldi 2016, section 5).

    Of several layers, the root of the mean of their squares: each counts as much as any other.

    >>> code_error(torch.tensor([[3.0, 0.0]]), torch.tensor([[3.0, 4.0]])).tolist()
    [0.8]
    """
    pairs = paired(code, target)
    errors = [_norms(one.double() - wanted.double()) / _norms(wanted.double()) for _, one, wanted in pairs]
    return errors[0] if len(errors) == 1 else torch.stack(errors).square().mean(0).sqrt()


def _norms(codes: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(codes.flatten(1), dim=1)
    return norms
