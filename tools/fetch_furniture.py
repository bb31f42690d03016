"""Fetch the furniture libraries of Sweet Home 3D: 820 models by other hands, some 100 of them seats.

    python tools/fetch_furniture.py --out out/furniture

leaves BlendSwap-CC-0.sh3f (CC0), BlendSwap-CC-BY.sh3f, KatorLegaz.sh3f, Reallusion.sh3f and Scopia.sh3f
(CC-BY 3.0) and their copyright file, out of Debian's package sweethome3d-furniture, whose SHA-256 is checked.
120 MB.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import tarfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from netinvert.io.files import write_atomic
from netinvert.io.folders import make_directory

URL = "https://deb.debian.org/debian/pool/main/s/sweethome3d-furniture/sweethome3d-furniture_1.8-1_all.deb"
SHA256 = "3ccb90c63f9525e887a767b9cd5c8b6933b8b6b2973a615a5359ee68a2118668"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("out/furniture"))
    parser.add_argument("--package", type=Path, help="the package, if it has been fetched already")
    options = parser.parse_args()
    package = options.package.read_bytes() if options.package else fetched(URL)
    if hashlib.sha256(package).hexdigest() != SHA256:
        raise SystemExit(f"{options.package or URL} is not version 1.8-1, whose SHA-256 is {SHA256}")
    make_directory(options.out)
    for name, content in unpacked(package):
        write_atomic(options.out / name, content)
        print(f"{options.out / name}: {len(content) / 1e6:.1f} MB")


def fetched(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return bytes(answer.read())
    except OSError as error:
        raise SystemExit(
            f"cannot fetch {url} ({error}): fetch it elsewhere and give --package FILE"
        ) from error


def unpacked(package: bytes) -> Iterator[tuple[str, bytes]]:
    """Libraries and the copyright file. A Debian package is an ar archive: after eight bytes, members of a
    header of 60, with the name and the size as text, and their content, made even."""
    place = 8
    while place < len(package):
        name, size = package[place : place + 16].decode().strip(" /"), int(package[place + 48 : place + 58])
        content = package[place + 60 : place + 60 + size]
        if name.startswith("data.tar"):
            with tarfile.open(fileobj=io.BytesIO(content)) as archive:
                for one in archive:
                    file = Path(one.name)
                    if file.suffix == ".sh3f" or file.name == "copyright":
                        inside = archive.extractfile(one)
                        assert inside is not None
                        yield file.name, inside.read()
        place += 60 + size + size % 2


if __name__ == "__main__":
    main()
