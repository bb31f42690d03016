"""MATLAB's files of version 5: numbers, texts, structs and cells, which is what annotations are made of.

By hand, since scipy's reader of damaged ones can end the whole process.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np

MATRIX, COMPRESSED = 14, 15
NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
"""How numbers are stored, by the kind of element: whatever their class, in the smallest that holds them."""
TEXTS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
CELL, STRUCT, CHAR, NUMERIC = 1, 2, 4, range(6, 16)
MOST_BYTES = 1 << 28
"""Of a compressed variable."""


def read_mat(content: bytes) -> dict[str, Any]:
    """The variables of a file by name. Axes of length 1 are dropped; structs have their fields as attributes,
    several are an array of objects, as cells are; what is of another class is None.

    Raises NotImplementedError: a file of version 7.3; ValueError, or another error: no file of version 5, or
    a damaged one.
    """
    if content[:10] == b"MATLAB 7.3":
        raise NotImplementedError("version 7.3")
    orders = {b"IM": "<", b"MI": ">"}
    if content[126:128] not in orders:
        raise ValueError("it has no header of a MATLAB 5.0 file")
    order, found = orders[content[126:128]], {}
    for kind, data in _elements(memoryview(content)[128:], order):
        element = (kind, data)
        if kind == COMPRESSED:
            packed = zlib.decompressobj()
            (element,) = _elements(memoryview(packed.decompress(data, MOST_BYTES)), order)
        if element[0] == MATRIX:
            name, value = _matrix(element[1], order)
            found[name] = value
    return found


def _elements(data: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """Kind and content of the elements that stand one behind the other."""
    place = 0
    while place < len(data):
        kind, size = struct.unpack_from(f"{order}II", data, place)
        start = place + 8
        if kind >> 16:  # small ones have their size before the kind, and their content in place of it
            kind, size, start = kind & 0xFFFF, kind >> 16, place + 4
        if start + size > len(data):
            raise ValueError("an element is cut off")
        yield kind, data[start : start + size]
        place = start + size if kind == COMPRESSED else start + size + -(start + size - place) % 8


def _matrix(data: memoryview, order: str) -> tuple[str, Any]:
    """Name and value of a variable or field."""
    parts = list(_elements(data, order))
    if not parts:
        return "", np.array([])
    (_, flags), (_, dimensions), (_, name), *rest = parts
    kind = struct.unpack_from(f"{order}I", flags)[0] & 0xFF
    shape = np.frombuffer(dimensions, f"{order}i4").tolist()
    if min(shape, default=-1) < 0:
        raise ValueError(f"an array has the shape {shape}")
    return bytes(name).decode("latin-1"), _value(kind, shape, rest, order)


def _value(kind: int, shape: list[int], parts: list[tuple[int, memoryview]], order: str) -> Any:  # noqa: ANN401
    if kind in NUMERIC:
        numbers = np.frombuffer(parts[0][1], order + NUMBERS[parts[0][0]])
        return numbers.reshape(shape, order="F").squeeze()[()] if numbers.size else np.array([])
    if kind == CHAR:
        codec = TEXTS[parts[0][0]]
        wide = {"<": "-le", ">": "-be"}[order] if codec in ("utf-16", "utf-32") else ""
        return bytes(parts[0][1]).decode(codec + wide)
    if kind == CELL:
        return _objects(shape, [_matrix(part, order)[1] for _, part in parts])
    if kind == STRUCT:
        ((_, length), (_, texts)), fields = parts[:2], parts[2:]
        width, text = struct.unpack_from(f"{order}i", length)[0], bytes(texts)
        starts = range(0, len(text), max(width, 1))
        names = [text[start : start + width].partition(b"\0")[0].decode("latin-1") for start in starts]
        values = [_matrix(part, order)[1] for _, part in fields]
        if len(values) != math.prod(shape) * len(names):
            raise ValueError("a struct lacks fields")
        rows = [values[k : k + len(names)] for k in range(0, len(values), max(len(names), 1))]
        things = [SimpleNamespace(**dict(zip(names, row, strict=True))) for row in rows]
        return things[0] if len(things) == 1 else _objects([len(things)], things)
    return None


def _objects(shape: list[int], values: list[Any]) -> Any:  # noqa: ANN401
    made: Any = np.empty(len(values), object)
    for index, value in enumerate(values):
        made[index] = value
    return made.reshape(shape, order="F").squeeze()[()]
