"""Contexts that a curvature is measured in: plain attention, uncompiled code, float32 that is float32, no autocast."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Literal

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from clipbench.records import CurvaturePrecision

_asked: ContextVar[CurvaturePrecision] = ContextVar("precision", default="float32")


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


@contextmanager
def eager() -> Iterator[None]:
    """Inside, what torch.compile has compiled runs as the Python that it was made from; afterwards it is compiled.

    Under a dispatch mode torch compiles nothing, and marks the code it meets there so that it never compiles it again:
    a training loop would go on uncompiled, in silence, or fail where it asks for a full graph. So whatever runs under
    a dispatch mode runs in here. So does what is differentiated twice, which torch refuses for compiled functions, and
    what is measured beside it, so that it is one program that is measured.
    """
    with torch.compiler.set_stance("force_eager"):
        yield


@contextmanager
def curvature_in(precision: CurvaturePrecision) -> Iterator[None]:
    """Inside, directional curvatures are computed in this precision; all else that is measured stays in float32."""
    token = _asked.set(precision)
    try:
        yield
    finally:
        _asked.reset(token)


def rounds() -> bool:
    """Whether directional curvatures are to be computed in TF32."""
    return _asked.get() == "tf32"


def full_float32() -> AbstractContextManager[None]:
    """Inside, float32 products and convolutions on a GPU keep all 24 bits: no TF32, which has 11.

    Convolutions take TF32 by default. A curvature is a small difference of large sums, and what checks it against
    another engine could not tell such rounding from a mistake.
    """
    return _products("ieee")


def float32_as_asked() -> AbstractContextManager[None]:
    """The same, or TF32 inside `curvature_in` where that asks for it. Away from NVIDIA's GPUs both are float32."""
    return _products("tf32" if rounds() else "ieee")


@contextmanager
def _products(precision: Literal["ieee", "tf32"]) -> Iterator[None]:
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn.conv  # type: ignore[attr-defined]
    before = products.fp32_precision, convolutions.fp32_precision
    products.fp32_precision = convolutions.fp32_precision = precision
    try:
        yield
    finally:
        products.fp32_precision, convolutions.fp32_precision = before


@contextmanager
def without_autocast(device: torch.device) -> Iterator[list[str]]:
    """Inside, no autocast lowers a dtype, neither one from outside nor one that the loss or the model opens itself.

    Yields the devices of those that were opened inside, as they come: entering one has no effect but that.
    """
    opened: list[str] = []
    enter = torch.autocast.__enter__

    def closed(self: torch.autocast) -> object:
        enabled = self._enabled
        if enabled:
            opened.append(self.device)
        self._enabled = False
        try:
            entered: object = enter(self)  # type: ignore[no-untyped-call]
            return entered
        finally:
            self._enabled = enabled

    with torch.autocast(device.type, enabled=False):
        setattr(torch.autocast, "__enter__", closed)  # noqa: B010 - a method, which mypy lets nobody assign to
        try:
            yield opened
        finally:
            setattr(torch.autocast, "__enter__", enter)  # noqa: B010
