"""Batch sharpness: the curvature of each training batch's own loss along its own gradient, in the mean over batches."""

import math
from collections.abc import Iterator
from itertools import islice
from statistics import fmean, stdev

from clipbench.contracts import Snapshot
from clipbench.errors import ClipbenchError
from clipbench.geometry import said
from clipbench.geometry.curvature import NonFiniteLossError, directional_curvature
from clipbench.geometry.objective import Objective
from clipbench.records import BATCH_SHARPNESS

QUANTITIES = {"batch_sharpness": ("log", "lower", "mean")}

ERROR = "batch_sharpness_error"
GRADIENT = "gradient"


def measure(snapshot: Snapshot, *, batches: int = 8) -> Iterator[tuple[str, str, float]]:
    """How sharp a training batch finds its own gradient: E_B[g_BᵀH_Bg_B/‖g_B‖²] and its standard error.

    Over the training batches from this step on, which are drawn apart from those of the run. The gradient and the
    Hessian are of one and the same batch: that sets it apart from the directional sharpness, whose update and Hessian
    come from different batches, and along SGD's path it hovers at 2/η. Evaluation mode: no dropout. It belongs to no
    direction. A batch with no gradient, or with a loss that is not finite, is left out, and a remark says so.

    Args:
        snapshot: the step.
        batches: B's, at least 2 for an error. Each costs a gradient and a directional curvature.

    Source: Andreyev and Beneventano (2024), arXiv:2412.20553.
    """
    if batches < 2:
        raise ClipbenchError(f"{batches} batches", where="batch_sharpness", remedy="at least 2, for a standard error")
    problem = snapshot.problem
    values = []
    for batch in islice(problem.train_batches(snapshot.step), batches):
        try:
            gradient = Objective(problem.model, problem.loss, [batch]).gradient()
            found = directional_curvature(problem.model, problem.loss, [batch], {GRADIENT: gradient})
        except NonFiniteLossError:
            continue
        snapshot.remark(said.engine(found))
        values.append(found[GRADIENT].curvature)
    sound = [value for value in values if math.isfinite(value)]
    if len(sound) < batches:
        snapshot.remark("batches without a gradient or a finite loss are left out")
    if len(sound) > 1:
        yield "", BATCH_SHARPNESS, fmean(sound)
        yield "", ERROR, stdev(sound) / math.sqrt(len(sound))
