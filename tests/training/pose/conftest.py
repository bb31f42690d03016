from functools import partial

import pytest

from netinvert.scenes.dataset_config import DatasetConfig
from netinvert.scenes.dataset_reader import background_pool
from netinvert.scenes.dataset_writer import render_dataset
from netinvert.training.pose import train

PLAN = DatasetConfig(identities=12, views=2, size=64, seed=3, splits=(0.7, 0.2, 0.1))


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pose") / "chairs"
    render_dataset(PLAN, folder)
    return folder


@pytest.fixture(scope="session", autouse=True)
def few_backgrounds():
    """Of 3000 backgrounds, 60 do for a few steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "background_pool", partial(background_pool, count=60))
        yield
