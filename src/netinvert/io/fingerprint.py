"""Names for settings: the SHA-256 of facts as canonical JSON, the same in every process."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import sys
from collections.abc import Mapping
from typing import Any

from netinvert.errors import ConfigError
from netinvert.io.files import simple


def fingerprint(facts: object) -> str:
    """SHA-256 (64 hex digits) of `canonical(facts)`: equal for equal facts, in any order of keys.

    Raises:
        ConfigError: the facts hold something that has no canonical form.

    Example:
        >>> fingerprint({"steps": 3, "size": (8, 8)}) == fingerprint({"size": [8, 8], "steps": 3})
        True
    """
    return hashlib.sha256(_text(canonical(facts)).encode("ascii")).hexdigest()


def canonical(facts: object) -> Any:  # noqa: ANN401
    """Facts as plain JSON that tells them apart.

    Tensors and arrays become their dtype, shape and hash, dataclasses keep the name of their class, and
    numbers that are not finite become texts. Raises ConfigError for what is no fact (a function, say).
    """
    if isinstance(facts, float) and not math.isfinite(facts):
        return {"float": str(float(facts))}
    if isinstance(facts, bytes):
        return {"bytes": hashlib.sha256(facts).hexdigest()}
    found = _numbers(facts)
    if found is not None:
        return found
    try:
        found = simple(facts, canonical)
    except TypeError as error:
        raise ConfigError(f"{facts!r:.80} is no fact that can be named: {error}") from error
    return {"type": type(facts).__name__, **found} if dataclasses.is_dataclass(facts) else found


def differences(theirs: object, mine: object, name: str = "") -> list[str]:
    """The names of the facts (both canonical) that differ, as "command.seed"."""
    if isinstance(theirs, Mapping) and isinstance(mine, Mapping):
        found = [f"{name}.{key}" if name else key for key in sorted(theirs.keys() ^ mine.keys())]
        for key in sorted(theirs.keys() & mine.keys()):
            found += differences(theirs[key], mine[key], f"{name}.{key}" if name else key)
        return sorted(found)
    # As texts: True == 1 and 0.0 == -0.0, and yet they differ.
    return [] if _text(theirs) == _text(mine) else [name or "facts"]


def _text(facts: object) -> str:
    return json.dumps(facts, sort_keys=True, separators=(",", ":"))


def _numbers(facts: object) -> Any:  # noqa: ANN401
    """Of a tensor, an array or one of their numbers; None for all else."""
    # Asked of sys.modules: who holds a tensor has imported torch, and nobody else has to.
    torch, numpy = sys.modules.get("torch"), sys.modules.get("numpy")
    if torch is not None and isinstance(facts, torch.Tensor):
        content = facts.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        return {"tensor": [str(facts.dtype), list(facts.shape), hashlib.sha256(content).hexdigest()]}
    if numpy is not None and isinstance(facts, numpy.generic):
        return canonical(facts.item())
    if numpy is not None and isinstance(facts, numpy.ndarray) and not facts.dtype.hasobject:
        content = numpy.ascontiguousarray(facts).reshape(-1).view(numpy.uint8)
        return {"array": [str(facts.dtype), list(facts.shape), hashlib.sha256(content).hexdigest()]}
    return None
