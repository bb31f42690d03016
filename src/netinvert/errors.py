"""The errors that users meet. Each message says what is wrong and what to do about it."""

from __future__ import annotations


class NetinvertError(Exception):
    """Base of every error that netinvert raises on bad input; the command line exits with 2 on it."""


class ImageError(NetinvertError):
    """An image that cannot be read or does not fit."""


class CodeError(NetinvertError):
    """A code of the wrong shape, with NaN, or empty."""


class NetworkError(NetinvertError):
    """A network that cannot be loaded, or cannot be inverted as it is."""


class LayerError(NetinvertError):
    """A layer name that does not exist or is ambiguous."""


class ConfigError(NetinvertError):
    """Settings that contradict one another or name something unknown."""


class OutputError(NetinvertError):
    """An output folder that cannot be written, or that holds another run."""


class MissingExtraError(NetinvertError, ImportError):
    """An optional dependency is not installed."""

    def __init__(self, what: str, extra: str, alone: str = "") -> None:
        """``alone`` is what no extra brings, for its own dependencies are large and not needed."""
        more = f" and pip install --no-deps {alone}" if alone else ""
        super().__init__(f"{what} needs an optional dependency: pip install 'netinvert[{extra}]'{more}")
