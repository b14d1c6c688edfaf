"""How many directions fit into memory: counted while one of them is carried, not guessed from the model."""

import weakref
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from clipbench.errors import ClipbenchError
from clipbench.geometry.losses import WHERE


class TooFewBytesError(ClipbenchError):
    """So many `directions` at once do not fit into memory."""

    def __init__(self, message: str, *, directions: int) -> None:
        super().__init__(message, where=WHERE, remedy="smaller batches take less")
        self.directions = directions


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
    """Also where torch has no error of its own for it: on a CPU, and in libraries on a GPU."""
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in _OUT_OF_MEMORY)


_OUT_OF_MEMORY = ("DefaultCPUAllocator", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
