"""Clipped arms against their twins: does the clip lower sharpness, loss, steps or time?"""

from collections.abc import Mapping, Sequence

from clipbench.judging.cells import Cell, grouped, is_twin, rates_in_words
from clipbench.judging.comparison import StepsToTarget, Twin
from clipbench.judging.families import Verdict
from clipbench.judging.paired import LEVEL, Paired
from clipbench.judging.race import to_target_in_pairs
from clipbench.judging.words import count, factor, fold, number, span
from clipbench.quantities import LOSS, SHARPNESS, STEP_TIME, STEPS


def twins(
    cells: Sequence[Cell],
    steps: Mapping[tuple[str, str], StepsToTarget | None],
    judged: Mapping[tuple[str, str, str], Verdict | None],
) -> list[Twin]:
    """Every clipped arm with each of its twins on the same task.

    Args:
        cells: of all tasks.
        steps: to the target, by task and arm.
        judged: the verdicts on final losses that the comparison has already, by task, arm and what it is against.
    """
    by_task = grouped(cells, lambda cell: cell.task)
    return [
        _twin(clipped, twin, steps, judged.get((clipped.task, clipped.arm, twin.arm)))
        for clipped in cells
        for twin in by_task[clipped.task]
        if is_twin(clipped.described, twin.described)
    ]


def _twin(
    clipped: Cell,
    unclipped: Cell,
    steps: Mapping[tuple[str, str], StepsToTarget | None],
    judged: Verdict | None,
) -> Twin:
    sharpness, loss, step_time = (clipped.against(unclipped, along) for along in (SHARPNESS, LOSS, STEP_TIME))
    ours, theirs = steps[clipped.task, clipped.arm], steps[unclipped.task, unclipped.arm]
    reached = (ours, theirs) if ours is not None and theirs is not None else None
    fewer, pairs = _fewer(clipped, unclipped) if reached is not None else (0, 0)
    answers = [
        f"lower sharpness: {_ratio_answer(sharpness, 'seed with positive values in both')}",
        f"lower final loss: {_loss_answer(loss, judged)}",
    ]
    if reached is not None:
        answers.append(_steps_answer(reached, fewer=fewer, pairs=pairs))
    answers.append(f"less time per step: {_ratio_answer(step_time, 'timed seed in common')}")
    return Twin(
        task=clipped.task,
        arm=clipped.arm,
        twin=unclipped.arm,
        learning_rates=(clipped.learning_rate, unclipped.learning_rate),
        rates=(rates_in_words(clipped.described), rates_in_words(unclipped.described)),
        same_rate=clipped.described.learning_rates == unclipped.described.learning_rates,
        sharpness=sharpness,
        loss=loss,
        judged=judged,
        step_time=step_time,
        steps=reached,
        fewer_steps_on=fewer,
        step_pairs=pairs,
        answers=tuple(answers),
        steps_ratio=None if reached is None else clipped.against(unclipped, STEPS),
    )


def _fewer(clipped: Cell, twin: Cell) -> tuple[int, int]:
    pairs = to_target_in_pairs(clipped, twin)
    return sum(ours < theirs for ours, theirs in pairs), len(pairs)


def answer(difference: Paired, judged: Verdict | None = None) -> str:
    """By the side of 0 on which the 95 % confidence interval lies (not corrected for other comparisons).

    Args:
        difference: of which it is asked whether it is below 0.
        judged: the verdict on it, corrected, where there is one: a difference has no two.
    """
    if difference.identical:
        return "no, identical"
    if judged is not None:
        return {"lower": "yes", "undecided": "undecided"}.get(judged.word, "no")
    low, high = difference.interval()
    lower, higher = high < 0 and difference.can_be("lower"), low > 0 and difference.can_be("higher")
    return "yes" if lower else "no" if higher else "undecided"


def _ratio_answer(ratio: Paired, counted: str) -> str:
    verdict = answer(ratio)
    if ratio.n == 0:
        return f"{verdict} (no {counted})"
    size = f"{factor(ratio.shown(ratio.mean), 3)}×"
    if ratio.n == 1:
        return f"{verdict} ({size} on 1 seed, no interval)"
    interval = fold(*map(ratio.shown, ratio.interval()))
    return f"{verdict} ({size}, 95 % interval {interval}, {count(ratio.n, 'seed')})"


def _loss_answer(loss: Paired, judged: Verdict | None) -> str:
    verdict, level = answer(loss, judged), judged.level if judged else LEVEL
    if loss.n == 0:
        return f"{verdict} (no seed finished in both)"
    if loss.n == 1:
        return f"{verdict} ({loss.mean:+.3g} on 1 seed, no interval)"
    interval = f"{100 * (1 - level):.3g} % interval {span(*loss.interval(level))}"
    return f"{verdict} ({loss.mean:+.3g}, {interval}, {count(loss.n, 'seed')})"


def _steps_answer(reached: tuple[StepsToTarget, StepsToTarget], *, fewer: int, pairs: int) -> str:
    ours, theirs = (
        f"{number(steps.median, 6)} ({steps.hits}/{steps.seeds} seeds reach it)" if steps.seeds else "no ended seed"
        for steps in reached
    )
    return f"fewer steps to target: {ours} vs {theirs}; fewer on {fewer} of {count(pairs, 'paired seed')}"
