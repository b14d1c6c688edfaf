"""Sequences of token numbers, kept in files of the user's cache that are mapped into memory."""

import fcntl
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clipbench.networks.cache import cache_folder
from clipbench.records import Scalar

_NUMBERS, _ENDS, _DIGEST = "numbers.int32", "ends.int64", "digest.json"


@dataclass(frozen=True)
class Sequences:
    """Sequences of numbers, one after the other in `numbers`; `ends` says where each ends."""

    numbers: np.ndarray[Any, np.dtype[np.int32]]
    ends: np.ndarray[Any, np.dtype[np.int64]]

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, place: int) -> np.ndarray[Any, np.dtype[np.int32]]:
        return self.numbers[self.ends[place - 1] if place else 0 : self.ends[place]]


def tokenised(
    key: Mapping[str, Scalar], make: Callable[[], Iterable[Sequence[int]]], folder: Path | None = None
) -> Sequences:
    """What `make` yields, from the disk where it has been made before.

    It is made by one process while others wait, beside its place, and renamed once it is whole; a digest beside it
    tells whether it still is. A folder that cannot be written to only means that nothing is kept.

    Args:
        key: everything that decides the numbers.
        make: the sequences; nothing but int32 fits.
        folder: where to keep them; the user's cache where None.
    """
    name = hashlib.sha256(json.dumps(dict(key), sort_keys=True).encode()).hexdigest()[:16]
    try:
        root = (folder or cache_folder()) / "tokenised"
        root.mkdir(parents=True, exist_ok=True)
        with _alone(root / f".{name}.lock"):
            place = root / name
            return _read(place) or _kept(place, _packed(make()))
    except (OSError, RuntimeError):  # no home folder, a full disk or one that nobody may write to
        return _packed(make())


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # given back when the file is closed, and when the process ends
        yield


def _packed(made: Iterable[Sequence[int]]) -> Sequences:
    parts = [np.asarray(sequence, dtype=np.int32) for sequence in made]
    numbers = np.concatenate(parts) if parts else np.zeros(0, np.int32)
    return Sequences(numbers, np.cumsum([len(part) for part in parts], dtype=np.int64))


def _kept(place: Path, sequences: Sequences) -> Sequences:
    partial = Path(tempfile.mkdtemp(dir=place.parent, prefix=f".{place.name}."))
    try:
        sequences.numbers.tofile(partial / _NUMBERS)
        sequences.ends.tofile(partial / _ENDS)
        (partial / _DIGEST).write_text(json.dumps(_digests(partial)))
        shutil.rmtree(place, ignore_errors=True)  # one that is damaged
        partial.rename(place)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return _read(place) or sequences


def _read(place: Path) -> Sequences | None:
    """What is kept, if it is whole."""
    try:
        if json.loads((place / _DIGEST).read_text()) != _digests(place):
            return None
    except (OSError, ValueError):
        return None
    if not (place / _NUMBERS).stat().st_size:  # nothing to map
        return None
    return Sequences(np.memmap(place / _NUMBERS, np.int32, "r"), np.fromfile(place / _ENDS, np.int64))


def _digests(place: Path) -> dict[str, str]:
    digests = {}
    for name in (_NUMBERS, _ENDS):
        with (place / name).open("rb") as file:
            digests[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests
