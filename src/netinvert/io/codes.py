"""Codes in files, of whichever kind they are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from netinvert.errors import CodeError
from netinvert.io.files import check_readable, load_tensors, load_torch, refusing

if TYPE_CHECKING:
    from torch import Tensor


def read_code(path: str | Path) -> Tensor:
    """Read a code of any shape as float32 from `.npy`, `.safetensors`, `.pt` or `.pth`; no code is run.

    Raises CodeError: missing, damaged, empty, not real numbers, NaN or Inf, several tensors.
    """
    import torch

    file = check_readable(path, CodeError)
    suffix = file.suffix.lower()
    with refusing(file, CodeError, remedy="save the code again with numpy.save"):
        if suffix == ".npy":
            code = _read_npy(file)
        elif suffix == ".safetensors":
            code = _the_code(file, load_tensors(file)[0])
        elif suffix in {".pt", ".pth"}:
            code = _the_code(file, load_torch(file))
        else:
            raise CodeError(
                f"{file}: a code is a .npy, .safetensors, .pt or .pth file; encode an image to get it"
            )
    if code.is_complex() or code.is_quantized or code.layout != torch.strided:
        raise CodeError(f"{file} holds {code.dtype} {code.layout}: save it as dense real numbers")
    if code.numel() == 0:
        raise CodeError(f"{file} holds an empty code of shape {tuple(code.shape)}: encode an image again")
    code = code.detach().to(torch.float32).contiguous()
    if bad := int((~torch.isfinite(code)).sum()):
        raise CodeError(
            f"{file}: {bad} of {code.numel()} values are NaN or infinite as float32: "
            "mend them (numpy.nan_to_num) or encode again"
        )
    return code


def _read_npy(file: Path) -> Tensor:
    import numpy as np
    import torch

    with np.errstate(over="ignore"):  # what overflows float32 is reported as infinite
        # Mapped, a file that is shorter than it says is refused before memory is asked for.
        array = np.load(file, mmap_mode="r", allow_pickle=False)
        if not isinstance(array, np.ndarray):
            array.close()
            raise CodeError(f"{file} is an .npz archive: save one array with numpy.save")
        if array.dtype.kind not in "biuf":
            raise CodeError(f"{file} holds {array.dtype}: save real numbers, such as float32")
        return torch.from_numpy(np.array(array, dtype=np.float32, order="C"))


def _the_code(file: Path, stored: object) -> Tensor:
    from torch import Tensor

    if isinstance(stored, Tensor):
        return stored
    if isinstance(stored, list | tuple) and len(stored) == 1:
        return _the_code(file, stored[0])
    if not isinstance(stored, Mapping):
        several = f" of {len(stored)}: torch.stack them, or" if isinstance(stored, list | tuple) else ":"
        raise CodeError(f"{file} holds a {type(stored).__name__}{several} save one tensor")
    tensors = {str(name): value for name, value in stored.items() if isinstance(value, Tensor)}
    if isinstance(stored.get("code"), Tensor | list | tuple):
        return _the_code(file, stored["code"])
    if len(tensors) == 1:
        return next(iter(tensors.values()))
    names = ", ".join(sorted(tensors)[:8]) + (", …" if len(tensors) > 8 else "")
    raise CodeError(f'{file} holds {len(tensors)} tensors ({names}): name the code "code", or save it alone')
