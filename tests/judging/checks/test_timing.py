from dataclasses import replace
from typing import Any

import pytest
from judging.checks.unfair import LAST, as_task, caveats, fair, found, last_elsewhere, last_ended, planned
from judging.made import HERE, question

from clipbench.budget import Budget
from clipbench.records import Record, TrainingSettings

TIMING = ("one machine", "uncontended timing")


def everywhere(records: list[Record], **environment: Any) -> list[Record]:
    return [replace(each, environment=replace(HERE, **environment)) for each in records]


@pytest.mark.parametrize("check", TIMING)
def test_runs_that_were_timed_alone_on_one_machine_pass(check: str) -> None:
    assert found(check, fair()).verdict == "pass"


@pytest.mark.parametrize("elsewhere", [{"machine_id": "m2"}, {"device_name": "H100"}, {"threads": 2}])
def test_times_of_one_seed_from_two_machines_fail(elsewhere: dict[str, Any]) -> None:
    answer = found("one machine", last_elsewhere(fair(), **elsewhere))
    assert (answer.verdict, answer.runs) == ("fail", LAST)
    names = " and ".join(dict.fromkeys(("Xeon at 2.2 GHz", elsewhere.get("device_name", "Xeon at 2.2 GHz"))))
    several = f"Times on code_lm come from 2 machines, devices or thread counts ({names})"
    assert answer.what == f"{several}, even within a seed: they are not comparable."


def test_times_of_one_seed_in_one_process_and_in_two_fail() -> None:
    *rest, last = fair()
    shared = replace(last, run=replace(last.run, training=TrainingSettings(processes=2)))
    answer = found("one machine", [*rest, shared])
    assert answer.verdict == "fail"
    assert "come from 2 machines, devices, thread counts or numbers of processes" in answer.what


def test_a_seed_that_was_timed_elsewhere_as_a_whole_is_only_warned_of() -> None:
    there = replace(HERE, machine_id="m2")
    answer = found("one machine", [replace(each, environment=there) if each.run.seed == 4 else each for each in fair()])
    assert (answer.verdict, answer.runs) == ("warn", ("code_lm/sgd/seed 4", "code_lm/adam/seed 4"))
    assert "each seed from a single one: means mix them" in answer.what


def test_another_machine_for_another_task_is_no_fault() -> None:
    assert found("one machine", [*fair(), *everywhere(as_task("digits", fair()), machine_id="m2")]).verdict == "pass"


def test_runs_side_by_side_are_warned_of_and_fail_in_a_race_against_the_clock() -> None:
    records = everywhere(fair(), side_by_side=2)
    answer = found("uncontended timing", records)
    assert answer.verdict == "warn"
    assert answer.what.startswith("Up to 2 runs were timed at the same time on a machine: times are longer and noisier")
    racing = [replace(each, run=replace(each.run, budget=Budget(2.0, "seconds"))) for each in records]
    answer = found("uncontended timing", racing)
    assert (answer.verdict, len(answer.runs)) == ("fail", len(racing))
    assert "their budget is in seconds" in answer.what


def test_arms_that_had_more_company_than_others_fail() -> None:
    answer = found("uncontended timing", last_elsewhere(fair(), side_by_side=4))
    assert (answer.verdict, answer.runs) == ("fail", LAST)
    assert "Runs were timed beside different numbers of runs (up to 1 and 4 at a time)" in answer.what


@pytest.mark.parametrize("check", TIMING)
def test_without_a_place_or_a_run_there_is_no_time_to_judge(check: str) -> None:
    assert found(check, [replace(each, environment=None) for each in fair()]).verdict == "not applicable"
    assert planned(check, [each.run for each in fair()], question("sgd", "adam")).what == "Nothing was run yet."


def test_a_run_that_did_not_finish_has_no_time_in_the_table_wherever_it_was_made() -> None:
    records = last_ended(last_elsewhere(fair(), machine_id="m2", side_by_side=4), status="diverged")
    assert {found(check, records).verdict for check in TIMING} == {"pass"}
    assert not any("times" in caveat.lower() for caveat in caveats(records))
