"""Images: reading, fitting, checking and writing. Everywhere float32 (N, C, H, W) in [0, 1]."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image, ImageCms, ImageOps, TiffImagePlugin, UnidentifiedImageError
from torch import Tensor

from netinvert.errors import ConfigError, ImageError
from netinvert.io.files import Tell, check_readable, refusing, write_atomic
from netinvert.io.folders import visible_files

MAX_PIXELS = 100_000_000
COMPRESSION = 4  # of PNG files: in half the time of Pillow's 6, and no larger
TOLERANCE = 1e-4  # how far float arithmetic may lead out of [0, 1]

LUMA = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in the luminance (ITU-R BT.601, as Pillow's "L")."""
IMAGE_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"),
    *(".apng", ".avif", ".avifs", ".dib", ".j2k", ".jfif", ".jp2", ".jpe", ".jpx", ".mpo", ".pnm", ".tga"),
)
"""Of the files in a folder that are taken for images, in lower case."""
_UNREAD = (
    *(".heic", ".heif", ".hif", ".jxl", ".jxr", ".psd", ".svg", ".eps", ".ico", ".exr", ".hdr", ".pfm"),
    *(".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf"),
)
"""Those of images that are not read, in lower case."""
_PHOTOMETRIC = 262  # the tag of TIFF files that tells whether 0 is white
_WHITE_IS_ZERO = (b"MM", 0, (1,), 1, (16,), ())
"""Of TIFF files of 16 bits: Pillow knows those of the other byte order alone."""
_MODES = {"GRAY": "L", "RGB ": "RGB", "CMYK": "CMYK", "Lab ": "LAB"}
"""Pillow's names, by those in colour profiles."""
_SAME = 2  # of 255: rounding in the tables of colour profiles

_Floats = npt.NDArray[np.float32]
ImageLike = Tensor | npt.NDArray[Any] | Image.Image | str | Path
"""What `as_images` takes."""


def image_files(folder: str | Path, below: bool = True, tell: Tell = warnings.warn) -> list[Path]:
    """The image files in a folder, and in the folders ``below`` it, in the order of their paths.

    Hidden files and those that are no images are left out; images of a format that is not read are counted
    and named by ``tell``, and so are folders below that cannot be read. Raises ImageError where there is no
    such folder, or it cannot be read.
    """
    root = Path(folder)
    with refusing(root, ImageError, "cannot be read", "change its permissions, or name another folder"):
        if not root.is_dir():
            raise ImageError(f"{root} is not a folder: name a folder of images")
        shown, locked = visible_files(root, below)
    if locked:
        tell(f"passed over in {root}: {', '.join(locked)} cannot be read; change their permissions")
    unread = [path.relative_to(root).as_posix() for path in shown if path.suffix.lower() in _UNREAD]
    if unread:
        named = ", ".join(unread[:5]) + ", …" * (len(unread) > 5)
        tell(f"passed over in {root}: {len(unread)} of a format that is not read ({named}); convert to PNG")
    return [path for path in shown if path.suffix.lower() in IMAGE_SUFFIXES]


def read_image(path: str | Path, channels: int = 3) -> Tensor:
    """Read an image file at its own size, upright, as (1, `channels`, H, W) float32 in [0, 1].

    `channels` is 3 (RGB) or 1 (luminance). Transparency is laid on white, an animation gives its first
    frame. 16-bit greyscale keeps its precision; of 16-bit colour Pillow gives the upper 8 bits. Colours are
    sRGB: those of a file with another colour profile are converted.
    Raises ImageError.
    """
    if channels not in (1, 3):
        raise ImageError(
            f"image files have 1 or 3 channels, not {channels}: keep other images in a .npy file"
        )
    file = check_readable(path, ImageError)
    with _told_of(file):
        TiffImagePlugin.OPEN_INFO.setdefault(_WHITE_IS_ZERO, ("I;16B", "I;16B"))
        with Image.open(file) as image:
            pixels = _floats(decode_image(image, file), file)
    return _as_tensor(pixels, channels)


def image_from_bytes(data: bytes, most: int = MAX_PIXELS) -> Tensor:
    """A picture's file as it came, in colour, as by ``read_image``; of more than ``most`` pixels none is
    decoded. Raises ImageError."""
    name = Path("the picture")
    with _told_of(name), Image.open(io.BytesIO(data)) as image:
        if image.width * image.height > most:
            raise ImageError(f"{name} has more than {most / 1e6:.0f} million pixels: make it smaller first")
        return _as_tensor(_floats(decode_image(image, name), name), 3)


def decode_image(image: Image.Image, name: str | Path) -> Image.Image:
    """An image that Pillow has opened, with its pixels. Raises ImageError, which tells its name: it is too
    large, a drawing, or damaged."""
    with _told_of(name):
        _check_header(image, name)
        image.load()
    return image


@contextmanager
def _told_of(name: str | Path) -> Iterator[None]:
    """Raise whatever Pillow raises as an ImageError that tells the image's name and the remedy."""
    try:
        yield
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(name) from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{name} is not an image that Pillow knows: convert it to PNG") from error
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged files
        raise ImageError(f"{name} is damaged or cut off ({error}): get it again") from error


def as_images(images: ImageLike, channels: int | None = None) -> Tensor:
    """Images as float32 (N, C, H, W) in [0, 1], of whatever holds them: a file's path, a Pillow image, bytes
    (H, W), (H, W, C) or (N, H, W, C) as a NumPy array, or floats (C, H, W) or (N, C, H, W).

    Files, Pillow images and bytes are made ``channels`` channels, 1 or 3: by default, files 3 and the others
    as many as they have. Floats are checked, and left as they are. Raises ImageError.

    >>> as_images(np.full((4, 6, 3), 255, dtype=np.uint8)).shape
    torch.Size([1, 3, 4, 6])
    """
    if isinstance(images, str | Path):
        return read_image(images, 3 if channels is None else channels)
    if isinstance(images, Image.Image):
        return _as_tensor(_floats(images, Path("the image")), channels)
    if isinstance(images, np.ndarray) and images.dtype == np.uint8:
        if images.ndim not in (2, 3, 4) or images.size == 0 or (images.ndim > 2 and images.shape[-1] > 4):
            raise ImageError(
                f"images of bytes are (H, W), (H, W, C) or (N, H, W, C), got {images.shape}: move the axes"
            )
        several = images if images.ndim == 4 else images[None]
        if several.ndim == 4 and several.shape[-1] == 1:
            several = several[..., 0]
        return torch.cat([as_images(Image.fromarray(one), channels) for one in several])
    return check_images(images)


def _as_tensor(pixels: _Floats, channels: int | None) -> Tensor:
    """(H, W, 1 or 3) as (1, channels, H, W)."""
    if channels not in (None, 1, 3):
        raise ImageError(f"files and bytes have 1 or 3 channels, not {channels}: give a tensor of more")
    if channels == 1 and pixels.shape[2] == 3:
        pixels = (pixels @ np.array(LUMA, dtype=np.float32))[:, :, None]
    tensor = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))).clamp_(0, 1)
    return tensor.expand(channels or len(tensor), -1, -1).contiguous().unsqueeze(0)


def _check_header(image: Image.Image, file: str | Path) -> None:
    if image.format in {"EPS", "WMF"}:  # Pillow would hand the file to another program
        raise ImageError(f"{file} is a drawing, not pixels: convert it to PNG")
    if image.width < 1 or image.height < 1:
        raise ImageError(f"{file} has no pixels ({image.width}×{image.height}): get it again")
    # Pillow only warns beyond its own limit. Taking the smaller one gives the same answer whatever
    # the warning filters are, without touching them.
    if image.width * image.height > min(MAX_PIXELS, Image.MAX_IMAGE_PIXELS or MAX_PIXELS):
        raise _too_large(file)


def _too_large(file: str | Path) -> ImageError:
    limit = min(MAX_PIXELS, Image.MAX_IMAGE_PIXELS or MAX_PIXELS) / 1e6
    return ImageError(f"{file} has more than {limit:.0f} million pixels: make it smaller first")


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # damaged EXIF data must not cost the pixels
        return image


def _in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """An 8-bit image of this colour profile, in sRGB; as it is if there is none or it cannot be used."""
    if not profile and image.mode != "LAB":
        return image
    try:
        lab = ImageCms.createProfile("LAB")
        source = ImageCms.ImageCmsProfile(lab if image.mode == "LAB" else io.BytesIO(profile or b""))
        mode = _MODES[source.profile.xcolor_space]
        # littleCMS's short cut for grey is up to 10 of 255 off in the dark.
        flags = ImageCms.Flags.NOOPTIMIZE if mode == "L" else ImageCms.Flags.NONE
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB", flags=flags)
    except (ImageCms.PyCMSError, ImportError, KeyError, OSError, TypeError, ValueError):
        return image
    # Grey images may have a profile of colours: theirs are its neutral ones.
    if mode != image.mode and (image.mode, mode) != ("L", "RGB"):
        return image
    if mode in ("L", "RGB"):  # sRGB itself would come out with its values rounded anew
        levels = np.arange(0, 256, 15, dtype=np.uint8)
        grid = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(-1, 18, 3)
        lattice = Image.fromarray(grid).convert(mode)
        change = np.array(transform.apply(lattice), int) - np.array(lattice.convert("RGB"), int)
        if np.abs(change).max() <= _SAME:
            return image
    found = transform.apply(image.convert(mode))
    return found.convert("L") if image.mode == "L" else found


def _floats(image: Image.Image, file: Path) -> _Floats:
    """Return (H, W, 1 or 3) in [0, 1]."""
    # Pillow itself inverts such TIFF files up to 8 bits.
    white_is_zero = getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == 0
    image = _upright(image)
    profile = image.info.get("icc_profile")
    if image.mode.startswith("I"):  # Pillow's own conversion to 8 bits clips everything above 255 to white
        whole = np.array(image).astype(np.int64)
        if whole.min() < 0 or whole.max() > 65535:
            raise ImageError(
                f"{file} holds integers in [{whole.min()}, {whole.max()}]: only 8 and 16 bits are read; "
                "scale it to 16 bits first"
            )
        transparent = image.info.get("transparency")
        if isinstance(transparent, int):
            whole[whole == transparent] = 65535
        share = (65535 - whole if white_is_zero else whole) / 65535
        curve = _in_srgb(Image.fromarray(np.arange(256, dtype=np.uint8)[None]), profile)
        if profile:
            share = np.interp(share, np.linspace(0, 1, 256), np.array(curve)[0] / 255)
        return share.astype(np.float32)[:, :, None]
    if image.mode == "F":
        values = np.array(image, dtype=np.float32)
        if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
            raise ImageError(f"{file} holds floats outside [0, 1] or NaN: scale them to [0, 1] first")
        return (np.float32(1) - values if white_is_zero else values)[:, :, None]
    if image.mode in {"LA", "RGBA", "PA", "RGBa"} or "transparency" in image.info:
        rgba = image.convert("RGBA")
        alpha = np.array(rgba.getchannel("A"), dtype=np.float32)[:, :, None] / np.float32(255)
        shown = _in_srgb(rgba.convert("L" if image.mode in {"L", "LA"} else "RGB"), profile).convert("RGB")
        on_white: _Floats = np.array(shown, dtype=np.float32) / np.float32(255) * alpha + (1 - alpha)
        return on_white
    grey = image.mode in {"1", "L"}
    if image.mode not in {"L", "CMYK", "LAB"}:
        image = image.convert("L" if grey else "RGB")
    image = _in_srgb(image, profile)
    eight = np.array(image.convert("L" if grey else "RGB"), dtype=np.float32) / np.float32(255)
    return eight[:, :, None] if grey else eight


def fit(image: Tensor, size: tuple[int, int], how: str = "crop") -> Tensor:
    """Resize (N, C, h, w) to (N, C, H, W) for `size` (H, W); the same tensor if it has that size.

    "crop" covers the size and cuts the centre out, "stretch" ignores the proportions, "pad" shows all
    of the image with white beside it. Antialiased bilinear. Raises ImageError, ConfigError.
    """
    if how not in ("crop", "stretch", "pad"):
        raise ConfigError(f'unknown way to fit an image {how!r}: use "crop", "stretch" or "pad"')
    if image.ndim != 4 or image.numel() == 0 or not image.is_floating_point():
        raise ImageError(
            f"expected floats (N, C, H, W), got {image.dtype} {tuple(image.shape)}: use check_images first"
        )
    if len(size) != 2 or any(not isinstance(side, int) or side < 1 for side in size):
        raise ImageError(f"the size must be two whole numbers of pixels (height, width), got {size!r}")
    height, width = size
    if image.shape[2:] == (height, width):
        return image
    if how == "stretch":
        return _resized(image, height, width)
    nearest = max if how == "crop" else min
    scale = nearest(height / image.shape[2], width / image.shape[3])
    if how == "crop":
        # Of a strip, what lies far outside the cut is dropped first: 1×5000 would be blown up to 224×1120000.
        # Photos are left whole, so that they come out as from the usual resize and centre crop.
        for dim, side in ((2, height), (3, width)):
            reach = 8 * math.ceil(side / scale)
            drop = max(0, (image.shape[dim] - reach) // 2)
            image = image.narrow(dim, drop, image.shape[dim] - 2 * drop)
    tall, wide = (max(1, round(side * scale)) for side in image.shape[2:])
    tall, wide = nearest(tall, height), nearest(wide, width)
    image = _resized(image, tall, wide)
    top, left = abs(tall - height) // 2, abs(wide - width) // 2
    if how == "crop":
        return image[:, :, top : top + height, left : left + width].contiguous()
    return F.pad(image, (left, width - wide - left, top, height - tall - top), value=1.0)


def _resized(image: Tensor, height: int, width: int) -> Tensor:
    resized = F.interpolate(image, (height, width), mode="bilinear", align_corners=False, antialias=True)
    return resized.clamp(0, 1)


def check_images(images: Tensor | npt.NDArray[Any]) -> Tensor:
    """Return (C, H, W) or (N, C, H, W) floats in [0, 1] as float32 (N, C, H, W), on their device.

    Differentiable; a tensor that is right already is not copied. Raises ImageError naming the remedy.
    """
    if isinstance(images, np.ndarray):
        if images.dtype.kind not in "biuf":
            raise ImageError(f"images must be floats in [0, 1], got {images.dtype}: give numbers")
        if images.dtype.kind != "f":
            raise _no_floats(images.dtype)
        with np.errstate(over="ignore"):
            images = torch.from_numpy(np.array(images, dtype=np.float32, order="C"))
    if not isinstance(images, Tensor):
        raise ImageError(f"images must be a tensor or an array, got {type(images).__name__}: use read_image")
    if not images.is_floating_point():
        raise _no_floats(images.dtype)
    if images.ndim not in (3, 4) or images.numel() == 0:
        raise ImageError(
            f"images must be (C, H, W) or (N, C, H, W), got {tuple(images.shape)}: "
            "add the channel dimension of a greyscale image by image[None]"
        )
    channels, height, width = images.shape[-3:]
    if width in (1, 3, 4) and channels > 4 and height > 4:
        order = "2, 0, 1" if images.ndim == 3 else "0, 3, 1, 2"
        raise ImageError(
            f"images of shape {tuple(images.shape)} have their channels last: use image.permute({order})"
        )
    low, high = (float(value) for value in images.detach().float().aminmax())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ImageError("images hold NaN or infinite values: find where they come from, or mend them")
    slack = TOLERANCE + 1e-6  # float32 has no 1.0001
    if low >= -slack and high <= 1 + slack:
        images = images.to(torch.float32)
        return images if images.ndim == 4 else images.unsqueeze(0)
    remedy = "give plain images; the encoder subtracts the mean and divides by the deviation itself"
    if low >= 0 and 1.5 < high <= 255:
        remedy = "divide by 255"
    elif low >= -1 - slack and high <= 1 + slack:
        remedy = "if they are in [-1, 1], use (image + 1) / 2; if they are normalised, undo that"
    raise ImageError(f"images must be in [0, 1], got [{low:.4g}, {high:.4g}]: {remedy}")


def _no_floats(dtype: object) -> ImageError:
    return ImageError(f"images must be floats in [0, 1], got {dtype}: convert to float and divide by 255")


def to_pil(image: Tensor) -> Image.Image:
    """Turn (1, C, H, W), (C, H, W) or (H, W) into an 8-bit Pillow image, clipping to [0, 1].

    1 channel gives "L", 3 give "RGB"; other numbers are tiled as greyscale in a near-square grid.
    Raises ImageError on several images, integers, NaN or Inf, and empty images.
    """
    if image.ndim not in (2, 3, 4) or image.numel() == 0 or (image.ndim == 4 and image.shape[0] != 1):
        raise ImageError(
            f"expected one image (C, H, W), got the shape {tuple(image.shape)}: write the images one by one"
        )
    if not image.is_floating_point():
        raise _no_floats(image.dtype)
    values = image.detach().to("cpu", torch.float32)
    values = values.reshape(-1, *values.shape[-2:])
    if not torch.isfinite(values).all():
        raise ImageError("the image holds NaN or infinite values: it cannot be written")
    eight = (values.clamp(0, 1) * 255).round().to(torch.uint8)
    if eight.shape[0] == 3:
        return Image.fromarray(eight.permute(1, 2, 0).contiguous().numpy())
    # row by row, white where the grid is not full
    count, height, width = eight.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    grid = eight.new_full((rows * columns, height, width), 255)
    grid[:count] = eight
    grid = grid.reshape(rows, columns, height, width).permute(0, 2, 1, 3)
    return Image.fromarray(grid.reshape(rows * height, columns * width).numpy())


def png_bytes(image: Tensor) -> bytes:
    """Return the image as the bytes of a PNG file; see `to_pil` for shapes and errors."""
    buffer = io.BytesIO()
    to_pil(image).save(buffer, format="PNG", compress_level=COMPRESSION)
    return buffer.getvalue()


def gif_bytes(images: Tensor, milliseconds: int = 80) -> bytes:
    """Images (N, C, H, W), each shown so long, over and over, as the bytes of a GIF file. Raises as
    ``to_pil``."""
    first, *others = (to_pil(image).convert("RGB") for image in images)
    buffer = io.BytesIO()
    first.save(buffer, "GIF", save_all=True, append_images=others, duration=milliseconds, loop=0)
    return buffer.getvalue()


def write_png(image: Tensor, path: str | Path) -> None:
    """Write the image as an 8-bit PNG file, atomically; see `to_pil`. Raises ImageError, OutputError."""
    write_atomic(path, png_bytes(image))
