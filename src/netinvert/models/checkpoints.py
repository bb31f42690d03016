"""State dicts: their hash, and checkpoints as trainings leave them (dicts in dicts, prefixes, counters)."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from io import BytesIO
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from netinvert.errors import NetworkError
from netinvert.io.files import load_torch, refusing

TORCH_FILES = (".pt", ".pth", ".ckpt", ".bin", ".tar")
WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
"""What DataParallel, torch.compile, FSDP and activation checkpointing put into the names of parameters."""
COUNTER = "num_batches_tracked"
"""Of BatchNorm, older than which many files are; torch goes without it."""
AVERAGED = "n_averaged"
"""Of AveragedModel: over how many."""
EXTRA = "_extra_state"
"""What modules keep beside tensors."""


def read_torch_file(file: Path, known: str = "") -> dict[str, Any]:
    """The tensors in a file of ``torch.save`` by name; of a dict within a dict as ``state_dict.conv.weight``.
    Raises NetworkError: it is not safe or not readable, or holds none."""
    with refusing(file, NetworkError):
        content = load_torch(file, known)
    state = _flat(content, "") if isinstance(content, Mapping) else {}
    if not any(isinstance(value, Tensor) for value in state.values()):
        raise NetworkError(f"{file}: holds no state_dict: save module.state_dict() and give that")
    return state


def _flat(content: Mapping[Any, Any], prefix: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, Tensor) or str(key).endswith(EXTRA):
            found[f"{prefix}{key}"] = value
        elif isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{key}.")
    return found


def fitting(state: Mapping[str, Any], names: Iterable[str], source: str) -> dict[str, Any]:
    """The tensors of a checkpoint that have these names, less the prefix that they share (``module.``, say)
    and wrappers within; if none has all, the part that has most. Raises NetworkError: several have all."""
    names = list(names)
    best = ""
    for rename in (str, _unwrapped):
        own = {rename(name): name for name in names}
        known = {rename(name): value for name, value in state.items()}
        needed = {name for name in own if not name.endswith((COUNTER, EXTRA))}
        counts = Counter(name[:start] for name in known for start in _starts(name) if name[start:] in needed)
        whole = [prefix for prefix, count in counts.items() if count == len(needed)]
        if whole:
            break
        best = best or max(counts, key=lambda prefix: counts[prefix], default="")
    else:
        own, known, whole = {}, dict(state), [best]
    first, *others = (
        {name.removeprefix(prefix): known[name] for name in known if name.startswith(prefix)}
        for prefix in whole
    )
    if not all(torch.equal(first[name], other[name]) for other in others for name in needed):
        places = ", ".join(prefix.rstrip(".") or "the names as they are" for prefix in whole)
        raise NetworkError(
            f"{source} holds {len(whole)} sets of weights that fit: {places}. Name one, as in "
            f"{source}:{whole[-1].rstrip('.')}"
        )
    if AVERAGED not in own:
        first.pop(AVERAGED, None)
    return {own.get(name, name): value for name, value in first.items()}


def _starts(name: str) -> list[int]:
    """Where a name's parts begin."""
    return [0, *(index + 1 for index, letter in enumerate(name) if letter == ".")]


def _unwrapped(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def weights_sha256(module: nn.Module) -> str:
    """SHA-256 over names, shapes and bytes of all parameters and buffers, in the order of their names, and of
    what else the state dict holds."""
    return state_sha256(module.state_dict())


def state_sha256(state: Mapping[str, Any]) -> str:
    """``weights_sha256`` of a module's state dict."""
    digest = hashlib.sha256()
    for name, value in sorted(state.items(), key=itemgetter(0)):
        _hash(digest.update, name, value)
    return digest.hexdigest()


def _hash(update: Callable[[bytes], object], name: str, value: Any) -> None:  # noqa: ANN401
    if isinstance(value, Tensor):
        if value.is_quantized:
            update(f"{name}{value.dtype}{value.qscheme()}".encode())
            value = value.dequantize()
        array = value.detach().cpu().to_dense().resolve_conj().resolve_neg().contiguous()
        update(f"{name}{tuple(array.shape)}{array.dtype}".encode())
        update(array.reshape(-1).view(torch.uint8).numpy().tobytes())
    elif isinstance(value, Mapping):
        for key in sorted(value, key=repr):
            _hash(update, f"{name}.{key}", value[key])
    elif isinstance(value, list | tuple):
        for index, one in enumerate(value):
            _hash(update, f"{name}.{index}", one)
    elif hasattr(value, "tobytes"):  # an array of numpy
        update(f"{name}{value.dtype}{value.shape}".encode() + value.tobytes())
    elif isinstance(value, set | frozenset):
        update(f"{name}{sorted(map(repr, value))}".encode())
    else:
        text = value.getvalue() if isinstance(value, BytesIO) else value
        update(f"{name}{re.sub(' at 0x[0-9a-f]+', '', repr(text))}".encode())  # where it lies in memory
