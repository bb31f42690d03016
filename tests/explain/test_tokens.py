"""Rollout and gradient × attention against their equations, written out by hand, and for others' networks."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import tiny
from netinvert.errors import NetworkError
from netinvert.explain.saliency import Saliency
from netinvert.explain.targets import parse_target
from netinvert.explain.tokens import AttentionWeights
from netinvert.models.network import Network, Preprocessing

HEADS, WIDTH, PATCHES = 2, 8, 4
TOKENS = PATCHES**2 + 2  # with a class token and a register
IMAGES = tiny.images(2)
METHODS = ("rollout", "attention-gradient")


class Attention(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.inner = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.norm, self.mlp = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, tokens, more=None):
        """``more`` is added to the weights."""
        x = self.norm(tokens)
        if self.kind == "module":
            attended = self.inner(x, x, x, need_weights=False)[0]
        else:
            every = F.linear(x, self.inner.in_proj_weight, self.inner.in_proj_bias)
            q, k, v = every.unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
            if self.kind == "fused" and more is None:
                attended = F.scaled_dot_product_attention(q, k, v, None, 0.0)
            else:
                weights = (q @ k.mT * q.shape[-1] ** -0.5).softmax(dim=-1)
                self.weights = weights.detach()
                attended = (weights if more is None else weights + more) @ v
            attended = self.inner.out_proj(attended.transpose(1, 2).flatten(2))
        tokens = tokens + attended
        return tokens + self.mlp(tokens).relu()


class Transformer(nn.Module):
    """Classes by the class token ("class") or by the mean of the patches ("mean")."""

    def __init__(self, kind, reads):
        super().__init__()
        self.reads = reads
        self.patches = nn.Conv2d(3, WIDTH, 4, 4)
        self.first = nn.Parameter(torch.randn(1, TOKENS - PATCHES**2, WIDTH))
        self.blocks = nn.ModuleList(Attention(kind) for _ in range(3))
        self.head = nn.Linear(WIDTH, 5)

    def forward(self, x, more=(None,) * 3):
        tokens = self.patches(x).flatten(2).mT
        tokens = torch.cat([self.first.expand(len(x), -1, -1), tokens], 1)
        for block, one in zip(self.blocks, more, strict=True):
            tokens = block(tokens, one)
        return self.head(tokens[:, 0] if self.reads == "class" else tokens[:, -(PATCHES**2) :].mean(1))


def network_of(kind, reads="class"):
    return Network(kind, tiny.seeded(lambda: Transformer(kind, reads)), tiny.PLAIN)


def by_hand(method, reads, image, index=1):
    """Of one image by loops: (H, W)."""
    module = network_of("plain", reads).module
    more = [torch.zeros(1, HEADS, TOKENS, TOKENS, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    slopes = torch.autograd.grad(module(image, more)[0, index], more)
    relevance = torch.eye(TOKENS, dtype=torch.float64)
    for block, slope in zip(module.blocks, slopes, strict=True):
        mean = torch.zeros(TOKENS, TOKENS, dtype=torch.float64)
        for weight, by_weight in zip(block.weights[0], slope[0], strict=True):
            mean += (weight if method == "rollout" else (weight * by_weight).clamp(min=0)) / HEADS
        if method == "rollout":
            mean += torch.eye(TOKENS, dtype=torch.float64)
            relevance = mean / mean.sum(1, keepdim=True) @ relevance
        else:
            relevance = relevance + mean @ relevance
    if method != "rollout":
        relevance = relevance - torch.eye(TOKENS, dtype=torch.float64)
    row = relevance[0] if reads == "class" else relevance[-(PATCHES**2) :].mean(0)
    patches = row[-(PATCHES**2) :].view(1, 1, PATCHES, PATCHES)
    return F.interpolate(patches, tiny.SIZE, mode="bilinear")[0, 0]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("reads", ["class", "mean"])
@pytest.mark.parametrize("kind", ["plain", "fused", "module"])
def test_attention_by_hand(method, reads, kind):
    found = Saliency(method)(parse_target(network_of(kind, reads), "class:1"), IMAGES)
    for image, own in zip(IMAGES.split(1), found, strict=True):
        torch.testing.assert_close(own, by_hand(method, reads, image))


def test_rollout_is_of_the_tokens_read_and_the_gradient_of_the_class():
    network = network_of("fused")
    rollouts, gradients = (
        [Saliency(method)(parse_target(network, f"class:{k}"), IMAGES) for k in (1, 2)] for method in METHODS
    )
    assert torch.equal(*rollouts)
    assert not torch.allclose(*gradients)
    inner = Saliency("rollout")(parse_target(network, "blocks.1/channel:3"), IMAGES)  # reads every token
    assert not torch.allclose(inner, rollouts[0])


@pytest.mark.parametrize("method", METHODS)
def test_components_without_a_sign_count_by_their_size(method):
    found = Saliency(method)(parse_target(network_of("fused"), "match"), IMAGES)
    assert found.shape == (2, *tiny.SIZE)
    assert (found >= 0).all()
    assert (found.amax((1, 2)) > found.amin((1, 2))).all()


def test_masks_of_fused_attention():
    q, k, v = torch.randn(3, 2, 1, 4, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))[
        :, 0
    ]
    hidden = torch.ones(8, 8, dtype=torch.bool).tril()
    for mask, scale in ((None, 0.3), (hidden, None), (torch.randn(8, 8).double(), None)):
        own = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)
        with AttentionWeights():
            torch.testing.assert_close(F.scaled_dot_product_attention(q, k, v, mask, scale=scale), own)


def test_of_timm():
    timm = pytest.importorskip("timm")
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2, "reg_tokens": 4}
    module = tiny.seeded(lambda: timm.models.VisionTransformer(**sizes, num_classes=3, init_values=1.0))
    image = tiny.images(2, (32, 32))
    found = {}
    for fused in (True, False):
        for block in module.blocks:
            block.attn.fused_attn = fused
        target = parse_target(Network("timm", module, Preprocessing((32, 32))), "class:1")
        found[fused] = [Saliency(method)(target, image) for method in METHODS]
    for one, other in zip(*found.values(), strict=True):
        torch.testing.assert_close(one, other)
        assert one.amax() > one.amin() >= 0


@pytest.mark.parametrize("how", ["eager", "sdpa"])
def test_of_transformers(how):
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.ViTConfig(
        **sizes, image_size=32, patch_size=8, num_labels=3, attn_implementation="eager"
    )
    module = tiny.seeded(lambda: transformers.ViTForImageClassification(config))
    image = tiny.images(2, (32, 32))
    with torch.no_grad():
        layers = module(image, output_attentions=True).attentions
    product = torch.eye(17, dtype=torch.float64)
    for layer in layers:
        product = (layer.mean(1) + torch.eye(17)) / 2 @ product
    module.set_attn_implementation(how)
    target = parse_target(Network("hf", module, Preprocessing((32, 32))), "output[logits]/channel:1")
    wanted = F.interpolate(product[:, 0, 1:].view(2, 1, 4, 4), (32, 32), mode="bilinear")[:, 0]
    torch.testing.assert_close(Saliency("rollout")(target, image), wanted)


def test_of_torchvision():
    models = pytest.importorskip("torchvision").models
    module = tiny.seeded(lambda: models.VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=3))
    nn.init.normal_(module.heads.head.weight)
    weights = []
    for layer in module.encoder.layers:
        layer.self_attention.register_forward_pre_hook(
            lambda part, inputs: weights.append(part.forward(*inputs, average_attn_weights=True)[1])
        )
    image = tiny.images(2, (32, 32))
    with torch.no_grad():
        module(image)
    for layer in module.encoder.layers:
        layer.self_attention._forward_pre_hooks.clear()
    product = torch.eye(17, dtype=torch.float64)
    for mean in weights:
        product = (mean + torch.eye(17)) / 2 @ product
    target = parse_target(Network("tv", module, Preprocessing((32, 32))), "class:1")
    wanted = F.interpolate(product[:, 0, 1:].view(2, 1, 4, 4), (32, 32), mode="bilinear")[:, 0]
    torch.testing.assert_close(Saliency("rollout")(target, image), wanted)
    assert Saliency("attention-gradient")(target, image).amax() > 0


@pytest.mark.parametrize("method", METHODS)
def test_networks_without_attention_among_all_tokens_are_refused(method):
    plain = Network("tiny", tiny.seeded(tiny.plain), tiny.PLAIN)
    with pytest.raises(NetworkError, match=f"{method} is for transformers.* in tiny up to output: choose"):
        Saliency(method)(parse_target(plain, "class:1"), IMAGES)
    models = pytest.importorskip("torchvision").models
    windows = tiny.seeded(lambda: models.SwinTransformer([4, 4], 8, [2], [2], [4, 4], num_classes=3))
    target = parse_target(Network("swin", windows, Preprocessing((32, 32))), "class:1")
    with pytest.raises(NetworkError, match=f"{method} has no rule for windows or stages"):
        Saliency(method)(target, tiny.images(1, (32, 32)))


@pytest.mark.parametrize("method", METHODS)
def test_nothing_is_left_behind(method, monkeypatch):
    target = parse_target(network_of("fused"), "class:1")
    cut = target.encoder._cut
    Saliency(method)(target, IMAGES)
    monkeypatch.setattr(Transformer, "forward", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        Saliency(method)(target, IMAGES, torch.zeros(2, 0))
    assert target.encoder._cut is cut
    assert not any(part._forward_hooks for one in target.encoder._cuts for part in one.module.modules())
    assert torch._C._len_torch_function_stack() == 0
    assert IMAGES.grad is None
