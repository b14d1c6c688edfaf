"""A further trial for every arm: beyond the edge if its best lies there, else between the best and a neighbour.

So arms whose best is bracketed are not left with fewer trials than those that had to look further.
"""

import math
from collections.abc import Mapping, Sequence

from clipbench.judging.tuning.trials import Number, TrialResult, best, edge, is_number, numbers
from clipbench.records import Options
from clipbench.spec.drawing import rounded

EXTENSIONS = 4  # rounds of one trial an arm; a best that still lies at an edge then stays flagged


def extension(tried: Mapping[str, Sequence[TrialResult]]) -> dict[str, Options]:
    """The setting that each arm on a task is to try next; none where no arm's best lies at an edge to look beyond.

    An arm of which no trial finished has no best, is not reported, and needs none. Where an arm that does need one has
    nothing left to try, no arm is given any: counts must stay equal.

    Args:
        tried: for each arm the trials so far, in their order, all ended.
    """
    led = {arm: trials for arm, trials in tried.items() if best(trials) is not None}
    wider = {arm: widened(trials) for arm, trials in led.items()}
    if not any(wider.values()):
        return {}
    proposed = {arm: wider[arm] or narrowed(trials) for arm, trials in led.items()}
    return {arm: options for arm, options in proposed.items() if options is not None} if all(proposed.values()) else {}


def widened(trials: Sequence[TrialResult]) -> Options | None:
    """The best setting with one value moved beyond the edge at which it lies, by the ratio of the last two there."""
    leader, among = _leader(trials)
    for setting in leader:
        values = numbers(setting, among)
        at = edge(setting, at=leader, among=among)
        if at not in ("lowest", "highest"):
            continue
        last, inner = (values[-1], values[-2]) if at == "highest" else (values[0], values[1])
        beyond = _like(last, last * last / inner if inner * last > 0 else 2 * last - inner)
        if _is_allowed(setting, beyond, instead_of=last):
            return {**leader, setting: beyond}
    return None


def narrowed(trials: Sequence[TrialResult]) -> Options | None:
    """The best setting with one value moved halfway to a neighbour: across the wider gap, else to the better one.

    The first value, in the order written, that has a neighbour; halfway in the logarithm where all are positive.
    """
    leader, among = _leader(trials)
    for setting, value in leader.items():
        if not is_number(value):
            continue
        values = numbers(setting, among)
        place, log = values.index(value), values[0] > 0
        beside = [values[near] for near in (place - 1, place + 1) if 0 <= near < len(values)]
        gaps = {near: _gap(value, near, log=log, span=values[-1] - values[0]) for near in beside}
        for near in sorted(beside, key=lambda neighbour: (-gaps[neighbour], _least(trials, setting, neighbour))):
            middle = math.sqrt(value * near) if log else (value + near) / 2
            candidate = {**leader, setting: _like(value, middle)}
            if candidate not in among:
                return candidate
    return None


def _gap(first: Number, second: Number, *, log: bool, span: float) -> float:
    """How far apart two values are, to a tenth of a decade (or of all that was tried): grids are never quite even."""
    return round(abs(math.log10(first / second)) if log else abs(first - second) / span, 1)


def _leader(trials: Sequence[TrialResult]) -> tuple[Options, list[Options]]:
    leader = best(trials)
    assert leader is not None
    return dict(leader.settings), [dict(trial.settings) for trial in trials]


def _least(trials: Sequence[TrialResult], setting: str, value: Number) -> tuple[float, float]:
    """How good the best trial at a value is."""
    return min(trial.rank for trial in trials if trial.settings[setting] == value)


def _like(value: Number, number: float) -> Number:
    return round(number) if isinstance(value, int) else rounded(number)


def _is_allowed(setting: str, value: Number, *, instead_of: Number) -> bool:
    """Whether a setting can have a value beyond one it had: the same sign, and of a fraction less than all."""
    if setting == "clip.fraction" and value >= 1:
        return False
    return value != instead_of and value * instead_of > 0
