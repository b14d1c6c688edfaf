"""From texts to numbers: bytes, or a tokenizer of the hub."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from clipbench.errors import ClipbenchError, in_one_line
from clipbench.networks.hub import folder, transformers

BYTE_LEVEL = "bytes"


@dataclass(frozen=True)
class Tokenizer:
    """`encode` numbers texts, without tokens for their begin or end. None of the special ones is a byte or a word.

    `identity` changes with whatever decides the numbers.
    """

    encode: Callable[[Sequence[str]], Sequence[Sequence[int]]]
    size: int
    end: int | None
    mask: int | None
    start: int | None
    identity: str

    def require(self, special: str) -> int:
        """The number of a special token: start, end or mask.

        Raises:
            ClipbenchError: the tokenizer has none.
        """
        number: int | None = getattr(self, special)
        if number is None:
            message = f"the tokenizer has no token for `{special}`, which this task needs"
            raise ClipbenchError(message, remedy=f"give another `tokenizer`, or {BYTE_LEVEL}")
        return number


def tokenizer(name: str) -> Tokenizer:
    """The tokenizer of a name: `bytes`, or a folder or a repository of the hub, as `hub.folder` takes it.

    Raises:
        ClipbenchError: it can be had nowhere, or is no tokenizer.
    """
    if name == BYTE_LEVEL:
        return Tokenizer(_bytes_of, size=260, end=257, mask=258, start=256, identity=BYTE_LEVEL)
    library, source = transformers(), folder(name)
    try:
        given: Any = library.AutoTokenizer.from_pretrained(source.folder, local_files_only=True)
    except (OSError, ValueError, KeyError, ImportError) as error:  # some need a package of their own
        message = f"no tokenizer could be made of {name!r}: {in_one_line(error)}"
        raise ClipbenchError(
            message, where=str(source.folder), remedy=f"give another `tokenizer`, or {BYTE_LEVEL}"
        ) from error

    def encode(texts: Sequence[str]) -> Sequence[Sequence[int]]:
        numbers: Sequence[Sequence[int]] = given(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
        return numbers

    whole = given.backend_tokenizer.to_str() if given.is_fast else repr(sorted(given.get_vocab().items()))
    return Tokenizer(
        encode,
        size=len(given),
        end=_first(given.eos_token_id, given.sep_token_id),
        mask=given.mask_token_id,
        start=_first(given.bos_token_id, given.cls_token_id),
        identity=hashlib.sha256(whole.encode()).hexdigest(),
    )


def require_fit(tokenizer: Tokenizer, vocabulary: int) -> None:
    """Raises ClipbenchError where the tokenizer has numbers that the model's embedding lacks."""
    if tokenizer.size > vocabulary:
        raise ClipbenchError(
            f"the tokenizer has {tokenizer.size:,} tokens, and the model has a vocabulary of {vocabulary:,}",
            remedy="give the tokenizer that belongs to the model, or a smaller one",
        )


def _bytes_of(texts: Sequence[str]) -> Sequence[Sequence[int]]:
    return [list(text.encode(errors="replace")) for text in texts]


def _first(*numbers: int | None) -> int | None:
    return next((number for number in numbers if number is not None), None)
