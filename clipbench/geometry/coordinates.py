"""Which coordinates of a step carry its length and its curvature."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from clipbench.errors import ClipbenchError
from clipbench.geometry.products import coordinates_of, narrowed, widened


def flattened(u: Mapping[str, Tensor], parameters: Mapping[str, nn.Parameter]) -> Tensor:
    """u as one float64 vector (n,), in the order of the parameters."""
    return torch.cat([widened(u[name]) for name in parameters])


def unflattened(vector: Tensor, parameters: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    """The reverse: by parameter name, in the parameters' shapes and dtypes."""
    pieces = torch.split(vector, [coordinates_of(p) for p in parameters.values()])
    return {name: narrowed(piece, p) for (name, p), piece in zip(parameters.items(), pieces, strict=True)}


def shares_of_decades(u: Tensor) -> dict[int | None, float]:
    """The log histogram of |u|: the share of coordinates with 10^d ≤ |uᵢ| < 10^(d+1) by d, of zeros under None.

    Only what is there has a place; the shares add up to 1.
    """
    sizes = u.abs()
    real = sizes[sizes > 0]
    decades, counts = torch.unique(real.log10().floor().long(), return_counts=True)
    shares: dict[int | None, float] = {
        int(d): int(count) / len(u) for d, count in zip(decades.tolist(), counts.tolist(), strict=True)
    }
    if len(real) < len(u):
        shares[None] = 1 - len(real) / len(u)
    return shares


def how_many(percent: float, size: int) -> int:
    """The coordinates in `percent` % of n: at least one, and never all of them."""
    return min(max(1, round(size * percent / 100)), size - 1)


def largest(u: Tensor, count: int) -> Tensor:
    """Where the `count` coordinates of the largest |uᵢ| are."""
    return u.abs().topk(count, sorted=False).indices


def at_random(size: int, count: int, *, seed: int) -> Tensor:
    """Where `count` coordinates are that are drawn evenly without replacement, the same for the same seed."""
    return torch.randperm(size, generator=torch.Generator().manual_seed(seed))[:count]


def without(u: Tensor, places: Tensor) -> Tensor:
    """u with zeros in these places."""
    kept = u.clone()
    kept[places.to(u.device)] = 0
    return kept


def share(terms: Tensor, places: Tensor) -> float:
    """What these terms are of the sum of all terms; NaN where that sum is not positive."""
    total = float(terms.sum())
    return float(terms[places.to(terms.device)].sum()) / total if total > 0 else math.nan


def rank_correlation(a: Tensor, b: Tensor) -> float:
    """Spearman's ρ of two vectors, ties sharing their mean rank; NaN where one of them is constant or not finite."""
    constant = bool((a == a[0]).all()) or bool((b == b[0]).all())
    if constant or not bool(a.isfinite().all() & b.isfinite().all()):
        return math.nan
    correlations = np.asarray(np.corrcoef(_ranks(a), _ranks(b)))
    return float(correlations[1, 0])


def _ranks(x: Tensor) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """From 1 for the least; equal numbers share the mean of their ranks.

    `scipy.stats` has this, and its import takes most of a second, which every `clipbench run` would wait for.
    """
    _, place, counts = np.unique(x.cpu().numpy(), return_inverse=True, return_counts=True)
    ranks: np.ndarray[tuple[int], np.dtype[np.float64]] = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return ranks


def require_percents(percents: Sequence[float], *, where: str) -> None:
    """Raises ClipbenchError for none, one twice, or one that is not between 0 and 100."""
    if not percents or len(set(percents)) < len(percents) or not all(0 < percent < 100 for percent in percents):
        raise ClipbenchError(
            f"percents {tuple(percents)} of the coordinates",
            where=where,
            remedy="give numbers above 0 and below 100, each once, such as [0.1, 1, 10, 50]",
        )
