"""What came of the trials of an arm, which is selected, and whether it is bracketed."""

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from judging.made import question, record, run, trial, trials, tuning, with_metric

from clipbench.judging.tuning.trials import (
    BY_LOSS,
    Criterion,
    TrialResult,
    best,
    criterion,
    edge,
    edges,
    of_trials,
    tried,
)
from clipbench.quantities import STEPS
from clipbench.questions import Manner, Side, Space, Target, Trial, Tuned
from clipbench.records import Options


def scored(losses: dict[float, float], **changes: object) -> list[TrialResult]:
    [tuned] = tuning({"sgd": list(losses)}).arms
    made = {each.run.key: each for each in trials("sgd", losses)}
    return tried(tuned, made, by=BY_LOSS, **changes)


def selected(among: list[TrialResult]) -> Options:
    found = best(among)
    assert found is not None
    return found.settings


def test_the_best_trial_has_the_least_final_loss() -> None:
    found = scored({0.1: 3.0, 0.3: 2.0, 1.0: 2.5})
    assert [each.loss for each in found] == [3.0, 2.0, 2.5]
    assert best(found) == found[1]


def test_of_equals_the_first_is_selected() -> None:
    assert selected(scored({0.1: 3.0, 0.3: 3.0})) == {"lr": 0.1}


def test_a_loss_is_the_mean_over_the_tuning_seeds() -> None:
    [tuned] = tuning({"sgd": [0.1]}, seeds=(8, 9)).arms
    made = [record(trial(lr=0.1, seed=8), [5.0, 2.0]), record(trial(lr=0.1, seed=9), [5.0, 3.0])]
    [found] = tried(tuned, {each.run.key: each for each in made}, by=BY_LOSS)
    assert (found.losses, found.loss, found.score) == ((2.0, 3.0), 2.5, 2.5)


@pytest.mark.parametrize("status", ["diverged", "failed"])
def test_a_trial_that_diverged_or_failed_is_spent_and_ranks_last(status: Any) -> None:
    [tuned] = tuning({"sgd": [0.1, 0.3]}, seeds=(8, 9)).arms
    made = [record(trial(lr=lr, seed=seed), [5.0, 4.0]) for lr, seed in ((0.1, 8), (0.1, 9), (0.3, 8))]
    made.append(record(trial(lr=0.3, seed=9), [5.0, 0.1], status=status))
    found = tried(tuned, {each.run.key: each for each in made}, by=BY_LOSS)
    assert (found[1].ended, found[1].loss) == (True, math.inf)
    assert [each.crashed for each in found] == [False, status == "failed"]
    assert best(found) == found[0]


def test_a_finished_run_without_a_loss_is_none_to_select() -> None:
    [tuned] = tuning({"sgd": [0.1]}).arms
    made = record(trial(lr=0.1), [5.0, math.nan])
    assert best(tried(tuned, {made.run.key: made}, by=BY_LOSS)) is None


def test_nothing_is_selected_while_a_trial_has_not_ended_or_where_none_finished() -> None:
    [tuned] = tuning({"sgd": [0.1, 0.3]}).arms
    one = trials("sgd", {0.1: 2.0})
    assert best(tried(tuned, {one[0].run.key: one[0]}, by=BY_LOSS)) is None
    waiting = record(trial(lr=0.3), [5.0], status="unfinished")
    made = {each.run.key: each for each in (*one, waiting)}
    assert best(tried(tuned, made, by=BY_LOSS)) is None
    assert best(scored({0.1: 9.0, 0.3: 9.0})) is None
    assert best([]) is None


def test_steps_to_the_target_are_selected_by_if_asked_for_and_the_loss_among_those_that_miss() -> None:
    [tuned] = tuning({"sgd": [0.1, 0.3, 1.0]}).arms
    curves = {0.1: [5.0, 2.9, 2.9], 0.3: [5.0, 4.0, 2.0], 1.0: [5.0, 4.0, 3.0]}
    made = {(of := record(trial(lr=lr), curve)).run.key: of for lr, curve in curves.items()}
    found = tried(tuned, made, by=Criterion(STEPS, target=Target(2.95)))
    assert [each.score for each in found] == [50, 100, math.inf]
    assert selected(found) == {"lr": 0.1}
    missed = tried(tuned, made, by=Criterion(STEPS, target=Target(1.0)))
    assert selected(missed) == {"lr": 0.3}


def test_a_target_that_has_to_hold_is_selected_by_as_compare_counts_it() -> None:
    """The first rate is at the target sooner, and does not stay there."""
    [tuned] = tuning({"sgd": [0.1, 0.3]}).arms
    curves = {0.1: [5.0, 2.9, 4.0, 2.9], 0.3: [5.0, 4.0, 2.9, 2.9]}
    made = {(of := record(trial(lr=lr), curve)).run.key: of for lr, curve in curves.items()}
    found = tried(tuned, made, by=Criterion(STEPS, target=Target(2.95, consecutive=2)))
    assert [each.score for each in found] == [math.inf, 100]
    assert selected(found) == {"lr": 0.3}


ACCURACIES = {0.1: [0.1, 0.6, 0.7], 0.3: [0.1, 0.95, 0.5], 1.0: [0.1, 0.2, 0.9]}
METERED = [
    with_metric(record(trial(lr=lr), [5.0, 3.0, 2.0 + lr]), values) for lr, values in ACCURACIES.items()
]  # the first rate has the least loss


@pytest.mark.parametrize(
    ("better", "over", "rate", "scores"),
    [
        ("higher", "last", 1.0, [-0.7, -0.5, -0.9]),
        ("lower", "last", 0.3, [0.7, 0.5, 0.9]),
        ("higher", "greatest", 0.3, [-0.7, -0.95, -0.9]),
    ],
)
def test_the_best_may_have_the_most_or_the_least_of_a_metric(
    better: Side, over: Any, rate: float, scores: list[float]
) -> None:
    [tuned] = tuning({"sgd": [0.1, 0.3, 1.0]}).arms
    by = criterion("accuracy", better, None, {"accuracy": Manner(over=over)})
    found = tried(tuned, {each.run.key: each for each in METERED}, by=by)
    assert [each.score for each in found] == scores
    assert selected(found) == {"lr": rate}
    as_undeclared = tried(tuned, {each.run.key: each for each in METERED}, by=criterion("accuracy", better, None, {}))
    assert over != "last" or [each.score for each in as_undeclared] == scores


def test_among_trials_that_are_equal_in_the_metric_the_loss_decides() -> None:
    [tuned] = tuning({"sgd": [1.0, 0.1]}).arms
    made = [with_metric(record(trial(lr=lr), [5.0, 2.0 + lr]), [0.1, 0.5]) for lr in (1.0, 0.1)]
    found = tried(tuned, {each.run.key: each for each in made}, by=criterion("accuracy", "higher", None, {}))
    assert selected(found) == {"lr": 0.1}


def test_a_trial_without_a_value_of_the_metric_is_spent() -> None:
    [tuned] = tuning({"sgd": [0.1, 0.3]}).arms
    good, bad = METERED[0], with_metric(record(trial(lr=0.3), [5.0, 1.0]), [0.1, math.nan])
    by = criterion("accuracy", "higher", None, {})
    assert selected(tried(tuned, {each.run.key: each for each in (good, bad)}, by=by)) == {"lr": 0.1}
    bare = {(of := record(trial(lr=lr), [5.0, 1.0])).run.key: of for lr in (0.1, 0.3)}
    assert best(tried(tuned, bare, by=by)) is None  # and not by the loss


def test_by_name_the_criterion_is_the_quantity_that_compare_reads() -> None:
    assert criterion("eval_loss", "lower", None, {}) == BY_LOSS
    assert criterion("steps_to_target", "lower", Target(2.0), {}) == Criterion(STEPS, target=Target(2.0))


RATES: list[Options] = [{"lr": lr} for lr in (1.0, 0.1, 0.3)]


@pytest.mark.parametrize(("rate", "found"), [(0.1, "lowest"), (0.3, None), (1.0, "highest")])
def test_a_value_is_bracketed_by_a_lower_and_a_higher_one(rate: float, found: str | None) -> None:
    assert edge("lr", at={"lr": rate}, among=RATES) == found


def test_a_value_that_stands_alone_is_at_both_edges() -> None:
    assert edge("lr", at={"lr": 0.1, "m": 1}, among=[{"lr": 0.1, "m": 1}, {"lr": 0.1, "m": 2}]) == "only"


def test_nothing_lies_below_zero() -> None:
    among: list[Options] = [{"f": 0}, {"f": 0.5}]
    assert edge("f", at={"f": 0}, among=among) is None
    assert edge("f", at={"f": 0.5}, among=among) == "highest"


@pytest.mark.parametrize("value", ["a", True, None, (0.9, 0.99)])
def test_values_without_an_order_have_no_edge(value: Any) -> None:
    assert edge("x", at={"x": value}, among=[{"x": value}, {"x": 3.0}]) is None


def test_the_edges_of_a_search_are_told_by_setting() -> None:
    spaces = Space("lr", (0.1, 1.0)), Space("f", (0.1, 0.2, 0.3))
    settings: list[Options] = [{"lr": lr, "f": f} for lr in (0.1, 1.0) for f in (0.1, 0.2, 0.3)]
    tuned = Tuned("code_lm", "sgd", spaces, tuple(Trial(each, ("k",)) for each in settings), 6, {"lr": 1.0, "f": 0.2})
    assert edges(tuned) == {"lr": "highest"}
    assert edges(replace(tuned, selected=None)) == {}


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=8, unique=True), st.data())
def test_a_best_that_is_no_edge_lies_between_two_that_were_tried(rates: list[float], data: st.DataObject) -> None:
    rate = data.draw(st.sampled_from(rates))
    at_edge = edge("lr", at={"lr": rate}, among=[{"lr": each} for each in rates])
    assert (at_edge is None) == (any(each < rate for each in rates) and any(each > rate for each in rates))


def test_the_trials_of_a_question_are_known_by_their_keys() -> None:
    asked = replace(question("sgd"), tuning=tuning({"sgd": [0.1, 0.3]}))
    assert of_trials(asked) == {trial(lr=0.1).key, trial(lr=0.3).key}
    assert of_trials(question("sgd")) == frozenset()
    assert run().key not in of_trials(asked)


def test_a_trial_that_finished_without_a_finite_loss_ranks_last() -> None:
    made = {each.run.key: each for each in (record(trial(lr=0.1), [5.0, math.nan]), record(trial(lr=0.3), [5.0, 4.0]))}
    [tuned] = tuning({"sgd": [0.1, 0.3]}).arms
    found = tried(tuned, made, by=BY_LOSS)
    assert (found[0].loss, found[0].rank, found[0].crashed) == (math.inf, (math.inf, math.inf), False)
    assert best(found) == found[1]
