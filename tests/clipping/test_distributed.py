"""Two processes: the same threshold on both, found without a word where both hold the same gradients."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from ranks import meet
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from clipbench.clipping.hook import CoordinateClip

pytestmark = pytest.mark.slow  # processes meet

RANKS = 2


def model() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 2)).double()


def data() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(8, 6, generator=generator, dtype=torch.float64)
    return x, torch.randn(8, 2, generator=generator, dtype=torch.float64)


def rank_of_two(rank: int, folder: str) -> None:
    """Two steps of data-parallel training; the group is gone before each step of the optimizer."""
    torch.set_num_threads(1)
    weights, seen = None, []
    x, y = (part.chunk(RANKS)[rank] for part in data())
    for step in range(2):
        store = f"file://{folder}/store{step}"
        dist.init_process_group("gloo", init_method=store, rank=rank, world_size=RANKS)
        parallel = DistributedDataParallel(model())
        if weights is not None:
            parallel.module.load_state_dict(weights)
        hook = CoordinateClip(torch.optim.Adam(parallel.parameters(), lr=0.1), 0.3, of="numerator")
        nn.functional.mse_loss(parallel(x), y).backward()
        dist.destroy_process_group()
        hook.optimizer.step()
        weights = parallel.module.state_dict()
        seen.append(described(hook, parallel.module))
    (Path(folder) / f"{rank}.json").write_text(json.dumps(seen))


def described(hook: CoordinateClip, module: nn.Module) -> dict[str, Any]:
    assert hook.last is not None
    weights = torch.cat([p.detach().flatten() for p in module.parameters()])
    return {"threshold": float(hook.last.threshold), "clipped": int(hook.last.clipped), "weights": weights.tolist()}


def test_data_parallel_ranks_find_one_threshold_without_a_word_and_it_is_the_whole_batchs(tmp_path: Path) -> None:
    place = meet(rank_of_two, tmp_path, ranks=RANKS)
    first, second = (json.loads((place / f"{rank}.json").read_text()) for rank in range(RANKS))
    assert first == second
    x, y = data()
    alone = model()
    for step in first:
        hook = CoordinateClip(torch.optim.Adam(alone.parameters(), lr=0.1), 0.3, of="numerator")
        alone.zero_grad()
        nn.functional.mse_loss(alone(x), y).backward()
        hook.optimizer.step()
        expected = described(hook, alone)
        torch.testing.assert_close(step["threshold"], expected["threshold"])
        torch.testing.assert_close(step["weights"], expected["weights"])
        assert step["clipped"] == expected["clipped"]


def sharded_rank(rank: int, folder: str) -> None:
    """Clipped steps of Adam on weights of which each rank has half of the rows."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=RANKS)
    mesh = init_device_mesh("cpu", (RANKS,))
    seen = {}
    for name, settings in SHARDED.items():
        weights = [nn.Parameter(distribute_tensor(w, mesh, [Shard(0)])) for w in drawn(0)]
        hook = CoordinateClip(torch.optim.Adam(weights, lr=0.1, foreach=True), 0.3, **settings)
        for step in (1, 2):
            for weight, gradient in zip(weights, drawn(step), strict=True):
                weight.grad = distribute_tensor(gradient, mesh, [Shard(0)])
            hook.optimizer.step()
        assert hook.last is not None
        whole = torch.cat([weight.full_tensor().flatten() for weight in weights])  # type: ignore[attr-defined]
        seen[name] = [float(hook.last.threshold), int(hook.last.clipped), hook.last.n, whole.tolist()]
    dist.destroy_process_group()
    (Path(folder) / f"{rank}.json").write_text(json.dumps(seen))


SHARDED: dict[str, dict[str, Any]] = {
    "gradient": {},
    "numerator": {"of": "numerator"},
    "update": {"of": "update"},
    "norm": {"scale": "norm"},
    "zeros": {"ignore_zeros": True},
}


def drawn(seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator).relu() for shape in ((4, 3), (5, 2), (3,))]


def test_sharded_weights_are_clipped_as_whole_ones(tmp_path: Path) -> None:
    place = meet(sharded_rank, tmp_path, ranks=RANKS)
    first, second = (json.loads((place / f"{rank}.json").read_text()) for rank in range(RANKS))
    assert first == second
    for name, settings in SHARDED.items():
        weights = [nn.Parameter(w) for w in drawn(0)]
        hook = CoordinateClip(torch.optim.Adam(weights, lr=0.1, foreach=True), 0.3, **settings)
        for step in (1, 2):
            for weight, gradient in zip(weights, drawn(step), strict=True):
                weight.grad = gradient
            hook.optimizer.step()
        assert hook.last is not None
        threshold, clipped, n, whole = first[name]
        assert (clipped, n) == (int(hook.last.clipped), hook.last.n)
        torch.testing.assert_close(threshold, float(hook.last.threshold), rtol=1e-6, atol=0.0)
        torch.testing.assert_close(torch.tensor(whole), torch.cat([w.detach().flatten() for w in weights]))
