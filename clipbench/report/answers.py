"""The answers of a comparison in sentences: each clip against its twin, and all arms against the baseline."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TypeGuard

from clipbench.judging.comparison import Comparison, Row, Twin
from clipbench.judging.families import Verdict
from clipbench.judging.matched import MatchedRow
from clipbench.judging.paired import LEVEL, Paired
from clipbench.judging.race import RaceRow
from clipbench.judging.rejudged import rejudged
from clipbench.judging.twins import answer
from clipbench.judging.words import capital, count, factor, fold, goal, listing, span
from clipbench.quantities import STEPS_TO_TARGET
from clipbench.questions import Target
from clipbench.records import DIRECTIONAL_SHARPNESS
from clipbench.report.columns import at_least

_NAMES = 4  # arms that a sentence names


def answers(comparison: Comparison, rows: Sequence[Row]) -> list[str]:
    """The answers on one task, whose rows come the best first."""
    [head] = comparison.tasks
    target = goal(head.target) if head.target else ""
    against = " ".join(_against_baseline(comparison, rows))
    beside = (_in_short(f"{what} than {comparison.baseline}", judged) for what, judged in besides(comparison, rows))
    sentences = (*of_clips(comparison, target), against, *beside, _turned(comparison, head.target))
    return [sentence for sentence in sentences if sentence]


def besides(comparison: Comparison, rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    """Whether arms of a task are faster and less sharp than the baseline, where they were measured, judged by that.

    Without what the metric is, and without any of it where answers about clips are.
    """
    if comparison.twins:
        return
    target = next((head.target for head in comparison.tasks if head.name == rows[0].task), None)
    there = goal(target) if target else ""
    ratios: dict[str, tuple[str, Callable[[Row], Paired | None]]] = {
        STEPS_TO_TARGET: (f"Fewer steps to {there}", lambda row: row.steps_ratio),
        DIRECTIONAL_SHARPNESS: ("Lower sharpness", lambda row: row.sharpness_ratio),
    }
    ratios.pop(comparison.metric.quantity.name, None)
    for what, ratio in ratios.values():
        judged = rejudged(rows, ratio)
        if any(row.against for row in judged):
            yield what, judged


def of_clips(comparison: Comparison, target: str = "") -> list[str]:
    """Whether clips lower sharpness, and whether they are faster: in full for a single clip, else by answer."""
    twins = comparison.twins
    if len(twins) == 1:
        return [*_sharpness(twins[0]), *_speed(twins[0], target)]
    questions: dict[str, Callable[[Twin], tuple[Paired | None, Verdict | None]]] = {
        "Lower sharpness": lambda twin: (twin.sharpness, None),
        "Fewer steps to the target": lambda twin: (twin.steps_ratio, None),
        "Lower final loss": lambda twin: (twin.loss, twin.judged),
    }
    return [
        f"{what}: {words}."
        for what, asked in questions.items()
        if (words := _by_answer(twins, asked, several=len(comparison.tasks) > 1))
    ]


def over_tasks(comparison: Comparison) -> list[str]:
    """The answers on several tasks."""
    by_side: dict[str, dict[str, list[str]]] = {side: {} for side in sides(comparison)}
    for row in comparison.rows:
        if row.verdict in by_side:
            by_side[row.verdict].setdefault(row.arm, []).append(row.task)
    tasks, name = len(comparison.tasks), metric_name(comparison)
    than = [
        f"{capital(side)} {name} than {comparison.baseline}: "
        f"{listing((f'{arm} on {len(on)} of {tasks} tasks' for arm, on in _most_first(arms)), _NAMES)}."
        for side, arms in by_side.items()
        if arms
    ]
    return [" ".join(than) or f"No arm is shown to differ from {comparison.baseline} in {name}.", *of_clips(comparison)]


def _most_first(arms: dict[str, list[str]]) -> list[tuple[str, list[str]]]:
    """Arms with their tasks, those with the most of them first."""
    return sorted(arms.items(), key=lambda item: -len(item[1]))


def sides(comparison: Comparison) -> tuple[str, str]:
    """The sides on which an arm can be, the better one first."""
    return ("higher", "lower") if comparison.metric.quantity.better == "higher" else ("lower", "higher")


def metric_name(comparison: Comparison) -> str:
    """The quantity that verdicts compare, as words."""
    return str(comparison.metric).removeprefix("directional_").replace("_", " ")


def corrected(rows: Sequence[Row]) -> int:
    """For how many differences the verdicts are corrected."""
    return sum(row.judged is not None and row.against is not None and row.against.n > 1 for row in rows)


def effect(difference: Paired, level: float = LEVEL, *, known: int = 0) -> str:
    """`-0.41 (-0.93 to 0.11, 3 seeds)` or `0.5× (0.3–0.8×, 3 seeds)`.

    Args:
        difference: of two samples.
        level: of the interval.
        known: how many seeds the sentence names already; so many are not named again.
    """
    if difference.n == 0:
        return "(the target was missed in every pair)" if difference.neither else "without a pair of seeds"
    mean, seeds = difference.shown(difference.mean), "" if difference.n == known else f", {count(difference.n, 'seed')}"
    size = f"{at_least(difference)}{factor(mean, 3)}×" if difference.scale == "log" else f"{mean:+.2g}"
    if difference.n == 1:
        return f"{size} (1 seed, no interval)"
    low, high = map(difference.shown, difference.interval(level))
    return f"{size} ({f'{fold(low, high)}×' if difference.scale == 'log' else span(low, high)}{seeds})"


def _sharpness(twin: Twin) -> Iterator[str]:
    ratio = twin.sharpness
    if ratio.n == 0:
        return
    less = ratio.mean < 0
    shown = ratio.turned() if less else ratio
    size, interval = factor(shown.shown(shown.mean)), fold(*map(shown.shown, shown.interval()))
    known = f"95 %: {interval}×, {count(ratio.n, 'seed')}" if ratio.n > 1 else "1 seed, no interval"
    words = f"{size}× {'less sharp than' if less else 'as sharp as'} {twin.twin} ({known})"
    yield f"Lower sharpness: {answer(ratio)}. {twin.arm} is {words}."


def _speed(twin: Twin, target: str) -> Iterator[str]:
    if twin.steps is None or twin.steps_ratio is None or not any(each.seeds for each in twin.steps):
        size = effect(twin.loss, twin.judged.level if twin.judged else LEVEL)
        yield f"Lower final loss: {answer(twin.loss, twin.judged)}. {twin.arm} against {twin.twin} {size}."
        return
    ours, theirs = twin.steps
    of_ours, of_theirs = f"{ours.hits} of {count(ours.seeds, 'seed')}", f"{theirs.hits} of {theirs.seeds}"
    reached = f"{capital(target or 'the target')} is reached on {of_ours} against {of_theirs}"
    yield f"Faster: {answer(twin.steps_ratio)}. {reached}; final loss {effect(twin.loss, known=ours.seeds)}."


def _by_answer(
    twins: Sequence[Twin], asked: Callable[[Twin], tuple[Paired | None, Verdict | None]], *, several: bool
) -> str:
    """`yes for a on x and y; undecided for b on x`."""
    answered: dict[str, dict[str, list[str]]] = {}
    for twin in twins:
        paired, judged = asked(twin)
        if paired is not None and paired.n:
            answered.setdefault(answer(paired, judged), {}).setdefault(twin.arm, []).append(twin.task)
    named = {
        word: listing((f"{arm} on {listing(on, 3)}" if several else arm for arm, on in arms.items()), _NAMES)
        for word, arms in answered.items()
    }
    return "; ".join(f"{word} for {names}" for word, names in named.items())


def _against_baseline(comparison: Comparison, rows: Sequence[Row]) -> Iterator[str]:
    """Which arms are lower, higher and undecided, each with the first one's effect."""
    name, base = metric_name(comparison), comparison.baseline
    by_word: dict[str, list[Row]] = {}
    for row in rows:
        by_word.setdefault(row.verdict, []).append(row)
    best_first = sides(comparison)
    for side in best_first:
        if decided := by_word.get(side):
            yield f"{capital(side)} {name} than {base}: {_led(decided if side == best_first[0] else decided[::-1])}."
    if undecided := by_word.get("undecided"):
        yield from _undecided(undecided, base, tests=corrected(rows))
    if equal := [row.arm for word in ("identical", "equivalent") for row in by_word.get(word, [])]:
        yield f"No different from {base}: {listing(equal, _NAMES)}."
    if broken := by_word.get("broken"):
        yield f"No verdict, as a seed diverged or failed: {listing((row.arm for row in broken), _NAMES)}."


def _undecided(rows: Sequence[Row], base: str, *, tests: int) -> Iterator[str]:
    judged = [row for row in rows if row.against and row.against.n > 1]
    single = [row.arm for row in rows if row not in judged]
    why = f", of {tests} judged together" if tests > 1 else f" against {base}"
    if judged or not tests:
        yield f"Undecided{why}: {_led(judged or rows)}."
    if single and tests:
        yield f"Not judged, with fewer than two pairs of seeds: {listing(single, _NAMES)}."


def _in_short(what: str, rows: Sequence[Row]) -> str:
    """As in `Fewer steps to 2.8 than sgd: adam 0.76× (0.65–0.87×), then lion; no for sign; undecided for ftrl`."""
    by_word: dict[str, list[Row]] = {"": [], "no for ": [], "undecided for ": []}
    words = {"lower": "", "higher": "no for ", "identical": "no for ", "undecided": "undecided for "}
    for row in sorted(rows, key=lambda row: row.against.mean if row.against else math.inf):
        if row.verdict in words and row.against:
            by_word[words[row.verdict]].append(row)
    there = [(word, of_word) for word, of_word in by_word.items() if of_word]
    if not there:
        return ""
    (word, first), *rest = there
    names = [f"{word}{listing((row.arm for row in of_word), _NAMES)}" for word, of_word in rest]
    return f"{what}: {'; '.join([f'{word}{_led(first, known=len(first[0].seeds.finished))}', *names])}."


def _led(rows: Sequence[Row], *, known: int = 0) -> str:
    """The first arm with its effect, then the rest by name."""
    first, *rest = rows
    level = first.judged.level if first.judged else LEVEL
    size = f" {effect(first.against, level, known=known)}" if first.against else ""
    return f"{first.arm}{size}{f', then {listing((row.arm for row in rest), _NAMES)}' if rest else ''}"


def _turned(comparison: Comparison, target: Target | None) -> str:
    """Arms that are earlier to the target and later to an easier loss, or that end on another side than they raced."""
    if target is None:
        return ""
    base, matched = comparison.baseline, {row.arm: row for row in comparison.matched}
    rows = {row.arm: row for row in comparison.rows}
    cases = [
        (arm.arm, sentence)
        for arm in comparison.race
        if arm.arm != base and (sentence := _turn(arm, rows[arm.arm], matched.get(arm.arm), target))
    ]
    if not cases:
        return ""
    of_clips = {twin.arm for twin in comparison.twins}
    (arm, sentence), *rest = sorted(cases, key=lambda case: case[0] not in of_clips)
    likewise = f" (the order turns for {listing((name for name, _ in rest), _NAMES)}, too)" if rest else ""
    return f"{arm} is {sentence}{likewise}."


def _turn(raced: RaceRow, row: Row, matched: MatchedRow | None, target: Target) -> str:
    """What contradicts the race, in which a positive mean is earlier, where both are shown."""
    speed = raced.steps.paired if raced.steps else None
    if speed is None or not speed.n:
        return ""
    sooner, size = speed.mean > 0, f"{at_least(speed)}{factor(speed.shown(speed.mean), 3)}×"
    steps, loss = matched.steps_ratio if matched else None, row.difference
    if _contradicts(steps, speed):
        ratio = factor(steps.shown(steps.mean), 3)
        but = f"{'later' if sooner else 'earlier'} to the loss that both reach ({ratio}× the steps)"
    elif _contradicts(loss, speed):
        of_loss = " in loss" if target.quantity else ""
        but = f"{'higher' if sooner else 'lower'}{of_loss} at the end ({loss.mean:+.3g})"
    else:
        return ""
    return f"{'earlier' if sooner else 'later'} to {goal(target)} ({size}) but {but}"


def _contradicts(costs: Paired | None, speed: Paired) -> TypeGuard[Paired]:
    """Whether an arm that is faster is shown to cost more, or one that is slower less, by both 95 % intervals."""
    if costs is None or not costs.n or speed.mean * costs.mean <= 0:
        return False
    return all(low > 0 or high < 0 for low, high in (speed.interval(), costs.interval()))
