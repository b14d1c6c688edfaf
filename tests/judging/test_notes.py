"""What is told of the numbers of a table, and where there is cause for it."""

import re

import pytest
from judging.checks.unfair import fair
from judging.made import compared, question, quickstart, record, run

from clipbench.judging.notes import CLOCK, OWN_POINTS
from clipbench.records import Record


def told(
    records: list[Record],
    *arms: str,
    target: float | None = None,
    metric: str = "final_loss",
    threshold: float | None = None,
) -> str:
    return "\n".join(compared(records, question(*arms, target=target), metric, threshold=threshold).caveats)


def test_several_differences_are_told_to_be_corrected_for() -> None:
    lion = [record(run("lion", seed=seed), [5.0, 3.0]) for seed in range(5)]
    assert "Verdicts have Holm's correction for the 2 differences of a table" in told([*fair(), *lion])
    assert "Holm" not in told(fair())
    assert "Holm" not in told([*fair(1), *lion[:1]])  # nothing is judged


@pytest.mark.parametrize(("ours", "theirs"), [(9.0, 1.0), (1.0, 9.0)])
def test_a_miss_on_either_side_is_told_to_be_counted(ours: float, theirs: float) -> None:
    records = [record(run("adam"), [9.0, ours]), record(run("sgd"), [9.0, theirs])]
    records += [record(run(arm, seed=1), [9.0, 1.0]) for arm in ("adam", "sgd")]
    assert told(records, target=2.0, metric="steps").count("A missed target (adam) counts as the end") == 1


def of_pairs(*pairs: tuple[float, float]) -> list[Record]:
    """Final losses of SGD and Adam, a pair a seed."""
    return [
        record(run(arm, seed=seed), [5.0, loss])
        for seed, pair in enumerate(pairs)
        for arm, loss in zip(("sgd", "adam"), pair, strict=True)
    ]


@pytest.mark.parametrize(
    ("pairs", "needed"),
    [
        # d = 0.1, 0.3, −0.1: mean 0.1, s = 0.2; n = 34 is the least with (t(0.975, n−1) + t(0.8, n−1))·0.2/√n ≤ 0.1
        (((3.0, 3.1), (3.0, 3.3), (3.0, 2.9)), "34"),
        (((3.0, 3.1), (3.1, 3.0)), "more than 10000"),
    ],
)
def test_an_undecided_difference_tells_how_many_seeds_it_would_need(
    pairs: tuple[tuple[float, float], ...], needed: str
) -> None:
    assert f"are the true ones: {needed} for adam." in told(of_pairs(*pairs))


def test_what_is_undecided_is_told_task_by_task() -> None:
    records = [
        record(run(arm, seed=seed, task=task), [5.0, 3.0 + (arm != "sgd") * (-1) ** seed * 0.1 + 0.01 * seed])
        for task, arms in (("one", ("sgd", "adam")), ("two", ("sgd", "lion")))
        for arm in arms
        for seed in range(3)
    ]
    undecided = re.findall(r"Undecided on (\w+)\..*: \d+ for (\w+)\.$", told(records), re.MULTILINE)
    assert undecided == [("one", "adam"), ("two", "lion")]


def test_non_positive_sharpness_is_counted_and_undefined_sharpness_apart() -> None:
    some = "Sharpness was zero or negative in some measurements"
    assert f"{some} (sgd on code_lm 2 of 9)" in told(quickstart())
    undefined = [record(run(), [5.0, 3.0], sharpness=[1.0, float("nan")])]
    assert "(sgd on code_lm 0 of 2 (and 1 undefined))" in told(undefined)
    assert some not in told([record(run(), [5.0, 3.0], sharpness=[1.0])])


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        (6.0, "On code_lm every arm met the target loss 6 before the first step: it cannot separate the arms."),
        (1.0, "No arm reached the target loss 1 on code_lm."),
    ],
)
def test_a_target_that_everyone_or_nobody_met_is_told(target: float, sentence: str) -> None:
    assert sentence in told(fair(), target=target)
    assert sentence not in told(fair(), target=3.5)
    assert "target" not in told([record(run(), [5.0], status="unfinished")], target=target)


def test_what_columns_mean_is_told_where_they_are_there() -> None:
    assert OWN_POINTS in told(quickstart())
    assert OWN_POINTS not in told(fair())
    assert CLOCK in told(fair())
    assert CLOCK not in told([record(run(), [5.0], status="unfinished")])
    assert "Differences below 5 % of the baseline are too small" in told(fair(), threshold=0.05)
