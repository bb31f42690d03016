from __future__ import annotations

import csv
import io
import json
import math
import re
import subprocess
import sys
from dataclasses import dataclass
from html.parser import HTMLParser
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from netinvert.errors import ConfigError, ImageError, OutputError
from netinvert.evaluation.report import (
    Code,
    Column,
    Details,
    Estimate,
    GridRow,
    Heading,
    ImageGrid,
    Panel,
    Plot,
    Points,
    Prose,
    Report,
    Series,
    Table,
    Tile,
    code,
    loss_plot,
)
from netinvert.evaluation.report.grid import CELL, MOST_ROWS, as_rgb, grid_image
from netinvert.evaluation.report.table import escaped, in_markdown, pieces, plain

HOSTILE = "<img src=x onerror=alert(1)> \"q\" 's' & `t` **b** | $\\frac$ </script>\x1b[31m\udc80 ]]> _x_"


def tile(value=0.5, side=16, **more):
    return Tile(torch.full((3, side, side), value), **more)


def everything(name=HOSTILE):
    """A report with every kind of block, each of which shows ``name``."""
    table = Table(
        [Column(name, about=name, key="key"), Column("error", "°", digits=2, best="min")],
        [(name, Estimate(0.5, 0.25, 0.75)), ("b", 1.0), (None, math.inf)],
        name,
        baselines={2},
        sortable=True,
        name=name,
    )
    tiles = [tile(0.1 * k, lines=(name,), name=name, mark="best", values={name: k}) for k in range(3)]
    panel = Panel(
        [Series(name, [name, "b"], [1, None], labels=[name, ""])], name, name, name, levels={name: 1}
    )
    blocks = [
        Heading(name),
        Heading("second"),
        Prose(name),
        Points([name]),
        table,
        ImageGrid([GridRow(name, [tiles[0], Tile(None)])], ["original", name], name, name=name),
        ImageGrid([GridRow("", tiles)], sort=(name,), filters=(name,)),
        Plot([panel], name, name=name),
        Details(name, [Code(name), Table([name], [[name]])]),
    ]
    return Report(name, blocks, name, name)


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.words, self.open = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.append(dict(attrs))
        if tag not in {"img", "meta", "source", "wbr", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


# -- HTML ----------------------------------------------------------------------------------------------


def test_names_cannot_become_tags_attributes_or_scripts():
    harmless, hostile = Page(everything("name").html()), Page(everything().html())
    allowed = {"code", "strong", "wbr"}  # the markup that prose may have, and breaks in long words
    assert [t for t in hostile.tags if t not in allowed] == [t for t in harmless.tags if t not in allowed]
    assert not hostile.open
    assert not any(key.startswith("on") for one in hostile.attributes for key in one)
    assert hostile.tags.count("script") == 1


@given(st.text(min_size=1, max_size=40))
@settings(max_examples=40, deadline=None)
def test_any_text_gives_a_page(name):
    blocks = [Heading(name), Prose(name), Points([name]), Code(name), Table([name], [[name]], sortable=True)]
    report = Report(name, [*blocks, Details(name, [Prose(code(name))])], name, name)
    page = Page(report.html())
    assert not page.open
    assert page.tags.count("script") == 1
    assert set(report.files(("html", "md", "json", "csv"))) >= {"report.html", "table-1.csv"}


def test_a_page_needs_no_script_and_no_other_file():
    blocks = [block for block in everything("name").blocks if not getattr(block, "sort", ())]
    blocks[4] = Table(["a"], [[1]])
    page = Page(Report("title", blocks).html())
    assert "script" not in page.tags
    assert "link" not in page.tags
    addresses = [one.get("src") or one.get("srcset") or one.get("href") for one in page.attributes]
    assert all(one.startswith(("data:image/", "#")) for one in addresses if one)
    assert any(one.startswith("data:image/svg+xml") for one in addresses if one)


def test_links_lead_somewhere():
    page = Page(everything("name").html())
    ids = [one["id"] for one in page.attributes if "id" in one]
    assert len(set(ids)) == len(ids)
    links = [one["href"][1:] for one in page.attributes if one.get("href", "").startswith("#")]
    assert links
    assert set(links) <= set(ids)


def test_no_column_is_lost():
    count = 30
    table = Table([f"column {k}" for k in range(count)], [[k + 0.5 for k in range(count)], [None] * count])
    page = Page(Report("wide", [table]).html())
    labels = [one["data-label"] for one in page.attributes if "data-label" in one]
    assert labels == [f"column {k}" for k in range(count)] * 2
    assert page.tags.count("th") == count
    words = " ".join(page.words)
    assert all(f"{k + 0.5:.{1 if k >= 9.5 else 3}f}" in words for k in range(count))
    assert page.words.count("–") == count


def test_wide_tables_are_stacked_on_wider_windows_than_narrow_ones():
    def fit(columns):
        return int(
            re.search(r'class="fit-(\d+)"', Report("", [Table(columns, [[1.0] * len(columns)])]).html())[1]
        )

    few, many = fit(["a", "b"]), fit([f"measure {k}" for k in range(12)])
    assert few < 390 < many


def test_small_images_are_crisp_and_at_their_own_size():
    small, large = ImageGrid.of({"a": [tile(side=32)]}), ImageGrid.of({"a": [tile(side=300)]})
    images = [
        next(one for tag, one in zip(page.tags, page.attributes, strict=True) if tag == "img")
        for page in (Page(Report("", [grid]).html()) for grid in (small, large))
    ]
    assert [one.get("class") for one in images] == ["crisp", None]
    assert [one["style"] for one in images] == ["width:224px", "width:224px"]
    assert [one["width"] for one in images] == ["32", "300"]


def test_the_table_of_contents():
    page = Page(Report("", [Heading("one"), Heading("two"), Heading("deep", 3), Heading("no", 4)]).html())
    names = [word for word in page.words if word in {"one", "two", "deep", "no"}]
    assert names == ["one", "two", "deep", "one", "two", "deep", "no"]


def test_notebooks_get_a_part_with_names_of_its_own():
    first, second = (Report(title, [ImageGrid.of({"a": [tile()]})]) for title in ("a", "b"))
    parts = [Page(one._repr_html_()) for one in (first, second)]
    ids = [{one["id"] for one in page.attributes if "id" in one} for page in parts]
    assert all(ids)
    assert not ids[0] & ids[1]
    assert not {"html", "body", "script"} & set(parts[0].tags)
    assert repr(first) == "Report('a': ImageGrid)"


def test_browsers_can_sort_by_all_values():
    table = Table(["name", "value"], [("a", math.inf), ("b", math.nan), ("Infinity", None)], sortable=True)
    page = Page(Report("", [table]).html())
    values = [json.loads(one["data-v"]) for one in page.attributes if "data-v" in one]
    assert values == [["a", sys.float_info.max], ["b", None], ["Infinity", None]]
    assert "data-v" not in Report("", [table])._repr_html_()


@pytest.mark.slow
def test_reports_are_the_same_each_time():
    first, second = (everything().files(("html", "md", "json", "csv", "png")) for _ in range(2))
    assert first == second


# -- files ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_saving(tmp_path):
    report = everything()
    written = {}
    names = report.save(written.__setitem__, ("html", "md", "json", "csv", "png"))
    assert list(written) == names == report.save(tmp_path, ("html", "md", "json", "csv", "png"))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    assert all((tmp_path / name).read_bytes() == content for name, content in written.items())
    assert all(re.fullmatch(r"[\w-]+\.\w+", name) for name in names)
    assert len(names) == len({name.casefold() for name in names}) == 3 + 2 + 3
    for address in re.findall(r"!\[.*\]\((.*)\)", written["report.md"].decode()):
        assert address in names
    assert Report("a", []).save(tmp_path) == ["report.html"]
    with pytest.raises(OutputError):
        report.save(tmp_path / "missing")
    with pytest.raises(ConfigError):
        report.files(("pdf",))


def test_own_names_of_files():
    grid = ImageGrid.of({"a": [tile()]})
    named = [
        Table(["a"], [[1]], name="Errors"),
        Table(["a"], [[1]], name="errors"),
        Table(["a"], [[1]], name="report"),
    ]
    names = Report("", [grid, *named, Plot([Panel([Series("", [1], [1])])], name="../x y")]).files(
        ("csv", "png")
    )
    assert list(names) == ["grid-1.png", "Errors.csv", "errors-2.csv", "report-2.csv", "x-y.png"]


def test_data_comes_back_from_json_and_csv():
    table = Table(
        [Column("layer, name"), Column("error", key="e"), "yes"],
        [('a,\n"b"', Estimate(0.1, 0.05, 0.3), True), ("c", 1 / 3, None)],
        name="errors",
    )
    plot = Plot([Panel([Series("s", [1, 2], [0.5, None])])], name="p")
    files = Report("t", [table, plot], command="netinvert x").files(("json", "csv"))
    data = json.loads(files["report.json"])
    assert data["data"]["errors"]["rows"][1] == {"layer, name": "c", "e": 1 / 3, "yes": None}
    assert data["data"]["errors"]["rows"][0]["e"] == {"value": 0.1, "low": 0.05, "high": 0.3, "spread": None}
    assert data["data"]["p"]["panels"][0]["series"][0]["y"] == [0.5, None]
    assert data["command"] == "netinvert x"
    rows = list(csv.DictReader(io.StringIO(files["errors.csv"].decode())))
    assert rows[0]["layer, name"] == 'a,\n"b"'
    assert [float(rows[0][key]) for key in ("e", "e low", "e high")] == [0.1, 0.05, 0.3]
    assert float(rows[1]["e"]) == 1 / 3
    assert rows[1]["e low"] == rows[1]["yes"] == ""


# -- words ---------------------------------------------------------------------------------------------


@given(st.text(max_size=30))
def test_code_holds_any_text(text):
    assert pieces(code(text)) in ([("code", " ".join(text.split()), "")], [("code", " ", "")])


@given(st.text(max_size=40))
def test_text_without_our_markup_stays_as_it_is(text):
    words = re.sub(r"[`*\[\]]", "", text)
    assert pieces(words) == ([("text", words, "")] if words else [])
    assert plain(words) == " ".join(words.split())


@pytest.mark.parametrize(
    "url", ["javascript:x", "JAVASCRIPT:x", "data:text/html,x", "\x01javascript:x", "vbscript:x"]
)
def test_links_that_run_something_are_no_links(url):
    assert Page(Report("", [Prose(f"[a]({url})")]).html()).tags.count("a") == 0


@pytest.mark.parametrize(
    "url", ["https://arxiv.org/abs/1412.0035", "images/cat.png", "#part", "mailto:a@b.c"]
)
def test_links(url):
    assert {"href": url} in Page(Report("", [Prose(f"[a]({url})")]).html()).attributes


def test_markdown_is_not_made_by_names():
    assert in_markdown("# no\n- no") == "\\# no - no"
    assert in_markdown("1. no") == "1\\. no"
    assert escaped("a_b _c_ <d>|`") == "a_b \\_c\\_ &lt;d>\\|\\`"
    lines = Table(["a|b"], [["x|y\nz"]]).markdown().splitlines()
    assert lines == ["| a\\|b |", "| --- |", "| x\\|y z |"]


# -- tables --------------------------------------------------------------------------------------------


def test_the_best_are_marked_but_not_baselines_nor_ties_of_all():
    columns = ["name", Column("e", best="min"), Column("s", best="max"), Column("t", best="max")]
    rows = [
        ("a", 0.5, 0.1, 1),
        ("b", Estimate(0.4, 0.3, 0.6), None, 1),
        ("c", 0.9, 0.3, 1),
        ("mean", 0.0, 2.0, 9),
    ]
    table = Table(columns, rows, baselines={3}, marked={(0, 0)})
    assert table.best() == {(0, 0), (1, 1), (2, 2)}
    assert "**0.400 (0.300 to 0.600)**" in table.markdown()
    assert "<strong>0.400</strong> <span>(0.300 to 0.600)</span>" in Report("", [table]).html()


@pytest.mark.parametrize(
    ("column", "value", "text"),
    [
        (Column("a"), None, "–"),
        (Column("a"), math.nan, "–"),
        (Column("a"), math.inf, "∞"),
        (Column("a"), True, "yes"),
        (Column("a"), 3, "3"),
        (Column("a"), 3.0, "3.000"),
        (Column("a"), np.float32(0.5), "0.500"),
        (Column("a"), np.int64(7), "7"),
        (Column("a", digits=1), 3, "3.0"),
        (Column("a", percent=True), 0.041, "4.1 %"),
        (Column("a", digits=1), Estimate(1.0, spread=0.25), "1.0 ± 0.2"),
        (Column("a", show="×".join), ("3", "4"), "3×4"),
        (Column("a"), "text", "text"),
    ],
)
def test_values_as_text(column, value, text):
    assert Table([column], [[value]]).texts() == [[text]]


def test_tables_for_terminals():
    text = Table(["name", Column("n", "ms")], [("日本", 1), ("\x1b[31mred\n", 1000)]).text()
    lines = text.split("\n")
    assert lines[0] == "name       n (ms)"
    assert lines[1] == "日本            1"
    assert lines[2] == "�[31mred     1000"


def test_tables_of_records():
    @dataclass
    class Record:
        layer: str
        error: float

    table = Table.of([Record("a", 0.5), {"layer": "b"}], ["layer", Column("code error", key="error")])
    assert table.rows == [["a", 0.5], ["b", None]]
    assert table.plain()["rows"] == [{"layer": "a", "error": 0.5}, {"layer": "b", "error": None}]


def test_rows_and_names_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError, match="row 1"):
        Table(["a", "b"], [(1, 2), (1,)])
    with pytest.raises(ConfigError, match="same name"):
        Table(["a", Column("a")], [])


# -- grids ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [5, 32, 224, 500])
def test_images_keep_their_colours_at_any_size(side):
    red = torch.tensor([1.0, 0, 0]).view(3, 1, 1).expand(3, side, side)
    grid = ImageGrid([GridRow("a", (Tile(red, ("line",)), Tile(None)))], ["one", "two"], "title")
    pure = (np.array(grid_image(grid)) == [255, 0, 0]).all(2)
    rows, columns = pure.any(1).sum(), pure.any(0).sum()
    assert rows == columns
    assert CELL - side < rows <= CELL
    assert pure.sum() == rows * columns  # nothing is drawn over it


def test_long_texts_stay_on_the_picture():
    long = "a very long text " * 30
    grid = ImageGrid(
        [GridRow(long, (Tile(None, ("a line that is longer than its image is wide",)),))], [long], "t"
    )
    assert (np.array(grid_image(grid))[:, -8:] == 255).all()


def test_pictures_do_not_grow_for_ever():
    row = GridRow("a", (Tile(None),))
    few, many, more = (grid_image(ImageGrid([row] * n)).height for n in (MOST_ROWS, MOST_ROWS + 1, 500))
    assert many == more
    assert many - few < 40
    assert Report("", [ImageGrid([row] * 500, ["x"])]).html().count('class="missing"') == 500


def test_all_kinds_of_images():
    grey = np.full((4, 6), 128, np.uint8)
    images = [
        torch.full((1, 4, 6), 128 / 255),
        torch.full((1, 3, 4, 6), 128 / 255),
        np.full((3, 4, 6), 128 / 255),
        grey,
        np.stack([grey] * 3, 2),
        Image.fromarray(grey),
    ]
    assert all(np.array_equal(np.array(as_rgb(image)), np.stack([grey] * 3, 2)) for image in images)
    assert as_rgb(torch.zeros(3, 3, 4, 6)).size == (18, 4)
    assert as_rgb(Image.new("RGBA", (1, 1), (0, 0, 0, 0))).getpixel((0, 0)) == (255, 255, 255)
    with pytest.raises(ImageError):
        as_rgb(np.zeros((3, 4, 4), np.int64))


def test_grids_that_cannot_be_shown_are_refused():
    for rows in ([], [GridRow("a", ())]):
        with pytest.raises(ConfigError, match="at least one"):
            ImageGrid(rows)
    with pytest.raises(ConfigError, match="2 images for 1 columns"):
        ImageGrid.of({"a": [tile(), tile()]}, ["one"])
    with pytest.raises(ConfigError, match="no columns"):
        ImageGrid([GridRow("a", [tile()])], ["one"], sort=("a",))
    with pytest.raises(ConfigError, match="no columns"):
        ImageGrid([GridRow("a", [tile()])], ["one"], turns=True)


def test_a_grid_that_turns_has_a_script_and_shows_its_first_image_without():
    report = Report("", [ImageGrid([GridRow("", [tile(k / 4, name=HOSTILE) for k in range(4)])], turns=True)])
    html = report.html()
    assert Page(html).tags.count("script") == 1
    assert "script-src 'unsafe-inline'" in html
    assert html.count('data-turn=""') == 2  # in the style, and the grid
    assert '[data-turn=""] .tile ~ .tile { display: none }' in html
    assert "<script>" not in report._repr_html_()


def test_jpeg_and_longest():
    grid = ImageGrid([GridRow("", [tile(side=100)])], quality=80, longest=50)
    page = Page(Report("", [grid]).html())
    assert any(one.get("src", "").startswith("data:image/jpeg") for one in page.attributes)
    with Image.open(io.BytesIO(grid.png())) as image:
        assert np.array_equal(np.array(image), np.array(grid_image(grid)))


# -- plots ---------------------------------------------------------------------------------------------


def decoded(data):
    with Image.open(io.BytesIO(data)) as image:
        return np.array(image.convert("RGB"))


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 2, 1), (40, 3, 5), (10, 1, 200)])
def test_loss_curves(shape):
    losses = torch.logspace(0, -3, shape[0])[:, None, None].expand(shape).clone()
    losses[shape[0] // 2 :, :, 0] = torch.nan  # a sample that has stopped
    picture = decoded(loss_plot(losses, ["code", "tv", "other"][: shape[1]]).png())
    assert picture.shape[1] > 600
    assert (picture != 255).any()


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_losses_without_a_logarithm(value):
    assert decoded(loss_plot(torch.full((5, 1, 2), value), ["tv"]).png()).size


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize(
    "panel",
    [
        Panel([Series("a", [1.0, 10.0], [1, 2], marker="o"), Series("b", [0.0, 2.0], [2, None])], x_log=True),
        Panel([Series("a", ["x", "y"], [1, 2], ["", "q"]), Series("b", ["y", "z"], [1, 1], line=":")]),
        Panel([Series("a", [1], [1], line="", marker="o", hollow=True)], levels={"floor": 0.5}),
        Panel([Series("a", [], [])], x_log=True, y_log=True),
    ],
)
def test_panels(panel, narrow):
    plot = Plot([panel])
    assert decoded(plot.png(narrow)).shape[1] == (450 if narrow else 864)
    kind, svg = plot.for_page(narrow)
    assert kind == "image/svg+xml"
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert plot.for_page(narrow) == (kind, svg)
    assert plot.png(narrow) == plot.png(narrow)


def test_plots_of_many_points_are_pixels():
    few, many = (Plot([Panel([Series("a", range(n), [1.0] * n)])]) for n in (10, 30_000))
    assert few.for_page()[0] == "image/svg+xml"
    assert many.for_page()[0] == "image/png"


def test_series_of_different_lengths_are_refused():
    for wrong in ({"y": [1]}, {"y": [1, 2], "labels": ["a"]}):
        with pytest.raises(ConfigError, match="different lengths"):
            Series("a", [1, 2], **wrong)


@pytest.mark.slow
def test_figures_do_not_depend_on_settings_and_leave_none(monkeypatch):
    plot = Plot([Panel([Series("a", [1, 2], [1, 2])])])
    plain_ = plot.for_page()
    monkeypatch.setitem(mpl.rcParams, "lines.linewidth", 9.0)
    before = dict(mpl.rcParams)
    assert plot.for_page() == plain_
    assert dict(mpl.rcParams) == before
    script = (
        "import sys, torch; from netinvert.evaluation.report import loss_plot;"
        "assert 'matplotlib' not in sys.modules;"
        "loss_plot(torch.rand(3, 1, 1), ['code']).png(); assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_options_are_not_broken_after_their_hyphens():
    page = Report("x", [Code("netinvert invert a.jpg --out out/a"), Prose("Say `--prior tv-huber`.")]).html()
    assert "invert a.jpg <span>--out</span> out/a" in page
    assert "<code><span>--prior</span> <span>tv-huber</span></code>" in page


@pytest.mark.parametrize(("count", "three"), [(2, False), (3, True), (4, False), (6, True)])
def test_a_phone_has_three_small_images_side_by_side(count, three):
    grid = ImageGrid.of({"row": [torch.zeros(3, 8, 8)] * count}, [f"column {k}" for k in range(count)])
    assert (" three" in Report("x", [grid]).html().split("<main", 1)[1]) == three


def test_a_phone_keeps_pairs_side_by_side():
    grid = ImageGrid.of({"row": [torch.zeros(3, 8, 8)] * 8}, ["original", "optimised"] * 4)
    assert " three" not in Report("x", [grid]).html().split("<main", 1)[1]


def test_a_single_point_is_drawn_though_no_line_joins_it():
    def drawn(marker):
        return Plot([Panel([Series("mean image", ["relu6"], [0.5], line=":", marker=marker)])]).png()

    assert drawn("") == drawn("o")


def test_a_plot_is_drawn_once(monkeypatch):
    from matplotlib.figure import Figure

    draws, draw = [], Figure.draw
    monkeypatch.setattr(Figure, "draw", lambda self, *more: draws.append(1) or draw(self, *more))
    plot = Plot([Panel([Series("a", [1, 2], [1.0, 2.0])])])
    plot.png()
    plot.for_page(narrow=True)
    assert len(draws) == 2


def test_series_beside_one_another_keep_their_places():
    """Intervals of two kinds at one name are drawn apart; the numbers of the plot are the same."""
    there, beside = (Plot([Panel([Series("one", ["a", "b"], [1.0, 2.0], beside=by)])]) for by in (0.0, 0.2))
    assert there.png() != beside.png()
    assert there.plain() == beside.plain()
