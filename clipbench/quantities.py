"""Every number of a run: how to read it from a record, what it means, and which way is better.

This list is the only place that knows: `compare --metric`, the gate, tuning, claims and `doctor` use it. A quantity
that a probe records is in it under the probe's name for it: linear, neither way better, the mean over the probed
steps. A task's metric is read alike, but at the last evaluation. A literal constant QUANTITIES in the file of the probe
or the task may say otherwise.
"""

import ast
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Literal, get_args

from clipbench.errors import ClipbenchError, nearest
from clipbench.measurements import Layout, Measurement
from clipbench.questions import Better, Manner, Over, Scale, Target
from clipbench.records import (
    CLIPPED_FRACTION,
    DIRECTIONAL_SHARPNESS,
    EVAL_LOSS,
    LEARNING_RATE,
    OF_EVALUATIONS,
    OWN,
    RATE_SHARPNESS,
    RECORDED,
    TRAIN_LOSS,
    TRAIN_SLICE_LOSS,
    TRAINING_POINT_LOSS,
    Outcome,
    Record,
)
from clipbench.sources.code import READINGS

NoiseSource = Literal["seed", "machine"]  # what makes a quantity vary between identical descriptions

FINAL_LOSS, STEPS_TO_TARGET, SECONDS_TO_TARGET = "final_loss", "steps_to_target", "seconds_to_target"
STEP_SECONDS, PEAK_BYTES, TRAIN_SECONDS = "step_seconds", "peak_bytes", "train_seconds"
PASSES = "passes"
ALIASES = {"steps": STEPS_TO_TARGET, "seconds": SECONDS_TO_TARGET, "sharpness": DIRECTIONAL_SHARPNESS}
_NEAREST = 5  # names that an unknown one is answered with
_LARGEST_FLOAT = sys.float_info.max
_FLOAT32 = 2.0**-23  # between 1 and the next number in float32, in which losses are computed


@dataclass(frozen=True)
class Reading:
    """A number with its limitations.

    - `at_least`: the target was missed, so the run would have needed at least `value`.
    - `left_out`: the number of points left out, because they are not finite or have no logarithm.
    - `rounding`: the standard deviation of the rounding error (a step is seen only at evaluations); of the logarithm if
      the quantity's scale is log.
    - `log`: the logarithm of `value` if the mean was taken of logarithms; NaN means ln(value).
    """

    value: float
    at_least: bool = False
    left_out: int = 0
    rounding: float = 0.0
    log: float = math.nan

    def on(self, scale: Scale) -> float:
        """The value, or its natural logarithm; NaN where it has none."""
        if scale == "linear":
            return self.value
        if not math.isnan(self.log):
            return self.log
        return math.log(self.value) if 0 < self.value < math.inf else math.nan

    def rounding_on(self, scale: Scale, *, given: Scale) -> float:
        """The rounding of the value, or of its logarithm; it is given on the scale of the quantity."""
        if scale == given:
            return self.rounding
        if scale == "linear":
            return self.rounding * self.value
        return self.rounding / abs(self.value) if self.value else 0.0


Read = Callable[[Record, Target | None, str | None], Reading | None]


@dataclass(frozen=True)
class Quantity:
    """A number of a run. `read` returns its reading, or None if the run has none.

    `of_broken`: whether runs that diverged or failed have it too (a missed target, for example).
    """

    name: str
    meaning: str
    unit: str
    read: Read
    scale: Scale = "linear"
    better: Better = "neither"
    noise: NoiseSource = "seed"
    over: Over = "mean"
    of_broken: bool = False


@dataclass(frozen=True)
class Along:
    """A quantity along a direction: an arm's name, or None for the run's own direction."""

    quantity: Quantity
    direction: str | None = None

    def read(self, record: Record, target: Target | None) -> Reading | None:
        """The run's reading; None for a run that has not ended, and for a broken run unless `of_broken`."""
        ended = record.outcome
        if ended is None or (ended.status != "finished" and not self.quantity.of_broken):
            return None
        return self.quantity.read(record, target, self.direction)

    def __str__(self) -> str:
        return self.quantity.name if self.direction is None else f"{self.quantity.name}@{self.direction}"


@dataclass(frozen=True)
class Exact:
    """A value that is compared exactly: equal or not."""

    name: str
    meaning: str
    read: Callable[[Outcome], str | int | None]


def final_loss(record: Record) -> float:
    """The last evaluation loss (not the least: a run is judged by where it ends); NaN where there is none."""
    curve = record.measurements.series("", EVAL_LOSS)
    return curve[-1].value if curve else math.nan


def first_at(curve: Sequence[Measurement], target: Target) -> Measurement | None:
    """The first of `target.consecutive` evaluations in a row that meet the target; None if there are none."""
    held = 0
    for place, measured in enumerate(curve):
        held = held + 1 if target.met_by(measured.value) else 0
        if held == target.consecutive:
            return curve[place - target.consecutive + 1]
    return None


def evaluations(record: Record, name: str) -> Sequence[Measurement]:
    """What evaluations recorded under a name; none where only probes did."""
    measured = record.measurements
    there = name in OF_EVALUATIONS or is_metric(name, measured.layout)
    return measured.series("", name) if there else ()


def _held_at_the_end(curve: Sequence[Measurement], target: Target) -> Measurement | None:
    """The first of the last evaluations that meet the target, fewer than it takes; None where none does."""
    begin = None
    for measured in reversed(curve):
        if not target.met_by(measured.value):
            break
        begin = measured
    return begin


def rounding_of_step(record: Record, step: float) -> float:
    """The standard deviation of ln(step) from rounding, since a target is seen only at an evaluation.

    The true step is uniform over the evaluation interval c, with standard deviation c/√12. 0 before the first step.
    """
    return record.run.measure.evaluate_every / (step * math.sqrt(12)) if step > 0 else 0.0


def _loss(record: Record, *_: object) -> Reading | None:
    curve = record.measurements.series("", EVAL_LOSS)
    if not curve:
        return None
    last = curve[-1].value
    return Reading(last, rounding=abs(last) * _FLOAT32 / math.sqrt(12))


def _perplexity(record: Record, *_: object) -> Reading | None:
    loss = _loss(record)
    if loss is None or not loss.value < math.log(_LARGEST_FLOAT):
        return None
    return Reading(math.exp(loss.value), rounding=loss.rounding, log=loss.value)


def _to_target(unit: Literal["steps", "seconds"], record: Record, target: Target | None, _: object) -> Reading | None:
    """The cost of reaching the target. A miss counts as the end of the run plus one evaluation, a lower bound.

    A run that diverged or failed missed the target, even if it passed it on the way, since it ends without that loss.
    It counts as if it had run to the end of its budget; a run without a step has no reading, nor one whose evaluations
    do not record the target's quantity.
    """
    outcome = record.outcome
    if target is None or outcome is None:
        return None
    curve = evaluations(record, target.recorded)
    if target.quantity and not curve:
        return None
    if outcome.status == "finished":
        if reached := first_at(curve, target):
            cost = reached.step if unit == "steps" else reached.seconds
            return Reading(cost, rounding=rounding_of_step(record, reached.step))
        if held := _held_at_the_end(curve, target):  # the end may be its beginning
            return Reading(held.step if unit == "steps" else held.seconds, at_least=True)
        whole = 1.0
    else:
        budget = record.run.budget
        used = outcome.train_seconds if budget.unit == "seconds" else getattr(outcome, budget.unit)
        if not used:
            return None
        whole = max(1.0, budget.amount / used)
    spent = whole * (outcome.steps if unit == "steps" else outcome.train_seconds)
    interval = record.run.measure.evaluate_every * (1.0 if unit == "steps" else outcome.step_seconds)
    return Reading(spent + interval, at_least=True)


def _of_outcome(
    name: str, meaning: str, unit: str, get: Callable[[Outcome], float | None], *, better: Better = "lower"
) -> Quantity:
    """A number of the whole run, as its machine made it; there is none where the run recorded none, or 0."""

    def read(record: Record, *_: object) -> Reading | None:
        value = get(record.outcome) if record.outcome else None
        return Reading(value) if value else None

    return Quantity(name, meaning, unit, read, scale="log", better=better, noise="machine")


def along(record: Record, name: str, direction: str | None) -> Sequence[Measurement]:
    """What was measured of a quantity along a direction; for None, where the arm itself went.

    A loss has no direction. The arm's own direction is also that of its name.
    """
    measured = record.measurements
    if direction is None:
        return measured.series(OWN, name) or measured.series("", name)
    return measured.series(direction, name) or (measured.series(OWN, name) if direction == record.run.arm.name else ())


def _recorded(name: str, scale: Scale, over: Over) -> Read:
    """A reading over the probed steps: of finite values and, on the log scale, positive values."""

    def read(record: Record, _: Target | None, direction: str | None) -> Reading | None:
        values = [each.value for each in along(record, name, direction)]
        if over == "last":
            values = values[-1:]
        used = [value for value in values if (0 if scale == "log" else -math.inf) < value < math.inf]
        if not used:
            return None
        left_out = len(values) - len(used)
        if over != "mean":
            return Reading({"last": used[-1], "least": min(used), "greatest": max(used)}[over], left_out=left_out)
        if scale == "linear":
            return Reading(sum(used) / len(used), left_out=left_out)
        log = sum(map(math.log, used)) / len(used)
        return Reading(math.exp(log), left_out=left_out, log=log)

    return read


AS_IT_IS, OF_A_METRIC = Manner(), Manner(over="last")


def recorded(name: str, manner: Manner = AS_IT_IS, meaning: str = "", *, points: str = "probed step") -> Quantity:
    """The quantity of that name as a run measured it, at each probed step or at each evaluation."""
    how = {"mean": f"mean over the {points}s", "last": f"at the last {points}"}.get(
        manner.over, f"{manner.over} over the {points}s"
    )
    if manner.scale == "log" and manner.over == "mean":
        how = f"geometric mean of its positive values over the {points}s"
    meaning = f"{meaning or 'as recorded'}: {how}"
    return Quantity(
        name, meaning, "", _recorded(name, manner.scale, manner.over), manner.scale, manner.better, over=manner.over
    )


def manners(text: str) -> dict[str, Manner]:
    """The constant QUANTITIES = {name: (scale, better, over)} of a task's or a probe's file; {} without the constant.

    Nothing of the file is executed.

    Raises:
        ValueError: it is there, and not of that form.

    >>> manners('QUANTITIES = {"gradient_noise": ("log", "lower", "last")}')
    {'gradient_noise': Manner(scale='log', better='lower', over='last')}
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    for statement in tree.body:
        match statement:
            case ast.Assign(targets=targets, value=value):
                pass
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                targets = [target]
            case _:
                continue
        if any(isinstance(at, ast.Name) and at.id == READINGS for at in targets):
            return _checked(value)
    return {}


def _checked(value: ast.expr) -> dict[str, Manner]:
    form = f"{READINGS} is {{name: (scale, better, over)}}"
    choices = (get_args(Scale), get_args(Better), get_args(Over))
    try:
        content = ast.literal_eval(value)
        entries = {name: tuple(given) for name, given in content.items() if isinstance(given, tuple | list)}
        if len(entries) < len(content) or not all(isinstance(name, str) for name in entries):
            raise ValueError(form)
    except (ValueError, TypeError, AttributeError, SyntaxError, MemoryError, RecursionError) as error:
        raise ValueError(f"{form}, written out as a literal") from error
    for name, given in entries.items():
        if len(given) != len(choices) or any(choice not in known for choice, known in zip(given, choices, strict=True)):
            allowed = "; ".join(" or ".join(known) for known in choices)
            raise ValueError(f"{form}, of {allowed}; {name!r} has {given!r}")
    return {name: Manner(*given) for name, given in entries.items()}


@cache
def of_the_shelf() -> dict[str, Manner]:
    """What the tasks and probes of clipbench say in their files."""
    here = Path(__file__).parent
    files = [*sorted((here / "tasks").glob("*.py")), *sorted((here / "probes").glob("*.py"))]
    texts = (path.read_text(encoding="utf-8") for path in files)
    return {name: manner for text in texts if READINGS in text for name, manner in manners(text).items()}


BUILT_IN: tuple[Quantity, ...] = (
    Quantity(FINAL_LOSS, "the last evaluation loss", "", _loss, better="lower"),
    Quantity(
        "perplexity",
        "exp of the last evaluation loss, where that is a mean over tokens in nats",
        "",
        _perplexity,
        scale="log",
        better="lower",
    ),
    Quantity(
        STEPS_TO_TARGET,
        "steps to the target, read at evaluations; a miss counts as the end of the run plus one evaluation",
        "steps",
        partial(_to_target, "steps"),
        scale="log",
        better="lower",
        of_broken=True,
    ),
    Quantity(
        SECONDS_TO_TARGET,
        "training seconds to the target; a miss counts as the end of the run plus one evaluation",
        "s",
        partial(_to_target, "seconds"),
        scale="log",
        better="lower",
        noise="machine",
        of_broken=True,
    ),
    _of_outcome(STEP_SECONDS, "the median time of a step", "s", lambda ended: ended.step_seconds),
    _of_outcome(TRAIN_SECONDS, "the training time: the sum over all steps", "s", lambda ended: ended.train_seconds),
    replace(
        _of_outcome(PASSES, "the forward and backward passes of all steps", "passes", lambda ended: ended.passes),
        noise="seed",
    ),
    _of_outcome(
        PEAK_BYTES,
        "the peak memory of training steps on a GPU, without probes and ghosts; elsewhere of the whole process",
        "bytes",
        lambda ended: ended.train_peak_bytes or ended.peak_bytes,
    ),
    recorded(DIRECTIONAL_SHARPNESS, Manner("log", "lower"), meaning="uᵀHu/‖u‖² on the probe batches"),
    recorded(RATE_SHARPNESS, meaning="learning rate × directional sharpness"),
    recorded(CLIPPED_FRACTION, meaning="the fraction of coordinates that the clip changed"),
    recorded(LEARNING_RATE, meaning="the learning rate, where all parameter groups have the same"),
    recorded(TRAIN_LOSS, Manner(over="last", better="lower"), meaning="the mean loss of mini-batches"),
    recorded(
        TRAINING_POINT_LOSS,
        Manner(over="last", better="lower"),
        meaning="the evaluation loss at the weights where gradients are taken",
    ),
    recorded(
        TRAIN_SLICE_LOSS,
        Manner(over="last", better="lower"),
        meaning="the loss of a fixed slice of the training data, in evaluation mode",
        points="evaluation",
    ),
)
EXACT: tuple[Exact, ...] = (
    Exact("weights", "the SHA-256 of the final weights", lambda ended: ended.weights_sha256 or None),
    Exact("state_bytes", "the size of the optimizer's state, in bytes", lambda ended: ended.state_bytes),
    Exact("step_flops", "floating-point operations of a step (products alone)", lambda ended: ended.step_flops),
)
_BY_NAME = {quantity.name: quantity for quantity in BUILT_IN}
# Names that no metric of a task can have.
RESERVED = frozenset({*_BY_NAME, *ALIASES, *(each.name for each in EXACT), *RECORDED})


def quantity(name: str, manners: Mapping[str, Manner] | None = None, *, metric: bool = False) -> Quantity:
    """The quantity of that name or alias; an unknown quantity is read as recorded.

    Args:
        name: of the quantity.
        manners: those that the user's own tasks and probes declare.
        metric: evaluations record it, not probes.
    """
    name = ALIASES.get(name, name)
    if name in _BY_NAME:
        return _BY_NAME[name]
    manner = (manners or {}).get(name) or of_the_shelf().get(name) or (OF_A_METRIC if metric else AS_IT_IS)
    return recorded(name, manner, points="evaluation" if metric else "probed step")


def is_metric(name: str, layout: Layout) -> bool:
    """Whether a task's metric has this name: step 0 is evaluated and never probed."""
    rows = layout.rows.get(("", name), ())
    return bool(rows) and layout.steps[rows[0]] == 0


LOSS, STEPS, SECONDS, SHARPNESS, STEP_TIME, PEAK, RATE, CLIPPED = (
    Along(_BY_NAME[name])
    for name in (
        *(FINAL_LOSS, STEPS_TO_TARGET, SECONDS_TO_TARGET, DIRECTIONAL_SHARPNESS),
        *(STEP_SECONDS, PEAK_BYTES, RATE_SHARPNESS, CLIPPED_FRACTION),
    )
)


def known(records: Iterable[Record], manners: Mapping[str, Manner] | None = None) -> dict[str, Quantity]:
    """All quantities that these runs have, by name: the built-in ones, and what was recorded at any step."""
    layouts = {id(record.measurements.layout): record.measurements.layout for record in records}
    metric: dict[str, bool] = {}
    for layout in layouts.values():
        for _, name in layout.rows:
            if name != EVAL_LOSS and name not in _BY_NAME:
                metric[name] = metric.get(name, False) or is_metric(name, layout)
    return _BY_NAME | {name: quantity(name, manners, metric=of_task) for name, of_task in metric.items()}


def asked(text: str, records: Sequence[Record], manners: Mapping[str, Manner] | None = None) -> Along:
    """What `QUANTITY[@DIRECTION]` means for these runs.

    Raises:
        ClipbenchError: no run has such a quantity, or such a direction.
    """
    there = known(records, manners)
    if text in there:  # whose own name may have an @ in it
        return Along(there[text])
    name, at, direction = text.partition("@")
    name = ALIASES.get(name, name)
    if name not in there:
        near = nearest(name, [*there, *ALIASES])[:_NEAREST]
        remedy = f"the nearest: {', '.join(near)}; all of them: clipbench list quantities RESULTS"
        raise ClipbenchError(f"no run has a quantity {name!r}", remedy=remedy)
    if not at:
        return Along(there[name])
    directions = dict.fromkeys(
        along
        for record in records
        for along, recorded_name in record.measurements.places
        if recorded_name == name and along not in ("", OWN)
    )
    arms = dict.fromkeys(record.run.arm.name for record in records if record.measurements.series(OWN, name))
    if direction not in (directions | arms):
        names = list(directions | arms)
        remedy = f"choose one of: {', '.join(nearest(direction, names))}" if names else f"leave out @{direction}"
        raise ClipbenchError(f"no run measured {name} along {direction!r}", remedy=remedy)
    return Along(there[name], direction)
