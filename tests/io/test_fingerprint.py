"""Names of settings: equal for equal facts, different for different ones, the same in every process."""

import doctest
import math
import subprocess
import sys
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from netinvert.errors import ConfigError
from netinvert.io import files, rundir, running
from netinvert.io.files import canonical, differences, fingerprint

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@dataclass
class One:
    x: int


@dataclass
class Two:
    x: int


class Colour(Enum):
    RED = "red"


@given(PLAIN, PLAIN)
def test_equal_names_mean_equal_facts(a, b):
    assert (fingerprint(a) == fingerprint(b)) == (repr(ordered(a)) == repr(ordered(b)))
    assert (differences(canonical(a), canonical(b)) == []) == (
        repr(canonical(ordered(a))) == repr(canonical(ordered(b)))
    )


def ordered(facts):
    if isinstance(facts, dict):
        return {key: ordered(facts[key]) for key in sorted(facts)}
    return [ordered(item) for item in facts] if isinstance(facts, list) else facts


def test_all_kinds_are_told_apart():
    x = torch.arange(4.0)
    facts = [
        One(1),
        Two(1),
        {"x": 1},
        x,
        x.double(),
        x.view(2, 2),
        x.numpy(),
        x.to(torch.bfloat16),
        x[:0],
        x + 1e-7,
    ]
    facts += [
        math.inf,
        -math.inf,
        math.nan,
        None,
        "inf",
        b"a",
        "a",
        Path("b"),
        -0.0,
        0.0,
        0,
        False,
        [],
        {},
        x[0],
    ]
    assert len({fingerprint(one) for one in facts}) == len(facts)
    assert fingerprint((1, Colour.RED, np.float32(0.5), Path("a"))) == fingerprint([1, "red", 0.5, "a"])
    assert fingerprint(x.view(2, 2).T) == fingerprint(x.view(2, 2).T.contiguous())


@pytest.mark.parametrize(
    "wrong", [print, {1, 2}, object(), {(1, 2): 3}, {1: 1, "1": 1}, np.array([None]), {True: 1}]
)
def test_what_is_no_fact_is_refused(wrong):
    with pytest.raises(ConfigError, match="fact"):
        fingerprint({"deep": [wrong]})


def test_differences_are_named():
    mine = canonical({"a": {"seed": 1, "size": (2, 2)}, "b": 1})
    theirs = canonical({"a": {"seed": 2, "size": (2, 2)}, "c": 1})
    assert differences(theirs, mine) == ["a.seed", "b", "c"]
    assert differences("x", "x") == []
    assert differences("x", "y") == ["facts"]


def test_the_same_in_another_process():
    facts = "{'b': [1, 2.5, None, 'ü'], 'a': float('nan')}"
    code = f"from netinvert.io.files import fingerprint; print(fingerprint({facts}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == fingerprint(eval(facts))


@pytest.mark.parametrize("module", [files, running, rundir])
def test_examples(module):
    tried = doctest.testmod(module)
    assert tried.attempted
    assert not tried.failed


def test_a_number_cut_out_of_a_table_is_that_number():
    """Of a tensor of one number torch keeps whatever stride it was cut out with."""
    cut = torch.arange(8.0).view(1, 8)[:, 3]
    assert cut.stride() == (8,)
    assert fingerprint(cut) == fingerprint(torch.tensor([3.0]))
