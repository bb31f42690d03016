"""The house in figures: size, walks, names, extension, start-up. ``python tools/house.py [--json FILE]``.

Walks count the files of netinvert in which a function is called while a user's call runs, imports left out
(``sys.setprofile``). Names are counted over all rooms: a public function or class is to be defined once.
"""

from __future__ import annotations

import argparse
import ast
import collections
import contextlib
import io
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).resolve().parents[1]
SRC = ROOT / "src" / "netinvert"
Walk = dict[str, set[str]]
"""Names of functions by file."""


def size() -> dict[str, object]:
    """Lines and files of the package, and by room."""
    lines = {path: len(path.read_text().splitlines()) for path in SRC.rglob("*.py")}
    rooms: collections.Counter[str] = collections.Counter()
    for path, count in lines.items():
        inside = path.relative_to(SRC).parts
        rooms[inside[0] if len(inside) > 1 else "top level"] += count
    longest = max(lines, key=lambda path: lines[path])
    return {
        "lines": sum(lines.values()),
        "files": len(lines),
        "longest": f"{longest.relative_to(SRC)} ({lines[longest]})",
        "rooms": dict(sorted(rooms.items())),
    }


def repeated_names() -> dict[str, list[str]]:
    """Public functions and classes that more than one file defines."""
    where = collections.defaultdict(set)
    for path in sorted(SRC.rglob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                where[node.name].add(str(path.relative_to(SRC)))
    return {name: sorted(places) for name, places in sorted(where.items()) if len(places) > 1}


def files_entered(call: Callable[[], object]) -> Walk:
    """The package's files in which a function is called, and which; but for what imports call."""
    entered: Walk = collections.defaultdict(set)

    def note(frame: FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        # CO_OPTIMIZED marks functions: the bodies of modules and classes run at import
        if event == "call" and code.co_filename.startswith(str(SRC)) and code.co_flags & 1:
            file = str(Path(code.co_filename).relative_to(SRC))
            if code.co_name not in entered[file] and not _importing(frame):
                entered[file].add(code.co_name)

    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
    return {file: names for file, names in sorted(entered.items()) if names}


def _importing(frame: FrameType | None) -> bool:
    """Whether the body of one of the package's modules is at work further out: it fills a table, say."""
    while frame is not None:
        if frame.f_code.co_name == "<module>" and frame.f_code.co_filename.startswith(str(SRC)):
            return True
        frame = frame.f_back
    return False


def walks() -> dict[str, Walk]:
    """Files entered by the two commands and the one call that most users need."""
    import netinvert as ni
    from netinvert.cli.app import main

    def command(line: str) -> Callable[[], object]:
        def run() -> None:
            before = sys.argv
            sys.argv = ["netinvert", *line.split()]
            try:
                with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
                    main()
            finally:
                sys.argv = before

        return run

    with tempfile.TemporaryDirectory() as folder:
        chair = SRC / "data" / "chair.png"
        out = f"--out {folder}"
        found = {
            "invert": files_entered(command(f"invert {chair} -n posenet -l relu3 --steps 5 {out}/invert")),
            "decode": files_entered(command(f"decode {chair} -D posenet-fc6 {out}/decode")),
        }
        assert (Path(folder) / "invert" / "manifest.json").exists(), "the walk of invert has failed"
        assert (Path(folder) / "decode" / "manifest.json").exists(), "the walk of decode has failed"
    encoder = ni.Encoder(ni.load_network("posenet"), "relu3")
    code = encoder(ni.read_image(chair))
    found["ni.invert"] = files_entered(lambda: ni.invert(encoder, code, steps=5))
    return found


EXERCISES = {
    "own_prior": "tests/inversion/test_extending.py",
    "OwnCanvas": "tests/inversion/test_extending.py",
    "own_objective": "tests/inversion/test_extending.py",
    "mine": "tests/models/test_extending_network.py",
}


def extension_lines() -> dict[str, int]:
    """Lines, without empty ones, of the exercises that tests run and the docs show."""
    found = {}
    for name, file in EXERCISES.items():
        text = (ROOT / file).read_text()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
                first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
                lines = text.splitlines()[first - 1 : node.end_lineno]
                found[name] = sum(bool(line.strip()) for line in lines)
                break
    return found


def rerun() -> dict[str, list[str]]:
    """Commands that write, and those of them that ``rerun`` repeats."""
    from netinvert.experiments.commands import COMMANDS
    from netinvert.io.pieces import Output

    writing = [name for name, command in COMMANDS.items() if issubclass(command.load(), Output)]
    return {"writes": writing, "repeats": [name for name in writing if name != "rerun"]}


def cpu_seconds(*arguments: str) -> float:
    """User and system time of a command in a fresh process; the least of three."""
    times = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "netinvert", *arguments], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    return min(times)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="write the figures there too")
    parser.add_argument("--walks", action="store_true", help="print only each walk's files and functions")
    arguments = parser.parse_args()
    entered = walks()
    if arguments.walks:
        for name, files in entered.items():
            print(f"{name}: {len(files)} files")
            for file, functions in files.items():
                print(f"    {file}: {', '.join(sorted(functions))}")
        return
    figures = {
        "size": size(),
        "repeated names": repeated_names(),
        "walks": {name: sorted(files) for name, files in entered.items()},
        "extension lines": extension_lines(),
        "rerun": rerun(),
        "CPU seconds": {option: round(cpu_seconds(option), 2) for option in ("--help", "--version")},
    }
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    facts = figures["size"]
    print(f"lines, files           {facts['lines']:,} in {facts['files']}, longest {facts['longest']}")
    print(
        "by room               ",
        ", ".join(f"{room} {count:,}" for room, count in figures["size"]["rooms"].items()),
    )
    print("files entered         ", ", ".join(f"{name} {len(files)}" for name, files in entered.items()))
    print("names defined twice   ", len(figures["repeated names"]), ", ".join(figures["repeated names"]))
    print(
        "lines of an extension ",
        ", ".join(f"{name} {count}" for name, count in figures["extension lines"].items()),
    )
    print(f"rerun repeats          {len(figures['rerun']['repeats'])} of {len(figures['rerun']['writes'])}")
    print(
        "CPU seconds           ",
        ", ".join(f"{name} {value}" for name, value in figures["CPU seconds"].items()),
    )


if __name__ == "__main__":
    main()
