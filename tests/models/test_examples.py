"""The examples in the docstrings of what users call and extend."""

import doctest
import importlib

import pytest

from netinvert.models import registry

MODULES = (
    "io.images",
    "io.config",
    "models.decoder",
    "models.decoder",
    "models.encoder",
    "models.layers",
    "models.network",
    "models.registry",
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name, monkeypatch):
    monkeypatch.setattr(registry.NETWORKS, "_things", dict(registry.NETWORKS._things))
    found = doctest.testmod(importlib.import_module(f"netinvert.{name}"))
    assert found.attempted > 0
    assert found.failed == 0
