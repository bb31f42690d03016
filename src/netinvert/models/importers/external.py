"""Networks of other packages and of the user: ``torchvision:``, ``timm:`` and ``module:``."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from torch import nn

from netinvert.errors import NetinvertError, NetworkError
from netinvert.models.importers import had, optional
from netinvert.models.network import IMAGENET_MEAN, IMAGENET_STD, Network, Preprocessing
from netinvert.models.weights import apply_weights, built, load_weights

SIZE = 224


def load_torchvision(name: str, weights: str | None = None) -> Network:
    """``NAME`` or ``NAME@WEIGHTS`` of torchvision, with the preprocessing that those weights ask for. Raises
    MissingExtraError: torchvision is not installed; NetworkError: unknown names, or the weights cannot be
    had."""
    models = optional("torchvision", f"torchvision:{name}", "torchvision").models
    architecture, _, wanted = name.partition("@")
    try:
        enum = models.get_model_weights(architecture)
    except ValueError as error:
        raise NetworkError(
            f"torchvision has no network {architecture!r}: torchvision.models.list_models() has the names"
        ) from error
    try:
        entry = enum[wanted or "DEFAULT"] if wanted or len(enum) else None
    except KeyError as error:
        raise NetworkError(
            f"torchvision's {architecture} has no weights {wanted!r}, only {', '.join(enum.__members__)}"
        ) from error

    def make(pretrained: bool) -> nn.Module:
        module: nn.Module = models.get_model(architecture, weights=entry if pretrained else None)
        return module

    transforms = entry.transforms() if entry is not None else None
    crop = getattr(transforms, "crop_size", None) or [SIZE]
    mean, std = getattr(transforms, "mean", IMAGENET_MEAN), getattr(transforms, "std", IMAGENET_STD)
    return Network(
        name=f"torchvision:{name}",
        module=_with_weights(f"torchvision:{name}", make, weights).eval(),
        preprocessing=Preprocessing((int(crop[0]), int(crop[-1])), tuple(mean), tuple(std)),
        licence="BSD-3-Clause (code); of the weights see torchvision",
        source=f"torchvision {architecture}",
    )


def load_timm(name: str, weights: str | None = None) -> Network:
    """``NAME`` or ``NAME.TAG`` of timm, with the preprocessing of its ``pretrained_cfg``. Raises
    MissingExtraError: timm is not installed; NetworkError: unknown names, or the weights cannot be had."""
    timm = optional("timm", f"timm:{name}", "timm")
    if not timm.is_model(name.partition(".")[0]):
        raise NetworkError(f"timm has no network {name!r}: timm.list_models() has the names")
    module = _with_weights(f"timm:{name}", lambda own: timm.create_model(name, pretrained=own), weights)
    config = {"input_size": (3, SIZE, SIZE), "mean": IMAGENET_MEAN, "std": IMAGENET_STD}
    config |= getattr(module, "pretrained_cfg", None) or {}
    licence, source = str(config.get("license") or "unknown"), f"timm {timm.__version__}"
    return Network(f"timm:{name}", module.eval(), Preprocessing.of(config), licence, source)


def _with_weights(name: str, make: Callable[[bool], nn.Module], weights: str | None) -> nn.Module:
    """``make(pretrained)``, with random weights or a file's if they are named."""
    if weights is None:
        return had(f"the pretrained weights of {name}", lambda: built(lambda: make(True)))
    module = built(lambda: make(False))
    apply_weights(module, weights)
    return module


def load_factory(name: str, weights: str | None = None) -> Network | nn.Module:
    """What ``package.module:factory`` or ``path/file.py:factory`` makes; this runs the code it names. Modules
    are looked for in the current folder too. Raises NetworkError: nothing to import there, the factory fails,
    or it gives something else."""
    where, separator, attribute = name.rpartition(":")
    if not separator or not where or not attribute:
        raise NetworkError(f"module:{name} names no factory: write module:package.module:factory")
    with _current_folder():
        factory = getattr(_import(where), attribute, None)
        if not callable(factory):
            raise NetworkError(f"{where} has no function {attribute!r}: check the name behind the last colon")
        return call_factory(factory, f"module:{name}", weights)


def call_factory(factory: Callable[[], object], name: str, weights: str | None) -> Network | nn.Module:
    """The ``nn.Module`` (as it is, also in training mode) or ``Network`` that a function without arguments
    gives, with weights from a file if one is given. Raises NetworkError: the function fails or gives
    something else, or the weights do not fit."""
    if weights == "random":
        raise NetworkError(
            f"the factory {name} makes its own weights: leave weights out, or let the factory draw them"
        )
    try:
        made = factory()
    except NetinvertError:
        raise
    except Exception as error:
        raise NetworkError(f"the factory {name} failed: {type(error).__name__}: {error}") from error
    if not isinstance(made, Network | nn.Module):
        raise NetworkError(
            f"the factory {name} gave a {type(made).__name__}: it must give an nn.Module or a Network"
        )
    if weights is not None:
        load_weights(made.module if isinstance(made, Network) else made, weights)
    return made


@contextmanager
def _current_folder() -> Iterator[None]:
    """Within, modules of the current folder can be imported, if none installed has their name."""
    sys.path.append(str(Path.cwd()))
    try:
        yield
    finally:
        sys.path.pop()


def _import(where: str) -> ModuleType:
    try:
        if where.endswith(".py"):
            return _import_file(Path(where))
        return importlib.import_module(where)
    except NetinvertError:
        raise
    except Exception as error:  # whatever the user's code raises
        raise NetworkError(
            f"cannot import {where}: {type(error).__name__}: {error}. Run in the folder that holds it, or "
            "give the file: module:PATH/FILE.py:FACTORY"
        ) from error


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise NetworkError(f"no file at {path}: check the path")
    name = f"netinvert_factory_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look a class's module up there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
