"""Networks of other packages and your own: ``torchvision:``, ``timm:``, ``transformers:`` and ``module:``."""

# ruff: noqa: ANN401  (configurations and models have one class a kind)

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn
from torch.nn import ModuleList

from netinvert.errors import NetinvertError, NetworkError
from netinvert.models.checkpoints import fitting
from netinvert.models.importers import had, optional
from netinvert.models.network import (
    GIVE_WEIGHTS,
    IMAGENET_MEAN,
    IMAGENET_STD,
    SHOWN,
    Network,
    Preprocessing,
    apply_weights,
    built,
    load_weights,
    read_weights,
)

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
        known = inspect.signature(models.get_model_builder(architecture)).parameters
        none = {"weights_backbone": None} if "weights_backbone" in known else {}  # else it fetches them
        module: nn.Module = models.get_model(architecture, weights=entry if pretrained else None, **none)
        return module

    transforms = entry.transforms() if entry is not None else None
    crop = getattr(transforms, "crop_size", None) or [SIZE]
    # Of weights whose transforms do not normalise, the network does it itself.
    default = (IMAGENET_MEAN, IMAGENET_STD) if transforms is None else ((0.0,) * 3, (1.0,) * 3)
    mean, std = (getattr(transforms, name, one) for name, one in zip(("mean", "std"), default, strict=True))
    return Network(
        name=f"torchvision:{name}",
        module=_with_weights(f"torchvision:{name}", make, weights).eval(),
        preprocessing=Preprocessing((int(crop[0]), int(crop[-1])), tuple(mean), tuple(std)),
        licence="BSD-3-Clause (code); of the weights see torchvision",
        source=f"torchvision {architecture}",
        assumed=transforms is None and weights != "random",
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
    sys.path.append(str(Path.cwd()))  # behind what is installed
    try:
        factory = getattr(_import(where), attribute, None)
        if not callable(factory):
            raise NetworkError(f"{where} has no function {attribute!r}: check the name behind the last colon")
        return call_factory(factory, f"module:{name}", weights)
    finally:
        sys.path.pop()


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


PIXELS = "pixel_values"
GIVE_CONFIG = (
    "give a folder with config.json and model.safetensors, a model's name on the hub (which needs the "
    "internet the first time), or a kind such as transformers:vit with random weights "
    '(weights="random", or --weights random)'
)


def load_transformers(name: str, weights: str | None = None) -> Network:
    """A folder with ``config.json`` and weights, a name on the hub (cached or fetched), or a bare kind such
    as ``vit`` or ``dinov2``, whose default configuration takes ``weights`` (a file, or "random").

    Of models of images and text (CLIP, SigLIP) the part that sees. Preprocessing is that of
    ``preprocessor_config.json``; without one, the configuration's size and ImageNet's mean and deviation.
    Raises MissingExtraError: transformers is not installed; NetworkError: nothing there, not a model of
    images, or the weights cannot be had or do not fit."""
    transformers = optional("transformers", f"transformers:{name}", "transformers")
    kind = name in transformers.CONFIG_MAPPING and not Path(name).is_dir()
    if kind and weights is None:
        raise NetworkError(
            f"transformers:{name} is a kind of network, without weights: {GIVE_WEIGHTS}; or name a model on "
            "the hub, or a folder with config.json"
        )
    with quiet(transformers.logging):
        if kind:
            config = transformers.CONFIG_MAPPING[name]()
        else:
            # False, or it would ask on the terminal whether to run the code in a folder.
            read = partial(transformers.AutoConfig.from_pretrained, name, trust_remote_code=False)
            config = had(f"the configuration of transformers:{name}", read, GIVE_CONFIG)
        config = getattr(config, "vision_config", None) or config
        factory = _class_of(transformers, name, config)
        module = built(lambda: _module(factory, name, config, weights))
        processor = None if kind else _processor(name)
    lists = [(where, part) for where, part in module.named_modules() if isinstance(part, ModuleList)]
    where, blocks = max(lists, key=lambda pair: len(pair[1]), default=("", ()))  # a transformer's blocks
    return Network(
        name=f"transformers:{name}",
        module=module.float().eval(),  # many are stored in 16 bits, in which small gradients vanish
        preprocessing=_preprocessing(config, processor),
        licence="of the weights",
        source=f"transformers {transformers.__version__}",
        layers=tuple(f"{where}.{index}" for index in range(len(blocks))),
        assumed=processor is None and weights != "random",
    )


@contextmanager
def quiet(logging: ModuleType) -> Iterator[None]:
    """No progress bars and reports of the hub's libraries, which go to a terminal that is ours."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _class_of(transformers: ModuleType, name: str, config: Any) -> Any:
    found = transformers.MODEL_MAPPING.get(type(config), None)
    factory = found[0] if isinstance(found, tuple) else found
    takes = getattr(factory, "main_input_name", "nothing known")
    if takes != PIXELS:
        raise NetworkError(
            f"transformers:{name} is no model of images (a {type(config).__name__}, which takes {takes}): "
            "give one that takes pixel_values, such as a ViT"
        )
    return factory


def _module(factory: Any, name: str, config: Any, weights: str | None) -> nn.Module:
    if weights == "random":
        module: nn.Module = factory(config)
        return module
    # Given tensors alone, transformers takes the same care of old and prefixed names as with a folder.
    source = {}
    if weights is not None:
        source["state_dict"] = fitting(read_weights(weights), factory(config).state_dict(), weights)
    own = name if weights is None else None
    # No pickles: those of old layouts run code in torch before 2.6.
    options = {"config": config, "output_loading_info": True, "use_safetensors": True, **source}
    module, found = had(
        f"the weights of transformers:{name}", lambda: factory.from_pretrained(own, **options)
    )
    missing = sorted(key for key in found["missing_keys"] if not key.startswith("pooler."))
    if missing:
        raise NetworkError(
            f"{weights or name}: these are weights of another network: {len(missing)} tensors are missing "
            f"({', '.join(missing[:SHOWN])}): give weights of this architecture"
        )
    if found["missing_keys"]:  # classifiers are stored without it; random numbers would be no layer of theirs
        module.pooler = None  # type: ignore[assignment]
    return module


def _processor(name: str) -> Mapping[str, Any] | None:
    """What ``preprocessor_config.json`` says; None if there is none."""
    from transformers.image_processing_utils import BaseImageProcessor

    try:
        return dict(BaseImageProcessor.get_image_processor_dict(name)[0])
    except OSError:
        return None


def _preprocessing(config: Any, processor: Mapping[str, Any] | None) -> Preprocessing:
    channels = int(getattr(config, "num_channels", 3))
    image_size = getattr(config, "image_size", None) or SIZE
    mean, std = (IMAGENET_MEAN, IMAGENET_STD) if channels == 3 else ((0.5,) * channels, (0.5,) * channels)
    if processor is None:
        return Preprocessing(_pair(image_size), mean, std)
    crops = processor.get("do_center_crop") and processor.get("crop_size")
    size = processor["crop_size"] if crops else processor.get("size", image_size)
    normalises = processor.get("do_normalize", True)
    return Preprocessing(
        size=_pair(size),
        mean=tuple(processor.get("image_mean") or mean) if normalises else (0.0,) * channels,
        std=tuple(processor.get("image_std") or std) if normalises else (1.0,) * channels,
        scale=255 * processor.get("rescale_factor", 1 / 255) if processor.get("do_rescale", True) else 255.0,
    )


def _pair(size: Any) -> tuple[int, int]:
    if isinstance(size, Mapping):
        side = size.get("shortest_edge", SIZE)
        size = (size.get("height", side), size.get("width", side))
    if not isinstance(size, list | tuple):
        size = (size, size)
    return int(size[0]), int(size[-1])
