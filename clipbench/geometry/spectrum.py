"""The ends of the Hessian's spectrum and its trace, each with how far it can be wrong."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from scipy.sparse.linalg import ArpackError, ArpackNoConvergence, LinearOperator, eigsh
from torch import Tensor

from clipbench.geometry.coordinates import flattened, unflattened
from clipbench.geometry.objective import Objective
from clipbench.geometry.products import coordinates_of, narrowed

DENSE = 20
"""Up to so many coordinates the Hessian is written out: Lanczos would keep as many vectors."""

SpectrumEnd = Literal["largest", "smallest"]


@dataclass(frozen=True)
class Eigenvalue:
    """λ with ‖Hx − λx‖ for its unit vector x: some eigenvalue of H lies within that residual of λ."""

    value: float
    residual: float

    def has_converged(self, tolerance: float) -> bool:
        """Whether the residual is within this share of |λ|."""
        return self.residual <= tolerance * abs(self.value)


def eigenvalue(
    objective: Objective, end: SpectrumEnd, *, tolerance: float, products: int, seed: int
) -> Eigenvalue | str:
    """The algebraically largest or smallest eigenvalue of ∇²L, or why there is none.

    Implicitly restarted Lanczos (ARPACK, by scipy's eigsh) on Hessian-vector products by double backward, from a seeded
    normal vector. The residual is not ARPACK's estimate: it is found by one more product. Memory: 20 vectors of n
    float64 numbers.

    Args:
        objective: the loss.
        end: which end of the spectrum.
        tolerance: the residual may be this much of |λ|.
        products: at most about so many, each of them 9 forward passes.
        seed: of the starting vector.

    Raises:
        ClipbenchError, NonFiniteLossError: as `Objective.gradient_and_products`.

    Source: Lehoucq, Sorensen and Yang (1998), ARPACK Users' Guide.
    """
    n = objective.size

    def times(x: Any) -> Any:
        _, [product] = objective.gradient_and_products([unflattened(torch.from_numpy(x.ravel()), objective.parameters)])
        flat = flattened(product, objective.parameters).cpu().numpy()
        if not np.isfinite(flat).all():
            raise FloatingPointError("a product with the Hessian is not finite")
        return flat

    try:
        if n <= DENSE:
            hessian = np.stack([times(unit) for unit in np.eye(n)])
            values, vectors = np.linalg.eigh((hessian + hessian.T) / 2)
            place = -1 if end == "largest" else 0
            return _with_residual(float(values[place]), vectors[:, place], times)
        values, vectors = eigsh(
            LinearOperator((n, n), matvec=times, dtype=np.float64),
            k=1,
            which="LA" if end == "largest" else "SA",
            v0=np.random.default_rng(seed).standard_normal(n),
            ncv=DENSE,
            maxiter=max(1, products // DENSE),
            tol=tolerance / 2,
        )
    except ArpackNoConvergence:
        return f"the {end} eigenvalue has not converged within {products} products"
    except (ArpackError, FloatingPointError) as error:  # a Hessian of zero stops the former
        return f"the {end} eigenvalue was not found: {error}"
    return _with_residual(float(values[0]), vectors[:, 0], times)


def host_bytes(size: int) -> int:
    """What Lanczos keeps of the host's memory for so many coordinates."""
    return DENSE * size * 8


def trace(curvatures: Mapping[str, float], size: int) -> tuple[float, float]:
    """Hutchinson's estimate of tr H from vᵀHv along random signs cut to unit length, and its standard error.

    E[zᵀHz] = tr H for z of independent ±1, and z = √n·v.

    Source: Hutchinson (1990), Communications in Statistics 19.
    """
    values = [size * curvature for curvature in curvatures.values()]
    mean = math.fsum(values) / len(values)
    squares = math.fsum((value - mean) ** 2 for value in values)
    return mean, math.sqrt(squares / (len(values) - 1) / len(values)) if len(values) > 1 else math.nan


def random_signs(objective: Objective, *, seed: int) -> dict[str, Tensor]:
    """z of independent ±1, drawn on the CPU so that it is the same on every device."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: narrowed(torch.randint(2, (coordinates_of(p),), generator=generator).mul(2).sub(1).double(), p)
        for name, p in objective.parameters.items()
    }


def _with_residual(value: float, vector: Any, times: Any) -> Eigenvalue:
    return Eigenvalue(value, float(np.linalg.norm(times(vector) - value * vector)))
