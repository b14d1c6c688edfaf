"""What a plan will cost in time, from runs of the same arms made before."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from clipbench.records import Record, Run


@dataclass(frozen=True)
class Cost:
    """`seconds` of wall time one after the other, over the `known` runs; for `unknown` runs nothing is known yet."""

    seconds: float
    known: int
    unknown: int


def expected_cost(planned: Iterable[Run], records: Sequence[Record]) -> Cost:
    """The median wall time of runs made before with the same task, arm and budget, summed over the planned runs.

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


def _kind(run: Run, *, is_trial: bool | None = None) -> tuple[str, ...]:
    purpose = bool(run.trial_of) if is_trial is None else is_trial
    return run.task.name, run.trial_of or run.arm.name, str(run.budget), run.device, str(purpose)
