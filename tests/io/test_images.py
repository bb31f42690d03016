"""Images: every kind of file reads as it looks; every wrong one is refused with a remedy."""

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from netinvert.errors import ConfigError, ImageError, OutputError
from netinvert.io.images import check_images, fit, png_bytes, read_image, to_pil, write_png

in_one_folder = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
sides = st.integers(1, 23)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def raw_png(width: int, height: int, depth: int, kind: int, rows: bytes, extra: bytes = b"") -> bytes:
    """A PNG made by hand, for the kinds that Pillow cannot write."""
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    body = chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def pixels(path: Path, channels: int = 3) -> list:
    """The pixels of the first row, as (W, C) lists."""
    image = read_image(path, channels)
    assert image.dtype == torch.float32
    assert image.is_contiguous()
    assert image.shape[:2] == (1, channels)
    return image[0, :, 0].T.tolist()


# --- round trips -------------------------------------------------------------------------------


@in_one_folder
@given(height=sides, width=sides, channels=st.sampled_from([1, 3]), seed=st.integers(0, 99))
def test_png_round_trip(tmp_path, height, width, channels, seed):
    image = noise(1, channels, height, width, seed=seed)
    write_png(image, tmp_path / "image.png")
    again = read_image(tmp_path / "image.png", channels)
    assert again.shape == image.shape
    assert (again - image).abs().max() <= 1 / 510 + 1e-6


def test_every_8_bit_value_survives_exactly(tmp_path):
    image = torch.arange(256).float().reshape(1, 1, 16, 16) / 255
    write_png(image, tmp_path / "all.png")
    assert torch.equal(read_image(tmp_path / "all.png", 1), image)


@pytest.mark.parametrize("shape", [(3, 4, 5), (1, 1, 4, 5), (1, 4, 5), (4, 5)])
def test_write_png_takes_one_image_of_any_rank(tmp_path, shape):
    write_png(noise(*shape), tmp_path / "image.png")
    with Image.open(tmp_path / "image.png") as written:
        assert written.size == (5, 4)
        assert written.mode == ("RGB" if 3 in shape else "L")


def test_write_png_clips_and_rounds(tmp_path):
    write_png(torch.tensor([[-1.0, 2.0, 0.5 / 255 + 1e-4, 0.5]]), tmp_path / "image.png")
    with Image.open(tmp_path / "image.png") as written:
        assert np.asarray(written).tolist() == [[0, 255, 1, 128]]


def test_other_channel_counts_are_tiled():
    tiles = to_pil(torch.arange(5).float().reshape(5, 1, 1).expand(5, 2, 3) / 255)
    assert np.asarray(tiles)[::2, ::3].tolist() == [[0, 1, 2], [3, 4, 255]]
    assert tiles.size == (9, 4)


def test_png_bytes_are_those_of_the_file(tmp_path):
    image = noise(3, 4, 5)
    write_png(image, tmp_path / "image.png")
    assert (tmp_path / "image.png").read_bytes() == png_bytes(image)


def test_half_precision_and_gradients_can_be_written():
    assert to_pil(noise(3, 4, 5).bfloat16().requires_grad_()).size == (5, 4)


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (torch.tensor([[0.5, float("nan")]]), "NaN"),
        (torch.tensor([[0.5, float("inf")]]), "infinite"),
        (torch.zeros(2, 3, 4, 4), "one by one"),
        (torch.zeros(4), "shape"),
        (torch.zeros(3, 0, 4), "shape"),
        (torch.zeros(3, 4, 4, dtype=torch.uint8), "255"),
    ],
)
def test_write_png_refuses(tmp_path, image, says):
    with pytest.raises(ImageError, match=says):
        write_png(image, tmp_path / "image.png")
    assert not list(tmp_path.iterdir())


def test_write_png_into_a_missing_folder(tmp_path):
    with pytest.raises(OutputError, match="create it"):
        write_png(noise(3, 4, 4), tmp_path / "missing" / "image.png")


# --- the kinds of files ------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path, orientation):
    upright = np.zeros((2, 3), dtype=np.uint8)
    upright[0, 0], upright[0, 2], upright[1, 0] = 255, 128, 64
    # What a camera held that way stores: the inverse of what a viewer does.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: np.rot90(upright),
        7: upright[::-1, ::-1].T,
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "photo.png", exif=exif)
    image = read_image(tmp_path / "photo.png", 1)
    assert (image[0, 0] * 255).round().tolist() == upright.tolist()


def test_damaged_exif_does_not_cost_the_pixels(tmp_path):
    Image.new("RGB", (3, 2), "red").save(tmp_path / "photo.png", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert pixels(tmp_path / "photo.png")[0] == [1, 0, 0]


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1", "CMYK"])
def test_plain_modes(tmp_path, mode):
    image = Image.new("RGB", (3, 2), "white")
    image.putpixel((1, 0), (0, 0, 0))
    image.convert(mode).save(tmp_path / ("image.tif" if mode == "CMYK" else "image.png"))
    assert pixels(next(tmp_path.iterdir())) == [[1, 1, 1], [0, 0, 0], [1, 1, 1]]


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_transparency_is_laid_on_white(tmp_path, mode):
    image = Image.new("RGBA", (3, 1), (0, 0, 0, 0))
    image.putpixel((1, 0), (0, 0, 0, 51))
    image.putpixel((2, 0), (0, 0, 0, 255))
    image.convert(mode).save(tmp_path / "image.png")
    assert np.allclose(pixels(tmp_path / "image.png"), [[1] * 3, [0.8] * 3, [0] * 3])


@pytest.mark.parametrize("transparency", [1, bytes([255, 0, 255])])
def test_transparent_palette(tmp_path, transparency):
    image = Image.new("P", (3, 1))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.putdata([0, 1, 2])
    image.save(tmp_path / "image.png", transparency=transparency)
    assert pixels(tmp_path / "image.png") == [[1, 0, 0], [1, 1, 1], [0, 0, 1]]


def test_transparent_colour_of_rgb(tmp_path):
    image = Image.new("RGB", (2, 1), (255, 0, 0))
    image.putpixel((1, 0), (0, 0, 9))
    image.save(tmp_path / "image.png", transparency=(0, 0, 9))
    assert pixels(tmp_path / "image.png") == [[1, 0, 0], [1, 1, 1]]


@pytest.mark.parametrize("name", ["image.png", "image.tif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_16_bit_greyscale_is_scaled_not_clipped(tmp_path, name, channels):
    values = np.array([[0, 300, 32768, 65535]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / name)
    expected = [[v / 65535] * channels for v in (0, 300, 32768, 65535)]
    assert np.allclose(pixels(tmp_path / name, channels), expected, atol=1e-7)


def test_16_bit_greyscale_with_a_transparent_value(tmp_path):
    rows = b"\0" + np.array([1000, 2000], dtype=">u2").tobytes()
    data = raw_png(2, 1, 16, 0, rows, chunk(b"tRNS", struct.pack(">H", 1000)))
    (tmp_path / "image.png").write_bytes(data)
    assert np.allclose(pixels(tmp_path / "image.png", 1), [[1], [2000 / 65535]])


def test_32_bit_integers(tmp_path):
    Image.fromarray(np.array([[0, 65535]], dtype=np.int32)).save(tmp_path / "image.tif")
    assert pixels(tmp_path / "image.tif", 1) == [[0], [1]]
    Image.fromarray(np.array([[0, 65536]], dtype=np.int32)).save(tmp_path / "image.tif")
    with pytest.raises(ImageError, match="16 bit"):
        read_image(tmp_path / "image.tif")


def test_16_bit_colour(tmp_path):
    values = np.array([65535, 32768, 300, 0, 1, 65535], dtype=">u2")
    (tmp_path / "image.png").write_bytes(raw_png(2, 1, 16, 2, b"\0" + values.tobytes()))
    found = np.array(pixels(tmp_path / "image.png")).ravel()
    assert np.abs(found - values / 65535).max() <= 1 / 255


def test_cmyk_jpeg(tmp_path):
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "image.jpg", quality=100)
    assert np.allclose(pixels(tmp_path / "image.jpg")[0], [1, 0, 0], atol=0.02)


def test_float_tiff(tmp_path):
    Image.fromarray(np.array([[0.0, 0.123456, 1.0]], dtype=np.float32)).save(tmp_path / "image.tif")
    assert np.allclose(pixels(tmp_path / "image.tif", 1), [[0], [0.123456], [1]], atol=1e-7)


@pytest.mark.parametrize("bad", [1.5, -0.1, float("nan")])
def test_float_tiff_out_of_range(tmp_path, bad):
    Image.fromarray(np.array([[0.5, bad]], dtype=np.float32)).save(tmp_path / "image.tif")
    with pytest.raises(ImageError, match="scale them"):
        read_image(tmp_path / "image.tif")


def test_an_animation_gives_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (4, 3), colour) for colour in ("red", "lime", "blue")]
    frames[0].save(tmp_path / "image.gif", save_all=True, append_images=frames[1:])
    assert pixels(tmp_path / "image.gif")[0] == [1, 0, 0]


def test_luminance_weighs_the_colours(tmp_path):
    image = Image.new("RGB", (3, 1))
    image.putdata([(255, 0, 0), (0, 255, 0), (0, 0, 255)])
    image.save(tmp_path / "image.png")
    assert np.allclose(pixels(tmp_path / "image.png", 1), [[0.299], [0.587], [0.114]])


# --- files that are refused --------------------------------------------------------------------


@pytest.mark.parametrize("channels", [0, 2, 4])
def test_other_channel_counts_are_refused(tmp_path, channels):
    with pytest.raises(ImageError, match=r"\.npy"):
        read_image(tmp_path / "image.png", channels)


def test_missing_folder_empty_and_text(tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("not an image")
    for name, says in (
        ("missing.png", "does not exist"),
        ("", "is a folder"),
        ("empty.png", "is empty"),
        ("text.png", "not an image"),
    ):
        with pytest.raises(ImageError, match=says):
            read_image(tmp_path / name)


@pytest.mark.parametrize("kind", ["png", "jpg", "gif", "tif", "bmp", "webp"])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_truncated_files(tmp_path, kind, part):
    buffer = io.BytesIO()
    to_pil(noise(3, 64, 64)).save(buffer, format={"jpg": "JPEG", "tif": "TIFF"}.get(kind, kind.upper()))
    data = buffer.getvalue()
    (tmp_path / f"image.{kind}").write_bytes(data[: int(len(data) * part)])
    with pytest.raises(ImageError, match=r"damaged or cut off|not an image"):
        read_image(tmp_path / f"image.{kind}")


def test_no_pixels(tmp_path):
    (tmp_path / "image.png").write_bytes(raw_png(0, 0, 8, 0, b""))
    (tmp_path / "image.ppm").write_bytes(b"P6 0 0 255\n")
    for file in tmp_path.iterdir():
        with pytest.raises(ImageError):
            read_image(file)


@pytest.mark.parametrize("side", [9_500, 10_001, 95_000])
@pytest.mark.parametrize("filters", ["error", "default", "ignore"])
def test_decompression_bombs(tmp_path, side, filters):
    (tmp_path / "bomb.png").write_bytes(raw_png(side, side, 8, 0, b"\0"))
    limit = Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings(record=True):
        warnings.simplefilter(filters)
        with pytest.raises(ImageError, match="million pixels"):
            read_image(tmp_path / "bomb.png")
    assert limit == Image.MAX_IMAGE_PIXELS


def test_the_own_limit_holds_where_pillow_has_none(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    (tmp_path / "bomb.png").write_bytes(raw_png(10_001, 10_000, 8, 0, b"\0"))
    with pytest.raises(ImageError, match="100 million pixels"):
        read_image(tmp_path / "bomb.png")


def test_drawings_are_refused_without_running_ghostscript(tmp_path):
    (tmp_path / "image.eps").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
    with pytest.raises(ImageError, match="is a drawing"):
        read_image(tmp_path / "image.eps")


# --- fit ---------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 2), st.sampled_from([1, 3, 5]), sides, sides),
    size=st.tuples(sides, sides),
    how=st.sampled_from(["crop", "stretch", "pad"]),
)
def test_fit_gives_the_size_in_range(shape, size, how):
    image = noise(*shape)
    fitted = fit(image, size, how)
    assert fitted.shape == (*shape[:2], *size)
    assert fitted.dtype == image.dtype
    assert fitted.min() >= 0
    assert fitted.max() <= 1
    if how != "pad":  # a constant stays: nothing is mixed in from outside
        assert torch.allclose(fit(torch.full(shape, 0.3), size, how), torch.tensor(0.3))


@pytest.mark.parametrize("how", ["crop", "stretch", "pad"])
def test_fit_of_the_right_size_is_the_same_tensor(how):
    image = noise(1, 3, 7, 5)
    assert fit(image, (7, 5), how) is image


@pytest.mark.parametrize("shape", [(8, 24), (24, 8)])
def test_crop_takes_the_centre(shape):
    image = torch.zeros(1, 1, *shape)
    image[0, 0, shape[0] // 2 - 4 : shape[0] // 2 + 4, shape[1] // 2 - 4 : shape[1] // 2 + 4] = noise(8, 8)
    centre = image[image != 0].reshape(1, 1, 8, 8)
    assert torch.equal(fit(image, (8, 8)), centre)


@pytest.mark.parametrize("size", [(5, 5), (16, 16), (6, 12)])
def test_crop_is_centred_on_symmetric_images(size):
    image = noise(1, 1, 20, 30)
    image = image + image.flip(3)
    image = (image + image.flip(2)) / 4
    fitted = fit(image, size)
    assert torch.allclose(fitted, fitted.flip(2), atol=0.2)
    assert torch.allclose(fitted.mean(2), fitted.flip(2).mean(2), atol=0.05)


def test_crop_equals_a_plain_resize_then_crop():
    image = noise(1, 3, 75, 200)
    plain = torch.nn.functional.interpolate(image, (30, 80), mode="bilinear", antialias=True)
    assert torch.equal(fit(image, (30, 30)), plain[:, :, :, 25:55])


def test_crop_of_a_strip_stays_small(monkeypatch):
    sizes = []
    plain = torch.nn.functional.interpolate

    def watched(image, size, **options):
        sizes.append(size)
        return plain(image, size, **options)

    monkeypatch.setattr("netinvert.io.images.F.interpolate", watched)
    assert fit(noise(1, 3, 1, 5000), (224, 224)).shape == (1, 3, 224, 224)
    assert sizes[0][1] < 224 * 10


def test_pad_shows_all_with_white_beside_it():
    fitted = fit(torch.zeros(1, 3, 10, 20), (20, 20), "pad")
    assert (fitted[:, :, 5:15] == 0).all()
    assert (fitted[:, :, :5] == 1).all()
    assert (fitted[:, :, 15:] == 1).all()


def test_making_smaller_is_antialiased():
    stripes = torch.arange(64).remainder(2).float().expand(1, 1, 64, 64)
    assert (fit(stripes, (8, 8)) - 0.5).abs().max() < 0.1


@pytest.mark.parametrize("size", [(0, 4), (4,), (4, 4, 4), (4.0, 4), (-1, 4)])
def test_fit_refuses_sizes(size):
    with pytest.raises(ImageError, match="height, width"):
        fit(noise(1, 3, 8, 8), size)


def test_fit_refuses_ways_and_shapes():
    with pytest.raises(ConfigError, match="stretch"):
        fit(noise(1, 3, 8, 8), (4, 4), "squash")
    for bad in (noise(3, 8, 8), torch.zeros(1, 3, 8, 8, dtype=torch.uint8), torch.zeros(0, 3, 8, 8)):
        with pytest.raises(ImageError, match="check_images"):
            fit(bad, (4, 4))


# --- check_images ------------------------------------------------------------------------------


def test_check_images_passes_right_ones_through():
    images = noise(2, 3, 4, 5)
    assert check_images(images) is images
    assert check_images(images[0]).shape == (1, 3, 4, 5)
    assert check_images(torch.tensor([[[-1e-4, 1 + 1e-4]]])).shape == (1, 1, 1, 2)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f8"])
def test_check_images_takes_arrays(dtype):
    array = noise(2, 3, 4, 5).numpy().astype(dtype)[:, :, ::-1]
    array.setflags(write=False)
    checked = check_images(array)
    assert checked.dtype == torch.float32
    assert np.array_equal(checked.numpy(), array.astype(np.float32))


def test_check_images_is_differentiable():
    images = noise(3, 4, 5).double().requires_grad_()
    check_images(images).sum().backward()
    assert torch.equal(images.grad, torch.ones_like(images))


@pytest.mark.parametrize(
    ("images", "says"),
    [
        (torch.full((3, 4, 4), 255, dtype=torch.uint8), "divide by 255"),
        (np.full((3, 4, 4), 255, dtype=np.uint8), "divide by 255"),
        (torch.full((3, 4, 4), 200.0), r"\[200, 200\]: divide by 255"),
        (torch.linspace(-1, 1, 48).reshape(3, 4, 4), r"\(image \+ 1\) / 2"),
        (torch.linspace(-2.1, 2.6, 48).reshape(3, 4, 4), "the encoder subtracts the mean"),
        (torch.full((3, 4, 4), 1.001), "must be in"),
        (torch.full((3, 4, 4), -0.001), "must be in"),
        (torch.zeros(8, 8, 3), r"permute\(2, 0, 1\)"),
        (np.zeros((2, 8, 8, 3)), r"permute\(0, 3, 1, 2\)"),
        (torch.tensor([[[0.5, float("nan")]]]), "NaN"),
        (torch.tensor([[[0.5, float("inf")]]]), "NaN or infinite"),
        (np.full((3, 4, 4), 1e300), "NaN or infinite"),
        (torch.zeros(4, 4), "channel dimension"),
        (torch.zeros(0, 3, 4, 4), "must be"),
        (np.full((3, 4, 4), "x"), "numbers"),
        ([[0.5]], "tensor or an array"),
    ],
)
def test_check_images_refuses(images, says):
    with pytest.raises(ImageError, match=says):
        check_images(images)
