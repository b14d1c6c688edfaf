import math

import pytest
import torch
from torch import Tensor

from clipbench.networks.transformer import Attention, Block, draw_weights


def naive_attention(layer: Attention, x: Tensor, memory: Tensor, allowed: Tensor) -> Tensor:
    """One sequence, one head and one position at a time, in float64."""
    width = x.shape[-1]
    size = width // layer.heads
    query, key_value = layer.query.weight.double(), layer.key_value.weight.double()
    key, value = key_value[:width], key_value[width:]
    out = torch.zeros(*x.shape[:2], width, dtype=torch.float64)
    for b in range(len(x)):
        for head in range(layer.heads):
            part = slice(head * size, (head + 1) * size)
            for t in range(x.shape[1]):
                seen = [s for s in range(memory.shape[1]) if allowed[b, t, s]]
                q = query[part] @ x[b, t].double()
                scores = torch.stack([q @ (key[part] @ memory[b, s].double()) / math.sqrt(size) for s in seen])
                weights = scores.exp() / scores.exp().sum()
                values = torch.stack([value[part] @ memory[b, s].double() for s in seen])
                out[b, t, part] = weights @ values
    return out @ layer.output.weight.double().T


@pytest.fixture
def layer() -> Attention:
    torch.manual_seed(0)
    return Attention(12, 3)


def test_attention_to_everything_agrees_with_the_sums_written_out(layer: Attention) -> None:
    x, memory = torch.randn(2, 4, 12), torch.randn(2, 5, 12)
    expected = naive_attention(layer, x, memory, torch.ones(2, 4, 5))
    torch.testing.assert_close(layer(x, memory), expected.float())


def test_causal_attention_agrees_with_the_sums_written_out(layer: Attention) -> None:
    x = torch.randn(2, 5, 12)
    expected = naive_attention(layer, x, x, torch.ones(2, 5, 5).tril())
    torch.testing.assert_close(layer(x, x, causal=True), expected.float())


def test_masked_attention_agrees_with_the_sums_written_out(layer: Attention) -> None:
    x, memory = torch.randn(2, 4, 12), torch.randn(2, 5, 12)
    real = torch.tensor([[True, True, False, False, False], [True, True, True, True, True]])
    expected = naive_attention(layer, x, memory, real[:, None].expand(2, 4, 5))
    torch.testing.assert_close(layer(x, memory, mask=real[:, None, None]), expected.float())


def test_a_block_looks_at_its_memory_only_where_it_is_made_to() -> None:
    torch.manual_seed(0)
    x, memory = torch.randn(2, 4, 12), torch.randn(2, 5, 12)
    block = Block(12, 3, causal=True, cross=True)
    assert not torch.allclose(block(x, memory), block(x, memory.flip(1) + 1))
    assert sum(p.numel() for p in block.parameters()) == 16 * 12**2 + 3 * 2 * 12
    assert sum(p.numel() for p in Block(12, 3).parameters()) == 12 * 12**2 + 2 * 2 * 12


def test_drawn_weights_have_the_deviations_they_should() -> None:
    torch.manual_seed(0)
    block = Block(128, 4)
    draw_weights(block, depth=4)
    for matrix, expected in (
        (block.attention.query, 1 / math.sqrt(128)),
        (block.attention.key_value, 1 / math.sqrt(128)),
        (block.mlp_in, 1 / math.sqrt(128)),
        (block.attention.output, 1 / math.sqrt(4 * 128)),
        (block.mlp_out, 1 / math.sqrt(4 * 512)),
    ):
        # four standard errors of the deviation of 16,384 draws
        assert matrix.weight.std().item() == pytest.approx(expected, rel=4 / math.sqrt(2 * 16_384))


def test_embeddings_are_drawn_small_and_biases_start_at_zero() -> None:
    torch.manual_seed(0)
    embedding, linear = torch.nn.Embedding(256, 64), torch.nn.Linear(64, 10)
    draw_weights(torch.nn.Sequential(embedding, linear), depth=1)
    assert embedding.weight.std().item() == pytest.approx(0.02, rel=4 / math.sqrt(2 * 256 * 64))
    assert not linear.bias.any()
