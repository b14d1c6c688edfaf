"""What the types of a run's file cannot say: numbers that a run can have."""

import math
from collections.abc import Iterable, Iterator, Mapping

from clipbench.records import Environment, Outcome, Run, Scalar, Value

LARGEST = 1 << 63  # beyond what counts anything, and what any library takes


def unsound(run: Run, outcome: Outcome | None, environment: Environment | None) -> str:
    """What of a description no run can have, as in "budget: 0 is not above 0"; empty where all is possible."""
    if not (math.isfinite(run.budget.amount) and run.budget.amount > 0):
        return f"budget: {run.budget.amount} is not a number above 0"
    for name, count, least in _counts(run, outcome, environment):
        if count is not None and not least <= count < LARGEST:
            return f"{name}: it is not between {least} and {LARGEST}"
    if any(_is_too_large(value) for options in _options(run, outcome, environment) for value in options.values()):
        return f"an option is beyond {LARGEST}"
    return ""


def _counts(
    run: Run, outcome: Outcome | None, environment: Environment | None
) -> Iterator[tuple[str, int | None, int]]:
    """Each count of a run with its name and the least that it can be; None is one that was not recorded."""
    yield "seed", run.seed, 0
    yield "threads", run.threads, 1
    yield "evaluate_every", run.measure.evaluate_every, 1
    yield "probe_every", run.measure.probe_every, 0
    if outcome is not None:
        yield "steps", outcome.steps, 0
        yield "samples", outcome.samples, 0
        yield "tokens", outcome.tokens, 0
        yield "state_bytes", outcome.state_bytes, 0
        yield "peak_bytes", outcome.peak_bytes, 0
        yield "step_flops", outcome.step_flops, 0
        yield "non_finite_step", outcome.non_finite_step, 0
        yield "passes", outcome.passes, 0
        yield "train_peak_bytes", outcome.train_peak_bytes, 0
        yield "train_reserved_bytes", outcome.train_reserved_bytes, 0
        yield from (("resumed_at", step, 0) for step in outcome.resumed_at)
    if environment is not None:
        yield "threads", environment.threads, 0
        yield "side_by_side", environment.side_by_side, 0


def _options(
    run: Run, outcome: Outcome | None, environment: Environment | None
) -> Iterable[Mapping[str, Value] | Mapping[str, Scalar]]:
    yield run.task.options
    yield run.arm.options
    for probe in run.measure.probes:
        yield probe.options
    for ghost in run.measure.ghosts:
        yield ghost.options
    if outcome is not None:
        yield outcome.effective
    if environment is not None:
        yield environment.numerics
        yield environment.machine


def _is_too_large(value: Value) -> bool:
    if isinstance(value, tuple):
        return any(map(_is_too_large, value))
    return isinstance(value, int) and not -LARGEST <= value < LARGEST
