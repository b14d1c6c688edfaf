"""What a plan will cost in time, from runs of the same arms made before."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from clipbench.records import Options, Record, Run

_OF_A_STEP = 1e-6  # what rounding may add to a whole number of steps


@dataclass(frozen=True)
class Cost:
    """`seconds` of wall time one after the other, over the `known` runs; for `unknown` runs nothing is known yet."""

    seconds: float
    known: int
    unknown: int


def expected_cost(planned: Iterable[Run], records: Sequence[Record]) -> Cost:
    """The median wall time of runs made before with the same task, arm, budget and training, summed over the plan.

    A trial counts as a run of the arm that it tunes. Reported runs are probed and trials are not, so trials estimate
    reported runs (and the reverse) only if there are no runs of the same kind.
    """
    times: dict[tuple[str, ...], list[float]] = {}
    for record in records:
        if record.outcome is not None and record.outcome.status != "failed":
            times.setdefault(_kind(record.run), []).append(record.outcome.wall_seconds)
    seconds, known, unknown = 0.0, 0, 0
    for run in planned:
        if durations := times.get(_kind(run)) or times.get(_kind(run, is_trial=not run.trial_of)):
            seconds += median(durations)
            known += 1
        else:
            unknown += 1
    return Cost(seconds, known, unknown)


def steps_of_epochs(planned: Iterable[Run], records: Sequence[Record]) -> list[str]:
    """How many steps budgets in epochs are, a sentence each, where an earlier run of the task shows it."""
    per_epoch = [
        (record.run.task, record.outcome.steps / record.outcome.epochs)
        for record in records
        if record.outcome is not None and record.outcome.epochs and record.outcome.steps
    ]
    sentences: dict[str, None] = {}
    for run in planned:
        steps = next((steps for task, steps in per_epoch if task == run.task), None)
        if run.budget.unit == "epochs" and steps:
            about = math.ceil(run.budget.amount * steps - _OF_A_STEP)
            sentences[f"{run.budget} of {run.task.name} are {about} steps, judging by earlier runs"] = None
    return [*sentences]


def costly_probes(planned: Iterable[Run]) -> list[str]:
    """What probes cost that take far more than `sharpness`: a sentence each, for the run with the most directions."""
    costs: dict[str, str] = {}
    for run in sorted(planned, key=lambda run: len(run.measure.ghosts)):
        for probe in run.measure.probes:
            if words := _COSTLY.get(probe.target):
                costs[probe.name] = words(1 + len(run.measure.ghosts), probe.options)
    return [f"probe {name}, at each probed step: {cost}" for name, cost in costs.items()]


LIFE, COUNTING, PROOF = 3, 1, 4  # training steps: an arm's own, one that is counted, those that prove a checkpoint


@dataclass(frozen=True)
class StepsBefore:
    """Training steps that a run takes and undoes before step 0: of whole batches, and of micro-batches if it has such.

    They are the fewest: an arm that stands still in its first steps, or does not show one of its options, takes more.
    """

    whole: int
    of_life: int


def steps_before(run: Run) -> StepsBefore:
    """By what an arm has: its clip, each of its wrappers, and all ghosts together take as many steps as itself."""
    arm, tried = run.arm, 0
    if arm.liveness != "off":
        tried += 1 + len(arm.wrap) + (arm.clip is not None and arm.clip.amount > 0)
    tried += bool(run.measure.ghosts)
    return StepsBefore(COUNTING + PROOF + run.training.compile, LIFE * tried)


def cost_before(planned: Iterable[Run]) -> str:
    """What each run does before step 0, in a line; empty where there is none."""
    each = [(run, steps_before(run)) for run in planned]
    if not each:
        return ""
    totals = _between([steps.whole + steps.of_life for _, steps in each])
    pieces = [steps.of_life for run, steps in each if run.training.micro_batch is not None]
    of_pieces = f", {_between(pieces)} of them of a micro-batch" if any(pieces) else ""
    return f"before step 0, each run builds its model up to 3 times and tries {totals} steps or more{of_pieces}"


def _between(counts: Sequence[int]) -> str:
    least, most = min(counts), max(counts)
    return str(least) if least == most else f"{least} to {most}"


def _of_layers(k: int, _: Options) -> str:
    each = f"each of {k} directions" if k > 1 else "the direction"
    return f"a curvature for each layer of the model and {each}, where sharpness takes {k}; `depth` makes fewer layers"


def _of_spectrum(_: int, options: Options) -> str:
    products, samples = (options.get(name, default) for name, default in (("products", 200), ("samples", 16)))
    return (
        f"up to {products} products of 9 forward passes for each of two eigenvalues, {samples} curvatures, "
        "and 160 bytes of the host's memory a parameter"
    )


_COSTLY: Mapping[str, Callable[[int, Options], str]] = {
    "clipbench.probes.layers:measure": _of_layers,
    "clipbench.probes.spectrum:measure": _of_spectrum,
}


def _kind(run: Run, *, is_trial: bool | None = None) -> tuple[str, ...]:
    purpose = bool(run.trial_of) if is_trial is None else is_trial
    return run.task.name, run.trial_of or run.arm.name, str(run.budget), run.device, str(run.training), str(purpose)
