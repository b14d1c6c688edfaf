"""Dispatch modes and torch.compile, which do not go together."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def eager() -> Iterator[None]:
    """Inside, what torch.compile has compiled runs as the Python that it was made from; afterwards it is compiled.

    Under a dispatch mode torch compiles nothing, and marks the code it meets there so that it never compiles it again:
    a training loop would go on uncompiled, in silence, or fail where it asks for a full graph. So whatever runs under
    a dispatch mode runs in here. So does what is differentiated twice, which torch refuses for compiled functions, and
    what is measured beside it, so that it is one program that is measured.

    torch's compiler takes a second to load, which is not spent on a program that has not loaded it. If it is first
    loaded inside, what it has marked there is forgotten at the end.
    """
    if _is_loaded():
        with torch.compiler.set_stance("force_eager"):
            yield
        return
    try:
        yield
    finally:
        if _is_loaded():
            torch._dynamo.reset()


def _is_loaded() -> bool:
    return "torch._dynamo" in sys.modules
