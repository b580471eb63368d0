"""Passes and edits written out by hand, to hold ablations and transplants against."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.overrides import _get_current_function_mode_stack

from vitwidgets import Trace

Edit = Callable[[Tensor], Tensor]

L, N, D, HEADS, HIDDEN = 3, 16, 24, 2, 96


@dataclass
class Pass:
    """A pass written out by hand: layers (B, N, D), maps (B, heads, N, N), units (B, N, hidden)."""

    layers: list[Tensor]
    maps: list[Tensor]
    units: list[Tensor]
    logits: Tensor


def same(tensor: Tensor) -> Tensor:
    return tensor


@torch.no_grad()
def by_hand(
    model: Any,
    x: Tensor,
    *,
    stream: dict[int, Edit] | None = None,
    heads: dict[int, Edit] | None = None,
    units: dict[int, Edit] | None = None,
) -> Pass:
    """Run a timm model module by module, with edits of the stream, of what heads give, of units."""
    stream, heads, units = stream or {}, heads or {}, units or {}
    tokens = model.norm_pre(model.patch_drop(model._pos_embed(model.patch_embed(x))))
    tokens = stream.get(0, same)(tokens)
    done = Pass([tokens], [], [], tokens)
    for number, block in enumerate(model.blocks, start=1):
        attn = block.attn
        qkv = attn.qkv(block.norm1(tokens)).unflatten(-1, (3, attn.num_heads, -1)).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        weights = (attn.q_norm(q) @ attn.k_norm(k).mT * attn.scale).softmax(-1)
        given = heads.get(number, same)(weights @ v).transpose(1, 2).flatten(2)
        tokens = tokens + block.ls1(attn.proj(attn.norm(given)))
        hidden = block.mlp.norm(block.mlp.act(block.mlp.fc1(block.norm2(tokens))))
        hidden = units.get(number, same)(hidden)
        tokens = stream.get(number, same)(tokens + block.ls2(block.mlp.fc2(hidden)))
        done.layers.append(tokens)
        done.maps.append(weights)
        done.units.append(hidden)
    done.logits = model.forward_head(model.norm(tokens))
    return done


def agree(trace: Trace, hand: Pass, image: int = 0) -> None:
    np.testing.assert_allclose(trace.logits, hand.logits[image], rtol=1e-4, atol=1e-4)
    for layer in range(trace.layers + 1):
        np.testing.assert_allclose(trace.layer(layer), hand.layers[layer][image], rtol=1e-4, atol=1e-4)
    for layer in range(1, trace.layers + 1):
        np.testing.assert_allclose(trace.attention(layer), hand.maps[layer - 1][image], atol=1e-5)
        np.testing.assert_allclose(trace.mlp(layer), hand.units[layer - 1][image], rtol=1e-4, atol=1e-4)


def changed(write: Callable[[Tensor], None]) -> Edit:
    """Make an edit of what writes into a copy."""

    def edit(tensor: Tensor) -> Tensor:
        copy = tensor.clone()
        write(copy)
        return copy

    return edit


def neuron(number: int, fill: str) -> Edit:
    def write(t: Tensor) -> None:
        t[:, :, number] = t[:, :, number].mean(dim=1, keepdim=True) if fill == "mean" else 0

    return changed(write)


def head(number: int, fill: str) -> Edit:
    def write(t: Tensor) -> None:
        t[:, number] = t[:, number].mean(dim=1, keepdim=True) if fill == "mean" else 0

    return changed(write)


def token(row: int, fill: str, prefix: int = 1) -> Edit:
    def write(t: Tensor) -> None:
        t[:, row] = t[:, prefix:].mean(dim=1) if fill == "mean" else 0

    return changed(write)


def left_behind(model: nn.Module) -> list[Any]:
    hooks = [h for m in model.modules() for h in (*m._forward_hooks, *m._forward_pre_hooks)]
    return [*hooks, *_get_current_function_mode_stack()]


def spelled_out(model: Any) -> Any:
    for block in model.blocks:
        block.attn.fused_attn = False
    return model


def without_head(linear: nn.Linear, number: int, count: int) -> Any:
    """Zero a head's part of what enters the projection behind the heads."""

    def before(_module: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
        given = args[0].clone()
        size = given.shape[-1] // count
        given[..., number * size : (number + 1) * size] = 0
        return (given,)

    return linear.register_forward_pre_hook(before)


class EinsumAttention(nn.Module):
    """Attention by two einsums, whose result has heads after the tokens."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.num_heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).unbind(2)
        weights = torch.einsum("b i h d, b j h d -> b h i j", q, k).softmax(dim=-1)
        mixed: Tensor = self.out(torch.einsum("bjhd,bhij->bihd", v, weights).flatten(2))
        return mixed


class OwnBlock(nn.Module):
    def __init__(self, attention: nn.Module, width: int) -> None:
        super().__init__()
        self.attention = attention
        self.mlp = nn.Sequential(nn.Linear(width, 40), nn.GELU(), nn.Linear(40, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(x)
        y: Tensor = x + self.mlp(x)
        return y


class OwnModel(nn.Module):
    def __init__(self, make: Callable[[], nn.Module], width: int = 24) -> None:
        super().__init__()
        self.img_size = (24, 40)
        self.patches = nn.Conv2d(3, width, 8, 8)
        self.layers = nn.ModuleList(OwnBlock(make(), width) for _ in range(2))
        self.head = nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        for layer in self.layers:
            tokens = layer(tokens)
        logits: Tensor = self.head(tokens.mean(dim=1))
        return logits


def multi_head(
    attention: nn.MultiheadAttention, x: Tensor, edit: Edit, bias: Tensor | float = 0.0
) -> tuple[Tensor, Tensor]:
    """Compute a batch-first nn.MultiheadAttention and its weights by hand, what its heads give edited."""
    heads = attention.num_heads
    qkv = x @ attention.in_proj_weight.T + attention.in_proj_bias
    q, k, v = qkv.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
    weights = (q @ k.mT / q.shape[-1] ** 0.5 + bias).softmax(-1)
    return attention.out_proj(edit(weights @ v).transpose(1, 2).flatten(2)), weights


def open_clip_tower(batch_first: bool) -> Any:
    """Build a tiny image tower of open_clip; the blocks of one that is not batch-first take (N, B, D)."""
    transformer = pytest.importorskip("open_clip").transformer
    torch.manual_seed(3)
    tower = transformer.VisionTransformer(
        image_size=24, patch_size=8, width=24, layers=2, heads=2, mlp_ratio=2.0, output_dim=10
    ).eval()  # fmt: skip
    if not batch_first:
        turned = transformer.Transformer(24, 2, 2, 2.0, batch_first=False).eval()
        turned.load_state_dict(tower.transformer.state_dict())
        tower.transformer = turned
    with torch.no_grad():
        for parameter in tower.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return tower


def at_output(model: nn.Module, module: nn.Module, edit: Edit, x: Tensor) -> Tensor:
    """Run a model on images with what one module returns edited by hand; its output."""
    handle = module.register_forward_hook(lambda _module, _args, out: edit(out))
    with torch.no_grad():
        output: Tensor = model(x)
    handle.remove()
    return output
