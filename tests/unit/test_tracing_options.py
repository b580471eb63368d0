"""What a trace keeps and how, several images at once, and models in odd states."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from vitwidgets import Inspector
from vitwidgets.errors import ImageError, ModelError

SIZE = 16 * 24  # tokens times width of one layer of the small model


def test_float16_halves_the_memory_and_stays_close(make_vit: Callable[..., Any], x: Tensor) -> None:
    inspector = Inspector(make_vit())
    half, full = inspector.trace(x), inspector.trace(x, precision="float32")
    logits = 7 * 4
    assert full.nbytes == 4 * SIZE * 4 + logits  # layers, which the next block is given
    np.testing.assert_allclose(half.tokens, full.tokens, rtol=5e-4, atol=1e-6)
    for layer in (1, 2, 3):
        np.testing.assert_allclose(half.attention(layer), full.attention(layer), atol=2e-3)
        np.testing.assert_allclose(half.mlp(layer), full.mlp(layer), atol=2e-2)
    assert full.nbytes == (4 + 3 * 2) * SIZE * 4 + logits  # and queries and keys, once they were asked for
    assert half.nbytes - logits == (full.nbytes - logits) / 2
    assert np.array_equal(half.logits, full.logits)


def test_layers_beyond_float16_are_kept_in_float32(make_vit: Callable[..., Any], x: Tensor) -> None:
    model = make_vit()
    with torch.no_grad():
        model.blocks[0].mlp.fc2.bias[3] = 1e6
    inspector = Inspector(model)
    for _ in range(2):
        trace = inspector.trace(x)
        assert trace.tokens[1][:, 3] == pytest.approx(1e6, rel=1e-2)
        assert not trace.notes
    assert trace.check().passed


def test_keep_narrows_a_trace(make_vit: Callable[..., Any], x: Tensor) -> None:
    inspector = Inspector(make_vit())
    whole = inspector.trace(x)
    trace = inspector.trace(x, keep=("tokens",))
    assert np.array_equal(trace.tokens, whole.tokens)
    assert trace.nbytes == 4 * SIZE * 2 + 28
    with pytest.raises(ValueError, match=r"layer 2 has no attention: not kept: .*'attention' in keep="):
        trace.attention(2)
    with pytest.raises(ValueError, match="no rollout"):
        trace.rollout()
    assert trace.top is not None


def test_layers_narrow_a_trace(make_vit: Callable[..., Any], x: Tensor) -> None:
    inspector = Inspector(make_vit())
    whole = inspector.trace(x)
    trace = inspector.trace(x, layers=[0, 3])
    assert trace.nbytes == (2 + 1) * SIZE * 2 + 28  # two layers, and what block 3 was given
    assert np.array_equal(trace.layer(3), whole.layer(3))
    assert np.array_equal(trace.attention(3), whole.attention(3))
    for ask in (lambda: trace.layer(1), lambda: trace.attention(2), lambda: trace.tokens):
        with pytest.raises(ValueError, match="was not kept: trace with it in layers="):
            ask()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "int8"}, 'precision must be "float16" or "float32"'),
        ({"keep": ("tokens", "value")}, "keep must name"),
        ({"keep": "tokens"}, "keep must name"),
        ({"keep": ()}, "keep must name"),
        ({"layers": [2, 9]}, r"layers must be some of 0\.\.3, got \[9\]"),
        ({"layers": []}, "layers must be some of"),
    ],
)
def test_choices_that_there_are_not(
    make_vit: Callable[..., Any], x: Tensor, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Inspector(make_vit()).trace(x, **options)


def test_several_images_in_one_pass(make_vit: Callable[..., Any], x: Tensor) -> None:
    model = make_vit("registers")
    passes: list[int] = []
    model.register_forward_pre_hook(lambda _, args: passes.append(len(args[0])))
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 90, 3), np.uint8))
    inspector = Inspector(model)
    traces = inspector.trace([x, picture, x[0].flip(-1)])
    assert passes == [3]
    for trace, image in zip(traces, (x, picture, x.flip(-1)), strict=True):
        alone = inspector.trace(image)
        np.testing.assert_allclose(trace.tokens, alone.tokens, atol=2e-3)
        np.testing.assert_allclose(trace.logits, alone.logits, atol=1e-4)
        np.testing.assert_allclose(trace.mlp(3), alone.mlp(3), atol=2e-2)
        assert trace.frame == alone.frame
        assert trace.image.tobytes() == alone.image.tobytes()
        assert trace.nbytes == alone.nbytes
    assert inspector.trace([x])[0].layers == 3


def test_images_that_make_no_batch(make_vit: Callable[..., Any], x: Tensor) -> None:
    inspector = Inspector(make_vit("any size"))
    with pytest.raises(ImageError, match="different shapes"):
        inspector.trace([x, torch.zeros(3, 24, 48)])
    with pytest.raises(ImageError, match="the list is empty"):
        inspector.trace([])


@pytest.mark.parametrize("wrap", [torch.nn.DataParallel, torch.compile])
def test_wrapped_models_are_unwrapped(
    make_vit: Callable[..., Any], x: Tensor, wrap: Callable[..., Any]
) -> None:
    model = make_vit()
    trace = Inspector(wrap(model)).trace(x)
    assert trace.check().passed


def test_compiled_blocks_run_as_plain_python(make_vit: Callable[..., Any], x: Tensor) -> None:
    expected = Inspector(make_vit()).trace(x)
    model = make_vit()
    model.blocks[1].attn.compile()
    model.blocks[2].mlp = torch.compile(model.blocks[2].mlp)
    trace = Inspector(model).trace(x)
    assert np.array_equal(trace.tokens, expected.tokens)
    assert np.array_equal(trace.mlp(3), expected.mlp(3))


def test_models_that_run_without_python_are_refused(make_vit: Callable[..., Any], x: Tensor) -> None:
    model = make_vit()
    with pytest.warns(), pytest.raises(ModelError, match="TorchScript"):
        Inspector(torch.jit.trace(model, x))
    with pytest.raises(ModelError, match="graph"):
        Inspector(torch.export.export(model, (x,)).module())


def test_a_model_without_weights(make_vit: Callable[..., Any]) -> None:
    with torch.device("meta"):
        model = make_vit()
    with pytest.raises(ModelError, match="meta device"):
        Inspector(model)


def test_running_out_of_memory_frees_what_was_kept(make_vit: Callable[..., Any], x: Tensor) -> None:
    def weights() -> list[Any]:
        return [one for one in gc.get_objects() if type(one).__name__ == "Replay"]

    kept: list[weakref.ref[Any]] = []
    others = weights()

    def fail(*_: object) -> None:
        kept.extend(weakref.ref(one) for one in weights() if not any(one is other for other in others))
        raise torch.OutOfMemoryError("in the middle")

    model = make_vit()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    handle = model.blocks[2].mlp.register_forward_hook(fail)
    inspector = Inspector(model)
    with pytest.raises(torch.OutOfMemoryError) as caught:
        inspector.trace(x)
    gc.collect()
    assert len(kept) == 3  # one of each block's attention, and gone although the traceback is alive
    assert all(ref() is None for ref in kept)
    assert caught.value is not None
    handle.remove()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert inspector.trace(x).check().passed


def test_half_precision_where_an_operation_has_none(make_vit: Callable[..., Any], x: Tensor) -> None:
    def refuse(_: nn.Module, args: tuple[Tensor, ...]) -> None:
        if args[0].dtype == torch.float16:
            raise RuntimeError("\"gelu\" not implemented for 'Half'")

    model = make_vit()
    model.blocks[1].mlp.act.register_forward_pre_hook(refuse)
    inspector = Inspector(model, dtype="float16")
    with pytest.raises(ModelError, match=r"float16 on cpu.*dtype=\"float32\""):
        inspector.trace(x)
    assert Inspector(model).trace(x).check().passed


def test_of_a_batch_argument_each_image_gets_its_own_share(make_vit: Callable[..., Any], x: Tensor) -> None:
    """Attention that is called with a bias of its own for each image is replayed with that one."""

    class Biased(nn.Module):
        def __init__(self, attention: nn.Module) -> None:
            super().__init__()
            self.inner, self.num_heads = attention, attention.num_heads
            self.k_norm, self.proj = attention.k_norm, attention.proj

        def forward(self, x: Tensor, bias: Tensor) -> Tensor:
            return self.inner(x, attn_mask=bias)

    class WithBias(nn.Module):
        def __init__(self, block: nn.Module) -> None:
            super().__init__()
            self.norm1, self.norm2, self.mlp = block.norm1, block.norm2, block.mlp
            self.attn = Biased(block.attn)

        def forward(self, x: Tensor) -> Tensor:
            bias = 3 * torch.tanh(x @ x.transpose(1, 2))[:, None].expand(-1, 2, -1, -1)
            x = x + self.attn(self.norm1(x), bias)
            return x + self.mlp(self.norm2(x))

    model = make_vit()
    for number, block in enumerate(model.blocks):
        model.blocks[number] = WithBias(block)
    inspector = Inspector(model)
    together = inspector.trace([x, x.flip(-1)], precision="float32")
    for trace, image in zip(together, (x, x.flip(-1)), strict=True):
        alone = inspector.trace(image, precision="float32")
        for layer in (1, 2, 3):
            np.testing.assert_allclose(trace.attention(layer), alone.attention(layer), atol=1e-4)
        assert trace.check().passed


def test_the_second_trace_is_like_the_first(make_vit: Callable[..., Any], x: Tensor) -> None:
    """Where blocks are given what others put out, later traces watch the former only."""
    inspector = Inspector(make_vit())
    first, second = inspector.trace(x), inspector.trace(x)
    third = inspector.trace([x, x])[1]
    for other in (second, third):
        np.testing.assert_allclose(other.logits, first.logits, atol=1e-5)
        np.testing.assert_allclose(other.tokens, first.tokens, atol=2e-3)
        np.testing.assert_allclose(other.attention(3), first.attention(3), atol=2e-3)
    assert np.array_equal(second.tokens, first.tokens)
    assert second.check().passed


def test_a_block_that_runs_twice_later_on(make_vit: Callable[..., Any], x: Tensor) -> None:
    model = make_vit()
    inspector = Inspector(model)
    inspector.trace(x)
    block, forward = model.blocks[1], model.blocks[1].forward
    again = True

    def twice(tokens: Tensor, **kwargs: Any) -> Tensor:
        nonlocal again
        once: Tensor = forward(tokens, **kwargs)
        if again:
            again = False
            once = block(once)
        return once

    block.forward = twice
    with pytest.raises(ModelError, match=r"block 2 .* ran 2 times"):
        inspector.trace(x)
