"""The tokens of Python's own standard library, numbered by how often they occur."""

import io
import tokenize
from collections import Counter
from functools import lru_cache

import torch
from torch import Tensor

from clipbench.corpora.windows import parts
from clipbench.data import python_stdlib

BY_TEXT = (tokenize.NAME, tokenize.OP)  # `self`, `def`, `(`; of numbers, strings and indents the kind alone
LEFT_OUT = (tokenize.COMMENT, tokenize.NL, tokenize.ENDMARKER)
UNKNOWN = "UNKNOWN"


@lru_cache(maxsize=1)
def tokens_of(text: bytes) -> tuple[str, ...]:
    """The tokens of Python code as `tokenize` cuts it: names and operators as they are written, the rest by its kind.

    Comments and blank lines are left out. The standard library has 217 thousand tokens with Python 3.11.
    """
    lines = io.StringIO(text.decode(errors="replace"))
    return tuple(
        token.string if token.type in BY_TEXT else tokenize.tok_name[token.type]
        for token in tokenize.generate_tokens(lines.readline)
        if token.type not in LEFT_OUT
    )


def numbered_tokens(vocabulary: int) -> Tensor:
    """The standard library's tokens as classes 0, …, `vocabulary` − 1, the most frequent first, shape (N,).

    The `vocabulary` − 1 most frequent tokens of the training part are a class each, all others one together.

    Raises:
        ValueError: the text has fewer tokens, or there is one class only.
        ClipbenchError: this Python has no standard library in source.
    """
    tokens = tokens_of(python_stdlib())
    training, _, _ = parts(tokens)
    counts = Counter(training)
    if not 2 <= vocabulary <= len(counts):
        raise ValueError(f"vocabulary must be from 2 to {len(counts)}, the different tokens, not {vocabulary}")
    kept = {token for token, _ in counts.most_common(vocabulary - 1)}
    known = [token if token in kept else UNKNOWN for token in tokens]
    ranked = Counter(known[: len(training)]).most_common()
    rank = {token: place for place, (token, _) in enumerate(ranked)}
    return torch.tensor([rank[token] for token in known])


def common_classes(counts: Tensor) -> int:
    """How many of the most frequent classes make up half of a text at least; counts (V,) fall from the first on."""
    return int((2 * counts.cumsum(0) < counts.sum()).sum()) + 1
