"""What files say of their colours, and which files of a folder are read."""

import errno
import io
import os
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from netinvert.errors import CodeError, ImageError
from netinvert.experiments.inputs import image_paths, is_code_file
from netinvert.io.codes import read_code
from netinvert.io.images import as_images, image_files, read_image, write_png
from netinvert.training.decoder.images import read_for

P3 = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))
SRGB = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))
"""The primaries in XYZ, adapted to D50 (ICC)."""


def colour_profile(space: bytes, tags: dict[bytes, bytes], pcs: bytes = b"XYZ ") -> bytes:
    """An ICC profile of version 2, made by hand."""
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
    tags = {b"desc": b"desc" + bytes(4) + struct.pack(">I", 1) + bytes(83), b"wtpt": white, **tags}
    place, table, body = 132 + 12 * len(tags), b"", b""
    for name, data in tags.items():
        padded = data + bytes(-len(data) % 4)
        table += struct.pack(">4sII", name, place + len(body), len(data))
        body += padded
    device = b"prtr" if space == b"CMYK" else b"mntr"
    head = struct.pack(">I4sI4s4s4s", place + len(body), b"lcms", 0x02400000, device, space, pcs)
    head += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061) + bytes(48)
    return head + struct.pack(">I", len(tags)) + table + body


def gamma(value: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(256 * value))


def of_primaries(primaries, curve: float) -> bytes:
    columns = {
        bytes([c]) + b"XYZ": b"XYZ " + bytes(4) + struct.pack(">3i", *(round(v * 65536) for v in xyz))
        for c, xyz in zip(b"rgb", primaries, strict=True)
    }
    return colour_profile(b"RGB ", columns | {bytes([c]) + b"TRC": gamma(curve) for c in b"rgb"})


def encoded(linear):
    return np.where(
        linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055
    )


def colours(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)


def hwc(image: torch.Tensor) -> np.ndarray:
    return image[0].permute(1, 2, 0).numpy()


def in_srgb(image: Image.Image, profile: bytes) -> np.ndarray:
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    changed = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    return np.asarray(changed) / 255


@pytest.mark.parametrize("ending", ["png", "tif", "webp", "jp2", "avif", "jpg"])
def test_colours_of_a_wide_gamut_become_srgb(tmp_path, ending):
    pixels, profile = np.full((16, 16, 3), (60, 140, 220), np.uint8), of_primaries(P3, 2.2)
    how = {"quality": 95} if ending in ("jpg", "avif") else {"lossless": True} if ending == "webp" else {}
    path = tmp_path / f"a.{ending}"
    Image.fromarray(pixels).save(path, icc_profile=profile, **how)
    with Image.open(path) as stored:
        if "icc_profile" not in stored.info:
            pytest.skip("Pillow keeps no profile in this format")
    linear = (pixels / 255) ** 2.2 @ (np.array(P3) @ np.linalg.inv(np.array(SRGB)))
    expected = encoded(linear.clip(0, 1))
    assert np.abs(expected - pixels / 255).max() > 0.05
    assert np.abs(hwc(read_image(path)) - expected).max() < (8 if how.get("quality") else 2) / 255
    with Image.open(path) as opened:
        assert torch.equal(as_images(opened), read_image(path))


def test_large_jpegs_of_trainings_have_their_profile(tmp_path):
    pixels = np.full((600, 600, 3), (60, 140, 220), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.jpg", icc_profile=of_primaries(P3, 2.2), quality=100)
    small = read_for(tmp_path / "a.jpg", 3, (32, 32))
    assert small.shape[-1] < 600
    assert torch.allclose(small[..., :8, :8], read_image(tmp_path / "a.jpg")[..., :8, :8], atol=2 / 255)


@pytest.mark.parametrize("mode", ["L", "I;16", "LA", "RGB of grey"])
def test_linear_grey_becomes_srgb(tmp_path, mode):
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    profile = of_primaries(SRGB, 1.0) if "RGB" in mode else colour_profile(b"GRAY", {b"kTRC": gamma(1.0)})
    image = Image.fromarray(values)
    if mode == "I;16":
        image = Image.fromarray(values.astype(np.uint16) * 257)
    elif mode == "LA":
        image.putalpha(255)
    image.save(tmp_path / "a.png", icc_profile=profile)
    assert np.abs(hwc(read_image(tmp_path / "a.png", 1))[..., 0] - encoded(values / 255)).max() < 1.5 / 255


def test_transparency_and_palettes_keep_their_place(tmp_path):
    pixels, profile = colours(8, 8), of_primaries(P3, 2.2)
    image = Image.fromarray(pixels)
    image.putalpha(Image.fromarray(np.tile(np.array([0, 128], np.uint8), (8, 4))))
    image.save(tmp_path / "a.png", icc_profile=profile)
    shown = in_srgb(Image.fromarray(pixels), profile)
    alpha = np.asarray(image.getchannel("A"))[..., None] / 255
    assert np.allclose(hwc(read_image(tmp_path / "a.png")), shown * alpha + 1 - alpha, atol=1e-6)

    palette = Image.fromarray(pixels).quantize(32)
    palette.save(tmp_path / "p.png", icc_profile=profile)
    assert np.allclose(
        hwc(read_image(tmp_path / "p.png")), in_srgb(palette.convert("RGB"), profile), atol=1e-6
    )


def test_inks_with_a_profile(tmp_path):
    corners = np.random.default_rng(1).integers(40, 200, (16, 3), dtype=np.uint8)
    corners[0] = (255, 128, 128)
    ramp = bytes(range(256))
    table = (
        b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + struct.pack(">9i", *(np.eye(3, dtype=int).ravel() * 65536))
    )
    profile = colour_profile(b"CMYK", {b"A2B0": table + ramp * 4 + corners.tobytes() + ramp * 3}, b"Lab ")
    image = Image.fromarray(np.random.default_rng(2).integers(0, 256, (8, 8, 4), dtype=np.uint8), "CMYK")
    image.save(tmp_path / "a.tif", icc_profile=profile)
    expected = in_srgb(image, profile)
    assert np.abs(expected - np.asarray(image.convert("RGB")) / 255).max() > 0.1
    assert np.allclose(hwc(read_image(tmp_path / "a.tif")), expected, atol=1e-6)


def test_lab_needs_no_profile(tmp_path):
    pixels = np.full((4, 4, 3), (60, 140, 220), np.uint8)
    to_lab = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
    )
    to_lab.apply(Image.fromarray(pixels)).save(tmp_path / "a.tif")
    assert np.abs(hwc(read_image(tmp_path / "a.tif")) * 255 - pixels).max() < 4


@pytest.mark.parametrize(
    "profile",
    [
        None,
        b"no profile at all",
        ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
        of_primaries(P3, 2.2)[:200],
        colour_profile(b"GRAY", {b"kTRC": gamma(1.0)}),
    ],
    ids=["none", "broken", "srgb", "cut", "of grey"],
)
def test_values_stay_without_a_profile_that_changes_them(tmp_path, profile):
    pixels = colours(16, 16)
    Image.fromarray(pixels).save(tmp_path / "a.png", icc_profile=profile)
    assert np.array_equal(hwc(read_image(tmp_path / "a.png")), pixels.astype(np.float32) / np.float32(255))


def tiff(path, values: np.ndarray, bits: int, kind: int = 1, order: str = "<") -> None:
    """A grey TIFF by hand, whose 0 is white."""
    stored = np.packbits(values.astype(bool), axis=1) if bits == 1 else values
    data = stored.astype(stored.dtype.newbyteorder(order)).tobytes()
    entries = [(256, values.shape[1]), (257, values.shape[0]), (258, bits), (259, 1), (262, 0), (273, 8)]
    entries += [(277, 1), (278, values.shape[0]), (279, len(data)), (339, kind)]
    table = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, one) for tag, one in entries)
    head = b"II*\0" if order == "<" else b"MM\0*"
    count = struct.pack(f"{order}H", len(entries))
    path.write_bytes(head + struct.pack(f"{order}I", 8 + len(data)) + data + count + table + bytes(4))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("bits", "kind"), [(1, 1), (8, 1), (16, 1), (32, 3)])
def test_zero_is_white_where_the_file_says_so(tmp_path, bits, kind, order):
    grey = np.linspace(0, 1, 64).reshape(8, 8)
    values = grey.astype(np.float32)
    if kind == 1:
        values = (grey * (2**bits - 1)).round().astype(np.uint16 if bits == 16 else np.uint8)
    tiff(tmp_path / "a.tif", values, bits, kind, order)
    expected = 1 - values / (1.0 if kind == 3 else 2**bits - 1)
    assert np.allclose(hwc(read_image(tmp_path / "a.tif", 1))[..., 0], expected, atol=1e-6)


def test_folders_tell_what_they_hold_in_other_formats(tmp_path):
    for name in ("a.PNG", "b.jpg", "c.avif", "d.mpo", "e.jp2", "f.gif", ".hidden.png", "sub/g.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name, {"d.mpo": "JPEG"}.get(name))
    for name in ("h.heic", "i.CR2", "Thumbs.db", ".DS_Store", "notes.txt", ".j.heic"):
        (tmp_path / name).write_bytes(b"x")
    told: list[str] = []
    paths = image_paths(tmp_path, told.append)
    assert [path.name for path in paths] == ["a.PNG", "b.jpg", "c.avif", "d.mpo", "e.jp2", "f.gif"]
    assert [read_image(path).shape for path in paths] == [(1, 3, 8, 8)] * 6
    assert len(told) == 1
    assert "2 of a format" in told[0]
    assert "(h.heic, i.CR2)" in told[0]
    with pytest.warns(UserWarning, match=r"h\.heic"):
        assert len(image_files(tmp_path)) == 7
    (tmp_path / "h.heic").unlink()
    (tmp_path / "i.CR2").unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image_files(tmp_path)
    with pytest.raises(ImageError, match="not a folder"):
        image_files(tmp_path / "gone")


def closed(monkeypatch, *folders):
    """These folders cannot be listed; nor can pathlib look at what is in them."""
    scandir, exists = os.scandir, Path.exists

    def listed(folder="."):
        if Path(folder) in folders:
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return scandir(folder)

    def there(path):
        if path.parent in folders:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return exists(path)

    monkeypatch.setattr(os, "scandir", listed)
    for name in ("exists", "is_dir", "is_file"):
        monkeypatch.setattr(Path, name, there)


@pytest.mark.parametrize(
    ("manifest", "names"),
    [
        ('{"samples": [{"name": "cat"}, {"name": "../dog"}]}', ["cat"]),
        ('{"samples": 3}', ["cat", "contact-sheet", "original-cat"]),
        ("[1]", ["cat", "contact-sheet", "original-cat"]),
        ("no JSON", ["cat", "contact-sheet", "original-cat"]),
    ],
)
def test_of_a_run_its_images_are_meant(tmp_path, manifest, names):
    for name in ("cat", "original-cat", "contact-sheet"):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{name}.png")
    (tmp_path / "manifest.json").write_text(manifest)
    assert [path.stem for path in image_paths(tmp_path)] == names


@pytest.mark.parametrize("below", [True, False])
def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch, below):
    write_png(torch.rand(3, 4, 4), tmp_path / "a.png")
    closed(monkeypatch, tmp_path)
    with pytest.raises(ImageError, match=f"{tmp_path} cannot be read .*Permission denied.*permissions"):
        image_files(tmp_path, below)


def test_folders_below_that_cannot_be_listed_are_told(tmp_path, monkeypatch):
    for name in ("open", "shut", ".hidden"):
        (tmp_path / name).mkdir()
        write_png(torch.rand(3, 4, 4), tmp_path / name / "a.png")
    closed(monkeypatch, tmp_path / "shut", tmp_path / ".hidden")
    told = []
    assert image_files(tmp_path, tell=told.append) == [tmp_path / "open" / "a.png"]
    assert told == [f"passed over in {tmp_path}: shut cannot be read; change their permissions"]
    assert image_files(tmp_path, below=False, tell=pytest.fail) == []


@pytest.mark.parametrize(("name", "wrong"), [("a.png", "cannot be read"), ("*.png", "no file matches")])
def test_an_image_in_a_closed_folder_is_an_error_that_names_it(tmp_path, monkeypatch, name, wrong):
    closed(monkeypatch, tmp_path)
    with pytest.raises(ImageError, match=wrong) as error:
        [read_image(one) for one in image_paths(str(tmp_path / name))]
    assert str(tmp_path / name) in str(error.value)


def test_a_code_in_a_closed_folder_is_an_error_that_names_it(tmp_path, monkeypatch):
    path = tmp_path / "code.npy"
    closed(monkeypatch, tmp_path)
    assert is_code_file(path)
    with pytest.raises(CodeError, match=f"{path} cannot be read"):
        read_code(path)
