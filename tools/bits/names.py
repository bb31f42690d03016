"""netinvert's public names, wherever they live: ``from bits import names as ni``, then ``ni.invert``.

No public function or class is defined in two files, so that files may move without a change here.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import re
from pathlib import Path
from typing import Any

DEFINITION = re.compile(r"(?:def|class) ([A-Za-z]\w*)|([A-Z][A-Z_]+)(?:: .+)? = ")


@functools.cache
def _modules() -> dict[str, str]:
    found: dict[str, str] = {}
    package = Path(importlib.import_module("netinvert").__file__ or "").parent
    for path in sorted(package.rglob("*.py")):
        module = ".".join(path.relative_to(package.parent).with_suffix("").parts)
        for match in filter(None, map(DEFINITION.match, path.read_text().splitlines())):
            found.setdefault(match[1] or match[2], module.removesuffix(".__init__"))
    return found


def __getattr__(name: str) -> Any:  # noqa: ANN401
    """The object that a name stands for."""
    if name not in _modules():
        raise AttributeError(f"netinvert defines no {name}")
    return getattr(importlib.import_module(_modules()[name]), name)


def command(line: str, **words: object) -> str:
    """Run a command of netinvert in this process, with words for {placeholders}; gives what it prints."""
    arguments = [word.format(**words) for word in line.split()]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = __getattr__("main")(arguments)
    if code:
        raise RuntimeError(f"netinvert {' '.join(arguments)} ended with {code}: {err.getvalue()[-2000:]}")
    return out.getvalue()
