import math
from dataclasses import replace

import pytest
from judging.audit.unfair import asked, fair, found, planned
from judging.made import question, record, run

from clipbench.records import Record


@pytest.mark.parametrize("rule", ["nothing dropped", "same seeds", "enough seeds"])
def test_a_plan_that_was_made_in_full_passes(rule: str) -> None:
    assert found(rule, fair()).verdict == "pass"


def test_a_planned_run_that_is_not_here_fails_and_is_named_by_its_key() -> None:
    records = fair()
    finding = found("nothing dropped", records[:-1], asked(records))
    assert (finding.verdict, finding.runs) == ("fail", (records[-1].run.key,))
    assert finding.what == "1 of 10 planned runs are not here"


def test_a_run_that_did_not_end_fails() -> None:
    records = fair()
    finding = found("nothing dropped", [*records[:-1], replace(records[-1], outcome=None)])
    assert (finding.verdict, finding.runs) == ("fail", ("code_lm/adam/seed 4",))


def test_a_crash_is_warned_of_and_a_divergence_is_a_result() -> None:
    crashed = [*fair(), record(run("adam", seed=5), [5.0], status="failed")]
    finding = found("nothing dropped", crashed)
    assert (finding.verdict, finding.runs) == ("warn", ("code_lm/adam/seed 5",))
    diverged = [*fair(), record(run("adam", seed=5), [5.0], status="diverged")]
    assert found("nothing dropped", diverged).verdict == "pass"


@pytest.mark.parametrize("losses", [[5.0, math.nan], [5.0, math.inf], []])
def test_a_run_that_finished_without_a_finite_loss_is_warned_of(losses: list[float]) -> None:
    finding = found("nothing dropped", [*fair(), record(run("adam", seed=5), losses)])
    assert (finding.verdict, finding.runs) == ("warn", ("code_lm/adam/seed 5",))
    assert finding.what.startswith("1 run finished without a finite loss")


def test_the_gravest_of_several_verdicts_counts_and_all_are_said() -> None:
    records = [record(run("adam", seed=5), [5.0], status="failed"), *fair()]
    finding = found("nothing dropped", [*records[:-1], replace(records[-1], outcome=None)])
    assert finding.verdict == "fail"
    assert finding.what.startswith("1 run did not end; 1 run crashed")
    assert finding.runs == ("code_lm/adam/seed 4", "code_lm/adam/seed 5")


def test_without_a_plan_nobody_can_tell_what_was_left_out() -> None:
    assert found("nothing dropped", fair(), question("sgd", "adam")).verdict == "warn"


def test_an_arm_without_any_run_is_named_where_there_is_no_plan() -> None:
    finding = found("nothing dropped", fair(), question("sgd", "adam", "lion"))
    assert finding.verdict == "fail"
    assert finding.what.startswith("lion has no run")


def test_an_arm_that_lacks_a_seed_of_the_others_fails() -> None:
    finding = found("same seeds", fair()[:-1])
    assert (finding.verdict, finding.runs) == ("fail", ("adam",))
    assert finding.what == "adam on code_lm lacks seed 4 that others have"


def test_few_seeds_are_warned_of_where_no_effect_is_declared() -> None:
    finding = found("enough seeds", fair(3))
    assert (finding.verdict, finding.runs) == ("warn", ("code_lm/sgd", "code_lm/adam"))


def spread(losses: list[float]) -> list[Record]:
    """SGD always ends at 2; Adam at these losses."""
    return [
        each
        for seed, loss in enumerate(losses)
        for each in (record(run(seed=seed), [5.0, 2.0]), record(run("adam", seed=seed), [5.0, loss]))
    ]


def test_seeds_that_cannot_show_the_declared_effect_fail_with_the_number_needed() -> None:
    # relative differences -0.1, 0, 0.1: s = 0.1; (t.975 + t.8)·0.1/√n is .208 for n = 4 and .166 for n = 5
    records = spread([1.8, 2.0, 2.2])
    finding = found("enough seeds", records, asked(records, effect=0.2))
    assert (finding.verdict, finding.runs) == ("fail", ("adam",))
    assert finding.what == "adam on code_lm has 3 seeds and needs 5 to show 20 % with a paired spread of 10 %"


def test_seeds_that_can_show_the_declared_effect_pass() -> None:
    records = spread([1.8, 2.0, 2.2])
    assert found("enough seeds", records, asked(records, effect=0.5)).verdict == "pass"


def test_an_effect_out_of_reach_says_so() -> None:
    records = spread([1.0, 3.0])
    assert "needs more than 10000" in found("enough seeds", records, asked(records, effect=0.001)).what


def test_one_seed_shows_no_spread_and_no_effect() -> None:
    records = spread([1.8])
    finding = found("enough seeds", records, asked(records, effect=0.5))
    assert finding.verdict == "fail"
    assert "one seed in common with sgd" in finding.what


@pytest.mark.parametrize("losses", [[0.0, 0.0], [-1.0, -2.0]])
def test_a_loss_that_is_not_above_zero_has_no_relative_effect(losses: list[float]) -> None:
    records = [record(run(arm, seed=seed), [5.0, loss]) for seed, loss in enumerate(losses) for arm in ("sgd", "adam")]
    assert found("enough seeds", records, asked(records, effect=0.1)).verdict == "not applicable"


def test_of_a_plan_only_the_number_of_seeds_is_known() -> None:
    runs = [each.run for each in fair(3)]
    assert planned("enough seeds", runs, question("sgd", "adam")).verdict == "warn"
    declared = replace(question("sgd", "adam"), effect=0.1)
    assert planned("enough seeds", runs, declared).verdict == "not applicable"
    assert planned("nothing dropped", runs, declared).verdict == "not applicable"
