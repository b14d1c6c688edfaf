"""What to beware of in a comparison: sentences, each said only where the data give cause for it."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from clipbench.judging.cells import Cell
from clipbench.judging.comparability import comparability
from clipbench.judging.comparison import Row, Twin
from clipbench.judging.doubts import doubts
from clipbench.judging.tuning.summary import tuning_caveats
from clipbench.judging.words import brief, listing, number
from clipbench.quantities import Along
from clipbench.questions import Question
from clipbench.records import GHOST

CLOCK = (
    "ms/step is batch transfer + forward + backward + step, the median over steps, with the device synchronised; "
    "evaluation and probes are off the clock."
)
OWN_POINTS = (
    "Directional sharpness is along each arm's own updates at the points of its own path: it describes where an arm "
    "goes, and does not compare two directions at one point."
)
RATES = "Learning rates are those of the spec, not tuned here: another rate may change the order of the arms."


@dataclass(frozen=True)
class _Evidence:
    cells: Sequence[Cell]
    question: Question
    baseline: str
    target: float | None
    rows: Sequence[Row]
    twins: Sequence[Twin]


def caveats(
    cells: Sequence[Cell],
    question: Question,
    *,
    baseline: str,
    target: float | None,
    rows: Sequence[Row],
    twins: Sequence[Twin],
    metric: Along,
    threshold: float | None = None,
) -> tuple[str, ...]:
    """The caveats that apply, the gravest first."""
    evidence = _Evidence(cells, question, baseline, target, rows, twins)
    first = [sentence for rule in _FIRST for sentence in rule(evidence)]
    last = [sentence for rule in _LAST for sentence in rule(evidence)]
    made_alike = comparability(cells, timed=_timed(evidence))
    return (*first, *made_alike, *doubts(cells, rows, metric=metric, threshold=threshold), *last)


def _broken_runs(evidence: _Evidence) -> Iterator[str]:
    for cell in evidence.cells:
        for record in cell.records:
            if record.outcome and record.outcome.status != "finished":
                reason = brief(record.outcome.reason) or "no reason was recorded"
                yield f"{record.run} {record.outcome.status}: {reason} (counted, in no mean)."


def _losses_without_end(evidence: _Evidence) -> Iterator[str]:
    for cell in evidence.cells:
        for run in cell.finished:
            if not math.isfinite(run.final_loss):
                ended = f"{cell.task}/{cell.arm}/seed {run.seed} finished with a loss of {number(run.final_loss)}"
                yield f"{ended}: means and differences with it are no numbers."


def _unfinished_runs(evidence: _Evidence) -> Iterator[str]:
    waiting = [record.run for cell in evidence.cells for record in cell.records if record.outcome is None]
    if waiting:
        yield f"Not finished, and in no number: {listing(waiting)}."


def _baseline_missing(evidence: _Evidence) -> Iterator[str]:
    finished = {cell.task for cell in evidence.cells if cell.arm == evidence.baseline and cell.finished}
    for task in dict.fromkeys(cell.task for cell in evidence.cells):
        if task not in finished:
            yield f"The baseline {evidence.baseline} has no finished run on {task}: no difference can be given."


def _arms_missing(evidence: _Evidence) -> Iterator[str]:
    for task in dict.fromkeys(cell.task for cell in evidence.cells):
        there = {cell.arm for cell in evidence.cells if cell.task == task}
        gone = [arm for arm in evidence.question.arms if arm not in there]
        if gone:
            yield f"No runs of {listing(gone)} on {task}."


def _twins_missing(evidence: _Evidence) -> Iterator[str]:
    paired = {(twin.task, twin.arm) for twin in evidence.twins}
    for cell in evidence.cells:
        if cell.described.clip is not None and (cell.task, cell.arm) not in paired:
            yield f"{cell.arm} has no twin on {cell.task} (the same arm without its clip): its clip is not judged."


def _identical_arms(evidence: _Evidence) -> Iterator[str]:
    """Arms whose runs end with the very same weights: one optimizer under two names, whatever the spec calls them."""
    names: dict[tuple[str, int, str], list[str]] = {}
    for cell in evidence.cells:
        for record in cell.records:
            if record.outcome and record.outcome.weights_sha256:
                place = cell.task, record.run.seed, record.outcome.weights_sha256
                names.setdefault(place, []).append(cell.arm)
    for (task, seed, _), arms in names.items():
        if len(arms) > 1:
            same = f"{listing(arms)} end with the very same weights on {task}, seed {seed}"
            yield f"{same}: their difference did not act."


def _failed_probes(evidence: _Evidence) -> Iterator[str]:
    for cell in evidence.cells:
        for record in cell.records:
            for probe, reason in record.outcome.failed_probes.items() if record.outcome else ():
                who = probe if probe.startswith(GHOST) else f"the probe {probe}"
                yield f"{record.run}: {who} failed {brief(reason)}; the rest of the run stands."


def _trajectories_lost(evidence: _Evidence) -> Iterator[str]:
    for cell in evidence.cells:
        if any(record.run.measure.ghosts for record in cell.records) and not cell.finished:
            yield f"No directions are compared along {cell.arm} on {cell.task}: none of its runs finished."


def _different_seeds(evidence: _Evidence) -> Iterator[str]:
    for task in dict.fromkeys(cell.task for cell in evidence.cells):
        of_task = [cell for cell in evidence.cells if cell.task == task]
        every = sorted({run.seed for cell in of_task for run in cell.runs})
        lacking = [
            f"{cell.arm} has {listing(sorted(run.seed for run in cell.runs))}"
            for cell in of_task
            if [run.seed for run in cell.runs] != every
        ]
        if lacking:
            yield (
                f"Arms on {task} have different seeds (of {listing(every)}: {'; '.join(lacking)}): "
                "differences use the common ones, means do not."
            )


def _rates(evidence: _Evidence) -> Iterator[str]:
    if evidence.question.tuning is not None:
        yield from tuning_caveats(evidence.question)
    elif len({cell.arm for cell in evidence.cells if cell.learning_rate is not None}) > 1:
        yield RATES


def _own_points(evidence: _Evidence) -> Iterator[str]:
    if any(row.sharpness.total for row in evidence.rows):
        yield OWN_POINTS


def _sharpness_signs(evidence: _Evidence) -> Iterator[str]:
    rows = [row for row in evidence.rows if row.sharpness.non_positive or row.sharpness.undefined]
    if not rows:
        return
    said = [
        f"{row.arm} on {row.task} {row.sharpness.non_positive} of {row.sharpness.total}"
        + (f" (and {row.sharpness.undefined} undefined)" if row.sharpness.undefined else "")
        for row in rows
    ]
    yield (
        f"Sharpness was zero or negative in some measurements ({'; '.join(said)}): the geometric mean is of the "
        "positive ones only, and so lies too high."
    )


def _target_missed(evidence: _Evidence) -> Iterator[str]:
    for task in dict.fromkeys(row.task for row in evidence.rows):
        ended = [row.steps for row in evidence.rows if row.task == task and row.steps and row.steps.seeds]
        if evidence.target is not None and ended and not any(steps.hits for steps in ended):
            yield f"No arm reached the target loss {number(evidence.target, 6)} on {task}."


def _target_met_at_once(evidence: _Evidence) -> Iterator[str]:
    for task in dict.fromkeys(row.task for row in evidence.rows):
        ended = [row.steps for row in evidence.rows if row.task == task and row.steps and row.steps.seeds]
        if evidence.target is not None and ended and all(steps.median == 0 for steps in ended):
            yield (
                f"The target loss {number(evidence.target, 6)} was met on {task} before the first step: it tells no "
                "arm from another."
            )


def _clock(evidence: _Evidence) -> Iterator[str]:
    if _timed(evidence):
        yield CLOCK


def _timed(evidence: _Evidence) -> bool:
    return any(row.step_milliseconds.n for row in evidence.rows)


_Rule = Callable[[_Evidence], Iterator[str]]
_FIRST: tuple[_Rule, ...] = (
    _broken_runs,
    _losses_without_end,
    _unfinished_runs,
    _baseline_missing,
    _arms_missing,
    _twins_missing,
    _identical_arms,
    _failed_probes,
    _trajectories_lost,
    _different_seeds,
)
_LAST: tuple[_Rule, ...] = (
    _target_missed,
    _target_met_at_once,
    _rates,
    _own_points,
    _sharpness_signs,
    _clock,
)
