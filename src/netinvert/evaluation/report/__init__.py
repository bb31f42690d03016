"""The one report model: blocks with their data, shown as a page, in notebooks and terminals, or as files."""

from netinvert.evaluation.report.blocks import Block, Code, Details, Heading, Points, Prose
from netinvert.evaluation.report.grid import GridRow, ImageGrid, Tile
from netinvert.evaluation.report.plot import Panel, Plot, Series, loss_plot
from netinvert.evaluation.report.report import Part, Report
from netinvert.evaluation.report.table import Column, Estimate, Table, Value
from netinvert.evaluation.report.words import by, code, counted, listed, number, percent

__all__ = [
    "Block",
    "Code",
    "Column",
    "Details",
    "Estimate",
    "GridRow",
    "Heading",
    "ImageGrid",
    "Panel",
    "Part",
    "Plot",
    "Points",
    "Prose",
    "Report",
    "Series",
    "Table",
    "Tile",
    "Value",
    "by",
    "code",
    "counted",
    "listed",
    "loss_plot",
    "number",
    "percent",
]
