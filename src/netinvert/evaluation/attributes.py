"""Attributes of codes from a CSV file: what a probe is to read."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from netinvert.errors import ConfigError
from netinvert.io.files import check_readable, guarded, refusing

NAMES = ("name", "file", "filename", "image")
"""Headings of a column that says whose row it is."""
FEW = 10
"""Whole numbers with so many different values at most are classes."""
_UNKNOWN = ("", "nan", "na", "none", "null", "?")


@dataclass(frozen=True)
class Attribute:
    """A column: one text a code, None where it is unknown; ``numeric`` or classes."""

    name: str
    values: tuple[str | None, ...]
    numeric: bool

    def of(self, rows: Sequence[int]) -> Attribute:
        """Of these codes alone."""
        return Attribute(self.name, tuple(self.values[row] for row in rows), self.numeric)


@guarded(ConfigError, "mend it")
def read_attributes(path: Path, names: Sequence[str]) -> list[Attribute]:
    """The columns of a CSV file with a heading each, in the order of the codes ``names``.

    A column called one of NAMES says whose row it is (with or without the file's ending); without it, rows
    stand in the codes' order. A column is numeric if all its values are numbers, but classes if those are
    whole and few (0 and 1, say). Raises ConfigError for rows that do not match.
    """
    headings, rows = _read(path)
    named = next((index for index, text in enumerate(headings) if text.lower() in NAMES), None)
    if named is None:
        if len(rows) != len(names):
            raise ConfigError(
                f"{path} has {len(rows)} rows for {len(names)} codes: give one row a code in their order, or "
                f"a column '{NAMES[0]}' with their names"
            )
    else:
        rows = _by_name(path, [row[named] for row in rows], rows, names)
    found = [
        _attribute(heading, [row[index] for row in rows])
        for index, heading in enumerate(headings)
        if index != named
    ]
    if not found:
        raise ConfigError(f"{path} has no column of an attribute: add one beside '{headings[0]}'")
    return found


def _read(path: Path) -> tuple[list[str], list[list[str]]]:
    with refusing(path, ConfigError, "is not UTF-8 text", "save it as CSV in UTF-8"):
        text = check_readable(path).read_bytes().decode("utf-8-sig")
    head = text.partition("\n")[0]
    delimiter = max(",;\t", key=head.count)
    with refusing(path, ConfigError, "is not CSV", "mend it"):
        lines = [row for row in csv.reader(text.splitlines(), delimiter=delimiter, strict=True) if row]
    if len(lines) < 2:
        raise ConfigError(f"{path} has no rows below its headings: give one a code")
    headings = [text.strip() for text in lines[0]]
    if "" in headings or len(set(headings)) < len(headings):
        raise ConfigError(f"{path}: each column needs a heading of its own in the first line")
    for number, row in enumerate(lines[1:], 2):
        if len(row) != len(headings):
            raise ConfigError(
                f"{path}, row {number} has {len(row)} values for {len(headings)} headings: mend it"
            )
    return headings, [[value.strip() for value in row] for row in lines[1:]]


def _by_name(
    path: Path, whose: Sequence[str], rows: Sequence[list[str]], names: Sequence[str]
) -> list[list[str]]:
    known = dict(zip(whose, rows, strict=True))
    if len(known) < len(rows):
        twice = next(name for name in whose if list(whose).count(name) > 1)
        raise ConfigError(f"{path} has several rows for '{twice}': leave one")
    # By the name without ending only where no two rows then share it.
    stems = [Path(name).stem for name in whose]
    if len(set(stems)) == len(stems):
        known = {**dict(zip(stems, rows, strict=True)), **known}
    missing = [name for name in names if name not in known]
    if missing:
        raise ConfigError(
            f"{path} has no row for {len(missing)} of {len(names)} codes, such as '{missing[0]}': add them, "
            "or leave out the column of names if the rows stand in the codes' order"
        )
    return [known[name] for name in names]


def _attribute(heading: str, texts: Sequence[str]) -> Attribute:
    values = tuple(None if text.lower() in _UNKNOWN else text for text in texts)
    known = [value for value in values if value is not None]
    numbers = [_number(value) for value in known]
    finite = [number for number in numbers if number is not None]
    numeric = bool(known) and len(finite) == len(known)
    if numeric and all(number.is_integer() for number in finite) and len(set(finite)) <= FEW:
        numeric = False
    return Attribute(heading, values, numeric)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
