import io
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the processes that tests start, too

import pytest
import torch
from hypothesis import settings
from PIL import Image

from netinvert.evaluation.report import plot

# The first call of anything in torch is slow; time is measured in benchmarks, not here.
# The same examples every time: what fails for one fails for all.
settings.register_profile("netinvert", deadline=None, derandomize=True)
settings.load_profile("netinvert")
# Sums round by the number of threads, and several workers with several threads each slow one another down.
torch.set_num_threads(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", default="cpu", help="where the tests of the core run: cpu, cuda, mps")


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "device" in getattr(item, "fixturenames", ()):
            item.add_marker("device")


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> torch.device:
    """The device of ``--device``, with its index if it has one."""
    return torch.empty(0, device=request.config.getoption("--device")).device


def blank_png() -> bytes:
    file = io.BytesIO()
    Image.new("L", (1, 1), 255).save(file, "PNG")
    return file.getvalue()


BLANK = {
    "png": blank_png(),
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"/>',
}


@pytest.fixture
def blank_plots(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plots are made, but neither laid out nor drawn, which takes most of the time of a command with a small
    network. Tests that are marked ``drawn`` do draw them."""
    if not request.node.get_closest_marker("drawn"):
        monkeypatch.setattr(plot, "_written", lambda made, kind: BLANK[kind])
