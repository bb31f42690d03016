import pytest

from netinvert.scenes.dataset_config import DatasetConfig
from netinvert.scenes.dataset_writer import render_dataset

PLAN = DatasetConfig(identities=12, views=2, size=64, seed=3, splits=(0.7, 0.2, 0.1))


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pose") / "chairs"
    render_dataset(PLAN, folder)
    return folder
