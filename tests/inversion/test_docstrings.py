"""The examples in the docstrings of inversion and evaluation."""

import doctest
import importlib
import pkgutil

import pytest

import netinvert.evaluation
import netinvert.inversion

MODULES = [
    "netinvert.io.config",
    *(
        found.name
        for room in (netinvert.inversion, netinvert.evaluation)
        for found in pkgutil.walk_packages(room.__path__, f"{room.__name__}.")
    ),
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    module = importlib.import_module(name)
    names = {"torch": __import__("torch"), "ni": __import__("netinvert")}
    assert doctest.testmod(module, extraglobs=names).failed == 0
