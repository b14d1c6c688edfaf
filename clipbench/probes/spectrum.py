"""The largest and smallest eigenvalue of the Hessian and its trace, as a scale for the other curvatures."""

import math
from collections.abc import Iterator
from typing import Literal, get_args

from clipbench.contracts import Snapshot
from clipbench.errors import ClipbenchError
from clipbench.geometry import said
from clipbench.geometry.curvature import NonFiniteLossError, directional_curvature
from clipbench.geometry.objective import Objective
from clipbench.geometry.spectrum import SpectrumEnd, eigenvalue, host_bytes, random_signs, trace

NAMES = {"largest": "lambda_max", "smallest": "lambda_min"}


def measure(
    snapshot: Snapshot,
    *,
    tolerance: float = 0.01,
    products: int = 200,
    samples: int = 16,
    chunk: int | None = None,
    limit: float | Literal["none"] = 2.0,
) -> Iterator[tuple[str, str, float]]:
    """Between what bounds every curvature lies, and what they are on average, on the probe batches.

    - `lambda_max`, `lambda_min`: the algebraically largest and smallest eigenvalue; the one of largest magnitude is one
      of them. `lambda_max_residual` = ‖Hx − λx‖ for the unit vector x found: an eigenvalue lies that near. Where it
      is above `tolerance`·|λ| the value is refused: left out, and a remark says so.
    - `hessian_trace`, `hessian_trace_error`: Hutchinson's estimate from random signs, and its standard error.

    None belongs to a direction. The probe for few steps: an eigenvalue costs some 30 products of 9 forward passes.

    Args:
        snapshot: the step, whose number seeds the random vectors.
        tolerance: of the residual, relative to |λ|.
        products: Hessian-vector products that an eigenvalue may cost, about.
        samples: random vectors of the trace, at least 2.
        chunk: of them carried through the model at once; more takes memory, and is faster where the model is tiny.
        limit: gigabytes of the host's memory that Lanczos may take, 160 bytes a parameter; `none` for no limit.

    Source: Lehoucq, Sorensen and Yang (1998), ARPACK; Hutchinson (1990), Communications in Statistics 19.
    """
    _require_sense(tolerance=tolerance, products=products, samples=samples)
    problem = snapshot.problem
    objective = Objective(problem.model, problem.loss, problem.probe_batches)
    if limit != "none" and (needed := host_bytes(objective.size)) > limit * 1e9:
        raise ClipbenchError(
            f"eigenvalues take {needed / 1e9:.3g} GB of the host's memory, above the limit of {limit:g} GB",
            where="spectrum",
            remedy="`limit: none` measures them all the same",
        )
    try:
        for end in get_args(SpectrumEnd):
            found = eigenvalue(objective, end, tolerance=tolerance, products=products, seed=snapshot.step)
            if isinstance(found, str):
                snapshot.remark(found)
            elif not found.has_converged(tolerance):
                snapshot.remark(f"the {end} eigenvalue is refused: its residual is above {tolerance:g} of it")
            else:
                yield "", NAMES[end], found.value
                yield "", f"{NAMES[end]}_residual", found.residual
        signs = {str(i): random_signs(objective, seed=snapshot.step * samples + i) for i in range(samples)}
        along = directional_curvature(problem.model, problem.loss, problem.probe_batches, signs, chunk=chunk)
    except NonFiniteLossError:  # a run that diverges is a result: it is for the loop to say so, not for a probe
        snapshot.remark("left out where the loss is not finite")
        return
    snapshot.remark(f"trace by {said.engine(along)}; eigenvalues by ARPACK on products of double backward")
    value, error = trace({name: found.curvature for name, found in along.items()}, objective.size)
    if math.isfinite(value):
        yield "", "hessian_trace", value
        yield "", "hessian_trace_error", error
    else:
        snapshot.remark("the trace is left out: a curvature is not finite")


def _require_sense(*, tolerance: float, products: int, samples: int) -> None:
    if not 0 < tolerance < 1:
        raise ClipbenchError(f"a tolerance of {tolerance}", where="spectrum", remedy="above 0 and below 1")
    if products < 1 or samples < 2:
        raise ClipbenchError(
            f"{products} products and {samples} samples",
            where="spectrum",
            remedy="at least 1 product, and 2 samples for a standard error",
        )
