"""The README and the docs: their snippets run, their commands parse, their links lead somewhere."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import pytest

from netinvert.cli.app import parse
from netinvert.inversion.canvases import CANVASES
from netinvert.inversion.presets.by_name import MAXIMISING, PRESETS
from netinvert.models.registry import NETWORKS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
LONG = ("transformers.md", "decoders.md", "deepvis.md")  # of whose snippets some take seconds
BLOCK = re.compile(r"^```(\S*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
CELL = "{code-cell}"


def blocks(page: Path, language: str) -> list[str]:
    return [text for kind, text in BLOCK.findall(page.read_text()) if kind == language]


def commands() -> list[str]:
    found = []
    for page in PAGES:
        for text in blocks(page, ""):
            lines = re.sub(r"\\\n\s*", " ", text).splitlines()
            found += [line for line in lines if line.startswith("netinvert ")]
    for page in TUTORIALS:
        cells = (text.partition("%%bash\n")[2] for text in blocks(page, CELL))
        found += [re.sub(r"\\\n\s*", " ", text).strip() for text in cells if text]
    return list(dict.fromkeys(found))


@pytest.mark.parametrize("line", commands())
def test_commands_parse(line, tmp_path, monkeypatch, capsys):
    """Up to what they read: a file of the user's that is not here is the only thing that may be missing."""
    monkeypatch.chdir(tmp_path)
    words = shlex.split(line, comments=True)[1:]
    parse(words)


def anchors(page: Path) -> list[str]:
    """Of its headings, as GitHub and the site make them."""
    headings = re.findall(
        r"^#+ (.*)$", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL), re.MULTILINE
    )
    return [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]


@pytest.mark.parametrize("page", [*PAGES, *TUTORIALS], ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target, anchor in re.findall(r"\]\(([^)#]*)(?:#([^)]*))?\)", text):
        if "://" not in target:
            there = page.parent / target
            assert there.exists(), f"{page.name} links {target}"
            assert not anchor or anchor in anchors(there if target else page), (
                f"{page.name}: {target}#{anchor}"
            )


def test_every_page_is_in_a_table_of_contents():
    found = [line for text in blocks(ROOT / "docs" / "index.md", "{toctree}") for line in text.splitlines()]
    entries = [f"{re.sub('.*<|>', '', line)}.md" for line in found if line and not line.startswith(":")]
    assert all((ROOT / "docs" / entry).is_file() for entry in entries)
    pages = [page for page in (*PAGES, *TUTORIALS) if page.name not in ("README.md", "index.md")]
    missing = {page.resolve() for page in pages} - {(ROOT / "docs" / entry).resolve() for entry in entries}
    assert missing == set()


@pytest.mark.parametrize("page", [*PAGES[1:], *TUTORIALS], ids=lambda page: page.name)
def test_pages_that_are_linked_are_on_the_site(page):
    """`make docs` takes every warning for an error: of a page that its patterns leave out, or of a folder."""
    (found,) = re.findall(r"include_patterns = \[(.*?)\]", (ROOT / "docs/conf.py").read_text(), re.DOTALL)
    patterns = [pattern.replace("**.md", "**/*.md") for pattern in ast.literal_eval(f"[{found}]")]
    there = {file.resolve() for pattern in patterns for file in ROOT.glob(pattern)}
    text = re.sub(r"```(?!{toctree}).*?```", "", page.read_text(), flags=re.DOTALL)
    links = re.findall(r"\]\(([^)#:]+\.md)\b", text)
    links += [f"{line}.md" for line in re.findall(r"^\.\./[\w/*-]+$", text, re.MULTILINE)]
    linked = [file.resolve() for link in links for file in page.parent.glob(link)]
    assert {str(file.relative_to(ROOT)) for file in linked if file not in there} <= {"README.md"}
    files = re.findall(r"\]\(([^)#:]+)\)", text)
    assert [file for file in files if page.name != "README.md" and (page.parent / file).is_dir()] == []


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.name)
def test_tutorials_are_notebooks(page):
    """Whose commands parse (above); `make docs` runs them."""
    assert page.read_text().startswith("---\njupytext:\n")
    cells = blocks(page, CELL)
    assert len(cells) >= 3
    for cell in cells:
        if not cell.startswith("%%bash\n"):
            ast.parse(cell)
    assert f"{{nb-download}}`{page.stem}.ipynb`" in page.read_text()


def test_the_reference_has_every_public_name():
    import netinvert as ni

    told = blocks(ROOT / "docs" / "api.md", "{eval-rst}")
    assert (
        sorted(name for text in told for name in re.findall(r"^\.\. auto\w+:: (\w+)$", text, re.M))
        == ni.__all__
    )


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[pytest.mark.slow] if page.name in LONG else [], id=page.name)
        for page in PAGES
        if blocks(page, "python")
    ],
)
def test_snippets_run(page, tmp_path, monkeypatch):
    """One after another, as a reader would; in a directory with an image ``photo.jpg``. Inversions take a few
    steps: how good they are is tested elsewhere."""
    import netinvert as ni

    check = ni.Stage.__post_init__

    def shortened(stage: ni.Stage) -> None:
        for name in ("steps", "averaged"):
            object.__setattr__(stage, name, min(getattr(stage, name), 4))
        check(stage)

    monkeypatch.setattr(ni.Stage, "__post_init__", shortened)
    for registry in (NETWORKS, CANVASES, PRESETS, MAXIMISING):  # what a page registers goes with it
        monkeypatch.setattr(registry, "_things", dict(registry._things))
    monkeypatch.chdir(tmp_path)
    ni.write_png(ni.read_image(ni.sample("astronaut"))[0], "photo.png")
    Path("photo.png").rename("photo.jpg")
    names: dict[str, object] = {"__name__": "__main__"}
    for text in blocks(page, "python"):
        exec(compile(text, str(page), "exec"), names)


def test_the_readme_fits_on_a_few_screens():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


def test_the_class_models_are_said_to_be_what_they_are():
    tool = (ROOT / "tools" / "make_optimisation_pictures.py").read_text()
    presets = re.findall(r'"[\w-]+"', re.search(r"^PRESETS = (.*)$", tool, re.MULTILINE)[1])
    alt = re.search(r"!\[([^\]]*)\]\(classes\.jpg\)", (ROOT / "docs" / "optimisation.md").read_text())[1]
    assert ("two", "three", "four", "five", "six")[len(presets) - 2] in alt


REFUTED = ("private language", "most faithful", "Both together have both", "all there from the first layer")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_claims_that_controls_refuted_do_not_come_back(page):
    assert not [claim for claim in REFUTED if claim in " ".join(page.read_text().split())]


def texts_of(node):
    """The texts in a piece of code; what is put into them is left out with an ellipsis."""
    for one in ast.walk(node):
        if isinstance(one, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else "…" for part in one.values)
            yield "".join(parts)
        elif isinstance(one, ast.Constant) and isinstance(one.value, str):
            yield one.value.replace("{}", "…")


def test_messages_that_are_explained_are_said():
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    table = page[page.index("## Messages") :].splitlines()[4:]
    said = "\n".join(
        text for file in (ROOT / "src").rglob("*.py") for text in texts_of(ast.parse(file.read_text()))
    )
    rows = [line.split("|")[1].strip().rstrip(" …") for line in table if line.startswith("|")]
    assert len(rows) >= 10
    unknown = [row for row in rows if not re.search(re.escape(row).replace("…", "…[^\n]*"), said)]
    assert unknown == []
