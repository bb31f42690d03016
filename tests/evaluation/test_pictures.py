from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from netinvert import ConfigError
from netinvert.evaluation.contact_sheet import CELL, MOST_ROWS, Cell, Row, contact_sheet, loss_curve, png_of


def decoded(data):
    with Image.open(io.BytesIO(data)) as image:
        return np.array(image.convert("RGB"))


@pytest.mark.parametrize("side", [5, 32, 224, 500])
def test_pictures_keep_their_colours_at_any_size(side):
    red = torch.tensor([1.0, 0, 0]).view(3, 1, 1).expand(3, side, side)
    sheet = np.array(contact_sheet([Row("a", (Cell(red, ("line",)), Cell(None)))], ["one", "two"], "title"))
    pure = (sheet == [255, 0, 0]).all(2)
    rows, columns = pure.any(1).sum(), pure.any(0).sum()
    assert rows == columns
    assert CELL - side < rows <= CELL
    assert pure.sum() == rows * columns  # nothing is drawn over it


def test_grey_images_and_blanks():
    grey = torch.full((1, 20, 30), 0.5)
    sheet = contact_sheet([Row("a", (Cell(None), Cell(grey, ("x", "y"))))], ["original", "reconstruction"])
    assert sheet.mode == "RGB"
    assert sheet.width > 2 * CELL


def test_long_texts_stay_on_the_sheet():
    row = Row("a very long name " * 30, (Cell(None, ("a caption that is longer than its picture is wide",)),))
    sheet = np.array(contact_sheet([row], ["original"], "title"))
    assert (sheet[:, -8:] == 255).all()


def test_sheets_do_not_grow_for_ever():
    row = Row("a", (Cell(None),))
    few, many, more = (contact_sheet([row] * n, ["x"]).height for n in (MOST_ROWS, MOST_ROWS + 1, 500))
    assert many == more
    assert many - few < 40
    with pytest.raises(ConfigError):
        contact_sheet([], ["x"])


def test_png_bytes():
    sheet = contact_sheet([Row("a", (Cell(None),))], ["x"])
    assert np.array_equal(decoded(png_of(sheet)), np.array(sheet))


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 2, 1), (40, 3, 5), (10, 1, 200)])
def test_loss_curves(shape):
    losses = torch.logspace(0, -3, shape[0])[:, None, None].expand(shape).clone()
    losses[shape[0] // 2 :, :, 0] = torch.nan  # a sample that has stopped
    picture = decoded(loss_curve(losses, ["code", "tv", "other"][: shape[1]]))
    assert picture.shape[1] > 600
    assert (picture != 255).any()


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_losses_without_a_logarithm(value):
    assert decoded(loss_curve(torch.full((5, 1, 2), value), ["tv"])).size


def test_curves_are_the_same_each_time_and_leave_no_state():
    losses = torch.rand(20, 2, 3, generator=torch.Generator().manual_seed(0))
    assert loss_curve(losses, ["code", "tv"]) == loss_curve(losses, ["code", "tv"])
    code = (
        "import sys, torch; from netinvert.evaluation.contact_sheet import loss_curve;"
        "loss_curve(torch.rand(3, 1, 1), ['code']); assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
