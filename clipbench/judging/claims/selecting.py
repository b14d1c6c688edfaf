"""Selects the arms, directions and quantities of a run that a claim is about."""

from fnmatch import fnmatchcase

from clipbench.judging.cells import is_twin
from clipbench.quantities import (
    FINAL_LOSS,
    PEAK_BYTES,
    SECONDS_TO_TARGET,
    STEP_SECONDS,
    STEPS_TO_TARGET,
    TRAIN_SECONDS,
    Along,
    Reading,
    quantity,
)
from clipbench.questions import Target
from clipbench.records import OWN, Arm, ClipSettings, Record, Run
from clipbench.spec.claims import TWIN, ArmPattern, Arms, ClipPattern, Names

# They belong to a run as a whole, and to no direction.
OF_A_RUN = (FINAL_LOSS, STEPS_TO_TARGET, SECONDS_TO_TARGET, STEP_SECONDS, TRAIN_SECONDS, PEAK_BYTES)


def directions(run: Run) -> dict[str, Arm]:
    """The arms whose steps are known at a run's points: its own, and its ghosts under their names."""
    return {OWN: run.arm} | {ghost.name: ghost for ghost in run.measure.ghosts if ghost.name != run.arm.name}


def values(record: Record, direction: str, quantity: str) -> dict[int, float]:
    """A quantity along a direction by step; `a / b` is the quotient where both are there."""
    above, sign, below = (part.strip() for part in quantity.partition("/"))
    if not sign:
        return record.measurements.by_step(direction, above)
    tops, bottoms = (record.measurements.by_step(direction, name) for name in (above, below))
    return {step: tops[step] / bottoms[step] for step in tops.keys() & bottoms.keys() if bottoms[step] != 0}


def fits(arm: Arm, wanted: Arms) -> bool:
    """Whether an arm is one of those wanted. A name as it stands fits itself, brackets and all."""
    if isinstance(wanted, tuple):
        return any(fits(arm, pattern) for pattern in wanted)
    if isinstance(wanted, str):
        return _like(arm.name, wanted)
    return _like(arm.name, wanted.name) and _like(arm.optimizer.use, wanted.use) and _clipped(arm.clip, wanted)


def fits_against(arm: Arm, opponent: Arm, *, wanted: Arms | None) -> bool:
    """Whether `arm` is to be compared with `opponent`."""
    if wanted is None or wanted == TWIN:
        return wanted == TWIN and is_twin(arm, opponent)
    return arm.name != opponent.name and fits(opponent, wanted)


def named(name: str, wanted: Names) -> bool:
    """Whether a name fits a pattern, or one of several."""
    return any(_like(name, pattern) for pattern in ((wanted,) if isinstance(wanted, str) else wanted))


def of_run(record: Record, name: str, target: Target | None) -> Reading | None:
    """A number of a whole run; None where the run did not finish, or has no target to reach."""
    return Along(quantity(name)).read(record, target) if record.status == "finished" else None


def _like(name: str, pattern: str) -> bool:
    return name == pattern or fnmatchcase(name, pattern)


def _clipped(clip: ClipSettings | None, wanted: ArmPattern) -> bool:
    if wanted.clip is None:
        return True
    if isinstance(wanted.clip, bool):
        return (clip is not None) is wanted.clip
    return clip is not None and _is(clip, wanted.clip)


def _is(clip: ClipSettings, wanted: ClipPattern) -> bool:
    given = {name: value for name, value in wanted.model_dump().items() if value is not None}
    return all(getattr(clip, name) == value for name, value in given.items())
