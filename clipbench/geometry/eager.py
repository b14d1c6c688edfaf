"""Dispatch modes and torch.compile, which do not go together."""

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
    """
    with torch.compiler.set_stance("force_eager"):
        yield
