"""The manifest of a run: what was asked, with what, and the hash of every file that came of it."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from netinvert.io.config import Config
from netinvert.io.files import sha256_of

FORMAT = 2
"""Raised when a key changes its meaning."""
MANIFEST = "manifest.json"
PAGES = {".html", ".md", ".svg", ".pdf"}
"""Made from the other files: they may say where and when, and so do not decide whether two runs agree."""


@dataclass(frozen=True)
class Outcome:
    """What a command gives back. ``facts`` go to stdout with ``--json`` (a run's are its manifest), ``text``
    without; ``folder`` is where its files are.
    """

    facts: Mapping[str, object]
    text: str = ""
    folder: Path | None = None


@dataclass(frozen=True)
class Comparison:
    """How the files of a second run differ from the first's; ``changed`` versions may be the reason."""

    identical: bool
    compared: int
    different: tuple[str, ...]
    changed: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """For people."""
        if self.identical:
            return f"bit-identical to the first run ({self.compared} files)"
        some = ", ".join(self.different[:5]) + ", …" * (len(self.different) > 5)
        reason = f" ({', '.join(self.changed)})" if self.changed else ""
        return f"not bit-identical to the first run: {some}{reason}"


def manifest(config: Config, entries: Mapping[str, object]) -> dict[str, Any]:
    """All that is known of a run but its files, which `RunDir.commit` adds; ``entries`` are its findings.

    Entries that ``rerun`` looks at: ``threads`` (as used), ``weights_sha256`` (of the network), and
    ``inputs``, the files that were read: ``{"option": FIELD, "name": PATH, "sha256": HASH}`` each.
    """
    return {
        "format": FORMAT,
        "command": config.to_facts(),
        "command_line": config.command_line(),
        **entries,
        "written": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "versions": versions(),
    }


def files_of(folder: Path) -> dict[str, dict[str, str]]:
    """``files``: the SHA-256 of every file in a folder but hidden ones and the manifest, by name; and
    ``contents``: of what its images and files of tensors hold, whatever wrote them."""
    shown = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and name != Path(MANIFEST) and not any(part[0] == "." for part in name.parts):
            shown[name.as_posix()] = path
    return hashes(shown)


def hashes(files: Mapping[str, Path]) -> dict[str, dict[str, str]]:
    """``files`` and ``contents`` of these, by their names."""
    contents = {name: content for name, path in files.items() if (content := _content(path)) is not None}
    return {"files": {name: sha256_of(path) for name, path in files.items()}, "contents": contents}


def compare(first: Mapping[str, Any], second: Mapping[str, Any]) -> Comparison:
    """Two manifests of the same command, file by file."""
    before, after = ({**(one.get("files") or {}), **(one.get("contents") or {})} for one in (first, second))
    names = sorted(name for name in {*before, *after} if Path(name).suffix not in PAGES)
    different = tuple(name for name in names if before.get(name) != after.get(name))
    then, now = first.get("versions") or {}, second.get("versions") or {}
    changed = [f"{name} {then.get(name)} → {now.get(name)}" for name in now if then.get(name) != now[name]]
    if first.get("weights_sha256") != second.get("weights_sha256"):
        changed.append("other weights")
    return Comparison(bool(names) and not different, len(names), different, tuple(changed))


def versions() -> dict[str, str]:
    """What the numbers of a run may depend on."""
    from importlib.metadata import version

    import torch

    return {
        "netinvert": version("netinvert"),
        "torch": torch.__version__,
        "numpy": version("numpy"),
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


def _content(path: Path) -> str | None:
    digest = hashlib.sha256()
    if path.suffix == ".png":
        from PIL import Image, UnidentifiedImageError

        try:
            with Image.open(path) as image:
                digest.update(f"{image.mode} {image.size}".encode() + image.tobytes())
        except UnidentifiedImageError:  # a file of that name that is no image
            return None
    elif path.suffix == ".safetensors":
        # By hand: without torch, for types that numpy lacks too, and whatever the order of the tensors.
        with path.open("rb") as stream:
            header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
            start = stream.tell()
            for name, entry in sorted(header.items()):
                if name != "__metadata__":
                    begin, end = entry["data_offsets"]
                    digest.update(json.dumps([name, entry["dtype"], entry["shape"]]).encode())
                    stream.seek(start + begin)
                    digest.update(stream.read(end - begin))
    else:
        return None
    return digest.hexdigest()
