"""The attention kernel that can be differentiated twice."""

import torch
from torch.nn import functional

from clipbench.geometry.contexts import math_attention


def test_attention_inside_is_the_plain_formula_with_a_right_second_derivative() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 2, 5, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    with math_attention():
        assert torch.autograd.gradgradcheck(
            lambda q: functional.scaled_dot_product_attention(q, q, q, is_causal=True), (x,)
        )


def test_outside_the_other_kernels_are_on_again() -> None:
    before = torch.backends.cuda.flash_sdp_enabled()
    with math_attention():
        assert torch.backends.cuda.math_sdp_enabled()
        assert not torch.backends.cuda.flash_sdp_enabled()
        assert not torch.backends.cuda.mem_efficient_sdp_enabled()
    assert torch.backends.cuda.flash_sdp_enabled() == before


def test_outside_torchs_fused_layers_are_as_they_were() -> None:
    before = torch.backends.mha.get_fastpath_enabled()
    with math_attention():
        assert not torch.backends.mha.get_fastpath_enabled()
    assert torch.backends.mha.get_fastpath_enabled() == before
