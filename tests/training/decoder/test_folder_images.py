import numpy as np
import pytest
import torch
from PIL import Image

from netinvert.errors import ConfigError, ImageError
from netinvert.io.images import fit, image_files, read_image
from netinvert.training.decoder import images as module
from netinvert.training.decoder.images import (
    FolderImages,
    random_crops,
    read_for,
    shipped_photographs,
)

SIZE = (16, 24)


def colour(k):
    """Flat colours that tell the pictures apart, mirrored and cropped as they may be."""
    return (10 * k % 256, 255 - 10 * k % 256, 37 * k % 256)


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "pictures"
    for k in range(24):
        path = root / ("deep/er" if k % 2 else ".") / f"{k}{('.png', '.webp', '.bmp')[k % 3]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40 + k, 30 + k), colour(k)).save(path, lossless=True)
    (root / "notes.txt").write_text("no picture")
    return root


def shown(images):
    """The flat colours of images (N, 3, H, W), as bytes."""
    return {tuple(one.mean((1, 2)).mul(255).round().int().tolist()) for one in images}


def test_a_batch_follows_from_seed_and_step_alone(folder):
    source = FolderImages(folder, SIZE, 3, seed=1)
    first = source.batch(5, 7).images
    source.batch(6, 7)
    assert torch.equal(first, source.batch(5, 7).images)
    assert torch.equal(first, FolderImages(folder, SIZE, 3, seed=1).batch(5, 7).images)
    assert not torch.equal(first, FolderImages(folder, SIZE, 3, seed=2).batch(5, 7).images)
    assert first.shape == (7, 3, *SIZE)
    assert first.dtype == torch.float32
    assert 0 <= first.min() <= first.max() <= 1


def test_batches_show_every_image_but_those_held_out(folder):
    source = FolderImages(folder, SIZE, 3, seed=0)
    held = shown(source.held_out(100).images)
    trained = shown(source.batch(0, 400).images)
    assert len(held) == len(source.held_names) >= 1
    assert len(trained) == source.count
    assert not held & trained
    assert held | trained == {colour(k) for k in range(24)}


def test_what_is_held_out_does_not_hang_on_other_files_or_the_place_of_the_folder(folder, tmp_path):
    share = module.HELD_OUT_SHARE
    before = FolderImages(folder, SIZE, 3, seed=0)
    for k in range(200):
        Image.new("RGB", (30, 30)).save(folder / f"more-{k}.png")
    folder = folder.rename(tmp_path / "elsewhere")
    after = FolderImages(folder, SIZE, 3, seed=9)
    by_hash = {name for name in before.held_names if module._hash_of(name) < share}
    assert by_hash <= set(after.held_names)
    assert 0.3 * share < len(after.held_names) / 224 < 2.5 * share
    assert not set(after.held_names) & set(after.names)


def test_names_with_accents_have_one_hash_however_they_are_spelt():
    assert module._hash_of("é.png") == module._hash_of("e\u0301.png")


def test_few_held_out_images_are_shown_in_several_crops_always_the_same(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (3, 40, 60, 3), dtype=np.uint8)
    for k, picture in enumerate(noise):
        Image.fromarray(picture).save(tmp_path / f"{k}.png")
    source = FolderImages(tmp_path, SIZE, 3, seed=0)
    held = source.held_out(512).images
    assert held.shape == (module.WATCHED, 3, *SIZE)
    assert len(held.unique(dim=0)) > 0.8 * len(held)
    assert torch.equal(held[:5], source.held_out(5).images)
    assert torch.equal(held, FolderImages(tmp_path, SIZE, 3, seed=4).held_out(512).images)


def test_crops_are_mirrored_half_of_the_time_and_lie_everywhere():
    ramp = torch.linspace(0, 255, 200).round().to(torch.uint8)
    picture = torch.stack([ramp.expand(200, 200), ramp[:, None].expand(200, 200)])[None]
    crops = random_crops([picture] * 400, (20, 20), torch.Generator().manual_seed(0))
    mirrored = crops[:, 0, 0, 0] > crops[:, 0, 0, -1]
    assert 150 < mirrored.sum() < 250
    assert (crops[:, 1, 0, 0] < crops[:, 1, -1, 0]).all()  # and never upside down
    left, right = crops[:, 0].amin((1, 2)), crops[:, 0].amax((1, 2))
    width = (right - left) * 20 / 19  # the middles of the first and the last pixel are what is seen
    assert 0.58 < width.min() < 0.65
    assert 0.95 < width.max() < 1.02
    assert left.min() < 0.05
    assert right.max() > 0.95


def test_crops_keep_proportions_and_are_never_enlarged(tmp_path):
    # a chequerboard of single pixels stays what it is only where crops are neither enlarged nor reduced
    board = np.indices((17, 25)).sum(0) % 2 * 255
    for k in range(4):
        Image.fromarray(board.astype(np.uint8)).save(tmp_path / f"{k}.png")
    images = FolderImages(tmp_path, (17, 25), 1, seed=0).batch(0, 32).images
    assert set(images.unique().tolist()) == {0.0, 1.0}
    circle = np.hypot(*(np.indices((120, 120)) - 59.5)) < 30
    picture = torch.from_numpy(circle.astype(np.uint8) * 255)[None, None]
    for crop in random_crops([picture] * 20, (40, 40), torch.Generator().manual_seed(1)):
        rows, columns = (crop[0] > 0.5).any(1).sum(), (crop[0] > 0.5).any(0).sum()
        if not (crop[0, [0, -1]] > 0.5).any() and not (crop[0, :, [0, -1]] > 0.5).any():
            assert abs(rows - columns) <= 1


def test_large_images_are_kept_small_and_crops_of_them_are_antialiased(tmp_path):
    stripes = np.tile(np.arange(640) % 2 * 255, (480, 1)).astype(np.uint8)
    for k in range(3):
        Image.fromarray(stripes).save(tmp_path / f"{k}.png")
    source = FolderImages(tmp_path, (16, 16), 1, seed=0)
    images = source.batch(0, 16).images
    assert {picture.shape[-2:] for picture in source._kept.values()} == {(32, 43)}
    assert (images - 0.5).abs().max() < 0.05


def test_what_is_kept_in_memory_is_bounded_and_makes_no_difference(folder, monkeypatch):
    expected = FolderImages(folder, SIZE, 3, seed=0).batch(0, 60).images
    monkeypatch.setattr(module, "MEMORY", 10_000)
    source = FolderImages(folder, SIZE, 3, seed=0)
    assert torch.equal(source.batch(0, 60).images, expected)
    assert 0 < sum(picture.numel() for picture in source._kept.values()) <= 10_000


def test_images_are_read_when_they_are_shown(folder, monkeypatch):
    read = []
    monkeypatch.setattr(module, "read_for", lambda path, n, _: read.append(path) or torch.rand(1, n, 40, 40))
    source = FolderImages(folder, SIZE, 3, seed=0)
    assert len(read) == 2  # one to train on and one held out, which have to be there
    source.batch(0, 3)
    assert len(read) <= 5


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_and_colour(folder, channels):
    images = FolderImages(folder, SIZE, channels, seed=0).batch(0, 4).images
    assert images.shape == (4, channels, *SIZE)
    with pytest.raises(ConfigError, match="4"):
        FolderImages(folder, SIZE, 4, seed=0)


def test_unusable_files_are_named_and_left_out(folder):
    (folder / "text.png").write_text("no picture at all")
    (folder / "empty.jpg").touch()
    Image.new("RGB", (40, 15)).save(folder / "low.png")
    source = FolderImages(folder, SIZE, 3, seed=0)
    assert sorted(source.reasons) == ["empty.jpg", "low.png", "text.png"]
    assert "40×15" in source.reasons["low.png"]
    assert not {*source.names, *source.held_names} & {*source.reasons}


def test_a_file_cut_short_is_found_when_it_is_shown_and_another_stands_in_for_it(folder):
    names = FolderImages(folder, SIZE, 3, seed=0).names
    cut = next(name for name in names[1:-1] if name.endswith(".bmp"))
    data = (folder / cut).read_bytes()
    (folder / cut).write_bytes(data[: len(data) // 2])
    source = FolderImages(folder, SIZE, 3, seed=0)
    images = source.batch(0, 200).images
    assert list(source.reasons) == [cut]
    assert "damaged or cut off" in source.reasons[cut]
    assert torch.equal(source.batch(0, 200).images, images)
    assert torch.equal(FolderImages(folder, SIZE, 3, seed=0).batch(0, 200).images, images)


def test_photographs_on_their_side_are_judged_by_their_upright_size(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    for k in range(3):
        Image.new("RGB", (30, 20)).save(tmp_path / f"{k}.jpg", exif=exif)
    assert FolderImages(tmp_path, (30, 20), 3, seed=0).count == 2
    with pytest.raises(ImageError, match="20×30"):
        FolderImages(tmp_path, (20, 30), 3, seed=0)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_large_jpegs_are_decoded_smaller_and_show_the_same(tmp_path, channels, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    rows, columns = np.indices((304, 400)) / 410
    smooth = np.stack([rows, columns, (rows - columns) ** 2], -1) * 255
    for k in range(3):
        Image.fromarray(smooth.astype(np.uint8)).save(tmp_path / f"{k}.jpg", exif=exif, quality=95)
    whole = read_image(tmp_path / "0.jpg", channels)
    small = read_for(tmp_path / "0.jpg", channels, (20, 30))
    assert small.shape[-1] < whole.shape[-1] / 3
    assert (small.shape[-1] > small.shape[-2]) == (whole.shape[-1] > whole.shape[-2])
    assert (fit(small, (20, 30)) - fit(whole, (20, 30))).abs().max() < 0.02
    cut = (tmp_path / "0.jpg").read_bytes()[:3000]
    (tmp_path / "0.jpg").write_bytes(cut)
    with pytest.raises(ImageError, match="cannot be read"):
        read_for(tmp_path / "0.jpg", channels, (20, 30))


def test_folders_without_two_usable_images_are_refused(tmp_path):
    with pytest.raises(ImageError, match="not a folder"):
        FolderImages(tmp_path / "none", SIZE, 3, seed=0)
    with pytest.raises(ImageError, match="no usable images"):
        FolderImages(tmp_path, SIZE, 3, seed=0)
    Image.new("RGB", (50, 50)).save(tmp_path / "a.png")
    with pytest.raises(ImageError, match="1 usable image,"):
        FolderImages(tmp_path, SIZE, 3, seed=0)
    for name in "bcd":  # heads are whole, the rest is not
        (tmp_path / f"{name}.png").write_bytes((tmp_path / "a.png").read_bytes()[:60])
    with pytest.raises(ImageError, match=r"3 cannot be used, such as .\.png"):
        FolderImages(tmp_path, SIZE, 3, seed=0)
    Image.new("RGB", (50, 50)).save(tmp_path / "e.png")
    source = FolderImages(tmp_path, SIZE, 3, seed=0)
    assert source.count >= 1
    assert len(source.held_out(3).images) == 3


def test_files_that_vanish_are_an_error_and_no_endless_search(folder):
    source = FolderImages(folder, SIZE, 3, seed=0)
    for path in image_files(folder):
        path.unlink()
    with pytest.raises(ImageError, match="any more"):
        source.batch(0, 4)
    with pytest.raises(ImageError, match="any more"):
        source.held_out(4)


def test_hidden_files_are_left_alone(folder):
    (folder / ".trash").mkdir()
    Image.new("RGB", (50, 50)).save(folder / ".trash" / "a.png")
    (folder / "._0.png").write_bytes(b"what some systems leave")
    assert len(image_files(folder)) == 24


def test_the_shipped_photographs_hold_out_the_raccoon():
    source = shipped_photographs((32, 32), 3, seed=0)
    assert source.held_names == ["raccoon.jpg"]
    assert source.count == 6
    assert source.batch(0, 8).images.shape == (8, 3, 32, 32)
    with pytest.raises(ImageError, match="256×256"):
        shipped_photographs((300, 300), 3, seed=0)
