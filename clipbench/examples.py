"""Examples of a data set as batches, in the form that torch's default collate gives them."""

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate

from clipbench.contracts import Batch
from clipbench.errors import ClipbenchError
from clipbench.geometry import keeping
from clipbench.networks.seeding import generator

Examples = Any  # a data set that torch calls map-style: it has a length, and an example for each number
DrawKey = tuple[int | str, ...]


@contextmanager
def drawing_from(*key: int | str) -> Iterator[None]:
    """Inside, the global generators of torch on the CPU, of Python and of NumPy start from `key`; then they go on."""
    kept = keeping.generators([])
    start = generator(*key)
    try:
        torch.default_generator.set_state(start.get_state())
        random.seed(start.initial_seed())
        np.random.seed(start.initial_seed() % 2**32)
        yield
    finally:
        keeping.put_generators_back(kept)


def collated(name: str, examples: Examples, numbers: Sequence[int], key: DrawKey) -> Any:
    """Examples as torch's default collate joins them; what making them draws is decided by `key`."""
    with drawing_from(*key):
        drawn = [examples[number] for number in numbers]
    try:
        return default_collate(drawn)
    except (TypeError, RuntimeError, KeyError) as error:
        raise ClipbenchError(
            f"torch's default collate makes no batch of the examples of {name}(): {error}",
            where=name,
            remedy="let the data set give tensors or numbers, of the same shapes in every example",
        ) from error


def batch_of(name: str, examples: Examples, numbers: Sequence[int], key: DrawKey) -> Batch:
    """These examples as a batch of named tensors, from which `rebuilt` makes what torch's default collate made.

    Args:
        name: of the function that makes the data set, for errors.
        examples: the data set.
        numbers: of the examples, in their order.
        key: decides what making the examples draws.

    Raises:
        ClipbenchError: torch cannot join the examples, or they hold something that is no number.
    """
    return Batch(dict(leaves(name, collated(name, examples, numbers, key))), samples=len(numbers))


def leaves(name: str, collated: Any, path: str = "") -> Iterator[tuple[str, Tensor]]:
    """The tensors of a batch, each by the way that leads to it: "0", "x" or "x/0"; a lone one is "examples"."""
    if isinstance(collated, Tensor):
        yield path or "examples", collated
    elif isinstance(collated, Mapping | list | tuple):
        inside = collated.items() if isinstance(collated, Mapping) else enumerate(collated)
        for part, content in inside:
            yield from leaves(name, content, f"{path}/{part}" if path else str(part))
    else:
        raise ClipbenchError(
            f"the examples of {name}() hold a {type(collated).__name__} at {path or 'their top'}, which is no number",
            where=name,
            remedy="let the data set turn text into numbers, or leave it out",
        )


def form_of(collated: Any, path: str = "") -> Any:
    """A batch with the name of a tensor, as `leaves` has it, in place of each."""
    if isinstance(collated, Mapping):
        return {part: form_of(content, f"{path}/{part}" if path else str(part)) for part, content in collated.items()}
    if isinstance(collated, list | tuple):
        parts = [form_of(content, f"{path}/{n}" if path else str(n)) for n, content in enumerate(collated)]
        return type(collated)(*parts) if hasattr(collated, "_fields") else parts
    return path or "examples"


def rebuilt(form: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The batch of this form that has these tensors."""
    if isinstance(form, str):
        return tensors[form]
    if isinstance(form, Mapping):
        return {part: rebuilt(inner, tensors) for part, inner in form.items()}
    parts = [rebuilt(inner, tensors) for inner in form]
    return type(form)(*parts) if hasattr(form, "_fields") else parts
