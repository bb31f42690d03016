"""Files made odd: bytes, numbers in texts, and values in JSON, wherever that is inside a file."""

from __future__ import annotations

import contextlib
import io
import json
import re
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx

Mutation = Callable[[bytes, np.random.Generator], bytes]
DEEP: Any = []
for _ in range(300):
    DEEP = [DEEP]
LARGE = (1e308, -1e-308, 2**31, 2**63, 10**40)
ODD = (None, True, -1, 0, 1, *LARGE, "", "x", "../a", "é\n" * 200, [], [[]], {}, DEEP)
NUMBERS = (b"0", b"-1", b"65535", b"2147483648", b"9223372036854775808", b"1e400", b"nan", b"", b"1" * 60)
EXTREMES = (0, 1, 2**31 - 1, 2**31, 2**32 - 1)
WORDS = tuple(number.to_bytes(size, "little") for size in (4, 8) for number in EXTREMES)


def in_bytes(data: bytes, rng: np.random.Generator) -> bytes:
    """A few bytes flipped, left out, doubled, made extreme or moved; or the end cut off."""
    content = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        # Half of them near the start, where headers are.
        limit = len(content) if rng.random() < 0.5 else min(len(content), 200)
        place, length = int(rng.integers(0, limit + 1)), int(rng.integers(1, 64))
        match int(rng.integers(0, 6)):
            case 0 if content:
                content[min(place, len(content) - 1)] ^= 1 << int(rng.integers(0, 8))
            case 1:
                del content[place : place + length]
            case 2:
                content[place:place] = content[place : place + length]
            case 3:
                word = WORDS[rng.integers(0, len(WORDS))]
                content[place : place + len(word)] = word
            case 4:
                other = int(rng.integers(0, len(content) + 1))
                content[place : place + length] = content[other : other + length]
            case 5 if rng.random() < 0.3:
                del content[place:]
    return bytes(content)


def in_numbers(data: bytes, rng: np.random.Generator) -> bytes:
    """A number of a text is another, or a word is left out."""
    found = list(re.finditer(rb"[-\d.e]+|\S+", data))
    if not found:
        return data
    one = found[rng.integers(0, len(found))]
    return data[: one.start()] + NUMBERS[rng.integers(0, len(NUMBERS))] + data[one.end() :]


def in_json(data: bytes, rng: np.random.Generator) -> bytes:
    """A value of JSON is another, or is left out, also within a text that is JSON."""
    return json.dumps(_other(json.loads(data), rng)).encode()


def _other(value: Any, rng: np.random.Generator) -> Any:
    odd = ODD[rng.integers(0, len(ODD))]
    if isinstance(value, dict | list) and value and rng.random() < 0.9:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        key, made = keys[rng.integers(0, len(keys))], value.copy()
        if rng.random() < 0.1:
            del made[key]
        else:
            made[key] = _other(value[key], rng)
        return made
    if isinstance(value, str) and value[:1] in ("{", "["):
        return json.dumps(_other(json.loads(value), rng))
    return odd


def in_safetensors(data: bytes, rng: np.random.Generator) -> bytes:
    """The header is another one; what it says of its length is right."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = in_json(data[8:end], rng)
    return len(header).to_bytes(8, "little") + header + data[end:]


def in_metadata(data: bytes, rng: np.random.Generator) -> bytes:
    """The texts beside the tensors are others, or one is left out."""
    end = 8 + int.from_bytes(data[:8], "little")
    whole = json.loads(data[8:end])
    texts = _other(whole["__metadata__"], rng)
    texts = texts.items() if isinstance(texts, dict) else ()
    header = json.dumps({**whole, "__metadata__": {key: str(text) for key, text in texts}}).encode()
    return len(header).to_bytes(8, "little") + header + data[end:]


def in_onnx(data: bytes, rng: np.random.Generator) -> bytes:
    """A number, text or part of the model is another one, or is left out."""
    model = onnx.ModelProto.FromString(data)
    part: Any = model
    while True:
        field, value = (found := part.ListFields())[rng.integers(0, len(found))]
        listed = not hasattr(value, "ListFields") and not isinstance(value, int | float | str | bytes)
        index = int(rng.integers(0, len(value))) if listed else 0
        inner = value[index] if listed else value
        if listed and rng.random() < 0.1:
            del value[index]
            return model.SerializeToString()
        if not hasattr(inner, "ListFields"):
            break
        if not inner.ListFields():
            return model.SerializeToString()
        part = inner
    odd = {int: (-1, 0, 1, 7, 60_000, 2**31 - 1, 2**62), float: (0.0, -1.0, 1e30)}
    choices = odd.get(type(inner), ("", "x", "../a") if isinstance(inner, str) else (b"", b"\xff" * 8))
    new = choices[rng.integers(0, len(choices))]
    with contextlib.suppress(ValueError):  # of a field that holds smaller numbers
        if listed:
            value[index] = new
        else:
            setattr(part, field.name, new)
    return model.SerializeToString()


def in_glb(data: bytes, rng: np.random.Generator) -> bytes:
    """The same of a binary glTF."""
    end = 20 + int.from_bytes(data[12:16], "little")
    header = in_json(data[20:end], rng)
    header += b" " * (-len(header) % 4)
    sizes = (20 + len(header) + len(data) - end, len(header))
    total, length = (size.to_bytes(4, "little") for size in sizes)
    return data[:8] + total + length + data[16:20] + header + data[end:]


def in_zip(data: bytes, rng: np.random.Generator) -> bytes:
    """A file of a zip is another one, has another name, or is left out."""
    target = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(data)) as old,
        zipfile.ZipFile(target, "w") as new,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # of names that are there twice
        names = old.namelist()
        chosen = names[rng.integers(0, len(names))]
        for name in names:
            content, what = old.read(name), int(rng.integers(0, 8)) if name == chosen else -1
            odd = (names[rng.integers(0, len(names))], f"../{name}", f"/{name}", "a\\b")[rng.integers(0, 4)]
            if what != 0:
                change = in_numbers if what % 2 else in_bytes
                new.writestr(odd if what == 1 else name, change(content, rng) if what > 1 else content)
    return target.getvalue()


def in_tar(data: bytes, rng: np.random.Generator) -> bytes:
    """A file of an archive is another one, has another name or kind, or is left out."""
    target = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(data)) as old, tarfile.open(fileobj=target, mode="w") as new:
        members = old.getmembers()
        chosen = members[rng.integers(0, len(members))].name
        for info in members:
            content = old.extractfile(info).read()
            what = int(rng.integers(0, 5)) if info.name == chosen else -1
            if what == 0:
                continue
            if what == 1:
                kinds = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE)
                info.type, info.linkname = kinds[rng.integers(0, len(kinds))], "a"
            if what == 2:
                info.name = members[rng.integers(0, len(members))].name
            if what > 2:
                content = (in_json if info.name.endswith("json") else in_bytes)(content, rng)
            info.size = len(content) if info.isreg() else 0
            new.addfile(info, io.BytesIO(content) if info.isreg() else None)
    return target.getvalue()
