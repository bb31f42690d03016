from dataclasses import replace

import pytest

from netinvert.scenes.dataset_config import DatasetConfig
from netinvert.scenes.dataset_reader import Views, background_pool, load_arrays
from netinvert.scenes.dataset_writer import render_dataset
from netinvert.training.pose import batches, train

PLAN = DatasetConfig(identities=12, views=2, size=128, seed=3, splits=(0.7, 0.2, 0.1))
FEW = 24


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pose") / "chairs"
    render_dataset(PLAN, folder)
    return folder


@pytest.fixture(scope="session")
def views(dataset):
    """The train split, at posenet's 128 pixels."""
    return Views.of(load_arrays(dataset, "train"))


@pytest.fixture(scope="session")
def half(views):
    """The same at 64 pixels, posenet-judge's."""
    return replace(views, rgba=views.rgba[..., ::2, ::2], masks=views.masks[..., ::2, ::2])


def few(seed, size, count=FEW, kind="mixed", photographs=()):
    return background_pool(seed, size, min(count, FEW), kind, photographs)


@pytest.fixture(scope="session", autouse=True)
def few_backgrounds():
    """Of thousands of backgrounds, some do for a few steps."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (batches, train):
            patch.setattr(module, "background_pool", few)
        yield
