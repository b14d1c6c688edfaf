"""The threshold over two processes: the same bits as in one, with nothing but counts between them."""

import os
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
import torch.distributed as dist
from oracles import same_bits
from ranks import meet
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Partial, Placement, Replicate, Shard, distribute_tensor

from clipbench.clipping.sharded import sharded_threshold
from clipbench.clipping.threshold import coordinate_threshold

pytestmark = pytest.mark.slow  # processes meet

FRACTIONS = [1e-9, 0.1, 0.5, 0.999]


def whole(*, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(7, 5), (1,), (3, 2, 2), (400, 3)]
    return [(torch.randn(shape, generator=generator) ** 3).to(dtype) for shape in shapes]


def on_one_process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    try:
        for check in CHECKS:
            check(rank)
    finally:
        dist.destroy_process_group()


def shards_of_every_dtype(rank: int) -> None:
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        tensors = whole(dtype=dtype)
        local = [tensor.tensor_split([tensor.shape[0] // 3])[rank] for tensor in tensors]
        for fraction in FRACTIONS:
            assert same_bits(sharded_threshold(local, fraction), coordinate_threshold(tensors, fraction))
    zeros = [tensor * (tensor.abs() > 0.1) for tensor in whole()]
    local = [tensor.tensor_split(2)[rank] for tensor in zeros]
    found = sharded_threshold(local, 0.9, ignore_zeros=True)
    assert same_bits(found, coordinate_threshold(zeros, 0.9, ignore_zeros=True))
    assert found > 0


def only_counts_travel(rank: int) -> None:
    sent: list[int] = []
    kept = dist.all_reduce

    def weighed(tensor: Tensor, **options: Any) -> Any:
        sent.append(tensor.numel() * tensor.element_size())
        return kept(tensor, **options)

    local = torch.randn(100_000, generator=torch.Generator().manual_seed(rank))
    with patch.object(dist, "all_reduce", weighed):
        sharded_threshold([local], 0.1)
    assert sent == [16_384, 8192, 8192]


def one_has_nothing(rank: int) -> None:
    local = whole() if rank == 0 else [torch.empty(0)]
    assert same_bits(sharded_threshold(local, 0.3), coordinate_threshold(whole(), 0.3))
    assert sharded_threshold([torch.empty(0)], 0.3) == 0


def dtensors_count_whole(_: int) -> None:
    mesh = init_device_mesh("cpu", (2,))
    placements: list[list[Placement]] = [[Shard(0)], [Shard(0)], [Replicate()], [Shard(1)]]
    tensors: list[Tensor] = [distribute_tensor(t, mesh, p) for t, p in zip(whole(), placements, strict=True)]
    plain = torch.tensor([100.0, 3.0])
    for fraction in FRACTIONS:
        found = coordinate_threshold([*tensors, plain], fraction)
        assert type(found) is Tensor
        assert same_bits(found, coordinate_threshold([*whole(), plain], fraction))
    partial = DTensor.from_local(torch.ones(2), mesh, [Partial()])
    with pytest.raises(ValueError, match="partial sum"):
        coordinate_threshold([partial], 0.5)
    other = init_device_mesh("cpu", (2,), mesh_dim_names=("other",))
    elsewhere = distribute_tensor(torch.ones(4), other, [Shard(0)])
    with pytest.raises(ValueError, match="several meshes"):
        coordinate_threshold([tensors[0], elsewhere], 0.5)


def a_grid_of_replicas_and_shards(_: int) -> None:
    for shape in ((2, 1), (1, 2)):
        mesh = init_device_mesh("cpu", shape, mesh_dim_names=("replicate", "shard"))
        tensors = [distribute_tensor(tensor, mesh, [Replicate(), Shard(0)]) for tensor in whole()]
        for fraction in FRACTIONS:
            assert same_bits(coordinate_threshold(tensors, fraction), coordinate_threshold(whole(), fraction))


def replicas_agree_without_a_word(rank: int) -> None:
    torch.manual_seed(0)
    model = nn.parallel.DistributedDataParallel(nn.Linear(6, 4))
    model(torch.randn(3, 6, generator=torch.Generator().manual_seed(rank))).square().mean().backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    found = coordinate_threshold(gradients, 0.3)
    both = [torch.empty(()), torch.empty(())]
    dist.all_gather(both, found)
    assert same_bits(*both)


CHECKS = (
    shards_of_every_dtype,
    only_counts_travel,
    one_has_nothing,
    dtensors_count_whole,
    a_grid_of_replicas_and_shards,
    replicas_agree_without_a_word,
)


def test_two_processes_find_what_one_does(tmp_path: Path) -> None:
    """Each check runs on both; one that fails on either fails the test and shows where."""
    meet(on_one_process, tmp_path, ranks=2)


def test_a_process_without_any_tensor_is_told_to_give_an_empty_one() -> None:
    with pytest.raises(ValueError, match="gives an empty tensor"):
        sharded_threshold([], 0.5)
