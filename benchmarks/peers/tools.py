"""Who is compared: each tool as its users run it, and in the strongest form that fairness demands."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Tool:
    """A row of the table. ``adapter`` is ``MODULE:FUNCTION`` in ``peers.adapters``.

    ``environment`` names the peer's own environment, None for the one that runs the benchmark. ``strongest``
    is the form with everything switched off that slows a match of codes down. ``settings`` is for the reader.
    """

    name: str
    title: str
    adapter: str
    settings: str
    environment: str | None = None
    strongest: bool = False


OURS, OURS_QUICK = "netinvert", "netinvert-quick"

PACKAGES: dict[str, tuple[str, ...]] = {
    "lucent": (
        "torch-lucent==0.1.8",
        "kornia==0.9.0",
        "kornia-rs==0.2.0",
        "tqdm==4.70.1",
        "decorator==5.3.1",
    ),
    "plenoptic": ("plenoptic==2.1.1", "pyrtools==1.1.1", "einops==0.8.2", "tqdm==4.70.1"),
    "torch-dreams": (
        "torch-dreams==4.0.0",
        "kornia==0.9.0",
        "kornia-rs==0.2.0",
        "tqdm==4.70.1",
        "opencv-python-headless==5.0.0.93",
    ),
    "horama": ("horama==0.3.0", "einops==0.8.2", "tqdm==4.70.1"),
}
"""What each environment holds of its own, installed without dependencies; the rest is borrowed."""

TOOLS: tuple[Tool, ...] = (
    Tool(OURS, "netinvert", "ours:default", "`ni.invert`, default preset"),
    Tool(OURS_QUICK, "netinvert, quick", "ours:quick", "`ni.invert`, preset `quick`"),
    Tool(
        "lucent",
        "lucent",
        "lucent:standard",
        "Fourier canvas, Adam 0.05, its standard transforms, applied to the original too as in its notebook "
        "on feature inversion; mean squared difference of the activations",
        "lucent",
    ),
    Tool(
        "lucent-plain",
        "lucent, no transforms",
        "lucent:plain",
        "the same without transforms, against the fixed code; parameters frozen",
        "lucent",
        strongest=True,
    ),
    Tool(
        "plenoptic",
        "plenoptic",
        "plenoptic:standard",
        "Metamer, mean squared error, Adam 0.01 with amsgrad, range penalty 0.1; the model stops at the "
        "layer; float32 (its guide uses float64), no stop criterion",
        "plenoptic",
    ),
    Tool(
        "plenoptic-lbfgs",
        "plenoptic, its L-BFGS",
        "plenoptic:lbfgs",
        "the same with L-BFGS (lr 1, max_iter 2, max_eval 4, history_size 10, strong Wolfe)",
        "plenoptic",
        strongest=True,
    ),
    Tool(
        "torch-dreams",
        "torch-dreams",
        "torch_dreams:standard",
        "caricature() with its random affine and resize of both pictures, AdamW 0.009, clipped gradient; "
        "mean squared difference in place of the dot product",
        "torch-dreams",
    ),
    Tool(
        "torch-dreams-plain",
        "torch-dreams, no transforms",
        "torch_dreams:plain",
        "render() with custom_func against the fixed code, transforms off, AdamW 0.009; parameters frozen",
        "torch-dreams",
        strongest=True,
    ),
    Tool(
        "horama",
        "Horama",
        "horama:standard",
        "fourier(), NAdam 1.0, six noisy and shifted crops a step, each as large as the picture of 224 "
        "pixels (with its default, quarters of 1280 pixels, each would have to match the whole code); mean "
        "squared difference",
        "horama",
    ),
    Tool(
        "horama-plain",
        "Horama, no crops",
        "horama:plain",
        "its canvas and NAdam 1.0, one picture a step, no crops, no noise; parameters frozen",
        "horama",
        strongest=True,
    ),
    Tool(
        "script",
        "pytorch-cnn-visualizations",
        "script:standard",
        "inverted_representation.py written anew: pixels, SGD 1e4 (a tenth every 40 steps), momentum 0.9, "
        "201 steps, α-norm 1e-7, TV 1e-8",
    ),
)


def tool(name: str) -> Tool:
    """The tool of this name."""
    return next(each for each in TOOLS if each.name == name)
