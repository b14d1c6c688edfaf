"""The threshold over tensors of which every process has a part: only counts travel, never coordinates."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Partial, Replicate

from clipbench.clipping.keys import (
    alike,
    check_fraction,
    count_nonzero,
    counts_of_arrays,
    counts_of_views,
    integer_view,
    key_arrays,
    kth_largest_by_digits,
    share_of,
)

Total = Callable[[Tensor], Tensor]


def sharded_threshold(
    local_tensors: Sequence[Tensor],
    fraction: float,
    group: dist.ProcessGroup | None = None,
    *,
    ignore_zeros: bool = False,
) -> Tensor:
    """The threshold that one process would find over the coordinates of all processes, bit for bit.

    `coordinate_threshold` by radix selection, with the counts of each digit summed over the group: three rounds and
    32 KiB of counts for float32. Every process of the group must make the call, with the same fraction and dtype,
    and gets the same τ. Processes that all hold the same whole gradients, as after DistributedDataParallel's
    backward, need none of this: `coordinate_threshold` finds the same on each of them.

    Args:
        local_tensors: the coordinates that this process counts, and no other process does. A process without any
            gives an empty tensor, which says the dtype and the device.
        fraction: the share of coordinates to clip, strictly between 0 and 1.
        group: whose counts are added up; the default group if None.
        ignore_zeros: as in `coordinate_threshold`.

    Returns:
        A 0-d tensor on the device of the local tensors; 0 if no process has a coordinate.

    Raises:
        ValueError: the fraction is not between 0 and 1, there is no tensor at all, or there are several devices.
        TypeError: a tensor is complex, sparse, or not of floating-point numbers.
    """

    def total(counts: Tensor) -> Tensor:
        dist.all_reduce(counts, group=group)
        return counts

    return _threshold(local_tensors, fraction, total=total, ignore_zeros=ignore_zeros)


def threshold_of_dtensors(tensors: Sequence[Tensor], fraction: float, *, ignore_zeros: bool = False) -> Tensor:
    """The threshold over DTensors, each counted whole and once; plain tensors beside them count as replicated.

    Args:
        tensors: DTensors on one mesh, sharded or replicated over each of its dimensions, and plain tensors that are
            the same on every process.
        fraction: the share of coordinates to clip, strictly between 0 and 1.
        ignore_zeros: as in `coordinate_threshold`.

    Returns:
        A plain 0-d tensor, the same on every process.

    Raises:
        ValueError: also where a DTensor is a partial sum, or where there are several meshes.
        TypeError: as in `sharded_threshold`.
    """
    mesh = _mesh_of(tensors)

    def total(counts: Tensor) -> Tensor:
        for dimension in range(mesh.ndim):
            dist.all_reduce(counts, group=mesh.get_group(dimension))
        return counts

    local = [_counted_here(tensor, mesh) for tensor in tensors]
    return _threshold(local, fraction, total=total, ignore_zeros=ignore_zeros)


def _threshold(tensors: Sequence[Tensor], fraction: float, *, total: Total, ignore_zeros: bool) -> Tensor:
    check_fraction(fraction)
    if not tensors:
        raise ValueError("a process without coordinates gives an empty tensor, which says its dtype and device")
    tensors = alike(tensors, may_be_empty=True)
    dtype, device = tensors[0].dtype, tensors[0].device
    views = [integer_view(tensor) for tensor in tensors]
    count = counts_of_arrays(key_arrays(tensors)) if device.type == "cpu" else counts_of_views(views, device)
    nonzeros = total(count_nonzero(views)) if ignore_zeros else None
    key = kth_largest_by_digits(
        lambda *digit: total(count(*digit)),
        lambda n: share_of(n if nonzeros is None else nonzeros, fraction),
        width=dtype.itemsize,
        device=device,
    )
    return key.to(views[0].dtype).view(dtype)


def _mesh_of(tensors: Iterable[Tensor]) -> DeviceMesh:
    meshes: list[Any] = []
    for tensor in tensors:
        if isinstance(tensor, DTensor) and tensor.device_mesh not in meshes:
            meshes.append(tensor.device_mesh)
    if len(meshes) > 1:
        listed = " and ".join(map(str, meshes))
        raise ValueError(f"one threshold over DTensors on several meshes ({listed}) is not supported")
    mesh: DeviceMesh = meshes[0]
    return mesh


def _counted_here(tensor: Tensor, mesh: DeviceMesh) -> Tensor:
    """This process's part of a tensor, or nothing of it where another process counts the same part."""
    placements: Sequence[Any] = [Replicate()] * mesh.ndim
    local = tensor.detach()
    if isinstance(tensor, DTensor):
        placements, local = tensor.placements, tensor.to_local().detach()
    if any(isinstance(placement, Partial) for placement in placements):
        raise ValueError(f"a DTensor is a partial sum ({placements}): redistribute it before the threshold is found")
    coordinate = mesh.get_coordinate() or [0] * mesh.ndim
    copies = zip(placements, coordinate, strict=True)
    first = all(place == 0 for placement, place in copies if isinstance(placement, Replicate))
    return local if first else local.new_empty(0)
