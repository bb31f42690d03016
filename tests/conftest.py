import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the processes that tests start, too

import pytest
import torch
from hypothesis import settings

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
