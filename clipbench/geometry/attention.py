"""The one attention kernel that can be differentiated twice."""

from contextlib import AbstractContextManager

from torch.nn.attention import SDPBackend, sdpa_kernel


def math_attention() -> AbstractContextManager[None]:
    """Inside, scaled dot-product attention is computed by its plain formula: softmax(QKᵀ/√d)·V, operation by
    operation.

    The fused kernels have no second derivative, neither by double backward nor forward over reverse. Whatever
    differentiates a loss twice does so in here.
    """
    return sdpa_kernel(SDPBackend.MATH)
