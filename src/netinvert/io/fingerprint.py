"""Names for settings: the SHA-256 of facts as canonical JSON, the same in every process."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import sys
from collections.abc import Mapping
from enum import Enum
from typing import Any

from netinvert.errors import ConfigError


def fingerprint(facts: object) -> str:
    """SHA-256 (64 hex digits) of `canonical(facts)`: equal for equal facts, in any order of keys.

    Raises:
        ConfigError: the facts hold something that has no canonical form.

    Example:
        >>> fingerprint({"steps": 3, "size": (8, 8)}) == fingerprint({"size": [8, 8], "steps": 3})
        True
    """
    return hashlib.sha256(_text(canonical(facts)).encode("ascii")).hexdigest()


def canonical(facts: object) -> Any:  # noqa: ANN401, PLR0911
    """Facts as plain JSON that tells them apart.

    Tensors and arrays become their dtype, shape and hash, dataclasses keep the name of their class, and
    numbers that are not finite become texts. Raises ConfigError for what is no fact (a function, say).
    """
    if isinstance(facts, Enum):
        return canonical(facts.value)
    if facts is None or isinstance(facts, str | bool):
        return facts
    if isinstance(facts, int):
        return int(facts)
    if isinstance(facts, float):
        return float(facts) if math.isfinite(facts) else {"float": str(float(facts))}
    if isinstance(facts, bytes):
        return {"bytes": hashlib.sha256(facts).hexdigest()}
    if isinstance(facts, os.PathLike):
        return os.fspath(facts)
    if dataclasses.is_dataclass(facts) and not isinstance(facts, type):
        values = {field.name: getattr(facts, field.name) for field in dataclasses.fields(facts)}
        return {"type": type(facts).__name__, **_mapping(values)}
    if isinstance(facts, Mapping):
        return _mapping(facts)
    if isinstance(facts, list | tuple):
        return [canonical(item) for item in facts]
    return _numbers(facts)


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


def _mapping(facts: Mapping[Any, object]) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for key, value in facts.items():
        if not isinstance(key, str | int) or isinstance(key, bool) or str(key) in plain:
            raise ConfigError(f"the key {key!r:.80} of the facts is no text, or is there twice")
        plain[str(key)] = canonical(value)
    return plain


def _numbers(facts: object) -> Any:  # noqa: ANN401
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
    raise ConfigError(f"a {type(facts).__name__} is no fact that can be named: {facts!r:.80}")
