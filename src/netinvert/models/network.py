"""What netinvert knows of a network: the module, its weights, its preprocessing, where it comes from."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, fields, replace
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from netinvert.errors import ConfigError, NetworkError
from netinvert.io.files import SMALL, load_tensors, read_json, refusing, save_tensors
from netinvert.models.checkpoints import TORCH_FILES, fitting, read_torch_file
from netinvert.models.zoo.pose_heads import RotationHead
from netinvert.scenes.poses import PoseReading

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
REMEDY = (
    "Python: preprocessing=Preprocessing(size=(224, 224), mean=(…), std=(…)); command line: --size 224 "
    "--mean … --std … (and --order, --scale); a factory: return Network(name, module, Preprocessing(…)). "
    "Without mean and std it gets images in [0, 1]"
)
"""How a network's preprocessing is told."""

MOST_NUMBERS = 1 << 26
"""In an image, or in what else a file may ask memory for."""


@dataclass(frozen=True)
class Preprocessing:
    """How a network wants its images: ``(scale * image - mean) / std`` of an image in [0, 1].

    ``size`` is the (height, width) in pixels that the network was trained at; one number is both. ``mean``
    and ``std`` have one number a channel, in the units of ``scale * image`` and in the network's own channel
    ``order``; left out, they are 0 and 1 for each channel of the other, or of RGB.

    Raises ConfigError for numbers that make no sense.

    >>> Preprocessing(32, mean=(0.5,), std=(0.25,))
    Preprocessing(size=(32, 32), mean=(0.5,), std=(0.25,), scale=1.0, order='RGB')
    """

    size: tuple[int, int]
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    scale: float = 1.0
    order: Literal["RGB", "BGR"] = "RGB"

    def __post_init__(self) -> None:
        size: Any = self.size
        size = (size, size) if isinstance(size, int) else tuple(size)
        if len(size) == 1:
            size *= 2
        _refuse(
            len(size) != 2 or not all(isinstance(side, int) and side > 0 for side in size),
            f"the size of a network's images is (height, width) in pixels, got {self.size!r}",
        )
        mean, std = _numbers("mean", self.mean), _numbers("std", self.std)
        mean = mean or (0.0,) * (len(std) or 3)
        std = std or (1.0,) * len(mean)
        channels = len(mean)
        _refuse(
            channels != len(std),
            f"mean and std have one number a channel each, got {channels} and {len(std)}",
        )
        _refuse(min(std) <= 0, f"a deviation is above 0, got std {std}: leave std out for 1")
        _refuse(not 0 < self.scale < math.inf, f"scale is what white is, 1 or 255, say; got {self.scale}")
        _refuse(
            self.order not in ("RGB", "BGR") or (self.order == "BGR" and channels != 3),
            f"the order of {channels} channels is RGB, or BGR for three; got {self.order!r}",
        )
        _refuse(
            channels * size[0] * size[1] > MOST_NUMBERS,
            f"images of {channels}×{size[0]}×{size[1]} numbers need too much memory: take smaller ones",
        )
        for name, value in (("size", size), ("mean", mean), ("std", std), ("scale", float(self.scale))):
            object.__setattr__(self, name, value)

    @property
    def channels(self) -> int:
        """How many channels an image has."""
        return len(self.mean)

    @classmethod
    def of(cls, source: Any) -> Preprocessing:  # noqa: ANN401  (of torchvision, timm or a file)
        """The preprocessing that another library's object tells: the ``transforms()`` of torchvision's
        weights or a ``Compose`` of transforms, timm's ``pretrained_cfg``; or facts as ``to_json`` gives them,
        or the path of a JSON file of those.

        Raises ConfigError for anything else, FileError for no JSON file.

        >>> Preprocessing.of({"input_size": (1, 28, 28), "mean": (0.1307,), "std": (0.3081,)})
        Preprocessing(size=(28, 28), mean=(0.1307,), std=(0.3081,), scale=1.0, order='RGB')
        """
        if isinstance(source, Preprocessing):
            return source
        if isinstance(source, str | Path):
            source = read_json(source)
        facts = dict(source) if isinstance(source, Mapping) else {}
        known = {one.name for one in fields(cls)}
        if facts and "input_size" not in facts:
            if "size" not in facts or set(facts) - known:
                raise ConfigError(f"preprocessing has {', '.join(sorted(known))}; got {', '.join(facts)}")
            return cls(**facts)
        for part in () if facts else (source, *getattr(source, "transforms", ())):
            names = ("input_size", "crop_size", "size", "mean", "std")
            facts |= {name: value for name in names if (value := getattr(part, name, None)) is not None}
        size = facts["input_size"][1:] if "input_size" in facts else facts.get("crop_size", facts.get("size"))
        if size is None:
            raise ConfigError(f"a {type(source).__name__} does not tell its images' size: give Preprocessing")
        return cls(size, tuple(facts.get("mean", ())), tuple(facts.get("std", ())))

    @classmethod
    def of_options(
        cls,
        size: Sequence[int] = (),
        mean: Sequence[float] = (),
        std: Sequence[float] = (),
        order: Literal["RGB", "BGR"] | None = None,
        scale: float | None = None,
    ) -> Preprocessing | None:
        """What the command line's options say; None where none is given. Raises ConfigError."""
        if not size:
            more = bool(mean or std or order or scale)
            _refuse(more, "--mean, --std, --order and --scale need --size, the side of the network's images")
            return None
        return cls(tuple(size), tuple(mean), tuple(std), 1.0 if scale is None else scale, order or "RGB")  # type: ignore[arg-type]

    def to_json(self) -> dict[str, Any]:
        """All fields as plain values, which ``of`` takes."""
        return asdict(self)


def _refuse(wrong: bool, message: str) -> None:
    if wrong:
        raise ConfigError(message)


def _numbers(name: str, values: Sequence[float]) -> tuple[float, ...]:
    try:
        numbers = tuple(float(value) for value in values)
    except TypeError:
        raise ConfigError(f"{name} has one number a channel, such as (0.5, 0.5); got {values!r}") from None
    _refuse(not all(map(math.isfinite, numbers)), f"{name} holds NaN or infinite values: {numbers}")
    return numbers


def sidecar(path: str | Path, size: tuple[int, int], channels: int) -> tuple[Preprocessing, bool]:
    """The preprocessing in ``model.onnx.json`` or ``model.json`` beside a file ``model.onnx``, of the file's
    own size unless it says another, and whether it was assumed: if neither is there, images in [0, 1] as they
    are. Raises NetworkError for one that cannot be used."""
    file = Path(path)
    if channels * math.prod(size) > MOST_NUMBERS:
        raise NetworkError(f"{file} wants images of {channels}×{size[0]}×{size[1]}: export it smaller")
    for beside in (file.with_name(f"{file.name}.json"), file.with_suffix(".json")):
        if beside.is_file():
            with refusing(beside, NetworkError, remedy="mend it"):
                form = Preprocessing.of({"size": size, **read_json(beside)})
                _refuse(form.channels != channels, f"the network's images have {channels} channels")
                return form, False
    return Preprocessing(size, mean=(0.0,) * channels), True


class PreprocessingWarning(UserWarning):
    """Nothing says how a network wants its images."""


@dataclass(frozen=True)
class Network:
    """A network to invert. ``module`` takes a preprocessed batch (N, C, H, W) and is in eval mode.

    >>> Network("grey", nn.Flatten().eval(), Preprocessing((8, 8), mean=(0.5,)))
    <Network grey: Flatten of images (1, 8, 8), 0 parameters>
    """

    name: str
    module: nn.Module
    preprocessing: Preprocessing
    licence: str = "unknown"
    source: str = ""
    layers: tuple[str, ...] = field(default=())
    """Layers worth inverting, early to late."""
    read_pose: Callable[[Any], PoseReading] | None = None
    """For pose networks: what pose the network's output (the module's return value) says."""
    pose_error: Callable[[Tensor, Tensor], Tensor] | None = None
    """For pose networks: how far the output is from saying rotations (N, 3, 3), (N,) with a gradient."""
    pose_head: RotationHead | None = None
    """For pose networks whose poses have a gradient: what makes them of the output."""
    held_out_pose_estimator: str | None = None
    """For pose networks: the name of another one. An image made for a network can fool it, so that the poses
    of reconstructions are read by a network that took no part in them too."""
    assumed: bool = False
    """Whether nothing told the preprocessing, so that it is a guess."""

    @property
    def assumption(self) -> str:
        """What is to be told of preprocessing that was assumed; nothing of one that was not."""
        if not self.assumed:
            return ""
        form, (height, width) = self.preprocessing, self.preprocessing.size
        plain = form == Preprocessing(form.size, (0.0,) * form.channels)
        how = "in [0, 1] as they are" if plain else f"less mean {form.mean} over std {form.std}"
        return (
            f"preprocessing of {self.name} assumed: images of {height} x {width} pixels, {how}; if that is "
            f"wrong, give --size {height},{width} --mean … --std … (--order, --scale), Preprocessing(…) in "
            "Python, or a JSON file of these beside an ONNX or TFLite file"
        )

    def facts(self) -> dict[str, Any]:
        """Which network it is, for manifests, with preprocessing that was assumed."""
        return {"network": self.name} | (
            {"preprocessing_assumed": self.preprocessing.to_json()} if self.assumed else {}
        )

    def __repr__(self) -> str:
        count = sum(parameter.numel() for parameter in self.module.parameters())
        images = (self.preprocessing.channels, *self.preprocessing.size)
        return f"<Network {self.name}: {type(self.module).__name__} of images {images}, {count:,} parameters>"


def as_network(
    made: object, preprocessing: Preprocessing | None = None, name: str = "", source: str = ""
) -> Network:
    """A Network as it is, or with other preprocessing; a module with its preprocessing as a Network. Raises
    NetworkError for something else, or for a module without preprocessing."""
    if isinstance(made, Network):
        if preprocessing is None:
            return made
        count = made.preprocessing.channels
        if count != 3 and preprocessing == Preprocessing(preprocessing.size, scale=preprocessing.scale):
            preprocessing = replace(preprocessing, mean=(0.0,) * count, std=(1.0,) * count)
        return replace(made, preprocessing=preprocessing, assumed=False)
    if not isinstance(made, nn.Module):
        hint = "; give its .module()" if callable(getattr(made, "module", None)) else ""
        raise NetworkError(
            f"a network is a torch.nn.Module or comes from load_network, got {type(made).__name__}{hint}"
        )
    name = name or type(made).__name__
    if preprocessing is None and isinstance(config := getattr(made, "pretrained_cfg", None), Mapping):
        preprocessing = Preprocessing.of(config)  # timm's modules know it
    if preprocessing is None:
        raise NetworkError(f"how does {name} want its images? Say it once. {REMEDY}")
    return Network(name, made, preprocessing, source=source)


SHOWN = 3  # names that an error lists before it only counts them
GIVE_WEIGHTS = (
    "give weights of this architecture (weights=FILE.safetensors, or --weights FILE.safetensors) or random "
    'ones (weights="random", or --weights random)'
)
Module = TypeVar("Module", bound=nn.Module)


def built(factory: Callable[[], Module], seed: int = 0) -> Module:
    """Make a module whose random weights follow from a seed, leaving torch's generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return factory()


def apply_weights(module: nn.Module, weights: str) -> None:
    """``"random"`` leaves the module as ``built`` made it; anything else is a file for ``load_weights``."""
    if weights != "random":
        load_weights(module, weights)


def load_weights(module: nn.Module, path: str | Path) -> None:
    """Copy the tensors of a ``.safetensors`` or ``.pt``/``.pth`` file into a module, in the module's types.
    Raises NetworkError: no such file, an unknown or damaged or unsafe one, or tensors that do not fit."""
    load_state(module, read_weights(path), source=str(path))


def read_weights(path: str | Path, known: str = "") -> dict[str, Any]:
    """The tensors of a weights file by name, or of its part ``ema``, given as ``FILE:ema``; ``known`` as in
    ``load_torch``. Raises
    NetworkError: no such file or part, or one that is not safe or not readable."""
    file, part = Path(path), ""
    if not file.is_file() and ":" in file.name:
        before, _, part = str(path).rpartition(":")
        file = Path(before)
    if not file.is_file():
        raise NetworkError(f"no weights file at {file}: check the path, or leave weights out")
    suffix = file.suffix.lower()
    if suffix not in (".safetensors", *TORCH_FILES):
        raise NetworkError(
            f"{file}: weights must be a .safetensors, .pt or .pth file (or {', '.join(TORCH_FILES[2:])}), "
            f"not {file.suffix!r}"
        )
    state = _stored(file)[0] if suffix == ".safetensors" else read_torch_file(file, known)
    found = {name: value for name, value in state.items() if not part or name.startswith(f"{part}.")}
    if not found:
        raise NetworkError(f"{file} holds no part {part!r}: {_some('tensors', list(state))}")
    return found


def load_state(module: nn.Module, state: Mapping[str, Any], source: str) -> None:
    """Copy a state dict, or what of a checkpoint fits, into a module; ``source`` is named in the errors.
    Raises NetworkError, the module as it was: names or shapes differ from the module's, or a value is NaN or
    infinite."""
    own = module.state_dict()
    state = fitting(state, own, source)
    for key, tensor in state.items():
        if isinstance(tensor, Tensor) and tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise NetworkError(f"{source}: {key} has NaN or infinite values: give weights that are finite")
    before = copy.deepcopy(own)
    try:
        module.load_state_dict(state)  # torch decides: it goes without counters, and knows names of old
    except Exception as error:
        module.load_state_dict(before)
        raise NetworkError(f"{source}: {_misfit(own, state) or error}") from error


def _misfit(own: Mapping[str, Any], state: Mapping[str, Any]) -> str:
    missing = [key for key in own if key not in state]
    unexpected = [key for key in state if key not in own]
    if missing or unexpected:
        return (
            f"these are weights of another network: {_some('missing', missing)}; "
            f"{_some('unexpected', unexpected)}. Give a file whose names match the module's state_dict()"
        )
    for key, tensor in state.items():
        if isinstance(tensor, Tensor) and tensor.shape != own[key].shape:
            return (
                f"{key} has shape {tuple(tensor.shape)}, the network's {tuple(own[key].shape)}: "
                "give weights of this architecture"
            )
    return ""


class _NoDraws(TorchFunctionMode):
    """Draws no normal numbers: on meta there are none, and torch would import its compiler, for seconds."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        kwargs = kwargs or {}
        drawn = args[0] if args else kwargs.get("tensor")  # of torch.nn.init
        if getattr(func, "__name__", "") == "normal_" and isinstance(drawn, Tensor) and drawn.is_meta:
            return drawn
        return func(*args, **kwargs)


def built_with(factory: Callable[[], Module], state: Mapping[str, Tensor], source: str) -> Module:
    """A module with the weights of a file that describes it; no memory is asked for that the weights do not
    fill. Raises NetworkError: they are fewer than described, or do not fit."""
    with torch.device("meta"), _NoDraws():  # without memory
        wanted = built(factory).state_dict().values()
    if sum(one.numel() for one in wanted) > SMALL + sum(one.numel() for one in state.values()):
        raise NetworkError(f"{source} has fewer weights than its description says: fetch it again")
    module = built(factory)
    load_state(module, state, source)
    return module


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
    with refusing(path, NetworkError):
        return load_tensors(path)
