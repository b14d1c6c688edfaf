import math

import pytest
from judging.made import question, record, run
from scipy import stats

from clipbench.judging.chance import holm
from clipbench.judging.compare import compare
from clipbench.judging.comparison import Ranks
from clipbench.judging.ranks import ranks


def test_what_is_decided_is_ordered() -> None:
    found = ranks({"a": {0: 1.0, 1: 1.1}, "b": {0: 2.0, 1: 2.1}, "c": {0: 3.0, 1: 3.1}}, "final_loss")
    assert found == {"a": Ranks(1, 1), "b": Ranks(2, 2), "c": Ranks(3, 3)}


def test_what_is_not_decided_is_tied() -> None:
    found = ranks({"a": {0: 1.0, 1: 9.0}, "b": {0: 2.0, 1: 2.1}, "c": {0: 3.0, 1: 3.1}}, "final_loss")
    assert found == {"a": Ranks(1, 3), "b": Ranks(1, 2), "c": Ranks(2, 3)}


def test_one_seed_ties_everything() -> None:
    assert ranks({"a": {0: 1.0}, "b": {0: 2.0}}, "final_loss") == {"a": Ranks(1, 2), "b": Ranks(1, 2)}


def test_an_arm_without_values_has_no_place() -> None:
    assert ranks({"a": {}, "b": {0: 1.0}}, "final_loss") == {"b": Ranks(1, 1)}


@pytest.mark.parametrize("seeds", [3, 5, 8])
def test_every_pair_is_corrected_for_all_pairs(seeds: int) -> None:
    """Against SciPy's paired t tests of all pairs, and the correction over them."""
    values = {
        arm: {seed: math.sin(7 * place + 3.1 * seed) + 0.4 * place for seed in range(seeds)}
        for place, arm in enumerate("abcdef")
    }
    pairs = [(one, other) for one in values for other in values if one < other]
    raw = [stats.ttest_rel(list(values[one].values()), list(values[other].values())) for one, other in pairs]
    corrected = holm([float(test.pvalue) for test in raw])
    decided = [(pair, test.statistic < 0) for pair, test, p in zip(pairs, raw, corrected, strict=True) if p <= 0.05]
    above = {arm: sum(pair[0 if lower else 1] != arm for pair, lower in decided if arm in pair) for arm in values}
    below = {arm: sum(pair[0 if lower else 1] == arm for pair, lower in decided if arm in pair) for arm in values}
    assert ranks(values, "final_loss") == {arm: Ranks(1 + above[arm], 6 - below[arm]) for arm in values}


def test_a_broken_arm_has_no_rank_and_takes_none() -> None:
    records = [
        record(run(arm, seed=s), [5.0, loss + 0.1 * s]) for arm, loss in (("sgd", 3.0), ("adam", 2.0)) for s in (0, 1)
    ]
    records.append(record(run("lion"), [5.0, 1.0], status="diverged"))
    rows = compare(records, question("sgd", "adam", "lion")).rows
    assert [row.ranks for row in rows] == [Ranks(2, 2), Ranks(1, 1), None]


def test_ranks_are_of_a_task_and_by_the_metric_that_was_asked_for() -> None:
    records = [
        record(run(arm, seed=s, task=task), [5.0, loss + 0.1 * s], sharpness=[10 - loss + 0.1 * s])
        for task, order in (("one", 1), ("two", -1))
        for arm, loss in (("sgd", 3.0), ("adam", 3.0 - order))
        for s in range(3)
    ]
    by_loss = {(row.task, row.arm): row.ranks for row in compare(records, question("sgd", "adam")).rows}
    assert by_loss["one", "adam"] == by_loss["two", "sgd"] == Ranks(1, 1)
    by_sharpness = compare(records, question("sgd", "adam"), metric="sharpness").rows
    assert {(row.task, row.arm): row.ranks for row in by_sharpness}["one", "adam"] == Ranks(2, 2)


def test_arms_are_ranked_by_the_seeds_that_both_have() -> None:
    """By all of its own seeds the first would be the worse."""
    few, many = {0: 2.0, 1: 2.1}, {0: 1.0, 1: 1.1, 2: 50.0}
    for values in ({"many": many, "few": few}, {"few": few, "many": many}):
        assert ranks(values, "final_loss") == {"many": Ranks(1, 1), "few": Ranks(2, 2)}


def test_a_miss_of_the_target_places_an_arm_by_the_sign_of_its_pairs() -> None:
    """Six pairs on one side: 2/2⁶ = 0.03; as a mean, ∞ would say nothing."""
    missed = dict.fromkeys(range(5), math.inf) | {5: 1.5}
    assert ranks({"a": dict.fromkeys(range(6), 1.0), "b": missed}, "steps") == {"a": Ranks(1, 1), "b": Ranks(2, 2)}
