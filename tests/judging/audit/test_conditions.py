from dataclasses import replace
from typing import Any

import pytest
from judging.audit.unfair import asked, fair, found, last, last_elsewhere, last_ended, planned
from judging.made import HERE, question, record, run

from clipbench.budget import Budget
from clipbench.records import Measure, Schedule

CONDITIONS = ("same task", "same budget", "same schedule", "schedule complete", "same precision", "same cadence")


@pytest.mark.parametrize("rule", CONDITIONS)
def test_arms_that_were_made_alike_pass(rule: str) -> None:
    finding = found(rule, fair())
    assert (finding.verdict, finding.runs) == ("pass", ())


@pytest.mark.parametrize(
    ("rule", "changes", "what"),
    [
        ("same budget", {"budget": Budget(400, "steps")}, "the budget of code_lm is not one (200 steps and 400 steps)"),
        ("same budget", {"budget": Budget(200, "samples")}, "200 steps and 200 samples"),
        ("same cadence", {"measure": Measure(25, 50)}, "not one (every 50 steps and every 25 steps)"),
        ("same task", {"data": "ab" * 32}, "read different data (none of the disk and abababababab)"),
        ("same task", {"task": replace(run().task, options={"batch": 64})}, "code_lm is not one task"),
        ("same task", {"task": replace(run().task, source="new")}, "(its code changed)"),
    ],
)
def test_runs_that_were_not_made_alike_fail_and_are_named(rule: str, changes: dict[str, Any], what: str) -> None:
    records = last(fair(), **changes)
    finding = found(rule, records)
    assert finding.verdict == "fail"
    assert what in finding.what
    assert finding.runs == ("code_lm/adam/seed 4",)
    assert planned(rule, [each.run for each in records], asked(records)).verdict == "fail"


def test_another_batch_is_told_by_its_name_and_values() -> None:
    records = last(fair(), task=replace(run().task, options={"batch": 64}))
    assert "(batch is none and 64)" in found("same task", records).what


def test_two_tasks_may_differ_in_all_of_it() -> None:
    other = [
        replace(each, run=replace(each.run, task=replace(each.run.task, name="digits"), budget=Budget(50, "steps")))
        for each in fair()
    ]
    other = [last_ended([each], steps=50)[0] for each in other]
    records = [*fair(), *other]
    assert {found(rule, records).verdict for rule in CONDITIONS} == {"pass"}


def test_arms_on_different_schedules_are_warned_of() -> None:
    cosine = Schedule("cosine", warmup=0.1, final=0.2)
    records = [record(run("adam", seed=9, schedule=cosine), [5.0, 3.0]), *fair()]
    finding = found("same schedule", records)
    assert (finding.verdict, finding.runs) == ("warn", ("code_lm/adam/seed 9",))
    assert "(constant and cosine to 0.2 after a warm-up of 0.1)" in finding.what


def test_a_finished_run_that_left_budget_over_was_cut_short() -> None:
    finding = found("schedule complete", last_ended(fair(), steps=150))
    assert (finding.verdict, finding.runs) == ("fail", ("code_lm/adam/seed 4",))
    assert "1 finished run ended before the budget was spent (at 75 % of it" in finding.what.replace("75%", "75 %")


def test_a_run_that_diverged_early_was_not_cut_short() -> None:
    assert found("schedule complete", last_ended(fair(), steps=3, status="diverged")).verdict == "pass"


def test_a_budget_in_seconds_is_spent_in_seconds() -> None:
    records = [replace(each, run=replace(each.run, budget=Budget(2.0, "seconds"))) for each in fair()]
    assert found("schedule complete", records).verdict == "pass"
    assert found("schedule complete", last_ended(records, train_seconds=1.0)).verdict == "fail"


def test_nothing_finished_is_no_schedule_to_judge() -> None:
    records = [replace(each, outcome=None) for each in fair()]
    assert found("schedule complete", records).verdict == "not applicable"


@pytest.mark.parametrize(
    ("numerics", "verdict", "what"),
    [
        ({"dtype": "bfloat16"}, "fail", "arms of code_lm, seed 4 differ in dtype"),
        ({"device": "cuda", "tf32": True}, "fail", "device and tf32"),
        ({"torch": "2.14.0"}, "warn", "arms of code_lm, seed 4 differ in torch"),
        ({}, "warn", "differ in their ids"),
    ],
)
def test_arms_of_one_seed_in_another_precision_fail_and_in_another_version_are_warned_of(
    numerics: dict[str, Any], verdict: str, what: str
) -> None:
    records = last_elsewhere(fair(), numerics_id="n2", numerics={**HERE.numerics, **numerics})
    finding = found("same precision", records)
    assert (finding.verdict, finding.runs) == (verdict, ("code_lm/adam/seed 4",))
    assert what in finding.what


def test_a_seed_that_was_made_elsewhere_as_a_whole_is_only_warned_of() -> None:
    there = replace(HERE, numerics_id="n2", numerics={"dtype": "bfloat16"})
    records = [replace(each, environment=there) if each.run.seed == 4 else each for each in fair()]
    assert found("same precision", records).verdict == "warn"


def test_runs_that_do_not_say_how_they_were_computed_cannot_be_judged() -> None:
    assert found("same precision", [replace(each, environment=None) for each in fair()]).verdict == "not applicable"


@pytest.mark.parametrize("rule", ["schedule complete", "same precision"])
def test_of_a_plan_nothing_is_said_that_only_runs_can_tell(rule: str) -> None:
    finding = planned(rule, [each.run for each in fair()], question("sgd", "adam"))
    assert (finding.verdict, finding.what) == ("not applicable", "nothing was run yet")
