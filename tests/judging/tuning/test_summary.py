"""The tables and caveats that are made from trials."""

import math
from dataclasses import replace
from itertools import combinations
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st
from judging.made import question, record, run, trial, trials, tuning, with_metric

from clipbench.errors import UndecidedError
from clipbench.judging.compare import compare
from clipbench.judging.tuning.summary import ArmTuning, expected_best, tunings
from clipbench.questions import Trial, Tuned
from clipbench.records import Record

GRID = (0.1, 0.3, 1.0, 3.0)
LOSSES = {
    "sgd": dict(zip(GRID, (3.0, 2.05, 2.0, 9.0), strict=True)),
    "adam": dict(zip(GRID, (1.0, 1.5, 2.0, 2.5), strict=True)),
}
ASKED = replace(
    question("sgd", "adam", "lion"),
    tuning=tuning({"sgd": GRID, "adam": GRID}, selected={"sgd": 1.0, "adam": 0.1}),
)
TRIALS = [each for arm, losses in LOSSES.items() for each in trials(arm, losses)]
REPORTED = [record(run(arm, seed=seed), [5.0, 2.0]) for arm in ("sgd", "adam", "lion") for seed in (0, 1)]


def test_each_arm_is_told_with_what_was_selected_and_spent() -> None:
    sgd, adam = tunings(TRIALS, ASKED)
    assert (sgd.arm, sgd.trials, sgd.ended, sgd.broken) == ("sgd", 4, 4, 1)
    assert (sgd.selected, sgd.loss.mean, sgd.loss.n, sgd.edges) == ({"lr": 1.0}, 2.0, 1, {})
    assert (adam.edges, adam.broken) == ({"lr": "lowest"}, 0)


def test_trials_that_crashed_are_counted_among_the_broken_ones() -> None:
    crashed = record(trial("sgd", lr=0.1), [5.0], status="failed")
    sgd, _ = tunings([crashed, *TRIALS[1:]], ASKED)
    assert (sgd.ended, sgd.broken, sgd.crashed) == (4, 2, 1)


def test_rates_have_their_losses_in_ascending_order_and_those_that_diverged_have_none() -> None:
    sgd, _ = tunings(TRIALS, ASKED)
    assert [(each.rate, each.loss.mean) for each in sgd.rates[:3]] == [(0.1, 3.0), (0.3, 2.05), (1.0, 2.0)]
    assert (sgd.rates[3].broken, sgd.rates[3].loss.n) == (True, 0)


def test_good_rates_are_the_stretch_around_the_best_that_is_within_a_twentieth() -> None:
    sgd, adam = tunings(TRIALS, ASKED)
    assert sgd.good == (0.3, 1.0)
    assert adam.good == (0.1, 0.1)
    # a good rate beyond a bad one is no part of it
    gap = trials("sgd", dict(zip(GRID, (2.0, 3.0, 2.0, 2.01), strict=True)))
    assert tunings(gap, ASKED)[0].good == (0.1, 0.1)
    # and it may reach to the least rate that was tried, as to the greatest
    for losses, good in (((2.05, 2.0, 3.0, 9.0), (0.1, 0.3)), ((9.0, 3.0, 2.0, 2.05), (1.0, 3.0))):
        flat = trials("sgd", dict(zip(GRID, losses, strict=True)))
        assert tunings(flat, ASKED)[0].good == good


def test_a_rate_counts_with_the_best_of_what_was_tried_with_it() -> None:
    assert ASKED.tuning is not None
    asked = ASKED.tuning.arms[0]
    both = tuple(
        replace(one, settings={"lr": 0.1, "clip.fraction": place / 10}) for place, one in enumerate(asked.trials)
    )
    question = replace(ASKED, tuning=replace(ASKED.tuning, arms=(replace(asked, trials=both),)))
    [found] = tunings(TRIALS, question)
    assert [(each.rate, each.loss.mean) for each in found.rates] == [(0.1, 2.0)]


def test_of_losses_below_zero_a_twentieth_is_of_their_size() -> None:
    found = tunings(trials("sgd", {0.1: -3.0, 0.3: -2.9, 1.0: -2.0, 3.0: -1.0}), ASKED)[0]
    assert found.good == (0.1, 0.3)


def by_accuracy(rates: dict[float, tuple[float, float]]) -> ArmTuning:
    """Trials with a final loss and an accuracy for each rate."""
    made = [with_metric(record(trial(lr=lr), [5.0, loss]), [0.1, accuracy]) for lr, (loss, accuracy) in rates.items()]
    asks = replace(question("sgd"), tuning=tuning({"sgd": [*rates]}, select="accuracy", better="higher"))
    [found] = tunings(made, asks)
    return found


def test_by_a_metric_a_rate_has_its_value_and_good_rates_are_within_a_twentieth_of_the_most() -> None:
    """The least loss is at 0.1; of the accuracies 0.9 is the most, and 0.86 is within 5 % of it."""
    found = by_accuracy({0.1: (1.0, 0.5), 0.3: (3.0, 0.86), 1.0: (2.0, 0.9), 3.0: (4.0, 0.85)})
    assert [(each.value.mean, each.loss.mean) for each in found.rates] == [(0.5, 1.0), (0.86, 3), (0.9, 2), (0.85, 4)]
    assert found.good == (0.3, 1.0)


def test_a_trial_whose_metric_is_nan_did_not_diverge() -> None:
    found = by_accuracy({0.1: (1.0, 0.5), 0.3: (3.0, math.nan)})
    assert (found.trials, found.ended, found.broken, found.valueless) == (2, 2, 0, 1)
    [_, nan] = found.rates
    assert (nan.broken, nan.value.n, nan.loss.mean) == (False, 0, 3.0)
    assert found.good == (0.1, 0.1)


def test_of_an_arm_with_groups_each_groups_rates_are_told_with_the_best_of_the_others() -> None:
    """Losses of the four pairs of rates: hidden 0.1 and 1, rest 0.01 and 0.02."""
    settings = [{"groups.hidden.lr": a, "groups.rest.lr": b} for a in (0.1, 1.0) for b in (0.01, 0.02)]
    made = trials("sgd", dict(zip(GRID, (3.0, 2.0, 1.0, 4.0), strict=True)))
    grouped = tuple(Trial(point, (each.run.key,)) for point, each in zip(settings, made, strict=True))
    asks = replace(ASKED, tuning=replace(tuning({}), arms=(Tuned("code_lm", "sgd", (), grouped, 4),)))
    [found] = tunings(made, asks)
    assert [(each.setting, each.rate, each.loss.mean) for each in found.rates] == [
        ("groups.hidden.lr", 0.1, 2.0),
        ("groups.hidden.lr", 1.0, 1.0),
        ("groups.rest.lr", 0.01, 1.0),
        ("groups.rest.lr", 0.02, 2.0),
    ]
    assert found.good is None


def test_an_arm_of_which_nothing_finished_has_no_good_rates() -> None:
    [found, _] = tunings(trials("sgd", dict.fromkeys(GRID, 9.0)), ASKED)
    assert (found.good, found.broken, found.expected) == (None, 4, (math.inf,) * 4)


def test_a_search_that_goes_on_has_no_expected_best_yet() -> None:
    sgd, adam = tunings(TRIALS[:2], ASKED)
    assert (sgd.ended, sgd.trials, sgd.expected) == (2, 4, ())
    assert (adam.ended, adam.rates) == (0, ())


@given(st.lists(st.floats(-10, 10) | st.just(math.inf), min_size=1, max_size=7))
def test_the_expected_best_of_k_trials_is_the_mean_over_all_subsets_of_k(losses: list[float]) -> None:
    found = expected_best(losses)
    assert len(found) == len(losses)
    for k, value in enumerate(found, start=1):
        assert value == pytest.approx(mean(map(min, combinations(losses, k))), abs=1e-9)


def test_the_expected_best_of_one_is_the_mean_and_of_all_the_least() -> None:
    assert expected_best([3.0, 1.0, 2.0]) == pytest.approx((2.0, 4 / 3, 1.0))
    assert expected_best([]) == ()


def test_where_nothing_was_tuned_there_is_nothing_to_say() -> None:
    assert tunings(REPORTED, question("sgd")) == ()


def test_a_comparison_keeps_trials_out_of_its_rows_and_tells_of_them_apart() -> None:
    compared = compare(TRIALS + REPORTED, ASKED)
    assert [row.arm for row in compared.rows] == ["sgd", "adam", "lion"]
    assert [each.arm for each in compared.tunings] == ["sgd", "adam"]
    assert any("4 trials per arm" in caveat for caveat in compared.caveats)


def test_trials_of_an_earlier_version_of_the_spec_are_in_no_row_either() -> None:
    earlier = record(trial("sgd", lr=0.7), [5.0, 1.0])
    assert [row.arm for row in compare([earlier, *REPORTED], ASKED).rows] == ["sgd", "adam", "lion"]


def test_a_run_that_is_reported_now_is_in_its_row_whatever_it_was_made_for() -> None:
    once = record(trial("sgd", lr=0.7), [5.0, 1.0])
    asked = replace(question("sgd[lr=0.7]", baseline="sgd[lr=0.7]"), keys=(once.run.key,))
    assert [row.arm for row in compare([once], asked).rows] == ["sgd[lr=0.7]"]


def test_a_run_that_was_made_before_there_was_a_label_is_known_for_a_trial_by_its_key() -> None:
    unlabelled = [replace(each, run=replace(each.run, trial_of="")) for each in TRIALS]
    assert [row.arm for row in compare(unlabelled + REPORTED, ASKED).rows] == ["sgd", "adam", "lion"]


def test_trials_alone_are_nothing_to_compare() -> None:
    with pytest.raises(UndecidedError, match=r"only trials so far \(8 runs\), and no run to report"):
        compare(TRIALS, ASKED)


def test_runs_of_an_earlier_selection_are_left_out() -> None:
    now = [record(run("sgd", seed=seed, lr=1.0), [5.0, 2.0]) for seed in (0, 1)]
    before = [record(run("sgd", seed=seed, lr=0.3), [5.0, 3.0]) for seed in (0, 1)]
    asked = replace(ASKED, keys=tuple(each.run.key for each in now))
    compared = compare([*before, *now, *TRIALS], asked)
    assert compared.rows[0].final_loss.mean == 2.0
    assert "2 runs of an earlier version of the spec or its code, or of settings no longer selected (sgd)" in "\n".join(
        compared.caveats
    )


def test_a_record_of_a_folder_is_read_whatever_its_order() -> None:
    shuffled: list[Record] = [*reversed(TRIALS)]
    assert tunings(shuffled, ASKED) == tunings(TRIALS, ASKED)
