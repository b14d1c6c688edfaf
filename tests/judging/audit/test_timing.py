from dataclasses import replace
from typing import Any

import pytest
from judging.audit.unfair import fair, found, last_elsewhere, last_ended, planned
from judging.made import HERE, question

from clipbench.budget import Budget

TIMING = ("one machine", "uncontended timing")


@pytest.mark.parametrize("rule", TIMING)
def test_runs_that_were_timed_alone_on_one_machine_pass(rule: str) -> None:
    assert found(rule, fair()).verdict == "pass"


@pytest.mark.parametrize("elsewhere", [{"machine_id": "m2"}, {"device_name": "H100"}, {"threads": 2}])
def test_times_of_one_seed_from_two_machines_fail(elsewhere: dict[str, Any]) -> None:
    finding = found("one machine", last_elsewhere(fair(), **elsewhere))
    assert (finding.verdict, finding.runs) == ("fail", ("code_lm/adam/seed 4",))


def test_a_seed_that_was_timed_elsewhere_as_a_whole_is_only_warned_of() -> None:
    there = replace(HERE, machine_id="m2")
    records = [replace(each, environment=there) if each.run.seed == 4 else each for each in fair()]
    finding = found("one machine", records)
    assert finding.verdict == "warn"
    assert finding.runs == ("code_lm/sgd/seed 4", "code_lm/adam/seed 4")


def test_another_machine_for_another_task_is_no_fault() -> None:
    there = [
        replace(
            each,
            run=replace(each.run, task=replace(each.run.task, name="digits")),
            environment=replace(HERE, machine_id="m2"),
        )
        for each in fair()
    ]
    assert found("one machine", [*fair(), *there]).verdict == "pass"


def test_runs_side_by_side_are_warned_of() -> None:
    records = [replace(each, environment=replace(HERE, side_by_side=2)) for each in fair()]
    finding = found("uncontended timing", records)
    assert finding.verdict == "warn"
    assert "up to 2 runs were timed side by side" in finding.what


def test_runs_side_by_side_in_a_race_against_the_clock_fail() -> None:
    records = [
        replace(
            each,
            environment=replace(HERE, side_by_side=2),
            run=replace(each.run, budget=Budget(2.0, "seconds")),
        )
        for each in fair()
    ]
    assert found("uncontended timing", records).verdict == "fail"


def test_arms_that_had_more_company_than_others_fail() -> None:
    finding = found("uncontended timing", last_elsewhere(fair(), side_by_side=4))
    assert (finding.verdict, finding.runs) == ("fail", ("code_lm/adam/seed 4",))
    assert "1 and 4 runs at a time" in finding.what


@pytest.mark.parametrize("rule", TIMING)
def test_without_a_place_or_a_run_there_is_no_time_to_judge(rule: str) -> None:
    assert found(rule, [replace(each, environment=None) for each in fair()]).verdict == "not applicable"
    assert planned(rule, [each.run for each in fair()], question("sgd", "adam")).what == "nothing was run yet"


def test_a_run_that_did_not_finish_has_no_time_in_the_table_wherever_it_was_made() -> None:
    records = last_ended(last_elsewhere(fair(), machine_id="m2", side_by_side=4), status="diverged")
    assert {found(rule, records).verdict for rule in ("one machine", "uncontended timing")} == {"pass"}
