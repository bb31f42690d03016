"""The command line in process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from netinvert.cli.app import main


@dataclass(frozen=True)
class Said:
    """What a command gave back."""

    code: int
    out: str
    err: str


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Run a command."""

    def run(*words: object) -> Said:
        capsys.readouterr()
        code = main([str(word) for word in words])
        found = capsys.readouterr()
        return Said(code, found.out, found.err)

    return run


@pytest.fixture(autouse=True)
def plots(blank_plots: None) -> None:
    """Most tests do without them."""
