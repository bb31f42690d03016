"""Networks of other packages and file formats, and what their importers share."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import TypeVar

from netinvert.errors import MissingExtraError, NetworkError
from netinvert.models.network import GIVE_WEIGHTS

T = TypeVar("T")


def optional(package: str, what: str, extra: str) -> ModuleType:
    """An optional package. Raises MissingExtraError."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise MissingExtraError(what, extra) from error


def had(what: str, get: Callable[[], T], hint: str = GIVE_WEIGHTS) -> T:
    """What ``get`` gives. Raises NetworkError with the hint, whatever ``get`` raises: the internet, the hub,
    files and configurations have no error in common, and their tracebacks help nobody."""
    try:
        return get()
    except Exception as error:
        raise NetworkError(f"{what} cannot be had ({first_line(error)}): {hint}") from None


def first_line(error: Exception) -> str:
    """An error in one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
