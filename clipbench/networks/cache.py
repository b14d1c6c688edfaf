"""Weights that take a while to make, kept on the user's disk so that they are made once."""

import hashlib
import io
import json
import os
import pickle
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from clipbench.records import Scalar

Weights = dict[str, Tensor]


def cache_folder() -> Path:
    """Where clipbench keeps what it can make again: $XDG_CACHE_HOME/clipbench, or ~/.cache/clipbench.

    Raises:
        RuntimeError: the user has no home folder.
    """
    root = os.environ.get("XDG_CACHE_HOME")
    return Path(root, "clipbench") if root else Path.home() / ".cache" / "clipbench"


def cached_weights(
    name: str, key: Mapping[str, Scalar], *, make: Callable[[], Weights], folder: Path | None = None
) -> Weights:
    """What `make` returns, from the disk where it has been made before: bit for bit the same either way.

    The file carries the SHA-256 of its content: one that was cut short or changed is made again. A folder that
    cannot be read or written only means that nothing is kept.

    Args:
        name: what the weights are, the beginning of the file's name.
        key: everything that decides their values, down to the version of torch.
        make: the CPU tensors by name, a state_dict.
        folder: cache_folder() where None.
    """
    described = hashlib.sha256(json.dumps(dict(key), sort_keys=True).encode()).hexdigest()
    try:
        file = (folder or cache_folder()) / f"{name}-{described[:16]}.pt"
    except RuntimeError:  # no home folder, hence no cache
        return make()
    kept = _read(file)
    if kept is not None:
        return kept
    weights = make()
    _write(file, weights)
    return weights


def _read(file: Path) -> Weights | None:
    try:
        content = file.read_bytes()
    except OSError:
        return None
    digest, packed = content[:32], content[32:]
    if hashlib.sha256(packed).digest() != digest:
        return None
    try:
        weights: Weights = torch.load(io.BytesIO(packed), weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError):  # whole, but not ours
        return None
    return weights


def _write(file: Path, weights: Weights) -> None:
    """Write beside the place and rename, so that a reader never sees half a file."""
    packed = io.BytesIO()
    torch.save(weights, packed)
    content = packed.getvalue()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    except OSError:
        return
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(hashlib.sha256(content).digest() + content)
        Path(partial).replace(file)
    except OSError:
        Path(partial).unlink(missing_ok=True)
