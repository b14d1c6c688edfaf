"""The layers of a pre-LN transformer (Xiong et al. 2020, arXiv:2002.04745), without biases in its matrices.

Shapes: B sequences, T positions (S of what is attended to), d the width, h heads, e.g. 8, 64, 64, 64, 4.
Attention goes through torch's own function, whose fused kernels have no second derivative: whoever measures
curvature has to ask for its MATH kernel.
"""

import math

from torch import Tensor, nn
from torch.nn import functional


class Attention(nn.Module):
    """Multi-head attention: softmax(QKᵀ/√(d/h) + mask) V for each head, then a matrix over all of them.

    There is no bias: one in the keys would have a gradient of exactly zero, as softmax does not see it.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(width, 2 * width, bias=False)
        self.output = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, memory: Tensor, *, mask: Tensor | None = None, causal: bool = False) -> Tensor:
        """`x` (B, T, d) attends to `memory` (B, S, d) where `mask` (B or 1, 1, T or 1, S) is true."""
        query = self._per_head(self.query(x))  # (B, h, T, d/h)
        key, value = map(self._per_head, self.key_value(memory).chunk(2, dim=-1))  # (B, h, S, d/h) each
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=causal)
        out: Tensor = self.output(mixed.transpose(1, 2).flatten(2))
        return out

    def _per_head(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:-1], self.heads, -1).transpose(1, 2)


class Block(nn.Module):
    """One layer: x + attention(LN x), then x + cross-attention(LN x) where there is a memory, then x + MLP(LN x).

    The MLP is d → 4d → d with the exact GELU.
    """

    def __init__(self, width: int, heads: int, *, causal: bool = False, cross: bool = False) -> None:
        super().__init__()
        self.causal = causal
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.cross_norm = nn.LayerNorm(width) if cross else None
        self.cross_attention = Attention(width, heads) if cross else None
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp_in = nn.Linear(width, 4 * width, bias=False)
        self.mlp_out = nn.Linear(4 * width, width, bias=False)

    def forward(
        self,
        x: Tensor,
        memory: Tensor | None = None,
        *,
        mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
    ) -> Tensor:
        """The layer's output for x (batch, length, d), with attention to a memory where it has one."""
        normed = self.attention_norm(x)
        x = x + self.attention(normed, normed, mask=mask, causal=self.causal)
        if self.cross_norm is not None and self.cross_attention is not None and memory is not None:
            x = x + self.cross_attention(self.cross_norm(x), memory, mask=memory_mask)
        out: Tensor = x + self.mlp_out(functional.gelu(self.mlp_in(self.mlp_norm(x))))
        return out


def draw_weights(model: nn.Module, *, depth: int) -> None:
    """Draw a transformer's matrices so that signals keep their size and the first prediction is near uniform.

    Embeddings are normal with deviation 0.02, which makes the logits of a tied output about 0.02 √d; matrices
    have variance 1/(fan in), those that write to the residual stream 1/(depth · fan in), `depth` being the
    number of such writes (Radford et al. 2019). Biases start at 0.
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
        elif isinstance(module, nn.Linear):
            writes = name.endswith(("attention.output", "mlp_out"))
            nn.init.normal_(module.weight, std=1 / math.sqrt(module.in_features * (depth if writes else 1)))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
