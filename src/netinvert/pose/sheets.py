"""Contact sheets of what a pose network reads."""

from __future__ import annotations

from pathlib import Path

import torch

from netinvert.files import write_atomic
from netinvert.networks.network import Network
from netinvert.pictures import Cell, Row, contact_sheet, png_of
from netinvert.pose.evaluation import TestViews, read_rotations
from netinvert.rotations import angles_from_rotation, symmetric_geodesic_degrees

COLUMNS, ROWS = 8, 6


def evaluation_sheet(network: Network, views: TestViews, path: Path) -> None:
    """Write views from the best read to the worst, with the true azimuth, the one read, and the error."""
    predicted = read_rotations(network, views.images)
    error = symmetric_geodesic_degrees(predicted, views.rotation, views.symmetry)
    order = error.argsort()
    chosen = order[torch.linspace(0, len(order) - 1, min(COLUMNS * ROWS, len(order))).long()]
    true, read = (angles_from_rotation(r)[0] for r in (views.rotation, predicted))
    cells = [
        Cell(views.images[k], (f"{true[k]:.0f}° read {read[k]:.0f}°", f"error {error[k]:.0f}°"))
        for k in chosen.tolist()
    ]
    rows = [Row("", tuple(cells[start : start + COLUMNS])) for start in range(0, len(cells), COLUMNS)]
    title = f"{network.name}: azimuth, azimuth read, geodesic error; from best to worst"
    write_atomic(path, png_of(contact_sheet(rows, [""] * COLUMNS, title)))
