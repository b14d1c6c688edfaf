"""½ xᵀHx with a chosen spectrum, rotation and start: every quantity has a closed form."""

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from clipbench.contracts import Batch, Problem
from clipbench.networks.options import require_positive
from clipbench.networks.seeding import endless, generator, with_weights_of

Spectrum = Literal["linear", "geometric", "one_bad"]
Correlation = Literal["aligned", "opposed", "none"]


def eigenvalues(spectrum: Spectrum, dimension: int, *, condition: float) -> Tensor:
    """The curvatures λ₁ ≤ … ≤ λ_d in float64, from 1 to the condition number κ, shape (d,).

    linear: equally spaced; geometric: equally spaced in ln λ; one_bad: all 1 but the last, which is κ.
    """
    if spectrum == "linear":
        return torch.linspace(1, condition, dimension, dtype=torch.float64)
    if spectrum == "geometric":
        return torch.logspace(0, 1, dimension, base=condition, dtype=torch.float64)
    values = torch.ones(dimension, dtype=torch.float64)
    values[-1] = condition
    return values


def start_point(curvatures: Tensor, correlation: Correlation) -> Tensor:
    """Where training starts, in the eigenbasis: y with gradient gᵢ = λᵢyᵢ, scaled to the loss ½Σλᵢyᵢ² = 1.

    The magnitudes |g| are those of the curvatures themselves, dealt out so that the largest gradient belongs to the
    largest curvature (aligned), to the smallest (opposed), or to any (none: shuffled). Signs are random.
    Both come from the global generator.
    """
    if correlation == "aligned":
        magnitudes = curvatures
    elif correlation == "opposed":
        magnitudes = curvatures.flip(0)
    else:
        magnitudes = curvatures[torch.randperm(len(curvatures))]
    signs = torch.randint(2, (len(curvatures),)) * 2 - 1
    start = signs * magnitudes / curvatures
    return start / (0.5 * curvatures * start**2).sum().sqrt()


class Quadratic(nn.Module):
    """f(x) = ½ Σ λᵢ (Qᵀx)ᵢ²: one parameter x of shape (d,), with Q the identity where there is no rotation."""

    curvatures: Tensor
    rotation: Tensor | None

    def __init__(self, curvatures: Tensor, rotation: Tensor | None, *, correlation: Correlation) -> None:
        super().__init__()
        start = start_point(curvatures, correlation)
        self.x = nn.Parameter((start if rotation is None else rotation @ start).float())
        self.register_buffer("curvatures", curvatures.float())
        self.register_buffer("rotation", None if rotation is None else rotation.float())

    def forward(self, noise: Tensor) -> Tensor:
        """f(x) + ξᵀx for each sample ξ of the noise (B, d), shape (B,)."""
        y = self.x if self.rotation is None else self.x @ self.rotation
        values: Tensor = 0.5 * (self.curvatures * y**2).sum() + noise @ self.x
        return values

    def hessian(self) -> Tensor:
        """H = Q diag(λ) Qᵀ, dense, in float64, shape (d, d); the gradient of f at x is Hx."""
        diagonal = self.curvatures.double().diag()
        if self.rotation is None:
            return diagonal
        rotation = self.rotation.double()
        hessian: Tensor = rotation @ diagonal @ rotation.T
        return hessian


def loss(model: nn.Module, batch: Batch) -> Tensor:
    """f(x) + mean over samples of ξᵀx: the samples ξ (B, d) are noise added to the gradient."""
    values: Tensor = model(batch["noise"])
    return values.mean()


def _rotation(dimension: int) -> Tensor:
    """An orthogonal matrix, drawn evenly from all of them, in float64: the Q of a normal matrix, signed by its R."""
    normal = torch.randn(
        dimension, dimension, dtype=torch.float64, generator=generator("quadratic rotation", dimension)
    )
    q, r = torch.linalg.qr(normal)
    rotation: Tensor = q * r.diagonal().sign()
    return rotation


def build(
    seed: int,
    device: torch.device,
    *,
    dimension: int = 100,
    spectrum: Literal["linear", "geometric", "one_bad"] = "geometric",
    condition: float = 100.0,
    rotated: bool = False,
    correlation: Literal["aligned", "opposed", "none"] = "aligned",
    noise: float = 0.0,
    batch: int = 1,
) -> Problem:
    """A convex quadratic, where clipping helps or harms by construction.

    Clipping by coordinates lowers the directional sharpness where large gradients meet large curvature
    (aligned), raises it where they meet small curvature (opposed), and loses its grip when the basis is
    rotated. H is the same for every seed; a seed decides the start (the signs of its coordinates, and their order if
    the correlation is none) and the noise. The start has the loss 1, the minimum is 0. Evaluation and probes
    are free of noise: they see f itself.

    Args:
        seed: of the start and of the noise.
        device: where the model goes; batches stay on the CPU.
        dimension: d, at least 2.
        spectrum: how the curvatures lie between 1 and κ; see eigenvalues().
        condition: κ, the largest curvature over the smallest, at least 1.
        rotated: whether the eigenbasis is a fixed random one rather than the coordinates.
        correlation: of |gradient| and curvature at the start, in the eigenbasis; see start_point().
        noise: the standard deviation σ of each coordinate of a sample's gradient noise; 0 is deterministic.
        batch: samples in a training batch: the noise of its gradient is σ/√batch.

    Raises:
        ValueError: an option makes no sense.
    """
    require_positive(dimension=dimension, condition=condition, batch=batch)
    if dimension < 2 or condition < 1:
        raise ValueError(f"dimension must be at least 2 and condition at least 1, not {dimension} and {condition}")
    if not 0 <= noise < float("inf"):
        raise ValueError(f"noise must be a finite number of at least 0, not {noise}")
    if spectrum not in get_args(Spectrum) or correlation not in get_args(Correlation):
        raise ValueError(
            f"spectrum must be one of {get_args(Spectrum)} and correlation one of {get_args(Correlation)}, "
            f"not {spectrum!r} and {correlation!r}"
        )
    curvatures = eigenvalues(spectrum, dimension, condition=condition)
    rotation = _rotation(dimension) if rotated else None

    def noisy(step: int) -> Batch:
        drawn = torch.randn(batch, dimension, generator=generator("quadratic", seed, step))
        return Batch({"noise": noise * drawn}, samples=batch)

    return Problem(
        model=with_weights_of(seed, lambda: Quadratic(curvatures, rotation, correlation=correlation)).to(device),
        loss=loss,
        train_batches=endless(noisy),
        eval_batches=[Batch({"noise": torch.zeros(1, dimension)}, samples=1)],
        probe_batches=[Batch({"noise": torch.zeros(4 * batch, dimension)}, samples=4 * batch)],
    )
