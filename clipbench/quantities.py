"""Every number of a run: how it is got from a record, what it means, and which way is better.

This is the only place that knows. `compare --metric`, the gate, tuning, claims and `doctor` read the same list, and a
quantity that a probe records is in it under the name that the probe gives it: linear, neither way better, the mean over
the probed steps, unless the probe's file says more in a literal constant QUANTITIES.
"""

import ast
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, get_args

from clipbench.errors import ClipbenchError, nearest
from clipbench.measurements import Measurement
from clipbench.questions import Better, Manner, Over, Scale, Target
from clipbench.records import (
    CLIPPED_FRACTION,
    DIRECTIONAL_SHARPNESS,
    EVAL_LOSS,
    LEARNING_RATE,
    OWN,
    RATE_SHARPNESS,
    TRAIN_LOSS,
    TRAINING_POINT_LOSS,
    Outcome,
    Record,
)
from clipbench.sources.code import READINGS

NoiseSource = Literal["seed", "machine"]  # what makes it vary between runs that are described alike

FINAL_LOSS, STEPS_TO_TARGET, SECONDS_TO_TARGET = "final_loss", "steps_to_target", "seconds_to_target"
STEP_SECONDS, PEAK_BYTES, TRAIN_SECONDS = "step_seconds", "peak_bytes", "train_seconds"
ALIASES = {"steps": STEPS_TO_TARGET, "seconds": SECONDS_TO_TARGET, "sharpness": DIRECTIONAL_SHARPNESS}
_NEAREST = 5  # names that an unknown one is answered with
_FLOAT32 = 2.0**-23  # between 1 and the next number in float32, in which losses are computed


@dataclass(frozen=True)
class Reading:
    """A number with what its reader must know.

    - `at_least`: the target was missed: the run would have needed at least this.
    - `left_out`: points that could not enter: not a number, or no logarithm.
    - `rounding`: how far `value` may be off since it was read in steps, as a standard deviation: of its logarithm where
      the quantity's scale is that.
    - `log`: its logarithm, where the mean was taken of logarithms; else NaN, and it is that of `value`.
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


Read = Callable[[Record, Target | None, str | None], Reading | None]


@dataclass(frozen=True)
class Quantity:
    """One number of a run. `read` gets it: None where the run has none.

    `of_broken`: whether a run that diverged or failed has it as well, as it has missed a target.
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
    """A quantity along a direction: along `direction`, an arm's name, or where it is None along the arm's own."""

    quantity: Quantity
    direction: str | None = None

    def read(self, record: Record, target: Target | None) -> Reading | None:
        """The run's number; of a run that broke only where such a run has it, of one that has not ended none."""
        ended = record.outcome
        if ended is None or (ended.status != "finished" and not self.quantity.of_broken):
            return None
        return self.quantity.read(record, target, self.direction)

    def __str__(self) -> str:
        return self.quantity.name if self.direction is None else f"{self.quantity.name}@{self.direction}"


@dataclass(frozen=True)
class Exact:
    """What is compared as it is: equal, or not."""

    name: str
    meaning: str
    read: Callable[[Outcome], str | int | None]


def final_loss(record: Record) -> float:
    """The last evaluation loss (not the least: a run is judged by where it ends); NaN where there is none."""
    curve = record.measurements.series("", EVAL_LOSS)
    return curve[-1].value if curve else math.nan


def first_at(curve: Sequence[Measurement], target: Target) -> Measurement | None:
    """The first evaluation from which so many in a row are at or below the target; None where there is none.

    NaN and infinity never are.
    """
    held = 0
    for place, measured in enumerate(curve):
        held = held + 1 if measured.value <= target.loss and math.isfinite(measured.value) else 0
        if held == target.consecutive:
            return curve[place - target.consecutive + 1]
    return None


def _held_at_the_end(curve: Sequence[Measurement], target: Target) -> Measurement | None:
    """The first of the last evaluations that are at or below the target, fewer than it takes; None where none is."""
    begin = None
    for measured in reversed(curve):
        if not (measured.value <= target.loss and math.isfinite(measured.value)):
            break
        begin = measured
    return begin


def rounding_of_step(record: Record, step: float) -> float:
    """How far ln(step) may be off, as a standard deviation, where a step is seen only at an evaluation.

    It was met anywhere in the steps before: uniform over the cadence c, so c/√12 of the steps. 0 before the first step.
    """
    return record.run.measure.evaluate_every / (step * math.sqrt(12)) if step > 0 else 0.0


def _loss(record: Record, *_: object) -> Reading | None:
    curve = record.measurements.series("", EVAL_LOSS)
    if not curve:
        return None
    last = curve[-1].value
    return Reading(last, rounding=abs(last) * _FLOAT32 / math.sqrt(12))


def _steps(record: Record, target: Target | None, *_: object) -> Reading | None:
    return _to_target(record, target, "steps")


def _seconds(record: Record, target: Target | None, *_: object) -> Reading | None:
    return _to_target(record, target, "seconds")


def _to_target(record: Record, target: Target | None, unit: Literal["steps", "seconds"]) -> Reading | None:
    """What the target cost. A miss counts as the end of the run plus one evaluation: it cost at least that.

    A run that diverged or failed has missed, whatever it touched on the way: what it reached, its user cannot have. It
    counts as if it had gone on to the end of its budget; one that made no step has no such number.
    """
    outcome = record.outcome
    if target is None or outcome is None:
        return None
    if outcome.status == "finished":
        reached = first_at(record.measurements.series("", EVAL_LOSS), target)
        if reached is not None:
            cost = reached.step if unit == "steps" else reached.seconds
            return Reading(cost, rounding=rounding_of_step(record, reached.step))
        if held := _held_at_the_end(record.measurements.series("", EVAL_LOSS), target):  # the end may be its beginning
            return Reading(held.step if unit == "steps" else held.seconds, at_least=True)
        whole = 1.0
    else:
        budget = record.run.budget
        used = outcome.train_seconds if budget.unit == "seconds" else getattr(outcome, budget.unit)
        if not used:
            return None
        whole = max(1.0, budget.amount / used)
    spent = whole * (outcome.steps if unit == "steps" else outcome.train_seconds)
    each = record.run.measure.evaluate_every * (1.0 if unit == "steps" else outcome.step_seconds)
    return Reading(spent + each, at_least=True)


def _of_outcome(get: Callable[[Outcome], float | None]) -> Read:
    def read(record: Record, *_: object) -> Reading | None:
        value = get(record.outcome) if record.outcome else None
        return Reading(value) if value else None

    return read


def along(record: Record, name: str, direction: str | None) -> Sequence[Measurement]:
    """What was measured of a quantity along a direction; for None, where the arm itself went.

    A loss has no direction. The arm's own direction is also that of its name.
    """
    measured = record.measurements
    if direction is None:
        return measured.series(OWN, name) or measured.series("", name)
    return measured.series(direction, name) or (measured.series(OWN, name) if direction == record.run.arm.name else ())


def _recorded(name: str, scale: Scale, over: Over) -> Read:
    """The probed steps as one number: those that are finite and, for a mean of logarithms, positive."""

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


AS_IT_IS = Manner()


def recorded(name: str, manner: Manner = AS_IT_IS, meaning: str = "") -> Quantity:
    """The quantity of that name as a run measured it."""
    how = {"mean": "mean over the probed steps", "last": "at the last probed step"}.get(
        manner.over, f"{manner.over} over the probed steps"
    )
    if manner.scale == "log" and manner.over == "mean":
        how = "geometric mean of its positive values over the probed steps"
    meaning = f"{meaning or 'as recorded'}: {how}"
    return Quantity(
        name, meaning, "", _recorded(name, manner.scale, manner.over), manner.scale, manner.better, over=manner.over
    )


def manners(text: str) -> dict[str, Manner]:
    """What a probe's file says in its literal constant QUANTITIES = {name: (scale, better, over)}; {} where nothing.

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
        entries = {name: tuple(said) for name, said in content.items() if isinstance(said, tuple | list)}
        if len(entries) < len(content) or not all(isinstance(name, str) for name in entries):
            raise ValueError(form)
    except (ValueError, TypeError, AttributeError, SyntaxError, MemoryError, RecursionError) as error:
        raise ValueError(f"{form}, written out as a literal") from error
    for name, said in entries.items():
        if len(said) != len(choices) or any(one not in known for one, known in zip(said, choices, strict=True)):
            allowed = "; ".join(" or ".join(known) for known in choices)
            raise ValueError(f"{form}, of {allowed}; {name!r} has {said!r}")
    return {name: Manner(*said) for name, said in entries.items()}


@cache
def _of_the_shelf() -> dict[str, Manner]:
    """What the probes of clipbench say in their files."""
    texts = (path.read_text(encoding="utf-8") for path in sorted((Path(__file__).parent / "probes").glob("*.py")))
    return {name: manner for text in texts if READINGS in text for name, manner in manners(text).items()}


BUILT_IN: tuple[Quantity, ...] = (
    Quantity(FINAL_LOSS, "the last evaluation loss", "", _loss, better="lower"),
    Quantity(
        STEPS_TO_TARGET,
        "steps to the target loss, read at evaluations; a miss counts as the end of the run plus one evaluation",
        "steps",
        _steps,
        scale="log",
        better="lower",
        of_broken=True,
    ),
    Quantity(
        SECONDS_TO_TARGET,
        "training seconds to the target loss; a miss counts as the end of the run plus one evaluation",
        "s",
        _seconds,
        scale="log",
        better="lower",
        noise="machine",
        of_broken=True,
    ),
    Quantity(
        STEP_SECONDS,
        "the median time of a step",
        "s",
        _of_outcome(lambda ended: ended.step_seconds),
        scale="log",
        better="lower",
        noise="machine",
    ),
    Quantity(
        TRAIN_SECONDS,
        "the training time: the sum over all steps",
        "s",
        _of_outcome(lambda ended: ended.train_seconds),
        scale="log",
        better="lower",
        noise="machine",
    ),
    Quantity(
        PEAK_BYTES,
        "the peak memory of the run",
        "bytes",
        _of_outcome(lambda ended: ended.peak_bytes),
        scale="log",
        better="lower",
        noise="machine",
    ),
    recorded(DIRECTIONAL_SHARPNESS, Manner("log", "lower"), meaning="uᵀHu/‖u‖² on the probe batches"),
    recorded(RATE_SHARPNESS, meaning="learning rate × directional sharpness"),
    recorded(CLIPPED_FRACTION, meaning="the fraction of coordinates that the clip changed"),
    recorded(LEARNING_RATE, meaning="the first parameter group's learning rate"),
    recorded(TRAIN_LOSS, Manner(over="last", better="lower"), meaning="the mean loss of mini-batches"),
    recorded(
        TRAINING_POINT_LOSS,
        Manner(over="last", better="lower"),
        meaning="the evaluation loss at the weights where gradients are taken",
    ),
)
EXACT: tuple[Exact, ...] = (
    Exact("weights", "the SHA-256 of the final weights", lambda ended: ended.weights_sha256 or None),
    Exact("state_bytes", "the size of the optimizer's state, in bytes", lambda ended: ended.state_bytes),
    Exact("step_flops", "floating-point operations of a step (products alone)", lambda ended: ended.step_flops),
)
_BY_NAME = {quantity.name: quantity for quantity in BUILT_IN}


def quantity(name: str, said: Mapping[str, Manner] | None = None) -> Quantity:
    """The quantity of that name, or of that alias; one that clipbench does not know is read as recorded.

    Args:
        name: of the quantity.
        said: what the user's own probes say of theirs.
    """
    name = ALIASES.get(name, name)
    if name in _BY_NAME:
        return _BY_NAME[name]
    return recorded(name, (said or {}).get(name) or _of_the_shelf().get(name) or AS_IT_IS)


LOSS, STEPS, SECONDS, SHARPNESS, STEP_TIME, PEAK, RATE, CLIPPED = (
    Along(_BY_NAME[name])
    for name in (
        *(FINAL_LOSS, STEPS_TO_TARGET, SECONDS_TO_TARGET, DIRECTIONAL_SHARPNESS),
        *(STEP_SECONDS, PEAK_BYTES, RATE_SHARPNESS, CLIPPED_FRACTION),
    )
)


def known(records: Iterable[Record], said: Mapping[str, Manner] | None = None) -> dict[str, Quantity]:
    """All quantities that these runs have, by name: the built-in ones, and what was recorded at any step."""
    layouts = {id(record.measurements.layout): record.measurements for record in records}
    names = dict.fromkeys(name for measured in layouts.values() for _, name in measured.places if name != EVAL_LOSS)
    return _BY_NAME | {name: quantity(name, said) for name in names if name not in _BY_NAME}


def asked(text: str, records: Sequence[Record], said: Mapping[str, Manner] | None = None) -> Along:
    """What `QUANTITY[@DIRECTION]` means for these runs.

    Raises:
        ClipbenchError: no run has such a quantity, or such a direction.
    """
    there = known(records, said)
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
        along for record in records for along, of in record.measurements.places if of == name and along not in ("", OWN)
    )
    arms = dict.fromkeys(record.run.arm.name for record in records if record.measurements.series(OWN, name))
    if direction not in (directions | arms):
        names = list(directions | arms)
        remedy = f"choose one of: {', '.join(nearest(direction, names))}" if names else f"leave out @{direction}"
        raise ClipbenchError(f"no run measured {name} along {direction!r}", remedy=remedy)
    return Along(there[name], direction)
