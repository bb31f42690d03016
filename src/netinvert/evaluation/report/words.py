"""The words of reports: minimal inline markup, and numbers as text.

Sentences of a report are made from its figures with these, so that they never contradict them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from numbers import Integral

DASH = "–"  # for a value that is not known
_MARKUP = re.compile(
    r"(?P<ticks>(?<!`)`+)(?P<code>(?!`).+?(?<!`))(?P=ticks)(?!`)"
    r"|\*\*(?P<strong>\S(?:.*?\S)?)\*\*"
    r"|\[(?P<label>[^\[\]]+)\]\((?P<url>[^()\s]+)\)",
    re.DOTALL,
)
# Nothing that a browser would run: no other scheme, and without a scheme no colon at all.
_SAFE_URL = re.compile(r"(?:https?://|mailto:)[^\s<>\"]+|[\w#./~%?=&+-]+")

Piece = tuple[str, str, str]
"""A kind ("text", "code", "strong" or "link"), the words, and the address of a link."""


def pieces(text: str) -> list[Piece]:
    """Inline markup taken apart: `` `code` ``, ``**strong**`` and ``[words](address)``; all else is text.

    >>> pieces("layer `conv5` is **best**")
    [('text', 'layer ', ''), ('code', 'conv5', ''), ('text', ' is ', ''), ('strong', 'best', '')]
    >>> pieces("[no](javascript:link)")
    [('text', '[no](javascript:link)', '')]
    """
    found: list[Piece] = []
    last = 0
    for match in _MARKUP.finditer(text):
        url = match["url"] or ""
        if url and not _SAFE_URL.fullmatch(url):
            continue
        if match.start() > last:
            found.append(("text", text[last : match.start()], ""))
        last = match.end()
        if match["code"]:
            code = match["code"]
            padded = len(code) > 2 and code[0] == code[-1] == " "
            found.append(("code", code[1:-1] if padded else code, ""))
        else:
            found.append(("link", match["label"], url) if url else ("strong", match["strong"], ""))
    return found + [("text", text[last:], "")] * (last < len(text))


def code(text: str) -> str:
    """Any text, such as a name or a command, as inline code.

    >>> code("relu1"), code("a`b")
    ('`relu1`', '`` a`b ``')
    """
    words = " ".join(text.split()) or " "
    if "`" not in words:
        return f"`{words}`"
    fence = "`" * (1 + max(map(len, re.findall("`+", words))))
    return f"{fence} {words} {fence}"


def paragraphs(text: str) -> list[str]:
    """Parted by empty lines."""
    return [part.strip() for part in re.split(r"\n\s*\n", text) if part.strip()]


def plain(text: str) -> str:
    """The words alone, without the markup and on one line."""
    return " ".join("".join(words for _, words, _ in pieces(text)).split())


def printable(text: str) -> str:
    """On one line, and without what steers a terminal or cannot be drawn or encoded.

    >>> printable("red\\x1b[31m\\n text")
    'red�[31m  text'
    """
    return re.sub("[\x00-\x1f\x7f-\x9f\ud800-\udfff]", "\ufffd", re.sub(r"\s", " ", text))


def in_markdown(text: str) -> str:
    """Prose for Markdown: the markup kept, everything that is not ours escaped."""
    found = ""
    for kind, words, url in pieces(" ".join(text.split())):
        shown = code(words) if kind == "code" else escaped(words)
        found += {"strong": f"**{shown}**", "link": f"[{shown}]({url})"}.get(kind, shown)
    # What would begin a heading or a list.
    return re.sub(r"^(?:(\d+)(?=[.)])|(?=[#>+-]))", r"\1\\", found)


def escaped(text: str) -> str:
    r"""Plain text for Markdown, on one line.

    >>> escaped("a|b *c* <d>")
    'a\\|b \\*c\\* &lt;d>'
    """
    text = re.sub(r"([\\`*\[\]|])", r"\\\1", re.sub(r"\s+", " ", text)).replace("<", "&lt;")
    return re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", text)


def number(value: float | None, digits: int | None = None) -> str:
    """A number; a dash for an unknown one. Without ``digits``, three after the point, or one from 10 on.

    >>> number(0.12345), number(12.345), number(3), number(0.5, 1), number(None), number(float("nan"))
    ('0.123', '12.3', '3', '0.5', '–', '–')
    """
    if value is None or math.isnan(value):
        return DASH
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if digits is None:
        if isinstance(value, Integral):
            return str(int(value))
        digits = 1 if abs(value) >= 10 else 3
    return f"{value:.{digits}f}"


def percent(share: float | None, digits: int | None = None) -> str:
    """A share as per cent; one digit after the point below 10 %.

    >>> percent(0.42), percent(0.042), percent(1 / 3, 1), percent(None)
    ('42 %', '4.2 %', '33.3 %', '–')
    """
    if share is None or not math.isfinite(share):
        return DASH
    if digits is None:
        digits = 1 if 0 < abs(share) < 0.1 else 0
    return f"{100 * share:.{digits}f} %"


def listed(names: Sequence[str], word: str = "and") -> str:
    """Names in a sentence.

    >>> listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"], "or")
    ('a', 'a and b', 'a, b or c')
    """
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} {word} {names[-1]}"


def counted(count: int, noun: str, plural: str = "") -> str:
    """A number of things.

    >>> counted(1, "chair"), counted(3, "chair"), counted(2, "category", "categories")
    ('1 chair', '3 chairs', '2 categories')
    """
    return f"{count} {noun if count == 1 else plural or noun + 's'}"


def by(shape: Sequence[int]) -> str:
    """A shape.

    >>> by((3, 224, 224)), by(())
    ('3×224×224', '1')
    """
    return "×".join(map(str, shape)) or "1"
