import math
import re
from dataclasses import replace
from typing import Any

import pytest
from judging.made import HERE, compared, question, quickstart, record, run

from clipbench.budget import Budget
from clipbench.judging.caveats import CLOCK, OWN_POINTS, RATES
from clipbench.judging.compare import compare
from clipbench.records import Measure, Record


def said(records: list[Record], *arms: str, baseline: str = "sgd", target: float | None = None) -> str:
    return "\n".join(compare(records, question(*arms, baseline=baseline, target=target)).caveats)


def fair(seeds: int = 5, **changes: Any) -> list[Record]:
    """Two arms about which there is little to warn of: `seeds` seeds each, no sharpness."""
    return [
        record(run(arm, seed=seed, **changes), [5.0, 3.0 + 0.1 * seed + 0.01 * index])
        for seed in range(seeds)
        for index, arm in enumerate(("sgd", "adam"))
    ]


def elsewhere(records: list[Record], **environment: Any) -> list[Record]:
    """The same records, the last one made in another environment."""
    return [*records[:-1], replace(records[-1], environment=replace(HERE, **environment))]


def with_last_run(records: list[Record], **changes: Any) -> list[Record]:
    return [*records[:-1], replace(records[-1], run=replace(records[-1].run, **changes))]


def test_a_fair_comparison_has_only_the_caveats_that_always_apply() -> None:
    assert compare(fair(), question("sgd", "adam")).caveats == (RATES, CLOCK)


def test_a_single_arm_needs_no_word_on_learning_rates() -> None:
    single = [record(run(seed=seed), [5.0, 3.0]) for seed in range(5)]
    assert compare(single, question("sgd")).caveats == (CLOCK,)


def test_a_diverged_run_is_named_with_its_reason() -> None:
    assert "code_lm/adam/seed 2 diverged: the loss is nan at step 120 (counted, in no mean)." in said(
        quickstart(), "sgd", "sgd+clip", "adam"
    )


def test_a_failed_run_is_named_with_the_cause_of_its_traceback() -> None:
    failed = record(run("adam"), [], status="failed", reason="Traceback\n  File x\nValueError: no such token")
    assert "code_lm/adam/seed 0 failed: ValueError: no such token" in said([*fair()[:1], failed], "sgd", "adam")


def test_a_failure_without_a_reason_says_so() -> None:
    failed = record(run("adam"), [], status="failed")
    assert "seed 0 failed: no reason was recorded" in said([*fair()[:1], failed], "sgd", "adam")


def test_unfinished_runs_are_named() -> None:
    records = [*fair()[:-1], record(run("adam", seed=4), [5.0], status="unfinished")]
    assert "Not finished, and in no number: code_lm/adam/seed 4." in said(records, "sgd", "adam")


def test_few_seeds_say_what_they_can_resolve() -> None:
    # t(0.975, 2)/√3 = 4.303/1.732 = 2.48
    assert "With 3 finished seeds a difference is decided only where its mean exceeds 2.5" in said(fair(3))
    assert "finished seeds a difference" not in said(fair(5))


def test_of_arms_with_few_seeds_the_many_are_told_first() -> None:
    records = [*fair(2), *(record(run("lion", seed=seed), [5.0, 3.0]) for seed in range(4))]
    told = re.findall(r"With (\d) finished seeds", said(records, "sgd", "adam", "lion"))
    assert told == ["4", "2"]


def test_one_seed_says_that_nothing_is_decided() -> None:
    assert "An arm with 1 finished seed has no error" in said(fair(1))


def test_several_differences_are_said_to_be_corrected_for() -> None:
    three = [*fair(), *(record(run("lion", seed=seed), [5.0, 3.0]) for seed in range(5))]
    assert "Verdicts are corrected (Holm) for the 2 differences of a table" in said(three, "sgd", "adam", "lion")
    assert "Holm" not in said(fair())
    assert "Holm" not in said([*fair(1), record(run("lion"), [5.0, 3.0])], "sgd", "adam", "lion")  # nothing is judged


@pytest.mark.parametrize(("ours", "theirs"), [(9.0, 1.0), (1.0, 9.0)])
def test_a_miss_on_either_side_is_said_to_be_counted(ours: float, theirs: float) -> None:
    records = [record(run("adam"), [9.0, ours]), record(run("sgd"), [9.0, theirs])]
    records += [record(run(arm, seed=1), [9.0, 1.0]) for arm in ("adam", "sgd")]
    caveats = compared(records, question("sgd", "adam"), "steps", target=2.0).caveats
    assert sum("missed the target (adam), the miss counts as the end of its run" in caveat for caveat in caveats) == 1


def test_a_threshold_is_told_in_percent_of_the_baseline() -> None:
    caveats = compared(fair(), question("sgd", "adam"), threshold=0.05).caveats
    assert sum(caveat.startswith("A difference of less than 5 % of the baseline is taken") for caveat in caveats) == 1


def test_an_undecided_difference_says_how_many_seeds_it_would_need() -> None:
    """d = 0.1, 0.3 and −0.1: mean 0.1, s = 0.2; n = 34 is the least with (t(0.975, n−1) + t(0.8, n−1))·0.2/√n ≤ 0.1."""
    pairs = [(3.0, 3.1), (3.0, 3.3), (3.0, 2.9)]
    records = [
        record(run(arm, seed=seed), [5.0, loss])
        for seed, pair in enumerate(pairs)
        for arm, loss in zip(("sgd", "adam"), pair, strict=True)
    ]
    assert "were the difference and spread seen here the true ones: adam 34." in said(records, "sgd", "adam")


def test_a_difference_of_nothing_needs_more_seeds_than_anyone_makes() -> None:
    records = [
        record(run(arm, seed=seed), [5.0, loss])
        for seed, pair in enumerate([(3.0, 3.1), (3.1, 3.0)])
        for arm, loss in zip(("sgd", "adam"), pair, strict=True)
    ]
    assert "adam more than 10000." in said(records, "sgd", "adam")


def test_own_points_are_said_where_there_is_sharpness() -> None:
    assert OWN_POINTS in said(quickstart())


def test_non_positive_sharpness_is_counted() -> None:
    caveats = said(quickstart())
    assert "Sharpness was zero or negative in some measurements (sgd on code_lm 2 of 9)" in caveats
    positive = [record(run(), [5.0, 3.0], sharpness=[1.0])]
    assert "zero or negative" not in said(positive)


def test_undefined_sharpness_is_counted_apart() -> None:
    undefined = [record(run(), [5.0, 3.0], sharpness=[1.0, float("nan")])]
    assert "(sgd on code_lm 0 of 2 (and 1 undefined))" in said(undefined)


def test_a_missing_baseline_is_said_for_its_task() -> None:
    only_adam = [r for r in fair() if r.run.arm.name == "adam"]
    caveats = said(only_adam, "sgd", "adam")
    assert "The baseline sgd has no finished run on code_lm" in caveats
    assert "No runs of sgd on code_lm." in caveats


def test_a_baseline_that_diverged_everywhere_is_missing() -> None:
    records = [record(run("adam"), [5.0, 3.0]), record(run(), [5.0, 9.0], status="diverged")]
    assert "The baseline sgd has no finished run on code_lm" in said(records, "sgd", "adam")


def test_a_clipped_arm_without_a_twin_is_not_judged() -> None:
    lone = [record(run("adam+clip", clip=0.5), [5.0, 3.0]), record(run(), [5.0, 3.0])]
    assert "adam+clip has no twin on code_lm" in said(lone, "sgd", "adam+clip")
    assert "has no twin" not in said(quickstart())


def test_arms_that_are_secretly_one_are_exposed_by_their_weights() -> None:
    """Equal weights, not equal losses: two arms may meet at one loss by accident."""
    pair = [record(run(), [5.0, 3.0]), record(run("sgd+clip", clip=0.1), [5.0, 3.0])]
    assert "the very same weights" not in said(pair)
    twin = replace(pair[1], outcome=replace(pair[1].outcome, weights_sha256=pair[0].outcome.weights_sha256))
    expected = "sgd and sgd+clip end with the very same weights on code_lm, seed 0: their difference did not act."
    assert expected in said([pair[0], twin])


def test_the_weights_of_another_seed_are_not_compared() -> None:
    first, second = record(run(), [5.0, 3.0]), record(run("adam", seed=1), [5.0, 3.0])
    same = replace(second, outcome=replace(second.outcome, weights_sha256=first.outcome.weights_sha256))
    assert "the very same weights" not in said([first, same], "sgd", "adam")


def test_a_probe_that_failed_is_named_with_its_run() -> None:
    whole = record(run(), [5.0, 3.0])
    failed = replace(whole, outcome=replace(whole.outcome, failed_probes={"norms": "at step 50: ValueError: no"}))
    expected = f"{whole.run}: the probe norms failed at step 50: ValueError: no; the rest of the run stands."
    assert expected in said([failed], "sgd")
    assert "the probe" not in said([whole], "sgd")


def test_a_ghost_that_failed_is_called_a_ghost() -> None:
    whole = record(run(), [5.0, 3.0])
    failed = replace(whole, outcome=replace(whole.outcome, failed_probes={"the ghost adam": "before step 0: no"}))
    assert f"{whole.run}: the ghost adam failed before step 0: no; the rest" in said([failed], "sgd")


def test_a_ghost_that_failed_is_no_probe_and_its_reason_comes_before_the_remedy() -> None:
    whole = record(run(), [5.0, 3.0])
    reason = {"the ghost dead": "before step 0: NotLiveError: it does not move\n  mend the optimizer"}
    failed = replace(whole, outcome=replace(whole.outcome, failed_probes=reason))
    expected = f"{whole.run}: the ghost dead failed before step 0: NotLiveError: it does not move; the rest of the run"
    assert expected in said([failed], "sgd")


def test_arms_with_different_seeds_are_named() -> None:
    caveats = said(fair()[:-1], "sgd", "adam")
    assert "Arms on code_lm have different seeds (of 0, 1, 2, 3 and 4: adam has 0, 1, 2 and 3)" in caveats
    assert "different seeds" not in said(fair())


def test_arms_and_seeds_that_are_missing_are_missing_on_their_task_alone() -> None:
    there = [record(run("sgd", seed=seed, task="digits"), [5.0, 3.0]) for seed in range(2)]
    caveats = said([*fair(3), *there], "sgd", "adam")
    assert "No runs of adam on digits." in caveats
    assert "on code_lm." not in caveats
    assert "different seeds" not in caveats


def test_a_finished_run_whose_loss_is_no_number_is_named() -> None:
    expected = "code_lm/adam/seed 5 finished with a loss of {}: means and differences with it are no numbers."
    for loss, told in ((math.inf, "∞"), (math.nan, "nan")):
        odd = record(run("adam", seed=5), [5.0, loss])
        assert expected.format(told) in said([*fair(), odd])
    assert "no numbers" not in said(fair())


def test_a_trajectory_of_which_nothing_finished_is_named() -> None:
    pair = [record(run(), [5.0, 9.0], status="diverged"), record(run("adam"), [5.0, 3.0])]
    ghostly = [
        replace(each, run=replace(each.run, measure=replace(each.run.measure, ghosts=(run("lion").arm,))))
        for each in pair
    ]
    assert "No directions are compared along sgd on code_lm: none of its runs finished." in said(ghostly)
    assert "along adam" not in said(ghostly)
    assert "No directions" not in said(pair)


def test_a_target_that_is_met_before_the_first_step_is_said() -> None:
    expected = "The target loss 6 was met on code_lm before the first step: it tells no arm from another."
    assert expected in said(fair(), target=6.0)
    assert "before the first step" not in said(fair(), target=3.5)
    assert "before the first step" not in said(fair())


def test_a_target_that_nobody_reached_is_said() -> None:
    assert "No arm reached the target loss 1 on code_lm." in said(fair(), target=1.0)
    assert "No arm reached" not in said(fair(), target=3.0)
    assert "No arm reached" not in said(fair())


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"machine_id": "m2"}, "come from 2 machines: times are not comparable"),
        (
            {"numerics_id": "n2", "numerics": {"torch": "2.14.0", "threads": 1}},
            "under 2 numerical set-ups (they differ in torch): equal seeds need not give equal bits",
        ),
        ({"numerics_id": "n2"}, "under 2 numerical set-ups (their ids differ)"),
        (
            {"device_name": "H100"},
            "come from several devices (Xeon at 2.2 GHz and H100): times are not comparable",
        ),
        ({"side_by_side": 4}, "Up to 4 runs were timed side by side"),
    ],
)
def test_runs_from_different_places_are_not_comparable(environment: dict[str, Any], sentence: str) -> None:
    assert sentence in said(elsewhere(fair(), **environment))
    assert sentence not in said(fair())


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"budget": Budget(400, "steps")},
            "differ in their budget (200 steps and 400 steps): their losses are not",
        ),
        ({"data": "ab" * 32}, "differ in their data (none of the disk and abababababab): their losses are not"),
        ({"threads": 2}, "differ in their number of threads (1 and 2)"),
        ({"measure": Measure(25, 50)}, "differ in their evaluation cadence (every 50 steps and every 25 steps)"),
    ],
)
def test_runs_that_were_not_made_alike_are_named(changes: dict[str, Any], sentence: str) -> None:
    assert sentence in said(with_last_run(fair(), **changes))
    assert sentence not in said(fair())


def test_one_task_name_for_two_tasks_is_exposed() -> None:
    task = run().task
    records = with_last_run(fair(), task=replace(task, options={"width": 128}, source="new"))
    assert "code_lm is not one task in all runs: " in said(records)
    assert "options.width is none and 128" in said(records)
    [sentence] = [each for each in said(records).splitlines() if "is not one task" in each]
    assert "seed" not in sentence  # that differs as well, and is no part of the task
    assert "arm" not in sentence
    assert "its code changed" in said(records)


def test_one_arm_name_for_two_arms_is_exposed() -> None:
    records = with_last_run(fair(), arm=run("adam", lr=0.5).arm)
    caveats = said(records)
    assert re.search(r"adam on code_lm is not one arm in all its runs: optimizer.options.lr is 0.1 and 0.5\.", caveats)
    assert "is not one arm" not in said(fair())


def test_how_the_life_of_an_arm_is_checked_makes_no_other_arm_of_it() -> None:
    watched = with_last_run(fair(), arm=replace(run("adam").arm, liveness="warn"))
    assert said(watched) == said(fair())


def test_nothing_timed_needs_no_clock_and_no_machine() -> None:
    unfinished = [replace(r, outcome=None) for r in elsewhere(fair(), machine_id="m2", side_by_side=2)]
    caveats = said(unfinished)
    assert CLOCK not in caveats
    assert "times" not in caveats


def test_records_without_an_environment_are_compared_all_the_same() -> None:
    bare = [replace(r, environment=None) for r in fair()]
    assert compare(bare, question("sgd", "adam")).caveats == (RATES, CLOCK)


def test_of_a_target_nothing_is_said_while_no_run_has_ended() -> None:
    waiting = [record(run(arm), [5.0], status="unfinished") for arm in ("sgd", "adam")]
    assert "target" not in said(waiting, "sgd", "adam", target=1.0)


def test_what_is_undecided_is_told_task_by_task() -> None:
    records = [
        record(run(arm, seed=seed, task=task), [5.0, 3.0 + (arm != "sgd") * (-1) ** seed * 0.1 + 0.01 * seed])
        for task, arms in (("one", ("sgd", "adam")), ("two", ("sgd", "lion")))
        for arm in arms
        for seed in range(3)
    ]
    told = re.findall(r"Undecided on (\w+);.*: (\w+) [^:]*$", said(records, "sgd", "adam", "lion"), re.MULTILINE)
    assert told == [("one", "adam"), ("two", "lion")]
    assert "Holm" not in said(records, "sgd", "adam", "lion")  # one difference a table
