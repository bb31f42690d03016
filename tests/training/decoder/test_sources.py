import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

import tiny
from netinvert import Encoder, Preprocessing
from netinvert.errors import ConfigError, ImageError
from netinvert.scenes.dataset_config import DatasetConfig
from netinvert.scenes.dataset_reader import DatasetError
from netinvert.scenes.dataset_writer import render_dataset
from netinvert.training.decoder import images as sources
from netinvert.training.decoder.images import (
    FittedImages,
    FolderImages,
    ImageBatch,
    SceneImages,
    described,
    open_source,
)

PLAN = DatasetConfig(identities=12, views=2, size=32, seed=3, splits=(0.7, 0.2, 0.1))


def encoder_of(channels=3, size=(16, 16)):
    form = Preprocessing(size, (0.0,) * channels, (1.0,) * channels)
    network = tiny.seeded(lambda: nn.Sequential(nn.Conv2d(channels, 4, 3), nn.Tanh()), dtype=torch.float32)
    return Encoder(network, "1", form)


@pytest.fixture(scope="module")
def encoder():
    return encoder_of()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sources") / "chairs"
    render_dataset(PLAN, folder)
    return folder


@pytest.fixture(autouse=True)
def few_backgrounds(monkeypatch):
    monkeypatch.setattr(sources, "POOL", 8)


@pytest.fixture
def folder(tmp_path):
    for k in range(5):
        Image.new("RGB", (40, 40), (50 * k, 0, 0)).save(tmp_path / f"{k}.png")
    return tmp_path


def test_a_dataset_has_its_own_size_where_none_is_asked(dataset, encoder):
    source = open_source(str(dataset), None, encoder, 4)
    assert isinstance(source, SceneImages)
    assert source.size == (32, 32)
    assert source.seed == 4


def test_a_dataset_at_another_size_is_fitted_with_its_masks(dataset, encoder):
    own = open_source(str(dataset), (32, 32), encoder, 0)
    half = open_source(str(dataset), (16, 16), encoder, 0)
    assert isinstance(own, SceneImages)
    assert half.size == (16, 16)
    assert half.has_masks
    assert half.count == own.count
    for large, small in ((own.batch(3, 4), half.batch(3, 4)), (own.held_out(4), half.held_out(4))):
        assert small.images.shape == (len(large.images), 3, 16, 16)
        assert small.masks.shape == (len(large.images), 1, 16, 16)
        # averages over areas, but for the width of the filter
        assert (F.avg_pool2d(large.images, 2) - small.images).abs().mean() < 0.02
        assert (F.avg_pool2d(large.masks, 2) - small.masks).abs().mean() < 0.05


def test_larger_and_oblong_sizes(dataset, encoder):
    source = open_source(str(dataset), (48, 64), encoder, 0)
    found, own = source.batch(0, 2), open_source(str(dataset), None, encoder, 0).batch(0, 2)
    assert found.images.shape == (2, 3, 48, 64)
    middle = F.avg_pool2d(found.images, 2)  # doubled, and cut above and below
    assert (middle - own.images[:, :, 4:28]).abs().mean() < 0.02


def test_a_dataset_in_grey(dataset):
    colour = open_source(str(dataset), None, encoder_of(3), 0).batch(0, 4)
    grey = open_source(str(dataset), None, encoder_of(1), 0).batch(0, 4)
    red, green, blue = colour.images.unbind(1)
    assert torch.allclose(grey.images[:, 0], 0.299 * red + 0.587 * green + 0.114 * blue, atol=1e-6)
    assert torch.equal(grey.masks, colour.masks)


def test_codes_of_images_that_were_changed_are_not_kept():
    class Coded:
        has_masks, size, count = False, (8, 8), 1

        def batch(self, _step, count):
            return ImageBatch(torch.rand(count, 3, 8, 8), codes=torch.zeros(count, 2))

        held_out = batch

    assert FittedImages(Coded(), (4, 4), 3).batch(0, 2).codes is None


def test_folders_and_photographs_have_the_encoders_size_where_none_is_asked(folder, encoder):
    source = open_source(str(folder), None, encoder, 0)
    assert isinstance(source, FolderImages)
    assert source.size == open_source("photographs", None, encoder, 0).size == (16, 16)
    assert open_source(str(folder), (20, 24), encoder, 0).batch(0, 2).images.shape == (2, 3, 20, 24)
    assert open_source("photographs", (32, 32), encoder_of(1), 0).batch(0, 2).images.shape == (2, 1, 32, 32)


def test_a_folder_with_a_manifest_of_something_else_is_a_folder_of_images(folder, encoder):
    (folder / "manifest.json").write_text('{"command": "invert"}')
    assert isinstance(open_source(str(folder), None, encoder, 0), FolderImages)


def test_an_unfinished_dataset_is_not_taken_for_images(tmp_path, dataset, encoder):
    (tmp_path / "plan.json").write_bytes((dataset / "plan.json").read_bytes())
    with pytest.raises(DatasetError, match="finish the render"):
        open_source(str(tmp_path), None, encoder, 0)


def test_what_is_no_source_is_refused(tmp_path, encoder):
    with pytest.raises(ConfigError, match="photographs"):
        open_source(str(tmp_path / "none"), None, encoder, 0)
    (tmp_path / "file.png").touch()
    with pytest.raises(ConfigError, match="name its folder"):
        open_source(str(tmp_path / "file.png"), None, encoder, 0)
    with pytest.raises(ConfigError, match="takes 4"):
        open_source("photographs", None, encoder_of(4), 0)
    with pytest.raises(ImageError, match="two are needed"):
        open_source(str(tmp_path), None, encoder, 0)


def test_sources_are_described_without_paths(dataset, folder):
    facts = described(str(dataset))
    assert facts["plan"]["seed"] == PLAN.seed
    assert facts["samples"] == 24
    assert len(facts["sha256"]) == 64
    assert described(str(folder)) == {"description": f"the 5 images of the folder `{folder.name}`"}
    assert "photographs" in described("photographs")["description"]
