"""The one attention kernel that can be differentiated twice."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel


@contextmanager
def math_attention() -> Iterator[None]:
    """Inside, scaled dot-product attention is computed by its plain formula, operation by operation: softmax(QKᵀ/√d)·V.

    So are torch's transformer layers, which are one fused operation where nothing needs a gradient. The fused kernels
    have no second derivative, neither by double backward nor forward over reverse. Whatever differentiates a loss twice
    does so in here.
    """
    fused_layers = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused_layers)
