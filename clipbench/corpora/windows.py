"""A text cut into parts for training, evaluation and probes, and windows of a part."""

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor

HELD_OUT = 0.05  # of the text for evaluation, and as much again for probes

Text = TypeVar("Text", Tensor, Sequence[str])


def parts(text: Text) -> tuple[Text, Text, Text]:
    """The first 90 % for training, then 5 % for evaluation and 5 % for probes: the same for every seed."""
    held_out = int(HELD_OUT * len(text))
    return text[: -2 * held_out], text[-2 * held_out : -held_out], text[-held_out:]


def draw_windows(text: Tensor, count: int, *, length: int, draw: torch.Generator) -> Tensor:
    """Stretches of the text (N,) that begin anywhere, int64, shape (count, length).

    Raises:
        ValueError: the text is shorter than a window.
    """
    if length > len(text):
        raise ValueError(f"a window of {length} is longer than the text of {len(text)} that it is cut from")
    starts = torch.randint(len(text) - length + 1, (count, 1), generator=draw)
    return text[starts + torch.arange(length)].long()
