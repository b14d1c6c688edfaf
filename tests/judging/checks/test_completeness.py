import math
from dataclasses import replace
from typing import Any

import pytest
from judging.checks.unfair import LAST, as_task, asked, caveats, fair, found, last_ended, planned
from judging.made import question, record, run

from clipbench.records import Record

FIFTH = ("code_lm/adam/seed 5",)


def sixth(losses: list[float], status: Any = "finished", reason: str = "") -> list[Record]:
    """A sixth seed of Adam alone, which ends in its own way."""
    return [*fair(), record(run("adam", seed=5), losses, status=status, reason=reason)]


@pytest.mark.parametrize("check", ["nothing dropped", "probes complete"])
def test_a_plan_that_was_made_in_full_passes(check: str) -> None:
    assert found(check, fair()).verdict == "pass"


@pytest.mark.parametrize(
    ("records", "verdict", "about", "sentence"),
    [
        ([*fair()[:-1], replace(fair()[-1], outcome=None)], "fail", LAST, "Not finished, so in no mean: code_lm/a"),
        (
            sixth([], "failed", "Traceback\n  File x\nValueError: no such token"),
            "warn",
            FIFTH,
            "code_lm/adam/seed 5 failed: ValueError: no such token (counted, but in no mean).",
        ),
        (sixth([5.0], "failed"), "warn", FIFTH, "seed 5 failed: no reason was recorded"),
        (
            sixth([5.0], "diverged", "the loss is nan"),
            "pass",
            (),
            "seed 5 diverged: the loss is nan (counted, but in no",
        ),
        (
            sixth([5.0, math.inf]),
            "warn",
            FIFTH,
            "seed 5 finished with a loss of ∞: means and differences that include it",
        ),
        (sixth([5.0, math.nan]), "warn", FIFTH, "seed 5 finished with a loss of nan"),
        (sixth([]), "warn", FIFTH, "seed 5 finished with a loss of nan"),
    ],
)
def test_a_run_without_a_result_is_named_with_its_reason_and_a_divergence_is_a_result(
    records: list[Record], verdict: str, about: tuple[str, ...], sentence: str
) -> None:
    answer = found("nothing dropped", records)
    assert (answer.verdict, answer.runs) == (verdict, about)
    assert sentence in answer.what
    assert any(sentence in caveat for caveat in caveats(records))


def test_a_planned_run_that_is_not_here_fails_and_is_named_by_its_key() -> None:
    records = fair()
    answer = found("nothing dropped", records[:-1], asked(records))
    assert (answer.verdict, answer.runs) == ("fail", (records[-1].run.key,))
    assert answer.what == "1 of 10 planned runs are missing."


def test_the_gravest_of_several_verdicts_counts_and_all_are_told() -> None:
    records = [record(run("adam", seed=5), [5.0], status="failed"), *fair()]
    answer = found("nothing dropped", [*records[:-1], replace(records[-1], outcome=None)])
    assert answer.verdict == "fail"
    assert answer.what.startswith("Not finished, so in no mean: code_lm/adam/seed 4. code_lm/adam/seed 5 failed:")
    assert answer.runs == (*LAST, *FIFTH)


def test_without_a_plan_nobody_can_tell_what_was_left_out() -> None:
    assert found("nothing dropped", fair(), question("sgd", "adam")).verdict == "warn"


def test_an_arm_without_any_run_fails_and_one_that_lacks_a_task_is_noted() -> None:
    records = [*fair(3), *as_task("digits", fair(3)[::2])]
    answer = found("nothing dropped", records, asked(records, "sgd", "adam", "lion"))
    assert (answer.verdict, answer.runs) == ("fail", ("lion", "adam"))
    assert answer.what == "No runs of lion on code_lm. No runs of adam and lion on digits."
    answer = found("nothing dropped", records)
    assert answer.verdict == "pass"
    assert "No runs of adam on digits." in answer.what


@pytest.mark.parametrize(
    "records",
    [fair()[1::2], [*fair()[1::2], record(run(), [5.0, 9.0], status="diverged")]],
)
def test_a_baseline_of_which_nothing_finished_is_told_for_its_task(records: list[Record]) -> None:
    expected = "The baseline sgd has no finished run on code_lm: there are no differences."
    assert expected in caveats(records)
    assert expected not in caveats(fair())


def test_a_trajectory_of_which_nothing_finished_is_named() -> None:
    pair = [record(run(), [5.0, 9.0], status="diverged"), record(run("adam"), [5.0, 3.0])]
    haunted = [
        replace(each, run=replace(each.run, measure=replace(each.run.measure, ghosts=(run("lion").arm,))))
        for each in pair
    ]
    told = [caveat for caveat in caveats(haunted) if "No directions" in caveat]
    assert told == ["No directions are compared along sgd on code_lm: none of its runs finished."]
    assert not any("No directions" in caveat for caveat in caveats(pair))


@pytest.mark.parametrize(
    ("probe", "reason", "sentence"),
    [
        ("norms", "at step 50: ValueError: no", "the probe norms failed at step 50: ValueError: no"),
        ("the ghost adam", "before step 0: it is dead\n  mend it", "the ghost adam failed before step 0: it is dead"),
    ],
)
def test_a_probe_or_ghost_that_failed_is_named_with_its_run(probe: str, reason: str, sentence: str) -> None:
    answer = found("probes complete", last_ended(fair(), failed_probes={probe: reason}))
    assert (answer.verdict, answer.runs) == ("warn", LAST)
    assert answer.what == f"{LAST[0]}: {sentence}; the run's other values are valid."


def test_of_a_plan_nothing_is_missing_yet() -> None:
    assert planned("nothing dropped", [each.run for each in fair()], question("sgd", "adam")).verdict == (
        "not applicable"
    )
