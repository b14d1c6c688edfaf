import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from judging.claims.measured import asked, claim, haunted, measured
from judging.made import record, run, with_rows
from scipy.stats import spearmanr

from clipbench.judging.claims.ranking import spearman
from clipbench.records import COSINE, DIRECTIONAL_SHARPNESS, OWN, Record
from clipbench.spec.claims import Claim

NAMES = ("sgd", "adam", "lion", "signsgd")


def ranked(**changes: Any) -> Claim:
    rank = {"by": "directional_sharpness", **changes}
    return claim(compare=None, rank=rank, needs={"arms": 4})


def race(losses: Sequence[Sequence[float]], sharpness: Sequence[float] = (4.0, 2.0, 1.0, 0.5)) -> list[Record]:
    """By seed the arms' final losses; sharpness along each at the points of SGD's run."""
    arms = [run(name).arm for name in NAMES]
    records = []
    for seed, of_seed in enumerate(losses):
        own = haunted(
            {
                OWN: [sharpness[0]] * 3,
                **{name: [value] * 3 for name, value in zip(NAMES[1:], sharpness[1:], strict=True)},
            },
            seed=seed,
            ghosts=arms[1:],
        )
        records.append(with_rows(own, record(own.run, {200: of_seed[0]}).measurements))
        records += [
            record(run(name, seed=seed), [5.0, loss]) for name, loss in zip(NAMES[1:], of_seed[1:], strict=True)
        ]
    return records


def test_the_same_order_is_a_correlation_of_one() -> None:
    answer = asked(ranked(), race([[4.0, 3.0, 2.0, 1.0]] * 3))
    [found] = answer.comparisons
    assert (answer.verdict, found.estimate, found.n) == pytest.approx(("holds", 1.0, 3))
    assert found.site.between == "directional_sharpness, and final_loss"
    assert asked(ranked(), race([[1.0, 2.0, 3.0, 4.0]] * 3)).verdict == "fails"


def test_the_interval_is_over_seeds() -> None:
    """Correlations 1 and 0.8: 0.9 ± 12.706 · 0.1."""
    [found] = asked(ranked(), race([[4.0, 3.0, 2.0, 1.0], [4.0, 3.0, 1.0, 2.0]])).comparisons
    assert found.estimate == pytest.approx(0.9)
    assert found.low == pytest.approx(0.9 - 12.7062 * 0.1, rel=1e-4)


def test_a_diverged_arm_stands_behind_all_others() -> None:
    records = race([[4.0, 3.0, 2.0, 1.0]] * 2)
    broken = [
        replace(each, outcome=replace(each.outcome, status="diverged"))
        if each.run.arm.name == "adam" and each.outcome
        else each
        for each in race([[4.0, 0.1, 2.0, 1.0]] * 2)
    ]
    [found] = asked(ranked(), broken).comparisons
    assert found.estimate == pytest.approx(spearman([4.0, 2.0, 1.0, 0.5], [4.0, math.inf, 2.0, 1.0]))
    assert (found.n, found.left_out) == (2, 0)
    assert asked(ranked(), records).comparisons[0].estimate == pytest.approx(1.0)


@pytest.mark.parametrize("end", [math.nan, math.inf, -math.inf])
def test_an_arm_that_finished_with_a_loss_that_is_no_number_stands_behind_all_others(end: float) -> None:
    [found] = asked(ranked(), race([[4.0, end, 2.0, 1.0]] * 2)).comparisons
    assert found.estimate == pytest.approx(spearman([4.0, 2.0, 1.0, 0.5], [4.0, math.inf, 2.0, 1.0]))


def test_a_trajectory_that_broke_is_left_out_and_counted() -> None:
    records = race([[4.0, 3.0, 2.0, 1.0], [4.0, 3.0, 2.0, 1.0], [4.0, 1.0, 2.0, 3.0]])
    broken = [
        replace(each, outcome=replace(each.outcome, status="diverged"))
        if each.run.arm.name == "sgd" and each.run.seed == 2 and each.outcome
        else each
        for each in records
    ]
    answer = asked(ranked(), broken)
    [found] = answer.comparisons
    assert found.estimate == pytest.approx(1.0)
    assert (found.n, found.left_out) == (2, 1)
    assert answer.why.endswith("seeds that lack a finished run are left out of the only comparison")


def test_too_few_arms_have_no_order() -> None:
    records = [each for each in race([[4.0, 3.0, 2.0, 1.0]] * 3) if each.run.arm.name != "lion"]
    answer = asked(ranked(), records)
    assert answer.verdict == "not measured"
    assert answer.why == "no task has 4 arms with directional_sharpness and final_loss on the same seed"


def test_all_equal_is_no_order_and_is_counted() -> None:
    [found] = asked(ranked(), race([[1.0] * 4, [1.0] * 4])).comparisons
    assert (found.excluded, found.n) == (2, 0)


@pytest.mark.parametrize(("by", "rather_than"), [(DIRECTIONAL_SHARPNESS, COSINE), (COSINE, DIRECTIONAL_SHARPNESS)])
def test_what_gives_no_order_foretells_neither_better_nor_worse(by: str, rather_than: str) -> None:
    records = [
        measured(each, {name: [0.5] for name in (OWN, *NAMES[1:])}, COSINE) if each.run.arm.name == "sgd" else each
        for each in race([[4.0, 3.0, 2.0, 1.0]] * 2)
    ]
    [found] = asked(ranked(by=by, rather_than=rather_than), records).comparisons
    assert (found.excluded, found.n) == (2, 0)


def test_one_quantity_may_foretell_better_than_another() -> None:
    """Sharpness has the order of the losses, −cosine the opposite: 1 − (−1)."""
    records = [
        measured(each, {OWN: [0.4], "adam": [0.3], "lion": [0.2], "signsgd": [0.1]}, COSINE)
        if each.run.arm.name == "sgd"
        else each
        for each in race([[4.0, 3.0, 2.0, 1.0]] * 3)
    ]
    [found] = asked(ranked(rather_than="-cosine"), records).comparisons
    assert found.estimate == pytest.approx(2.0)
    assert asked(ranked(rather_than="cosine"), records).comparisons[0].estimate == pytest.approx(0.0)
    assert asked(ranked(rather_than="slope"), records).why == "these runs have no slope"


def test_arms_may_be_ranked_along_their_own_paths() -> None:
    records = [
        measured(record(run(name, seed=seed), [5.0, 4.0 - place]), {OWN: [8.0 - place, math.nan, 8.0 - place]})
        for seed in range(3)
        for place, name in enumerate(NAMES)
    ]
    answer = asked(ranked(at="own"), records)
    assert (answer.verdict, answer.comparisons[0].site.trajectory) == ("holds", "")


def test_steps_to_a_target_are_ranked_with_misses_last() -> None:
    records = race([[4.0, 1.0, 1.0, 1.0]] * 3)
    assert asked(ranked(to="steps_to_target"), records).verdict == "not measured"
    [found] = asked(ranked(to="steps_to_target"), records, target=2.0).comparisons
    missed = 250.0  # SGD never gets there; the others do at step 50
    expected = spearmanr([4.0, 2.0, 1.0, 0.5], [missed, 50.0, 50.0, 50.0]).statistic
    assert found.estimate == pytest.approx(expected)


def test_a_target_that_has_to_hold_is_not_reached_by_one_evaluation() -> None:
    """Three arms are there at their last evaluation; two in a row nobody has, and where all miss there is no order."""
    records = race([[4.0, 1.0, 1.0, 1.0]] * 3)
    found = [asked(ranked(to="steps_to_target"), records, target=2.0, consecutive=held) for held in (1, 2)]
    assert [answer.comparisons[0].n for answer in found] == [3, 0]


NUMBERS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=3, max_size=9)


@given(pairs=NUMBERS.filter(lambda pairs: all(len(set(side)) > 1 for side in zip(*pairs, strict=True))))
def test_the_rank_correlation_is_scipys(pairs: list[tuple[int, int]]) -> None:
    ours, theirs = zip(*pairs, strict=True)
    assert spearman(ours, theirs) == pytest.approx(spearmanr(ours, theirs).statistic)
