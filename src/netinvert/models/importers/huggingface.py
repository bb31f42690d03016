"""Image models of transformers: ``transformers:`` and a folder, a model's name on the hub, or a kind."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from netinvert.errors import MissingExtraError, NetworkError
from netinvert.models.network import IMAGENET_MEAN, IMAGENET_STD, Network, Preprocessing
from netinvert.models.weights import GIVE_WEIGHTS, built, read_weights

PIXELS = "pixel_values"
SIZE = 224
SHOWN = 3  # names of tensors that an error lists


def load_transformers(name: str, weights: str | None = None) -> Network:
    """A folder with ``config.json`` and weights, a name on the hub (cached or fetched), or a bare kind such
    as ``vit`` or ``dinov2``, whose default configuration takes ``weights`` (a file, or "random").

    Of models of images and text (CLIP, SigLIP) the part that sees. Preprocessing is that of
    ``preprocessor_config.json``; without one, the configuration's size and ImageNet's mean and deviation.
    Raises MissingExtraError: transformers is not installed; NetworkError: nothing there, not a model of
    images, or the weights cannot be had or do not fit."""
    try:
        transformers = importlib.import_module("transformers")
    except ImportError as error:
        raise MissingExtraError(f"transformers:{name}", "transformers") from error
    kind = name in transformers.CONFIG_MAPPING and not Path(name).is_dir()
    if kind and weights is None:
        raise NetworkError(
            f"transformers:{name} is a kind of network, without weights: {GIVE_WEIGHTS}; or name a model on "
            "the hub, or a folder with config.json"
        )
    with quiet(transformers.logging):
        config = transformers.CONFIG_MAPPING[name]() if kind else _config(transformers, name)
        config = getattr(config, "vision_config", None) or config
        factory = _class_of(transformers, name, config)
        module = built(lambda: _module(factory, name, config, weights))
        processor = None if kind else _processor(name)
    return Network(
        name=f"transformers:{name}",
        module=module.float().eval(),  # many are stored in 16 bits, in which small gradients vanish
        preprocessing=_preprocessing(config, processor),
        licence="of the weights",
        source=f"transformers {transformers.__version__}",
        layers=_blocks(module),
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


def _config(transformers: ModuleType, name: str) -> Any:  # noqa: ANN401  (one class a kind)
    try:
        return transformers.AutoConfig.from_pretrained(name)
    except Exception as error:  # of the hub, of files, of configurations: they have none in common
        raise NetworkError(
            f"the configuration of transformers:{name} cannot be had ({_reason(error)}): give a folder "
            "with config.json and model.safetensors, a model's name on the hub (which needs the internet the "
            'first time), or a kind such as transformers:vit with random weights (weights="random", or '
            "--weights random)"
        ) from None


def _class_of(transformers: ModuleType, name: str, config: Any) -> Any:  # noqa: ANN401
    found = transformers.MODEL_MAPPING.get(type(config), None)
    factory = found[0] if isinstance(found, tuple) else found
    takes = getattr(factory, "main_input_name", "nothing known")
    if takes != PIXELS:
        raise NetworkError(
            f"transformers:{name} is no model of images (a {type(config).__name__}, which takes {takes}): "
            "give one that takes pixel_values, such as a ViT"
        )
    return factory


def _module(factory: Any, name: str, config: Any, weights: str | None) -> nn.Module:  # noqa: ANN401
    if weights == "random":
        module: nn.Module = factory(config)
        return module
    # Given tensors alone, transformers takes the same care of old and prefixed names as with a folder.
    source = {"state_dict": read_weights(weights)} if weights is not None else {}
    try:
        module, found = factory.from_pretrained(
            name if weights is None else None, config=config, output_loading_info=True, **source
        )
    except Exception as error:  # as above
        raise NetworkError(
            f"the weights of transformers:{name} cannot be had ({_reason(error)}): {GIVE_WEIGHTS}"
        ) from None
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
    base = importlib.import_module("transformers.image_processing_utils").BaseImageProcessor
    try:
        found, _ = base.get_image_processor_dict(name)
    except OSError:
        return None
    return dict(found)


def _preprocessing(config: Any, processor: Mapping[str, Any] | None) -> Preprocessing:  # noqa: ANN401
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


def _pair(size: Any) -> tuple[int, int]:  # noqa: ANN401  (a number, a pair, or one of several mappings)
    if isinstance(size, Mapping):
        side = size.get("shortest_edge", SIZE)
        return int(size.get("height", side)), int(size.get("width", side))
    if isinstance(size, list | tuple):
        return int(size[0]), int(size[-1])
    return int(size), int(size)


def _blocks(module: nn.Module) -> tuple[str, ...]:
    """The names in the longest list of modules: a transformer's blocks."""
    lists = [(name, part) for name, part in module.named_modules() if isinstance(part, nn.ModuleList)]
    if not lists:
        return ()
    name, blocks = max(lists, key=lambda pair: len(pair[1]))
    return tuple(f"{name}.{index}" for index in range(len(blocks)))


def _reason(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
