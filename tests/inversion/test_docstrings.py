"""The examples in the docstrings of this room."""

import doctest
import importlib
import pkgutil

import pytest

import netinvert.inversion

MODULES = [
    "netinvert.io.config",
    *(found.name for found in pkgutil.walk_packages(netinvert.inversion.__path__, "netinvert.inversion.")),
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    module = importlib.import_module(name)
    names = {"torch": __import__("torch"), "ni": __import__("netinvert")}
    assert doctest.testmod(module, extraglobs=names).failed == 0
