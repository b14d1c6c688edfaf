"""How many directions fit into memory: counted while one of them is carried, not guessed from the model."""

import weakref
from functools import cache
from typing import Any

import psutil
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from clipbench.errors import ClipbenchError
from clipbench.geometry.losses import WHERE


class TooFewBytesError(ClipbenchError):
    """The directions do not fit into memory; `fit` is how many of them would, 0 if not one, None if that is unknown."""

    def __init__(self, message: str, *, fit: int | None) -> None:
        remedy = f"chunk={fit} carries so many at once" if fit else "smaller batches take less"
        super().__init__(message, where=WHERE, remedy=remedy)
        self.fit = fit


class MemoryTally(TorchDispatchMode):
    """Inside, the memory of every tensor that an operation makes is counted until it is freed: `peak`, in bytes.

    What was there before (weights, batches, directions) is not in it, unless it is given to `note`.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.held = self.peak = 0
        self._seen: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def note(self, *tensors: Tensor) -> None:
        """Count these too."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            if storage not in self._seen:
                self._seen.add(storage)
                self.held += storage.nbytes()
                weakref.finalize(storage, self._freed, storage.nbytes())
        self.peak = max(self.peak, self.held)

    def _freed(self, size: int) -> None:
        self.held -= size

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            self.note(*(each for each in tree_leaves(result) if type(each) is Tensor))
        return result


def free_bytes(device: torch.device) -> int | None:
    """What a device has left, with what torch holds in reserve there; None where it does not say."""
    if device.type == "cpu":
        return int(psutil.virtual_memory().available)
    if device.type == "cuda":
        reserve = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + reserve
    return None


@cache
def keep_what_is_freed() -> None:
    """Have the C library keep up to 62 MiB of freed memory for what comes next; once is enough for a process.

    By itself glibc gives what lies free at the end of its heap back to the system, beyond a few MiB, and takes it again
    page by page: up to a fifth of the time that jets take on a CPU. A large block that is freed, which nobody need have
    written to, raises that limit to twice its size, if it is below 32 MiB. Other libraries do as they always do.

    Source: mallopt(3), M_MMAP_THRESHOLD.
    """
    torch.empty(31 * 2**20, dtype=torch.uint8)


def is_out_of_memory(error: BaseException) -> bool:
    """Also on a CPU, where torch has no error of its own for it."""
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)
