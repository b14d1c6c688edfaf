"""Which kernel computes attention: torch chooses one by shapes, precision and device."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

PLAIN = "math"  # the plain formula, operation by operation
_FUSED = {
    "_scaled_dot_product_flash_attention": "flash",
    "_scaled_dot_product_efficient_attention": "memory-efficient",
    "_scaled_dot_product_cudnn_attention": "cudnn",
    "_scaled_dot_product_fused_attention_overrideable": "of the device",
}
# The latter hides its own call of the former from a mode.
_CALLED = (functional.scaled_dot_product_attention, functional.multi_head_attention_forward)


@contextmanager
def observed() -> Iterator[set[str]]:
    """Yields the names of the kernels that torch's attention has used inside; none for a model's own formula."""
    kernels: set[str] = set()
    fused = _Fused(kernels)
    with fused, _Calls(kernels, fused):
        yield kernels


class _Fused(TorchDispatchMode):
    """Notes every fused kernel, and how many there were."""

    def __init__(self, kernels: set[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kernels, self.count = kernels, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.__name__.partition(".")[0].removesuffix("_for_cpu")
        if name in _FUSED:
            self.kernels.add(_FUSED[name])
            self.count += 1
        return func(*args, **(kwargs or {}))


class _Calls(TorchFunctionMode):
    """Notes every call of torch's attention that came to no fused kernel."""

    def __init__(self, kernels: set[str], fused: _Fused) -> None:
        super().__init__()
        self.kernels, self.fused = kernels, fused

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        before = self.fused.count
        result = func(*args, **(kwargs or {}))
        if func in _CALLED and self.fused.count == before:
            self.kernels.add(PLAIN)
        return result
