"""Several processes measure as one that holds all their batches, and fail together."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
import torch.distributed as dist
from ranks import meet
from reference.problems import problem, random_direction
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from clipbench.errors import ClipbenchError
from clipbench.geometry.curvature import Curvatures, directional_curvature

pytestmark = pytest.mark.slow  # processes meet

RANKS = 2
SHARES = (slice(0, 1), slice(1, 3))
"""Which of the three probe batches, of 8, 3 and 5 examples, each rank has."""


def in_a_group(rank: int, place: str) -> None:
    store = dist.FileStore(f"{place}/store", RANKS)  # type: ignore[attr-defined]
    dist.init_process_group("gloo", store=store, rank=rank, world_size=RANKS)


def a_rank(rank: int, place: str) -> None:
    in_a_group(rank, place)
    torch.set_num_threads(1)
    task = problem("transformer")
    model = task.model.double()
    directions = {str(seed): random_direction(model, seed=seed) for seed in range(3)}
    directions["zero"] = {name: torch.zeros_like(u) for name, u in directions["0"].items()}
    calls: list[int] = []
    original = dist.all_reduce

    def counted(tensor: torch.Tensor, **options: Any) -> Any:
        calls.append(tensor.numel())
        return original(tensor, **options)

    mine = task.probe_batches[SHARES[rank]]
    with patch.object(dist, "all_reduce", counted):
        found = directional_curvature(model, task.loss, mine, directions, group=dist.group.WORLD)
    said = refusals(rank, model, directions)
    Path(place, f"{rank}.json").write_text(json.dumps({"found": asdict(found), "calls": calls, "said": said}))
    dist.destroy_process_group()


def refusals(rank: int, model: nn.Module, directions: dict[str, dict[str, torch.Tensor]]) -> list[str]:
    """What each rank hears where one of them fails, has another direction, or gives a wrapped model."""
    task = problem("transformer")
    good = task.probe_batches[SHARES[rank]]
    said = []
    for batches, scale in (([] if rank == 0 else good, 1.0), (good, 1.0 + rank)):
        scaled = {"u": {name: scale * u for name, u in directions["0"].items()}}
        try:
            directional_curvature(model, task.loss, batches, scaled, group=dist.group.WORLD)
        except ClipbenchError as error:
            said.append(str(error))
    try:
        directional_curvature(DistributedDataParallel(model), task.loss, good, directions, group=dist.group.WORLD)
    except ClipbenchError as error:
        said.append(str(error))
    return said


def test_ranks_are_one_process_with_all_batches_after_one_all_reduce(tmp_path: Path) -> None:
    place = meet(a_rank, tmp_path, ranks=RANKS)
    task = problem("transformer")
    model = task.model.double()
    directions = {str(seed): random_direction(model, seed=seed) for seed in range(3)}
    directions["zero"] = {name: torch.zeros_like(u) for name, u in directions["0"].items()}
    whole: Curvatures = directional_curvature(model, task.loss, task.probe_batches, directions)
    for rank, share in enumerate(SHARES):
        told = json.loads((place / f"{rank}.json").read_text())
        assert told["calls"] == [4 + 3 * (1 + 2 * 4) + 2 * 4]
        found = told["found"]
        assert found["loss"] == pytest.approx(whole.loss, rel=1e-12)
        assert found["weights"] == list(whole.weights[share])
        for name, along in whole.items():
            for field in ("slope", "curvature", "slope_error", "curvature_error", "norm"):
                assert found["along"][name][field] == pytest.approx(getattr(along, field), rel=1e-7, nan_ok=True)
            assert found["along"][name]["curvatures"] == pytest.approx(list(along.curvatures)[share], rel=1e-9)
        failed, differ, wrapped = told["said"]
        assert ("no batches" in failed) if rank == 0 else ("1 of 2 processes failed" in failed)
        assert "directions of different norms" in differ
        assert "give the model inside, model.module" in wrapped
