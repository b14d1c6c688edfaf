"""Inner products and norms of vectors that are cut into tensors, in float64."""

from collections.abc import Iterable

import torch
from torch import Tensor


def widened(tensor: Tensor) -> Tensor:
    """The same numbers as a flat float64 vector without a graph; on the CPU where the device has no float64.

    A complex number is two, its real and its imaginary part, as torch's gradients have it.
    """
    plain = tensor.detach()
    flat = (torch.view_as_real(plain.resolve_conj()) if plain.is_complex() else plain).flatten()
    return (flat.cpu() if flat.device.type == "mps" else flat).double()


def coordinates_of(tensor: Tensor) -> int:
    """How many real numbers it is made of."""
    return tensor.numel() * (2 if tensor.is_complex() else 1)


def narrowed(flat: Tensor, like: Tensor) -> Tensor:
    """The reverse of `widened`, in the shape, the dtype and on the device of a tensor."""
    if like.is_complex():
        return torch.view_as_complex(flat.reshape(*like.shape, 2)).to(like)
    return flat.view(like.shape).to(like)


def inner(left: Iterable[Tensor], right: Iterable[Tensor]) -> float:
    """How far one vector lies along another: Σᵢ aᵢbᵢ, summed in float64.

    Args:
        left, right: tensors of equal shapes, pair by pair, all on one device.
    """
    parts = [torch.dot(widened(a), widened(b)) for a, b in zip(left, right, strict=True)]
    return float(torch.stack(parts).sum()) if parts else 0.0


def norm(tensors: Iterable[Tensor]) -> float:
    """The length of a vector: √(Σᵢ aᵢ²), summed in float64; 0 for no tensors.

    Args:
        tensors: of any shapes, all on one device.
    """
    parts = lengths(tensors)
    return float(torch.linalg.vector_norm(parts)) if len(parts) else 0.0


def lengths(tensors: Iterable[Tensor]) -> Tensor:
    """The length of each tensor, in float64, as one tensor on their device, so that nothing waits for it."""
    parts = [torch.linalg.vector_norm(widened(tensor)) for tensor in tensors]
    return torch.stack(parts) if parts else torch.zeros(0, dtype=torch.float64)
