"""What runs of a task or an arm have in common: one case a fact, found by its check and told under the table."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from judging.checks.unfair import (
    LAST,
    as_task,
    asked,
    caveats,
    fair,
    found,
    last,
    last_elsewhere,
    last_ended,
    planned,
)
from judging.claims.measured import answered
from judging.gate.sides import FIVE, arm
from judging.gate.sides import judged as gate
from judging.made import HERE, compared, ending, question, record, run

from clipbench.budget import Budget
from clipbench.judging.claims.judge import cautions, results_of
from clipbench.judging.moments import Moment
from clipbench.records import (
    CODE,
    DATA,
    EVALUATION_BATCHES,
    FIRST_BATCHES,
    INITIAL_WEIGHTS,
    LIFE,
    PROBE_BATCHES,
    RESUME,
    Environment,
    Group,
    Measure,
    Record,
    Schedule,
)

SETUP = (
    "same task",
    "same arm",
    "same budget",
    "same schedule",
    "schedule complete",
    "same passes",
    "same precision",
    "same cadence",
    "as described",
)
TASK, SGD, ADAM = run().task, run().arm, run("adam").arm
COSINE = Schedule("cosine", warmup=0.1, final=0.2)


@pytest.mark.parametrize("check", SETUP)
def test_arms_that_were_made_alike_pass(check: str) -> None:
    answer = found(check, fair())
    assert (answer.verdict, answer.runs) == ("pass", ())


@pytest.mark.parametrize(
    ("check", "changes", "verdict", "sentence"),
    [
        (
            "same budget",
            {"budget": Budget(400, "steps")},
            "fail",
            "Runs of code_lm differ in their budget (200 steps and 400 steps): their losses are not comparable.",
        ),
        ("same budget", {"budget": Budget(200, "samples")}, "fail", "(200 steps and 200 samples)"),
        (
            "same cadence",
            {"measure": Measure(25, 50)},
            "fail",
            "evaluation cadence (every 50 steps and every 25 steps): steps",
        ),
        ("same task", {"data": "ab" * 32}, "fail", "differ in their data (none from disk and abababababab): their"),
        (
            "same task",
            {"task": replace(TASK, options={"batch": 64}, source="new")},
            "fail",
            "The task code_lm differs between its runs (its code changed; batch is none and 64): their losses",
        ),
        (
            "same arm",
            {"arm": replace(ADAM, optimizer=replace(ADAM.optimizer, options={"lr": 0.5}))},
            "warn",
            "The arm adam on code_lm differs between its runs (lr is 0.1 and 0.5): their losses are not comparable.",
        ),
        (
            "same arm",
            {"arm": replace(ADAM, groups=(Group("all", ADAM.optimizer, "matrix"),))},
            "warn",
            "groups.0.lr is none and 0.1",
        ),
        ("same arm", {"arm": replace(ADAM, schedule=COSINE)}, "warn", "(schedule.use is constant and cosine; "),
        (
            "same schedule",
            {"arm": replace(ADAM, schedule=COSINE)},
            "warn",
            "learning-rate schedule (constant and cosine to 0.2 after a warm-up of 0.1).",
        ),
    ],
)
def test_runs_that_were_not_described_alike_are_named_before_and_after_they_are_made(
    check: str, changes: dict[str, Any], verdict: str, sentence: str
) -> None:
    records = last(fair(), **changes)
    for answer in (found(check, records), planned(check, [each.run for each in records], asked(records))):
        assert (answer.verdict, answer.runs) == (verdict, LAST)
        assert sentence in answer.what


def test_how_the_life_of_an_arm_is_checked_makes_no_other_arm_of_it() -> None:
    assert caveats(last(fair(), arm=replace(ADAM, liveness="warn"))) == []


def test_two_tasks_may_differ_in_all_of_it() -> None:
    short = [replace(each, run=replace(each.run, budget=Budget(50, "steps"))) for each in as_task("digits", fair())]
    records = [*fair(), *(ending(each, steps=50) for each in short)]
    assert {found(check, records).verdict for check in SETUP} == {"pass"}


# Passes


def test_arms_that_take_more_passes_a_step_are_named_where_the_budget_is_in_steps() -> None:
    more = [
        ending(each, passes=(2 if each.run.arm.name == "adam" else 1) * (each.outcome.steps if each.outcome else 0))
        for each in fair()
    ]
    answer = found("same passes", more)
    assert (answer.verdict, answer.runs) == ("warn", ("adam",))
    assert (
        "arms differ in forward and backward passes a step: adam 2, the others 1; in as many steps they do"
        in answer.what
    )
    seconds = [replace(each, run=replace(each.run, budget=Budget(1.0, "seconds"))) for each in more]
    assert found("same passes", seconds).verdict == "pass"
    alike = [ending(each, passes=3 * (each.outcome.steps if each.outcome else 0)) for each in fair()]
    assert found("same passes", alike).verdict == "pass"


# The budget


def test_a_finished_run_that_left_budget_over_was_cut_short() -> None:
    answer = found("schedule complete", last_ended(fair(), steps=150))
    assert (answer.verdict, answer.runs) == ("fail", LAST)
    assert "1 finished run ended before the budget was spent (the earliest at 75%" in answer.what


@pytest.mark.parametrize("moment", [Moment(0.5, "fraction"), Moment(50, "step")])
def test_runs_that_are_read_before_their_end_were_not_cut_short(moment: Moment) -> None:
    of = compared(fair(), asked(fair()), at=moment).audit
    answer = next(answer for check, answer in of.findings if check.name == "schedule complete")
    assert (answer.verdict, answer.what) == ("not applicable", f"The runs are read at {moment}, not at their end.")


def test_a_run_that_diverged_early_was_not_cut_short() -> None:
    assert found("schedule complete", last_ended(fair(), steps=3, status="diverged")).verdict == "pass"


def test_a_budget_in_seconds_is_spent_in_seconds() -> None:
    records = [replace(each, run=replace(each.run, budget=Budget(2.0, "seconds"))) for each in fair()]
    assert found("schedule complete", records).verdict == "pass"
    assert found("schedule complete", last_ended(records, train_seconds=1.0)).verdict == "fail"


# The numerical set-up


@pytest.mark.parametrize(
    ("numerics", "verdict", "changed"),
    [
        ({"dtype": "bfloat16"}, "fail", "dtype"),
        ({"device": "cuda", "tf32": True}, "fail", "device and tf32"),
        ({"torch": "2.14.0"}, "warn", "torch"),
        ({}, "warn", "their ids"),
    ],
)
def test_arms_of_a_seed_in_another_precision_fail_and_in_another_version_are_warned_of(
    numerics: dict[str, Any], verdict: str, changed: str
) -> None:
    answer = found("same precision", last_elsewhere(fair(), numerics_id="n2", numerics={**HERE.numerics, **numerics}))
    assert (answer.verdict, answer.runs) == (verdict, LAST)
    how = f"were computed under different numerical set-ups ({changed} differ)"
    assert answer.what == f"Arms on code_lm, seed 4, {how}: equal seeds need not give equal bits."


def test_a_seed_that_was_made_elsewhere_as_a_whole_is_only_warned_of() -> None:
    there = replace(HERE, numerics_id="n2", numerics={**HERE.numerics, "dtype": "bfloat16"})
    records = [replace(each, environment=there) if each.run.seed == 4 else each for each in fair()]
    answer = found("same precision", records)
    assert answer.verdict == "warn"
    assert "Seeds were computed under 2 numerical set-ups (dtype differ): means mix them" in answer.what


@pytest.mark.parametrize(
    ("check", "records"),
    [
        ("same precision", [replace(each, environment=None) for each in fair()]),
        ("schedule complete", [replace(each, outcome=None) for each in fair()]),
    ],
)
def test_what_no_run_tells_is_not_judged(check: str, records: list[Record]) -> None:
    assert found(check, records).verdict == "not applicable"


@pytest.mark.parametrize("check", ["schedule complete", "same precision", "as described"])
def test_of_a_plan_nothing_is_said_that_only_runs_can_tell(check: str) -> None:
    answer = planned(check, [each.run for each in fair()], question("sgd", "adam"))
    assert (answer.verdict, answer.what) == ("not applicable", "Nothing was run yet.")


# How runs began

PRINTS = {INITIAL_WEIGHTS: "w", FIRST_BATCHES: "b", EVALUATION_BATCHES: "e", PROBE_BATCHES: "p"}
BY_PRINT = "Every arm had the same task, batches and data, and the same initial weights (by fingerprint)"
BY_WORD = "Every arm had the same task, batches and data (by description only)."


def prints(seed: int, **changes: str) -> dict[str, str]:
    """Fingerprints of a seed's own."""
    return {**{name: f"{value}{seed}" for name, value in PRINTS.items()}, **changes}


def printed(records: Sequence[Record]) -> list[Record]:
    return [ending(each, fingerprints=prints(each.run.seed)) for each in records]


def changed(records: Sequence[Record], arm: str, seeds: Sequence[int], **changes: object) -> list[Record]:
    """Runs of one arm ended otherwise."""
    return [
        ending(each, **changes) if each.run.arm.name == arm and each.run.seed in seeds else each for each in records
    ]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (INITIAL_WEIGHTS, "did not start from the same weights"),
        (FIRST_BATCHES, "did not train on the same batches"),
        (EVALUATION_BATCHES, "were not evaluated on the same batches"),
        (PROBE_BATCHES, "were not probed on the same batches"),
    ],
)
def test_arms_that_began_otherwise_fail_and_stand_under_the_table_and_beside_claims(name: str, words: str) -> None:
    records = changed(printed(fair()), "adam", [3], fingerprints=prints(3, **{name: "odd"}))
    answer = found("same task", records)
    sentence = f"sgd and adam {words} on code_lm, seed 3: their losses are not comparable."
    assert (answer.verdict, answer.what, answer.runs) == ("fail", sentence, ("code_lm/adam/seed 3",))
    assert caveats(records) == cautions(results_of([(answered(), records)])) == [sentence]


def without(name: str) -> list[Record]:
    return [
        ending(each, fingerprints={kind: value for kind, value in prints(each.run.seed).items() if kind != name})
        for each in fair()
    ]


@pytest.mark.parametrize(
    ("records", "sentence"),
    [
        (printed(fair()), f"{BY_PRINT}."),
        (without(PROBE_BATCHES), f"{BY_PRINT}."),  # nothing was probed
        (without(FIRST_BATCHES), BY_WORD),
        (fair(), BY_WORD),
        (changed(printed(fair()), "adam", [2, 3], fingerprints={}), f"{BY_PRINT[:-1]}; 2 runs by description only)."),
    ],
)
def test_arms_that_began_alike_pass_and_it_is_told_how_that_is_known(records: list[Record], sentence: str) -> None:
    answer = found("same task", records)
    assert (answer.verdict, answer.what) == ("pass", sentence)
    assert caveats(records) == []


@pytest.mark.parametrize("environment", [None, replace(HERE, numerics_id="n2")])
def test_fingerprints_are_compared_only_under_one_numerical_set_up(environment: Environment | None) -> None:
    """Elsewhere the same seed may draw other weights, and nobody is to blame."""
    records = changed(printed(fair()), "adam", [4], fingerprints=PRINTS)
    answer = found("same task", [*records[:-1], replace(records[-1], environment=environment)])
    assert answer.verdict == "pass"
    assert "by description only" in answer.what


def test_seeds_may_begin_otherwise_and_the_odd_arm_of_several_is_named() -> None:
    three = [*fair(3), *(record(run("lion", seed=seed), [5.0, 3.0]) for seed in range(3))]
    records = changed(printed(three), "lion", [0, 2], fingerprints={INITIAL_WEIGHTS: "odd"})
    answer = found("same task", records, asked(records, "sgd", "adam", "lion"))
    assert answer.what.startswith("sgd and lion did not start from the same weights on code_lm, seeds 0 and 2:")
    assert answer.runs == ("code_lm/lion/seed 0", "code_lm/lion/seed 2")


@pytest.mark.parametrize(
    ("loaded", "verdict", "sentence"),
    [
        (lambda _: {"text@main": "a" * 40}, "pass", ""),
        (lambda each: {f"text@{each.seed}": str(each.seed)}, "pass", ""),
        (lambda each: {"text@main": "ab"[str(each) in LAST] * 40}, "fail", f"2 commits ({'a' * 12} and {'b' * 12}): "),
        (
            lambda each: {"text@main": "ab"[each.seed == 4]},
            "warn",
            "at 2 commits (a and b), each seed at a single commit: their",
        ),
    ],
)
def test_a_name_that_stood_for_two_commits_is_a_finding(loaded: Any, verdict: str, sentence: str) -> None:
    answer = found("same task", [ending(each, loaded=loaded(each.run)) for each in fair()])
    assert answer.verdict == verdict
    assert sentence in answer.what


# What runs say of themselves


def remarked(remarks: Mapping[str, Mapping[str, tuple[str, ...]]]) -> list[Record]:
    return [ending(each, remarks=remarks.get(each.run.arm.name, {})) for each in fair()]


@pytest.mark.parametrize(
    ("kind", "text", "sentence"),
    [
        (CODE, "code unknown: x.py", "{}: code unknown: x.py: if it changes, these runs are not made again."),
        (DATA, "data unknown: x.csv", "{}: data unknown: x.csv: if it changes, these runs are not made again."),
        (LIFE, "eps changes nothing.", "{}: eps changes nothing."),
    ],
)
def test_a_remark_is_told_once_with_the_arms_that_it_is_of(kind: str, text: str, sentence: str) -> None:
    remark = {kind: (text,)}
    assert found("as described", remarked({"adam": remark})).what == sentence.format("adam")
    assert caveats(remarked({"adam": remark, "sgd": remark})) == [sentence.format("sgd and adam")]
    assert len(caveats(remarked({"adam": remark, "sgd": {kind: ("another",)}}))) == 2


@pytest.mark.parametrize("kind", [RESUME, "sharpness", "ghosts"])
def test_how_a_probe_measured_and_what_an_interruption_costs_are_not_told_there(kind: str) -> None:
    assert caveats(remarked({"adam": {kind: ("by jets",)}})) == []


def test_the_gate_tells_the_remarks_of_both_sides() -> None:
    ours = [ending(each, remarks={CODE: ("code unknown: x.py",)}) for each in arm(FIVE)]
    expected = "sgd: code unknown: x.py: if it changes, these runs are not made again."
    assert gate(ours, ours).caveats[:2] == (f"In the baseline: {expected}", expected)
