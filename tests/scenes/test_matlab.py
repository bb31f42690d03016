"""MATLAB's files, against scipy's reader."""

from __future__ import annotations

import io

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from netinvert.scenes.matlab import read_mat

WHOLE = {
    "number": 2.5,
    "small": np.uint8(3),
    "table": np.arange(6.0).reshape(2, 3),
    "bytes": np.arange(24, dtype=np.int16).reshape(2, 3, 4),
    "empty": np.array([]),
    "text": "a chair",
    "accents": "é写",
    "thing": {"name": "a", "inner": {"x": 1.0, "class": "b"}, "none": np.array([])},
    "things": np.array([{"a": 1.0}, {"a": 2.0}], dtype=object),
}


def same(mine, theirs):
    if hasattr(theirs, "_fieldnames"):
        return vars(mine).keys() == set(theirs._fieldnames) and all(
            same(getattr(mine, name), getattr(theirs, name)) for name in theirs._fieldnames
        )
    if isinstance(theirs, np.ndarray) and theirs.dtype == object:
        return mine.shape == theirs.shape and all(map(same, mine.ravel(), theirs.ravel()))
    return np.array_equal(mine, theirs)


@pytest.mark.parametrize("packed", [False, True])
def test_as_scipy_reads_them(packed):
    savemat(made := io.BytesIO(), WHOLE, do_compression=packed)
    mine = read_mat(made.getvalue())
    theirs = loadmat(made, squeeze_me=True, struct_as_record=False)
    assert mine.keys() == WHOLE.keys()
    for name in WHOLE:
        assert same(mine[name], theirs[name]), (name, mine[name], theirs[name])


def test_other_files():
    with pytest.raises(NotImplementedError):
        read_mat(b"MATLAB 7.3 MAT-file".ljust(600))
    for content in (b"", b"MATLAB 5.0".ljust(126) + b"IM" + bytes(5)):
        with pytest.raises(Exception, match=r"header|buffer"):
            read_mat(content)
