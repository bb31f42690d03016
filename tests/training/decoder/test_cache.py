import errno
import os
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

import tiny
from netinvert import Encoder, Preprocessing
from netinvert.errors import ConfigError, OutputError
from netinvert.io.folders import InUseError
from netinvert.models.upconv import Architecture
from netinvert.training.decoder import cache
from netinvert.training.decoder.cache import CacheError, as_bytes, as_half, cached
from netinvert.training.decoder.images import ImageBatch
from netinvert.training.decoder.model import DecoderConfig, DecoderModel

COUNT = 300
FORM = Preprocessing((8, 8))


class Noise:
    """A source of noise that counts its batches; the first pixel of a picture tells which it is."""

    size, count = (8, 8), 1000

    def __init__(self, seed=3, masks=True, salt=0, before=lambda _: None):
        self.seed, self.has_masks, self.salt, self.before, self.made = seed, masks, salt, before, []

    def _images(self, seed, count):
        images = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed + self.salt))
        masks = images[:, :1].round() if self.has_masks else None
        return ImageBatch(images, masks)

    def batch(self, step, count):
        self.before(step)
        self.made.append(step)
        return self._images(1000 * self.seed + step, count)

    def held_out(self, count):
        self.before("held out")
        return self._images(10_000_000, min(count, 40))


def encoder_of(factor=1.0, seed=0, layer="2", form=FORM):
    def build():
        network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Conv2d(4, 5, 3), nn.Tanh())
        with torch.no_grad():
            network[2].weight *= factor
        return network

    return Encoder(tiny.seeded(build, seed, torch.float32), layer, form)


@pytest.fixture(scope="module")
def encoder():
    return encoder_of()


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(cache, "BLOCK_BATCHES", 2)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "deep" / "cache"


def everything(source, count=COUNT):
    starts = range(0, count, cache.ENCODED)
    parts = [source.batch(k, min(64, count - start)).images for k, start in enumerate(starts)]
    return as_bytes(torch.cat(parts))


def stopped_at(which):
    def before(step):
        if step == which:
            raise KeyboardInterrupt

    return Noise(before=before)


def rows(images):
    return sorted(tuple(row) for row in as_bytes(images).flatten(1).tolist())


def test_an_epoch_holds_every_image_of_the_source_once(encoder, folder):
    source = Noise()
    found = cached(source, encoder, COUNT, folder)
    epoch = torch.cat([found.batch(step, 50).images for step in range(6)])
    assert rows(epoch) == sorted(tuple(row) for row in everything(source).flatten(1).tolist())
    again = torch.cat([found.batch(step, 50).images for step in range(6, 12)])
    assert rows(again) == rows(epoch)
    assert not torch.equal(again, epoch)
    assert (found.count, found.size, found.has_masks) == (COUNT, (8, 8), True)


def test_codes_and_masks_are_of_the_images_they_come_with(encoder, folder):
    found = cached(Noise(), encoder, COUNT, folder)
    for batch in (found.batch(4, 64), found.held_out(512)):  # the first lies in two epochs
        assert torch.allclose(batch.codes, encoder(batch.images), rtol=2**-10, atol=1e-5)
        assert torch.equal(batch.masks, batch.images[:, :1].round())
        assert batch.codes.dtype == batch.images.dtype == torch.float32


def test_batches_follow_from_seed_and_step(encoder, folder):
    found = cached(Noise(), encoder, COUNT, folder)
    first = found.batch(2, 64)
    found.batch(9, 64)
    again = cached(Noise(), encoder, COUNT, folder).batch(2, 64)
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.codes, again.codes)
    found = cached(Noise(), encoder, COUNT, folder)
    found.seed = 4
    assert not torch.equal(first.images, found.batch(2, 64).images)


def test_held_out_images_are_the_sources_own_and_the_same_whatever_the_count(encoder, folder):
    source = Noise(masks=False)
    found = cached(source, encoder, COUNT, folder)
    held = found.held_out(512)
    assert torch.equal(as_bytes(held.images), as_bytes(source.held_out(512).images))
    assert held.masks is None
    assert torch.equal(found.held_out(7).images, held.images[:7])


def test_what_is_there_is_not_made_again(encoder, folder):
    cached(Noise(), encoder, COUNT, folder)
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    source = Noise()
    cached(source, encoder, COUNT, folder)
    assert source.made == [0]  # to compare
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


@pytest.mark.parametrize("after", [0, 1, 2, 3, 4])
def test_a_stop_loses_no_block_and_changes_nothing(encoder, folder, tmp_path, after):
    with pytest.raises(KeyboardInterrupt):
        cached(stopped_at(after), encoder, COUNT, folder)
    assert not (folder / cache.MANIFEST).exists()
    (folder / ".netinvert-0123.tmp").write_bytes(b"half a block")
    source, told = Noise(), []
    found = cached(source, encoder, COUNT, folder, told.append)
    done = after // 2  # blocks of two batches
    assert source.made == [0] * (done > 0) + list(range(2 * done, 5))
    assert len(told) == 3 - done
    assert told[-1] == "encoded 300 of 300 images"
    straight = cached(Noise(), encoder, COUNT, tmp_path / "straight")
    assert torch.equal(found.batch(1, 64).codes, straight.batch(1, 64).codes)
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "straight").iterdir()}
    assert not list(folder.glob(".*"))


def test_a_folder_that_cannot_be_listed_is_named(encoder, folder, monkeypatch):
    def broken(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(Path, "glob", broken)
    with pytest.raises(OutputError, match=f"{folder.name}.*Input/output error"):
        cached(Noise(), encoder, COUNT, folder)


def test_a_kill_before_the_first_block(encoder, folder):
    with pytest.raises(KeyboardInterrupt):
        cached(stopped_at("held out"), encoder, COUNT, folder)
    assert cached(Noise(), encoder, COUNT, folder).count == COUNT


def test_several_at_once_have_it_as_soon_as_it_is_complete(encoder, folder):
    seen = []

    def another(step):
        try:
            seen.append(cached(Noise(), encoder, COUNT, folder).batch(0, 8).codes)
        except InUseError as error:
            seen.append(str(error))

    first = cached(Noise(before=another), encoder, COUNT, folder)
    assert len(seen) == 6  # while it made the held-out images and five batches
    assert all("another process writes" in one for one in seen)
    again = cached(Noise(before=another), encoder, COUNT, folder)  # looks whether the images are the same
    assert torch.equal(seen[6], again.batch(0, 8).codes)
    # A damaged block is named to those that read, and made again under their eyes.
    before, block = first.batch(2, 64).codes, folder / "block-00001.safetensors"
    block.write_bytes(block.read_bytes()[:-1])
    with pytest.raises(CacheError, match=r"block-00001.*run the command"):
        first.batch(2, 64)
    cached(Noise(), encoder, COUNT, folder)
    assert torch.equal(before, first.batch(2, 64).codes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoder": {"layer": "1"}}, "different code_shape, layer"),
        ({"encoder": {"seed": 1}}, "different weights_sha256"),
        ({"encoder": {"form": Preprocessing((8, 8), mean=(0.5, 0.5, 0.5))}}, "preprocessing.mean"),
        ({"source": {"seed": 4}}, "different seed"),
        ({"source": {"masks": False}}, "different has_masks"),
        ({"source": {"salt": 1}}, "other images"),
        ({"count": 301}, "different count"),
    ],
)
def test_a_cache_of_something_else_is_refused_and_left_as_it_is(encoder, folder, change, message):
    cached(Noise(), encoder, COUNT, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    other = encoder_of(**change["encoder"]) if "encoder" in change else encoder
    with pytest.raises((CacheError, OutputError), match=message):
        cached(Noise(**change.get("source", {})), other, change.get("count", COUNT), folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_rounding_of_images_made_again_is_no_difference(encoder, folder):
    class Rounding(Noise):
        def batch(self, step, count):
            found = super().batch(step, count)
            return ImageBatch((found.images + 1e-3).clamp(0, 1), found.masks)

    Rounding.__name__ = "Noise"
    cached(Noise(), encoder, COUNT, folder)
    cached(Rounding(), encoder, COUNT, folder)


@pytest.mark.parametrize("name", [cache.HELD_OUT, "block-00002.safetensors"])
def test_what_is_cut_off_changed_or_gone_is_made_again(encoder, folder, name):
    whole = cached(Noise(), encoder, COUNT, folder).batch(0, 300)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def change(path):
        data = bytearray(path.read_bytes())
        data[-1000] ^= 1
        path.write_bytes(data)

    for spoil in (
        lambda path: path.write_bytes(path.read_bytes()[:-100]),
        change,
        lambda path: path.unlink(),
    ):
        spoil(folder / name)
        source = Noise()
        found = cached(source, encoder, COUNT, folder)
        assert torch.equal(found.batch(0, 300).codes, whole.codes)
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
        assert source.made == ([0] if name == cache.HELD_OUT else [0, 4])
    shutil.rmtree(folder)


def test_other_processes_take_a_cache_only_when_it_is_complete(encoder, folder, monkeypatch):
    monkeypatch.setattr(cache, "is_main_process", lambda: False)
    with pytest.raises(CacheError, match="not complete"):
        cached(Noise(), encoder, COUNT, folder)
    with monkeypatch.context() as patch:
        patch.setattr(cache, "is_main_process", lambda: True)
        whole = cached(Noise(), encoder, COUNT, folder)
    assert torch.equal(cached(Noise(), encoder, COUNT, folder).batch(1, 9).images, whole.batch(1, 9).images)
    with pytest.raises(CacheError, match="not complete"):
        cached(Noise(), encoder, COUNT + 1, folder)


@pytest.mark.parametrize("text", ["{", "[]", '{"command": "invert"}'])
def test_folders_of_something_else_are_refused(encoder, folder, text):
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(text)
    with pytest.raises(OutputError, match="choose"):
        cached(Noise(), encoder, COUNT, folder)
    (folder / "manifest.json").rename(folder / "holiday.txt")
    with pytest.raises(OutputError, match="other files"):
        cached(Noise(), encoder, COUNT, folder)
    assert (folder / "holiday.txt").exists()


@pytest.mark.parametrize("factor", [1e7, 1e-9])
def test_codes_beyond_what_half_floats_hold(folder, factor):
    encoder = encoder_of(factor)
    found = cached(Noise(), encoder, COUNT, folder).batch(0, 64)
    exact = encoder(found.images)
    assert torch.isfinite(found.codes).all()
    assert exact.abs().max() > 65504 or factor < 1
    assert (found.codes - exact).norm() < 2**-11 * exact.norm()


def test_half_floats_are_off_by_2_to_the_minus_11_at_most():
    codes = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    for factor in (1.0, 3e38 / 5, 1e-20):
        half, scale = as_half(codes * factor)
        assert half.abs().max() < 2**15
        error = (half.double() * scale - (codes * factor).double()).abs()
        assert (error <= 2.0**-11 * (codes * factor).double().abs() + 1e-45).all()
    zeros, scale = as_half(torch.zeros(3))
    assert scale == 1
    assert torch.equal(zeros, torch.zeros(3, dtype=torch.float16))


def test_codes_that_are_not_finite_are_refused(encoder, folder):
    original = Encoder.__call__

    def call(self, images):
        return original(self, images) / 0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Encoder, "__call__", call)
        with pytest.raises(CacheError, match="NaN or infinite"):
            cached(Noise(), encoder, COUNT, folder)


def test_a_disk_that_is_too_small_is_told_before_the_work(encoder, folder, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("Usage", (), {"free": 5000}))
    source = Noise()
    with pytest.raises(OutputError, match="or make less"):
        cached(source, encoder, COUNT, folder)
    assert source.made == []


def test_one_process_at_a_time(encoder, folder):
    def before(step):
        if step == "held out":
            with pytest.raises(OutputError, match="another process"):
                cached(Noise(), encoder, COUNT, folder)

    assert cached(Noise(before=before), encoder, COUNT, folder).count == COUNT


def test_settings_that_make_no_sense(encoder, folder, tmp_path):
    with pytest.raises(ConfigError, match="two or more"):
        cached(Noise(), encoder, 1, folder)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="is a file"):
        cached(Noise(), encoder, COUNT, tmp_path / "file")


def test_a_training_on_cached_codes_does_not_run_the_encoder(encoder, folder):
    found = cached(Noise(), encoder, COUNT, folder)
    config = DecoderConfig(network="tiny", layer="2")
    model = DecoderModel(config, encoder, Architecture(encoder.code_shape, (8, 8)))
    batch = found.batch(0, 4)
    assert model.codes(batch) is batch.codes
