"""What the probes see of a step, and when they look."""

import traceback
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial

import torch

from clipbench import records
from clipbench.contracts import Batch, Snapshot
from clipbench.errors import in_one_line
from clipbench.geometry.contexts import curvature_in
from clipbench.geometry.finely import COARSEST, rounding
from clipbench.geometry.splitting import at_most
from clipbench.geometry.undisturbed import undisturbed
from clipbench.running.training import Training

_OF_THE_LOOP = (*records.OF_EVALUATIONS, records.LEARNING_RATE)


def are_due(training: Training, batch: Batch) -> bool:
    """Whether the coming step is one to look at.

    Never step 0: there a new optimizer's averages are empty, and its update is unlike all that follow. Of a budget in
    seconds the end can only be foreseen: a last step that is slower than the one before it passes unseen.
    """
    state, measure = training.state, training.measure
    if state.spent.steps == 0:
        return False
    if not measure.probe_at:
        return state.spent.steps % measure.probe_every == 0
    completed = sum(fraction <= training.progress_after(batch) for fraction in measure.probe_at)
    due = completed > state.points_probed
    state.points_probed = completed
    return due


def observations(training: Training, snapshot: Snapshot) -> Iterator[tuple[str, str, float]]:
    """What the clip did and what each probe says; a probe that fails costs its own rows, and its name is kept.

    So does one that says a number which is there already: a record with a step twice is a damaged one.
    """
    taken = {("", quantity) for quantity in (*_OF_THE_LOOP, *training.problem.metrics)}
    clips = {"": training.clip, **(training.ghosts.clips if training.ghosts else {})}
    for direction, clip in clips.items():
        if clip is not None and clip.last is not None:
            yield direction, records.CLIPPED_FRACTION, int(clip.last.clipped) / clip.last.n
            yield direction, records.CLIP_THRESHOLD, float(clip.last.threshold)
            taken |= {(direction, records.CLIPPED_FRACTION), (direction, records.CLIP_THRESHOLD)}
    for direction, value in _roundings(training, snapshot).items():
        taken.add((direction, records.UPDATE_ROUNDING))
        yield direction, records.UPDATE_ROUNDING, value
    for name, measure in training.probes:
        try:
            cut = at_most(training.settings.micro_batch)
            here = undisturbed(training.problem.model, training.problem.loss)
            with torch.enable_grad(), here, cut, curvature_in(training.measure.precision):
                rows = list(measure(replace(snapshot, remark=partial(training.state.remark, name))))
            taken = _with(rows, taken)
        except Exception as error:  # a probe is anybody's code: whatever it raises, the run goes on
            traceback.print_exc()
            training.state.failed_probes.setdefault(name, f"at step {snapshot.step}: {in_one_line(error)}")
        else:
            yield from rows


def _roundings(training: Training, snapshot: Snapshot) -> dict[str, float]:
    """The rounding of each direction that is more than COARSEST; a remark says what it is, and who was read finely."""
    own = rounding(snapshot.parameters, snapshot.directions[records.OWN])
    rounded = {records.OWN: own} if own > COARSEST else {}
    rounded |= training.ghosts.rounded if training.ghosts else {}
    for direction, value in rounded.items():
        about = "directions" if direction == records.OWN else f"{records.GHOST}{direction}"
        read = "its direction is rounded" if value else "its update is read in float64"
        training.state.remark(about, f"a step is small beside the spacing of the weights' numbers: {read}")
    return {direction: value for direction, value in rounded.items() if value}


def _with(rows: Iterable[tuple[str, str, float]], taken: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """The directions and quantities of a step with those of further rows; ValueError where a row is there twice."""
    all_taken = set(taken)
    for direction, quantity, _ in rows:
        if (direction, quantity) in all_taken:
            raise ValueError(f"{quantity}{f' of {direction}' if direction else ''} is recorded already at this step")
        all_taken.add((direction, quantity))
    return all_taken
