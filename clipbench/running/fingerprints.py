"""Hashes of what a run began with and ended at: equal means equal bit for bit."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from clipbench.contracts import Batch
from clipbench.records import FIRST_BATCHES

FIRST = 2  # training batches that a fingerprint covers


def weights_sha256(model: nn.Module) -> str:
    """SHA-256 over every parameter and buffer, by name, with dtype, shape and bytes; hex digits."""
    return _tensors_sha256(model.state_dict())


def tensor_sha256(tensor: Tensor) -> str:
    """SHA-256 of a tensor's dtype, shape and bytes; hex digits."""
    return _tensors_sha256({"": tensor})


def batch_sha256(batch: Batch) -> str:
    """SHA-256 of a batch's tensors, by name, and of its counts."""
    return _texts_sha256([_tensors_sha256(batch.tensors), repr(batch.samples), repr(batch.tokens)])


def batches_sha256(batches: Iterable[Batch]) -> str:
    """SHA-256 of batches in their order."""
    return _texts_sha256(map(batch_sha256, batches))


def comparable(fingerprints: Mapping[str, str], steps: int) -> dict[str, str]:
    """The fingerprints of a run that made so many steps: of fewer than FIRST batches none is to be compared."""
    return {name: value for name, value in fingerprints.items() if name != FIRST_BATCHES or steps >= FIRST}


def followed_by(before: str, batch: Batch) -> str:
    """The fingerprint of batches that come one at a time: of those before, empty for none, and of the next."""
    return _texts_sha256([before, batch_sha256(batch)])


def _texts_sha256(texts: Iterable[str]) -> str:
    return hashlib.sha256(" ".join(texts).encode()).hexdigest()


def _tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        for part in _strided(tensor.detach()):
            digest.update(part.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _strided(tensor: Tensor) -> Sequence[Tensor]:
    """A tensor as the plain tensors that make it up: several for a sparse layout."""
    if tensor.layout == torch.strided:
        return [tensor]
    if tensor.layout == torch.sparse_coo:
        whole = tensor.coalesce()
        return [whole.indices(), whole.values()]
    if tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        return [tensor.crow_indices(), tensor.col_indices(), tensor.values()]
    return [tensor.to_dense()]
