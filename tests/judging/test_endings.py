"""A run that finished above its start: when that counts as diverged, and who reads it so."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from judging.checks.unfair import fair
from judging.claims.measured import asked, claim
from judging.gate.sides import arm, judged, row
from judging.made import ending, question, record, run, trials, tuning
from planning.test_staging import SPEC, asked_for

from clipbench.judging.compare import compare
from clipbench.judging.endings import as_read, ended
from clipbench.judging.tuning.summary import tunings
from clipbench.planning.staging import staged
from clipbench.records import Change, Outcome, Record

SHARE = 0.1


def read(first: float, last: float, error: float = math.nan, *, share: float = SHARE) -> Outcome:
    return ended(Outcome("finished", change=Change(first, last, error)), share)


@pytest.mark.parametrize(
    ("first", "last", "error", "status"),
    [
        (0.918, 0.919, 0.001, "finished"),  # a warm start, and the noise of its end
        (2.5, 3.1, 0.01, "diverged"),
        (2.5, 2.75, 0.01, "finished"),  # by the share and no more
        (2.5, 2.7501, 0.01, "diverged"),
        (2.5, 3.1, 0.2, "finished"),  # by exactly three errors
        (2.5, 3.1, 0.199, "diverged"),
        (2.5, 3.1, math.nan, "diverged"),  # one evaluation batch: the share alone
        (2.5, 2.6, math.nan, "finished"),
        (2.5, 1e23, 1e3, "diverged"),
        (2.5, 1e23, 1e23, "diverged"),  # in one batch of the evaluation, whose error is as large
        (2.5, 27.4, 25.0, "finished"),
        (2.5, 27.6, 25.0, "diverged"),  # by more than ten times the first loss
        (5.0, 3.0, 0.01, "finished"),
        (-2.0, -1.81, 0.01, "finished"),  # of the first loss's size, which is 2
        (-2.0, -1.79, 0.01, "diverged"),
        (-2.0, 1.0, math.nan, "diverged"),
        (0.0, 1e-9, math.nan, "diverged"),  # any share of nothing is nothing
        (0.0, 1e-9, 1e-6, "finished"),
        (0.0, 0.0, 0.0, "finished"),
    ],
)
def test_a_rise_must_exceed_the_share_and_the_noise(first: float, last: float, error: float, status: str) -> None:
    assert read(first, last, error).status == status


def test_the_reason_is_a_sentence_with_both_losses() -> None:
    said = "the evaluation loss ended at 3.1, above its start at 2.5 by more than 10 %"
    assert read(2.5, 3.1, 0.01).reason == f"{said} and three standard errors"
    assert read(2.5, 3.1).reason == said
    assert read(2.5, 3.1, share=0.05).reason.endswith("by more than 5 %")


def test_the_share_is_the_questions() -> None:
    assert read(2.5, 3.1, 0.01, share=0.3).status == "finished"
    assert read(2.5, 3.1, 0.01, share=0.2).status == "diverged"


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome("finished"),  # of a run that did not record the change
        Outcome("diverged", "the evaluation loss ended at 2.6, above its start at 2.5"),
        Outcome("diverged", "the loss was nan at step 3", change=Change(2.5, 9.0, 0.1), non_finite_step=3),
        Outcome("failed", "killed", change=Change(2.5, 9.0, 0.1)),
    ],
)
def test_what_a_run_says_of_its_end_stands(outcome: Outcome) -> None:
    assert ended(outcome, SHARE) is outcome


def test_a_run_that_has_not_ended_is_read_as_it_is() -> None:
    waiting = record(run(), [5.0], status="unfinished")
    assert as_read([waiting], SHARE) == [waiting]


def risen(first: float = 5.0, last: float = 6.0, **made: Any) -> Record:
    return ending(record(run("adam", **made), [first, last]), change=Change(first, last, 0.01))


def test_the_table_counts_a_risen_run_and_averages_it_in_where_the_share_allows() -> None:
    records = [*fair(3), *(risen(seed=seed) for seed in (3, 4))]
    strict = compare(records, question("sgd", "adam")).rows[1]
    assert (strict.verdict, strict.seeds.diverged) == ("broken", (3, 4))
    lenient = compare(records, replace(question("sgd", "adam"), diverged=0.5)).rows[1]
    assert (lenient.seeds.diverged, lenient.final_loss.n) == ((), 5)


def test_healthy_runs_that_end_a_hair_above_their_start_are_all_averaged() -> None:
    records = [
        ending(record(run(seed=seed), [0.918, last]), change=Change(0.918, last, 0.02))
        for seed, last in enumerate((0.9194, 0.917, 0.92, 0.9179, 0.9185))
    ]
    [found] = compare(records, question("sgd")).rows
    assert (found.seeds.finished, found.final_loss.n) == ((0, 1, 2, 3, 4), 5)


def test_the_gate_reads_ends_as_each_side_asks() -> None:
    losses = dict.fromkeys(range(5), 6.0)
    ours = [ending(each, change=Change(5.0, 6.0, 0.01)) for each in arm(losses)]
    report = judged(ours, arm(dict.fromkeys(range(5), 4.0)))
    assert row(report, "outcome").verdict == "regressed"
    assert "diverged (the evaluation loss ended at 6, above its start at 5" in row(report, "outcome").detail


def test_a_claim_reads_ends_as_its_question_asks() -> None:
    lower = claim(compare={"quantity": "final_loss", "of": "adam", "against": "sgd", "at": "own"}, expect="lower")
    records = [each for s in range(3) for each in (risen(seed=s), record(run(seed=s), [9.0, 7.0 + 0.01 * s]))]
    assert asked(lower, records).verdict == "fails"
    assert asked(lower, records, diverged=0.5).verdict == "holds"


def test_a_trial_that_rose_is_spent_as_one_that_diverged() -> None:
    made = [ending(each, change=Change(5.0, 6.0, 0.01)) for each in trials("sgd", {0.1: 4.9})]
    of = replace(question("sgd"), tuning=tuning({"sgd": [0.1]}))
    assert tunings(made, of)[0].broken == 1
    assert tunings(made, replace(of, diverged=0.5))[0].broken == 0


@pytest.mark.parametrize(("share", "selected"), [(0.1, None), (0.5, {"lr": 0.1})])
def test_what_is_selected_goes_by_the_share_of_the_spec(tmp_path: Path, share: float, selected: object) -> None:
    of = asked_for(tmp_path, f"{SPEC}evaluate: {{diverged: {share}}}\n")
    made = [
        replace(ending(record(each, [5.0, 6.0 + 0.1 * each.arm.optimizer.options["lr"]]), change=Change(5.0, 6.0, 0.1)))  # type: ignore[operator]
        for each in staged(of, []).trials
    ]
    stage = staged(of, made)
    assert stage.question.diverged == share
    assert stage.question.tuning is not None
    assert stage.question.tuning.arms[0].selected == selected
