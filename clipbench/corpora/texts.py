"""The texts that a task of language trains on: records of the user's, of the hub, or what lies on every machine."""

import sysconfig
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import torch

from clipbench.corpora.files import files_of, records, text_in
from clipbench.corpora.tokenised import Sequences, tokenised
from clipbench.corpora.tokenizers import Tokenizer
from clipbench.data import SOURCES, STDLIB_FILES, missing_package, python_stdlib
from clipbench.errors import ClipbenchError
from clipbench.networks.hub import folder
from clipbench.networks.seeding import generator
from clipbench.records import Scalar
from clipbench.sources.contents import contents

TextRows = Iterable[tuple[str, ...]]
NUMBER_PAIRS = 10_240  # pairs, as many as the paper's


@dataclass(frozen=True)
class Corpus:
    """Rows of texts, the same each time; `identity` changes with them. `loaded` is as `Problem` has it."""

    rows: Callable[[], TextRows]
    identity: str
    loaded: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class TextChoice:
    """Which records: of `data`, a path or a name of the hub, of its files that fit a pattern, the first `most`."""

    data: str
    files: str
    most: int | None
    fields: tuple[str, ...]


def corpus(choice: TextChoice, offline: Callable[[], Corpus]) -> Corpus:
    """The records that are wanted, or `offline` where no data is.

    Raises:
        ClipbenchError: the data is not there, or cannot be read; or there is no record in it.
    """
    if not choice.data:
        return offline()
    source = folder(choice.data, "dataset")
    files = files_of(source.folder, choice.files)

    def rows() -> Iterator[tuple[str, ...]]:
        for record in records(files, choice.most):
            yield tuple(text_in(record, name) for name in choice.fields)

    # A link of the hub's cache leads to the content, whose name is its hash.
    listed = [line for file in files for line in contents(file)]
    made = Corpus(rows, sha256("\n".join([*listed, repr(choice)]).encode()).hexdigest(), source.loaded)
    if not any(True for _ in rows()):
        raise ClipbenchError("there is no record", where=str(source.folder), remedy="mend `data`, or `files`")
    return made


def numbered(texts: Corpus, tokenizer: Tokenizer, column: int, prefix: str = "") -> Sequences:
    """The texts of one column as token numbers, of each row a sequence."""
    key: dict[str, Scalar] = {
        "data": texts.identity,
        "tokenizer": tokenizer.identity,
        "column": column,
        "prefix": prefix,
    }

    def make() -> Iterator[list[int]]:
        for row in texts.rows():
            yield list(tokenizer.encode([prefix + row[column]])[0])

    return tokenised(key, make)


def windows(texts: Sequences, length: int, *, end: int) -> Sequences:
    """All texts one after the other, with `end` after each, cut into windows of `length`; the rest is left out."""
    joined = [torch.as_tensor(texts[place].copy()) for place in range(len(texts))]
    stream = torch.cat([part for text in joined for part in (text, torch.tensor([end], dtype=torch.int32))]).numpy()
    count = len(stream) // length
    if not count:
        message = f"the data have {len(stream):,} tokens, fewer than a window of {length:,}"
        raise ClipbenchError(message, remedy="set `length` lower, or give more data")
    ends = (torch.arange(count) + 1) * length
    return Sequences(stream[: count * length], ends.numpy())


def cut(texts: Sequences, length: int, *, least: int = 1) -> list[list[int]]:
    """The first `length` tokens of each text, without those that have fewer than `least`."""
    return [texts[place][:length].tolist() for place in range(len(texts)) if len(texts[place]) >= least]


def library() -> Corpus:
    """The code of Python's standard library, as one text."""
    return Corpus(lambda: [(python_stdlib().decode(errors="replace"),)], SOURCES["python_stdlib"].fingerprint())


def library_passages(length: int) -> Corpus:
    """Passages of so many characters of the standard library's modules, each with the module's name."""
    root = Path(sysconfig.get_path("stdlib"))

    def rows() -> Iterator[tuple[str, str]]:
        for name in STDLIB_FILES:
            text = (root / name).read_text(encoding="utf-8", errors="replace") if (root / name).is_file() else ""
            yield from ((text[place : place + length], name) for place in range(0, len(text) - length, length))

    return Corpus(rows, f"{SOURCES['python_stdlib'].fingerprint()} passages {length}")


def number_words() -> Corpus:
    """Numbers below a million in English and in French: all of three digits or fewer, and others drawn once for all.

    Raises:
        ClipbenchError: num2words is not installed.
    """
    try:
        from num2words import num2words
    except ImportError as error:
        raise missing_package("num2words") from error

    def rows() -> Iterator[tuple[str, str]]:
        others = torch.randperm(999_000, generator=generator("number words"))[: NUMBER_PAIRS - 1000] + 1000
        for number in [*range(1000), *others.tolist()]:
            yield num2words(number, lang="en"), num2words(number, lang="fr")

    return Corpus(rows, f"{SOURCES['num2words'].fingerprint()} {NUMBER_PAIRS}")
