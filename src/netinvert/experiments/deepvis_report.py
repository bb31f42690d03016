"""The page on which the draws of a search are looked through: sorted and filtered in the browser."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from html import escape

import torch
from PIL import Image
from torch import Tensor

from netinvert.errors import MissingExtraError
from netinvert.evaluation import page
from netinvert.experiments.deepvis_draws import RANGES, Search, Tried
from netinvert.inversion.optimizers import ConstantRate, ProgressRate
from netinvert.io.images import to_pil
from netinvert.models.encoder import Encoder
from netinvert.models.zoo.mobilenets import class_names

THUMBNAIL = 128
"""The longest side in pixels."""
TOP = 8
REGULARISERS = {
    "decay": "decay",
    "blur": "blur",
    "small_norm": "small norm",
    "small_contribution": "small contribution",
}

_STYLE = """
<style>
.bar { display: flex; flex-wrap: wrap; gap: .4rem 1.2rem; margin: .8rem 0; font-size: .9rem;
  position: sticky; top: 0; background: var(--paper); padding: .5rem 0; border-bottom: 1px solid var(--line) }
.draws { display: grid; gap: .9rem; grid-template-columns: repeat(auto-fill, minmax(WIDTHpx, 1fr)) }
.draws figure[hidden] { display: none }
.draws img { width: auto; max-width: 100% }
.draws figcaption { font-size: .75rem; line-height: 1.35 }
</style>
"""
_SCRIPT = """
<script>
const all = document.getElementById("all"), bar = document.getElementById("bar");
function show() {
  const key = bar.querySelector("[name=sort]").value, sign = key === "roughness" || key === "number" ? 1 : -1;
  const figures = [...all.children];
  figures.sort((a, b) => sign * (a.dataset[key] - b.dataset[key]) || a.dataset.number - b.dataset.number);
  let count = 0;
  for (const figure of figures) {
    figure.hidden = [...bar.querySelectorAll("[data-filter]")].some(box => box.value !== "any" &&
      (box.value === "with") !== (Number(figure.dataset[box.dataset.filter]) > 0));
    count += !figure.hidden;
    all.append(figure);
  }
  document.getElementById("count").textContent = count + " of " + figures.length;
}
bar.addEventListener("change", show);
bar.hidden = false;
show();
</script>
"""


def report(encoder: Encoder, search: Search, found: Sequence[Tried]) -> str:
    """The whole page, one file: the published sets, the best by each measure, all draws."""
    published = [tried for tried in found if tried.trial.published]
    draws = [tried for tried in found if not tried.trial.published]
    names = [label(encoder, index) for index in search.channels]
    parts = [
        page.paragraph(
            f"Images of `{encoder.network.name}`, layer `{encoder.layer}`, that raise "
            f"{', '.join(names)} (in this order, from left to right), "
            f"{encoder.size[0]} × {encoder.size[1]} pixels: {len(draws)} random settings of the four "
            "regularisers of Yosinski et al. 2015, "
            f"{search.steps} steps each, and the paper's own four sets. All pictures are stretched around "
            "the mean, as the authors' code saves them; single ones are in `pictures/`, all figures in "
            "`manifest.json`."
        ),
        page.paragraph(_measures(), quiet=True),
        _STYLE.replace("WIDTH", str(min(THUMBNAIL * len(names), 3 * THUMBNAIL))),
        page.heading("The published sets"),
        _grid(published),
    ]
    if draws:
        parts += [
            page.heading("Highest activation"),
            _grid(_top(draws, lambda tried: -_mean(tried.activation))),
            page.heading("Most natural by the directions of gradients"),
            _grid(_top(draws, lambda tried: -_mean(tried.naturalness))),
            page.heading("Smooth, and a high activation"),
            page.paragraph("The smallest sum of the two ranks.", quiet=True),
            _grid(_top(draws, _sum_of_ranks(draws))),
            page.heading("All draws"),
            _bar(),
            _grid(draws, "all"),
            page.paragraph(_ranges(), quiet=True),
            _SCRIPT,
        ]
    return page.page(f"{len(draws)} draws of four regularisers", parts)


def label(encoder: Encoder, index: int) -> str:
    """What the channel is, with its name where it is an ImageNet class."""
    if encoder.network.name == "efficientnet-lite0" and encoder.code_shape == (1000,):
        try:
            return f"{class_names()[index]} ({index})"
        except MissingExtraError:
            pass
    return f"channel {index}"


def settings_lines(tried: Tried) -> tuple[str, ...]:
    """The setting in words."""
    settings = tried.trial.settings
    theta = settings.regularisers
    match settings.optimizer:
        case ProgressRate(desired, _):
            rate = f"progress {desired:g}"
        case ConstantRate(constant):
            rate = f"rate {constant:g}"
        case other:
            rate = repr(other)
    parts = [
        f"decay {theta.decay:g}" if theta.decay else "",
        f"blur {theta.blur:g} every {theta.blur_every}" if theta.blur else "",
        f"small norm {theta.small_norm:g} %" if theta.small_norm else "",
        f"contribution {theta.small_contribution:g} %" if theta.small_contribution else "",
    ]
    return (f"{rate}, {settings.steps} steps", ", ".join(part for part in parts if part) or "no regulariser")


def _measures() -> str:
    return (
        "Activation: as the network gives it, the mean over the pictures. Naturalness: the intersection of "
        "the histogram of gradient directions with that of photographs (1: the same; white noise, which has "
        "all directions, comes near). Roughness: 1 less the correlation of neighbouring pixels (white noise: "
        "1). Spread: the standard deviation around the mean, in 0..255, before the stretching. None of them "
        "replaces looking."
    )


def _ranges() -> str:
    low = {name: f"{values[0]:g} to {values[-1]:g}" for name, values in RANGES.items()}
    often = ", ".join(f"{value:g}" for value in RANGES["blur_every"])
    return (
        f"Each regulariser is in half of the draws: decay {low['decay']} and blur {low['blur']} pixels, even "
        f"in their logarithm, the blur every {often} steps; small norm {low['small_norm']} and small "
        f"contribution {low['small_contribution']} per cent. Steps are as long as to make progress "
        f"{low['desired']} (even in its logarithm) if the activation were linear."
    )


def _grid(items: Sequence[Tried], name: str = "") -> str:
    inside = "".join(_figure(tried, number) for number, tried in enumerate(items))
    return f'<div class="draws"{f" id={name}" if name else ""}>{inside}</div>'


def _figure(tried: Tried, number: int) -> str:
    theta = tried.trial.settings.regularisers
    data = {
        "number": number,
        "activation": _mean(tried.activation),
        "naturalness": _mean(tried.naturalness),
        "roughness": _mean(tried.roughness),
        "spread": _mean(tried.spread),
        **{_key(name): getattr(theta, name) for name in REGULARISERS},
    }
    attributes = " ".join(f'data-{name}="{value:.6g}"' for name, value in data.items())
    figures = (
        f"activation {data['activation']:.1f}, natural {data['naturalness']:.2f}",
        f"rough {data['roughness']:.2f}, spread {data['spread']:.1f}",
    )
    lines = "<br>".join(escape(line) for line in (*settings_lines(tried), *figures))
    title = escape(tried.trial.name)
    width, height, url = _thumbnail(tried.pictures)
    return (
        f'<figure {attributes}><img src="{url}" width="{width}" height="{height}" alt="{title}" '
        f'loading="lazy"><figcaption><b>{title}</b>{lines}</figcaption></figure>'
    )


def _thumbnail(pictures: Tensor) -> tuple[int, int, str]:
    """The pictures of a setting side by side: width, height, and a JPEG as a URL."""
    tiles = [to_pil(picture / 255).convert("RGB") for picture in pictures]
    scale = min(1.0, THUMBNAIL / max(tiles[0].size))
    width, height = (max(1, round(length * scale)) for length in tiles[0].size)
    strip = Image.new("RGB", (width * len(tiles), height))
    for index, tile in enumerate(tiles):
        strip.paste(tile.resize((width, height), Image.Resampling.LANCZOS), (index * width, 0))
    buffer = io.BytesIO()
    strip.save(buffer, format="JPEG", quality=80)
    return *strip.size, f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _bar() -> str:
    orders = ("activation", "naturalness", "roughness", "spread", "number")
    options = "".join(f"<option>{name}</option>" for name in orders)
    filters = "".join(
        f'<label>{text} <select data-filter="{_key(name)}"><option>any</option><option>with</option>'
        "<option>without</option></select></label>"
        for name, text in REGULARISERS.items()
    )
    return (
        f'<div class="bar" id="bar" hidden><label>sort by <select name="sort">{options}</select></label>'
        f'{filters}<span id="count"></span></div>'
    )


def _key(name: str) -> str:
    """As HTML has it: data-smallnorm is dataset.smallnorm."""
    return name.replace("_", "")


def _top(items: Sequence[Tried], key: Callable[[Tried], float]) -> list[Tried]:
    return sorted(items, key=key)[:TOP]


def _sum_of_ranks(items: Sequence[Tried]) -> Callable[[Tried], float]:
    high = sorted(items, key=lambda tried: -_mean(tried.activation))
    smooth = sorted(items, key=lambda tried: _mean(tried.roughness))
    places = {id(tried): rank for rank, tried in enumerate(high)}
    others = {id(tried): rank for rank, tried in enumerate(smooth)}
    return lambda tried: places[id(tried)] + others[id(tried)]


def _mean(values: Tensor) -> float:
    """NaN (unknown) sorts like nothing at all."""
    return torch.nan_to_num(values).mean().item()
