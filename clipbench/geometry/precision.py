"""Float32 that is float32."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def full_float32() -> Iterator[None]:
    """Inside, float32 products and convolutions on a GPU keep all 24 bits: no TF32, which has 11.

    Convolutions take TF32 by default. A curvature is a small difference of large sums, and what checks it against
    another engine could not tell such rounding from a mistake.
    """
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn.conv  # type: ignore[attr-defined]
    before = products.fp32_precision, convolutions.fp32_precision
    products.fp32_precision = convolutions.fp32_precision = "ieee"
    try:
        yield
    finally:
        products.fp32_precision, convolutions.fp32_precision = before
