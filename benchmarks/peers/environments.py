"""An environment for each peer, which borrows torch and all else from the one that runs the benchmark."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Sequence
from pathlib import Path

READY = "ready.json"


def python_of(name: str, packages: Sequence[str], root: Path) -> Path:
    """The interpreter of the environment ``root/name``, made first if it is not there or is another's."""
    folder = root / name
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    wanted = {"packages": list(packages), "borrowed": borrowed(), "python": sys.version}
    if python.exists() and (folder / READY).exists() and json.loads((folder / READY).read_text()) == wanted:
        return python
    print(f"making the environment of {name} in {folder}", flush=True)
    venv.create(folder, clear=True, with_pip=False)
    own = site_packages(python)
    # A line that starts with "import" runs; addsitedir appends, so that the peer's own packages come first.
    line = f"import site; site.addsitedir({borrowed()!r})\n"
    (own / "zz_borrowed.pth").write_text(line)
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "-qq"]
    subprocess.run([*pip, "--disable-pip-version-check", "--no-deps", *packages], check=True)
    (folder / READY).write_text(json.dumps(wanted))
    return python


def borrowed() -> str:
    """The site-packages of the running interpreter."""
    return sysconfig.get_paths()["purelib"]


def site_packages(python: Path) -> Path:
    """The site-packages of another interpreter."""
    code = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    found = subprocess.run([str(python), "-c", code], check=True, capture_output=True, text=True)
    return Path(found.stdout.strip())
