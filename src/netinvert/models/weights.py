"""Weights from a file into a module, without running any code that the file may carry."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from importlib.resources import as_file, files
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from netinvert.errors import NetworkError
from netinvert.io.files import FileError, load_tensors, save_tensors

SHOWN = 3  # names that an error lists before it only counts them
PICKLED = (".pt", ".pth")
GIVE_WEIGHTS = (
    "give weights of this architecture (weights=FILE.safetensors, or --weights FILE.safetensors) or random "
    'ones (weights="random", or --weights random)'
)
Module = TypeVar("Module", bound=nn.Module)


def built(factory: Callable[[], Module]) -> Module:
    """Make a module whose random weights are always the same, leaving torch's generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return factory()


def apply_weights(module: nn.Module, weights: str) -> None:
    """``"random"`` leaves the module as ``built`` made it; anything else is a file for ``load_weights``."""
    if weights != "random":
        load_weights(module, weights)


def load_weights(module: nn.Module, path: str | Path) -> None:
    """Copy the tensors of a ``.safetensors`` or ``.pt``/``.pth`` file into a module, in the module's types.
    Raises NetworkError: no such file, an unknown or damaged or unsafe one, or tensors that do not fit."""
    load_state(module, read_weights(path), source=str(path))


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a weights file by name. Raises NetworkError: no such file, or one that is not safe or
    not readable."""
    file = Path(path)
    if not file.is_file():
        raise NetworkError(f"no weights file at {file}: check the path, or leave weights out")
    if file.suffix == ".safetensors":
        return _stored(file)[0]
    if file.suffix in PICKLED:
        return _read_pickled(file)
    raise NetworkError(f"{file}: weights must be a .safetensors, .pt or .pth file, not {file.suffix!r}")


def load_state(module: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Copy a state dict into a module; ``source`` is named in the errors. Raises NetworkError: names or
    shapes differ from the module's, or a value is NaN or infinite."""
    own = module.state_dict()
    missing = [key for key in own if key not in state]
    unexpected = [key for key in state if key not in own]
    if missing or unexpected:
        raise NetworkError(
            f"{source}: these are weights of another network: {_some('missing', missing)}; "
            f"{_some('unexpected', unexpected)}. Give a file whose names match the module's state_dict()"
        )
    for key, tensor in state.items():
        if tensor.shape != own[key].shape:
            raise NetworkError(
                f"{source}: {key} has shape {tuple(tensor.shape)}, the network's {tuple(own[key].shape)}: "
                "give weights of this architecture"
            )
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise NetworkError(f"{source}: {key} has NaN or infinite values: give weights that are finite")
    module.load_state_dict(dict(state))


def save_parts(
    path: str | Path, parts: Mapping[str, Mapping[str, Tensor]], header: Mapping[str, str]
) -> None:
    """Write state dicts, by the prefix of their names, and texts into one safetensors file, atomically.
    Raises OutputError: the file cannot be written."""
    named = {f"{prefix}{name}": value for prefix, state in parts.items() for name, value in state.items()}
    save_tensors(path, named, header)


def load_parts(path: str | Path, *prefixes: str) -> tuple[list[dict[str, Tensor]], dict[str, str]]:
    """What ``save_parts`` wrote, floats as float32: a state dict for each prefix, of the tensors that have it
    and none before it, and the texts. Raises NetworkError: no such file, or one that is no whole safetensors
    file."""
    tensors, header = _stored(path)
    parts: list[dict[str, Tensor]] = [{} for _ in prefixes]
    for name, value in tensors.items():
        for part, prefix in zip(parts, prefixes, strict=True):
            if name.startswith(prefix):
                part[name.removeprefix(prefix)] = value.float() if value.is_floating_point() else value
                break
    return parts, header


def shipped(folder: str, name: str) -> AbstractContextManager[Path]:
    """The weights file of this name that comes with netinvert, in ``data/weights`` or ``data/decoders``."""
    return as_file(files("netinvert") / "data" / folder / f"{name}.safetensors")


def _some(what: str, names: list[str]) -> str:
    shown = ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")
    return f"{len(names)} {what}" + (f" ({shown})" if names else "")


def _stored(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        return load_tensors(path)
    except FileError as error:
        raise NetworkError(str(error)) from error


def _read_pickled(file: Path) -> dict[str, Tensor]:
    try:
        with warnings.catch_warnings():
            # torch warns of its own old storage classes; that is no news to the user
            warnings.simplefilter("ignore")
            content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise NetworkError(
            f"{file}: refused, since unpickling it could run code: save the state_dict() alone, "
            "best as .safetensors"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise NetworkError(f"{file}: no readable torch file ({error}): fetch it again") from error
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]  # the usual checkpoint of a training script
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise NetworkError(f"{file}: holds no state_dict: save module.state_dict() and give that")
    return dict(content)
