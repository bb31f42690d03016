"""Which patches an answer of a transformer comes from, by the attention among its tokens."""

from __future__ import annotations

import math
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from netinvert.errors import NetworkError
from netinvert.explain.targets import Target
from netinvert.models.cut import is_map, observed

_SOFTMAX = {F.softmax, torch.softmax, Tensor.softmax}
_UNKNOWN = ("is_causal", "enable_gqa")  # which no vision transformer asks for


class AttentionWeights(TorchFunctionMode):
    """Within, keeps the weights with which tokens attend to one another, by layer as they are computed: what
    the network uses, so that it has a gradient, and its shape (N, heads, T, T). Fused attention is computed
    step by step: the values are the same but for rounding."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[tuple[Tensor, torch.Size]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        kwargs = dict(kwargs or {})
        if func is F.scaled_dot_product_attention and not any(map(kwargs.get, _UNKNOWN)):
            return self._attended(*args, **kwargs)
        if func is F.multi_head_attention_forward:
            every = {"need_weights": True, "average_attn_weights": False}
            output, weights = cast(tuple[Tensor, Tensor], func(*args, **(kwargs | every)))
            self._keep(weights if weights._base is None else weights._base, weights.shape)
            asked = kwargs.get("need_weights", True)
            mean = weights.mean(1) if kwargs.get("average_attn_weights", True) else weights
            return output, mean if asked else None
        found = func(*args, **kwargs)
        if func in _SOFTMAX:
            self._keep(found, found.shape)
        return found

    def _attended(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        *_: object,  # what networks in training want
        scale: float | None = None,
        **__: object,
    ) -> Tensor:
        scores = query @ key.transpose(-1, -2) * (query.shape[-1] ** -0.5 if scale is None else scale)
        if attn_mask is not None:
            seen = attn_mask.dtype == torch.bool
            scores = scores.masked_fill(~attn_mask, -torch.inf) if seen else scores + attn_mask
        weights = scores.softmax(-1)
        self._keep(weights, weights.shape)
        return weights @ value

    def _keep(self, used: Tensor, shape: torch.Size) -> None:
        if len(shape) == 4 and shape[-1] == shape[-2] > 1 and used.requires_grad:
            self.kept.append((used, shape))


def attention_map(target: Target, images: Tensor, fixed: Tensor, gradient: bool) -> Tensor:
    """(N, H, W) of images (N, C, H, W), a value a patch, enlarged; never below 0.

    Without ``gradient`` attention rollout (Abnar & Zuidema 2020, arXiv 2005.00928): the product of the
    layers' attention, mean over heads, half of it to itself for the skip. It is the same for all targets that
    read the same tokens. With it gradient × attention (Chefer et al. 2021, arXiv 2103.15679, equations 5, 6):
    R += mean over heads of (∇A ⊙ A)⁺ R; of components without a sign all of ∇A ⊙ A, by its size. In both the
    mean of the rows of the tokens that the target reads: those that have a gradient in the last attention
    (the class token alone, say).

    Raises NetworkError: no tokens attend to one another, or in windows alone, or there are no patches.
    """
    encoder, sizes = target.encoder, []

    def see(name: str, part: nn.Module, first: Tensor | None, output: object) -> None:
        if isinstance(part, nn.Conv2d) and isinstance(output, Tensor) and is_map(output, images):
            sizes.append((output.shape[-2], output.shape[-1]))

    with encoder.as_given() as module, observed(module, see), AttentionWeights() as attention:
        components = target.components(images.clone().requires_grad_(), fixed)
    _check(attention, sizes, len(images), "attention-gradient" if gradient else "rollout", target)
    weights = [used.detach().view(shape) for used, shape in attention.kept]
    one = torch.eye(weights[0].shape[-1]).to(images)
    relevance = one.expand(len(images), -1, -1)
    for weight in weights:
        relevance = (weight.mean(1) + one) / 2 @ relevance
    maps = []
    for k, row in enumerate(components.unbind(1)):
        used = [used for used, _ in attention.kept]
        more = k + 1 < components.shape[1]
        found = torch.autograd.grad(row.sum(), used, retain_graph=more, materialize_grads=True)
        slopes = [slope.view_as(weight) for slope, weight in zip(found, weights, strict=True)]
        if gradient:
            relevance = one.expand(len(images), -1, -1)
            for slope, weight in zip(slopes, weights, strict=True):
                share = (slope * weight).clamp_min(0) if target.signed else (slope * weight).abs()
                relevance = relevance + share.mean(1) @ relevance
        rows = (slopes[-1] != 0).any(-1).any(1)[..., None]
        own = relevance - one if gradient else relevance
        maps.append((own * rows).sum(1) / rows.sum(1).clamp_min(1))
    joined = maps[0] if target.signed else torch.stack(maps).norm(dim=0)
    height, width = _patches(sizes, len(one))
    of_patches = joined[:, -height * width :].unflatten(
        1, (1, height, width)
    )  # behind class token, registers
    return F.interpolate(of_patches, images.shape[-2:], mode="bilinear")[:, 0]


def _patches(sizes: list[tuple[int, int]], tokens: int) -> tuple[int, int]:
    """Of the maps that convolutions give the one whose places became tokens; (0, 0) if none can have."""
    return max((one for one in sizes if one[0] * one[1] <= tokens), key=math.prod, default=(0, 0))


def _check(
    attention: AttentionWeights, sizes: list[tuple[int, int]], count: int, method: str, target: Target
) -> None:
    where = f"{target.encoder.network.name} up to {target.encoder.layer}"
    shapes = [shape for _, shape in attention.kept]
    remedy = "choose another method, such as gradient"
    if not shapes:
        raise NetworkError(
            f"{method} is for transformers, and no tokens attend to one another in {where}: {remedy}"
        )
    tokens = shapes[0][-1]
    if any(shape[0] != count or shape[-1] != tokens for shape in shapes) or not _patches(sizes, tokens)[0]:
        raise NetworkError(
            f"{method} has no rule for windows or stages, and not all patches attend to one another in all "
            f"layers of {where}: {remedy}"
        )
