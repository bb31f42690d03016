"""Make tests/data/vlfeat.npz: HOG and dense SIFT of small pictures by VLFeat itself, called through ctypes.

    apt download libvlfeat1 && dpkg-deb -x libvlfeat1_*.deb vlfeat
    python tools/make_vlfeat_reference.py --library vlfeat/usr/lib/x86_64-linux-gnu/libvl.so.1

The pictures lie in the file too, as 8-bit grey (H, W); VLFeat saw them as floats in 0..255, "faint" in 0..1.
"""

from __future__ import annotations

import argparse
import ctypes
from pathlib import Path

import numpy as np
import numpy.typing as npt

from netinvert.io.images import fit, read_image

Floats = npt.NDArray[np.float32]
PHOTOGRAPHS = Path("src/netinvert/data/photographs")
UOCTTI = 1
DIRECTED = 18
WINDOW = 1.5
STEP = 3  # in bins
FIELDS = {  # VlDsiftFilter in dsift.h: all int up to the window's size, a double, and what is read after it
    "numbers": ctypes.c_int * 14,
    "window": ctypes.c_double,
    "frames": ctypes.c_int,
    "length": ctypes.c_int,
    "keypoints": ctypes.c_void_p,
    "descriptors": ctypes.POINTER(ctypes.c_float),
    "private": ctypes.c_byte * 256,
}
BOUNDS, FLAT = slice(4, 8), 13


class DsiftFilter(ctypes.Structure):
    _fields_ = list(FIELDS.items())


def pictures() -> dict[str, npt.NDArray[np.uint8]]:
    def grey(name: str, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
        image = fit(read_image(PHOTOGRAPHS / f"{name}.jpg", channels=1), size)[0, 0]
        return (image * 255).round().byte().numpy()

    half = np.full((48, 48), 90, np.uint8)
    half[:, 30:] = 200
    noise = np.random.default_rng(0).integers(0, 256, (50, 61), dtype=np.uint8)
    return {
        "photograph": grey("chelsea", (96, 72)),
        "uneven": grey("rocket", (91, 77)),  # the cells do not fit
        "faint": grey("camera", (64, 64)),
        "half": half,  # flat but for an edge
        "noise": noise,
    }


def pointer(array: Floats) -> ctypes._Pointer[ctypes.c_float]:
    return array.ctypes.data_as(ctypes.POINTER(ctypes.c_float))


def hog(library: ctypes.CDLL, image: Floats, cell: int, bilinear: bool) -> Floats:
    height, width = image.shape
    sizes = [ctypes.c_size_t(number) for number in (width, height, 1, cell)]
    library.vl_hog_new.restype = ctypes.c_void_p
    handle = ctypes.c_void_p(library.vl_hog_new(UOCTTI, ctypes.c_size_t(DIRECTED // 2), 0))
    library.vl_hog_set_use_bilinear_orientation_assignments(handle, int(bilinear))
    library.vl_hog_put_image(handle, pointer(image), *sizes)
    for getter in ("height", "width", "dimension"):
        getattr(library, f"vl_hog_get_{getter}").restype = ctypes.c_size_t
    shape = tuple(getattr(library, f"vl_hog_get_{name}")(handle) for name in ("dimension", "height", "width"))
    features = np.zeros(shape, np.float32)
    library.vl_hog_extract(handle, pointer(features))
    library.vl_hog_delete(handle)
    return features[: 3 * DIRECTED // 2]  # without texture


def dsift(library: ctypes.CDLL, image: Floats, size: int) -> Floats:
    height, width = image.shape
    library.vl_dsift_new_basic.restype = ctypes.POINTER(DsiftFilter)
    handle = library.vl_dsift_new_basic(width, height, STEP * size, size)
    content = handle.contents
    content.numbers[BOUNDS] = [size, size, width - 1 - size, height - 1 - size]
    content.numbers[FLAT] = 1
    content.window = WINDOW
    library._vl_dsift_update_buffers(handle)
    library.vl_dsift_process(handle, pointer(image))
    found = np.ctypeslib.as_array(content.descriptors, (content.frames, content.length)).copy()
    across = (width - 1 - 5 * size) // (STEP * size) + 1
    library.vl_dsift_delete(handle)
    return found.T.reshape(content.length, -1, across)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--library", type=Path, required=True, help="VLFeat 0.9.21, libvl.so")
    parser.add_argument("--out", type=Path, default=Path("tests/data/vlfeat.npz"))
    options = parser.parse_args()
    library = ctypes.CDLL(str(options.library))
    arrays: dict[str, npt.NDArray[np.generic]] = {}
    for name, picture in pictures().items():
        image = np.ascontiguousarray(picture, np.float32)
        if name == "faint":
            image /= np.float32(255)
        arrays[f"{name} image"] = picture
        for cell in (8, 5) if name == "uneven" else (8,):
            arrays[f"{name} hog {cell}"] = hog(library, image, cell, bilinear=False)
            arrays[f"{name} hogb {cell}"] = hog(library, image, cell, bilinear=True)
            arrays[f"{name} dsift {cell}"] = dsift(library, image, cell)
    np.savez_compressed(options.out, **arrays)
    print(f"{options.out}: {options.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
