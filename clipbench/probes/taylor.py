"""What each update should do to the loss by slope and curvature, what it really does, and the best step along it."""

import math
from collections.abc import Iterator, Sequence

from clipbench.contracts import Batch, Snapshot
from clipbench.geometry import said, shared
from clipbench.geometry.curvature import NonFiniteLossError
from clipbench.geometry.objective import Objective
from clipbench.geometry.taylor import TaylorLedger, taylor_ledgers
from clipbench.records import COSINE, LAMBDA_DIR, RATE_SHARPNESS, TAYLOR_BEST_DECREASE, TAYLOR_BEST_STEP

QUANTITIES = {"taylor_best_step": ("log", "neither", "mean"), "taylor_best_decrease": ("log", "higher", "mean")}

MINIMUM_AHEAD = "taylor_minimum"  # 1 where the model falls at first and bends upwards, else 0
GAIN = "predicted_gain"  # −gᵀu
COST = "curvature_cost"  # ½uᵀHu
PREDICTED = "predicted_change"  # cost − gain
OBSERVED = "observed_change"  # L(θ + u) − L(θ)
RESIDUAL = "change_residual"  # observed − predicted
ROUNDING = "change_rounding"  # how much of the observed change may be rounding
SAME_BATCH = "same_batch_"  # before a quantity of the step's own mini-batch


def measure(
    snapshot: Snapshot, *, same_batch: bool = False, chunk: int | None = None
) -> Iterator[tuple[str, str, float]]:
    """The local ledger of each update u: both terms of the second-order model, at the step really taken.

    All on the probe batches, with c = −gᵀu/‖u‖ and s = uᵀHu/‖u‖²:

        predicted_gain = −gᵀu         curvature_cost = ½uᵀHu        predicted_change = cost − gain
        observed_change = L(θ + u) − L(θ)                           change_residual = observed − predicted
        cosine = c/‖g‖                taylor_best_step = c/s        taylor_best_decrease = c²/(2s)
        lambda_dir = −uᵀHu/gᵀu        rate_times_sharpness = learning rate × s

    The observed change is of forward passes in the parameters' dtype, with the mean over batches in float64:
    `change_rounding` bounds what rounding may do to it. A residual above that is the terms of third and higher order.
    The best step and decrease are left out unless c and s are both positive: elsewhere the model has no minimum ahead,
    and `taylor_minimum` is 0 instead of 1. λ_dir is left out where u does not descend, and the last one where a
    direction has no rate. The slope itself is a row of the probe `sharpness`, and here the gain over ‖u‖.

    λ_dir belongs to a step with its length and slope, the directional sharpness to its direction alone.

    Args:
        snapshot: the step.
        same_batch: whether to give the ledger of the mini-batch as well, each name with `same_batch_` before it.
        chunk: updates carried through the model at once; more takes memory, and is faster where the model is tiny.
    """
    for direction, ledger in _ledgers(snapshot, snapshot.problem.probe_batches, chunk=chunk):
        yield from _change(direction, ledger)
        yield from _model(direction, ledger)
        rate = snapshot.learning_rates.get(direction, math.nan)
        if math.isfinite(rate):
            yield direction, RATE_SHARPNESS, rate * ledger.sharpness
    if same_batch:
        for direction, ledger in _ledgers(snapshot, [snapshot.batch], chunk=chunk):
            for _, quantity, value in _change(direction, ledger):
                yield direction, SAME_BATCH + quantity, value


def _ledgers(snapshot: Snapshot, batches: Sequence[Batch], *, chunk: int | None) -> Iterator[tuple[str, TaylorLedger]]:
    """Of the directions that have a length; a remark for each that has none."""
    problem, directions = snapshot.problem, snapshot.directions
    try:
        found = shared.curvatures(snapshot, batches, chunk=chunk)
        real = {name: u for name, u in directions.items() if math.isfinite(found[name].curvature)}
        ledgers = taylor_ledgers(Objective(problem.model, problem.loss, batches), real, found)
    except NonFiniteLossError:  # a run that diverges is a result: it is for the loop to say so, not for a probe
        snapshot.remark("left out where the loss is not finite")
        return
    snapshot.remark(said.engine(found))
    for name in (name for name in directions if name not in real):
        snapshot.remark(f"left out where the step along {name!r} is zero or its curvature is not finite")
    yield from ledgers.items()


def _change(direction: str, ledger: TaylorLedger) -> Iterator[tuple[str, str, float]]:
    yield direction, GAIN, ledger.gain
    yield direction, COST, ledger.cost
    yield direction, PREDICTED, ledger.predicted_change
    if math.isfinite(ledger.observed_change):  # a step may lead to where there is no loss
        yield direction, OBSERVED, ledger.observed_change
        yield direction, RESIDUAL, ledger.residual
        yield direction, ROUNDING, ledger.rounding


def _model(direction: str, ledger: TaylorLedger) -> Iterator[tuple[str, str, float]]:
    if ledger.gradient_norm > 0:
        yield direction, COSINE, ledger.cosine
    if ledger.slope < 0:
        yield direction, LAMBDA_DIR, ledger.lambda_dir
    yield direction, MINIMUM_AHEAD, float(ledger.has_minimum)
    if ledger.has_minimum:
        yield direction, TAYLOR_BEST_STEP, ledger.best_step
        yield direction, TAYLOR_BEST_DECREASE, ledger.best_decrease
