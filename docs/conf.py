"""The site, by `make docs`. Its sources are the pages as they lie in the repository: links hold in both."""

import re

from nbclient import NotebookClient
from sphinx.application import Sphinx

from netinvert import __version__

project, author, copyright = "netinvert", "the netinvert authors", "the netinvert authors"
release = __version__
root_doc = "docs/index"
include_patterns = [
    "docs/**.md",
    "benchmarks/results/**.md",
    "src/netinvert/data/**.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "SECURITY.md",
]
exclude_patterns = [".*", "build", "dist", "docs/_build", "out", "tests", "tools", "**/__pycache__"]

extensions = ["myst_nb", "sphinx.ext.autodoc"]
myst_heading_anchors = 3
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 900
nb_render_markdown_format = "gfm"  # its tables
nb_output_stderr = "remove"  # how far a command is
nb_execution_excludepatterns = ["benchmarks/*", "src/*"]
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False
python_use_unqualified_type_names = True
maximum_signature_line_length = 90
# What a command prints comes in pieces of 100 bytes: one output of it, or lines break in the middle.
NotebookClient.coalesce_streams = True
highlight_language = "bash"

html_theme = "furo"
html_title = "netinvert"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_extra_path = ["_extra"]
html_copy_source = html_show_sourcelink = False


def escaped(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Stars and bars in docstrings, ``(N, *shape)`` say, are themselves; examples stay as they are."""
    parts = [
        part if part.lstrip().startswith(">>>") else re.sub(r"(``.*?``)|([*|])", _one, part, flags=re.DOTALL)
        for part in "\n".join(lines).split("\n\n")
    ]
    lines[:] = "\n\n".join(parts).split("\n")


def _one(found: re.Match[str]) -> str:
    return found[1] or f"\\{found[2]}"


def readable(app: Sphinx, page: str, template: str, context: dict[str, object], tree: object) -> None:
    """No line ends within an option, long names may be divided, a picture leads to itself in full size."""
    if "body" not in context:
        return
    body = re.sub(
        r"<div class=\"highlight-(?:bash|default|none) .*?</pre>",
        lambda block: re.sub(r"(?<=[\s>])--?[a-z][\w-]*", r'<span class="option">\g<0></span>', block[0]),
        str(context["body"]),
        flags=re.DOTALL,
    )
    body = re.sub(r'<span class="pre">([^<]*)', _word, body)
    context["body"] = re.sub(
        r'(?<!">)<img [^>]*?src="([^"]*_images/[^"]*)"[^>]*>', r'<a href="\1">\g<0></a>', body
    )


def _word(found: re.Match[str]) -> str:
    """Of code in a sentence."""
    if found[1].startswith("-"):
        return f'<span class="pre option">{found[1]}'
    return found[0] if len(found[1]) < 25 else re.sub(r"(?<=[/_:.=])(?=\w)", "<wbr>", found[0])


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", escaped)
    app.connect("html-page-context", readable)
