"""What a plan will cost in time, from runs of the same arms made before."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from clipbench.records import Options, Record, Run


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


def costly_probes(planned: Iterable[Run]) -> list[str]:
    """What probes cost that take far more than `sharpness`: a sentence each, for the run with the most directions."""
    costs: dict[str, str] = {}
    for run in sorted(planned, key=lambda run: len(run.measure.ghosts)):
        for probe in run.measure.probes:
            if words := _COSTLY.get(probe.target):
                costs[probe.name] = words(1 + len(run.measure.ghosts), probe.options)
    return [f"probe {name}, at each probed step: {cost}" for name, cost in costs.items()]


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
    return run.task.name, run.trial_of or run.arm.name, str(run.budget), run.device, str(purpose)
