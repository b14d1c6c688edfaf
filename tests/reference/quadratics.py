"""Snapshots on L(θ) = ½θᵀHθ in float64, where all that a probe says has a closed form."""

from collections.abc import Iterator

import torch
from reference.problems import NO_DATA, Quadratic, quadratic_loss
from torch import Tensor

from clipbench.contracts import Batch, Problem, Snapshot


def on_a_quadratic(hessian: Tensor, gradient: Tensor, *, rate: float = 0.1, **directions: Tensor) -> Snapshot:
    """At the point with this gradient, H being invertible; every direction has the learning rate `rate`."""
    model = Quadratic(hessian, torch.linalg.solve(hessian, gradient))

    def train_batches(start: int) -> Iterator[Batch]:  # noqa: ARG001 - every batch is the same one
        while True:
            yield NO_DATA

    return Snapshot(
        step=7,
        problem=Problem(model, quadratic_loss, train_batches, [NO_DATA], [NO_DATA]),
        batch=NO_DATA,
        parameters={"point": model.point},
        gradient={"point": gradient},
        directions={name: {"point": u} for name, u in directions.items()},
        learning_rates=dict.fromkeys(directions, rate),
    )


def positive_definite(size: int, *, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    factor = torch.randn(size, size, generator=generator, dtype=torch.float64)
    return factor @ factor.T / size + 0.1 * torch.eye(size, dtype=torch.float64)


def vector(size: int, *, seed: int) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
