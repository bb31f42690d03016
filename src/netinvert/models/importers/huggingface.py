"""Image models of transformers: ``transformers:`` and a folder, a model's name on the hub, or a kind."""

# ruff: noqa: ANN401  (configurations and models have one class a kind)

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn
from torch.nn import ModuleList

from netinvert.errors import NetworkError
from netinvert.models.importers import had, optional
from netinvert.models.network import IMAGENET_MEAN, IMAGENET_STD, Network, Preprocessing
from netinvert.models.weights import GIVE_WEIGHTS, SHOWN, built, read_weights

PIXELS = "pixel_values"
SIZE = 224
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
    images, or the weights cannot be had or do not fit.
    """
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
            read = transformers.AutoConfig.from_pretrained
            config = had(f"the configuration of transformers:{name}", lambda: read(name), GIVE_CONFIG)
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
    source = {"state_dict": read_weights(weights)} if weights is not None else {}
    own = name if weights is None else None
    options = {"config": config, "output_loading_info": True, **source}
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
