import math
from dataclasses import replace

import pytest
from judging.made import question, quickstart, record, run

from clipbench.judging.cells import is_twin, rates_in_words
from clipbench.judging.compare import compare
from clipbench.judging.comparison import Twin
from clipbench.judging.paired import Paired
from clipbench.records import Arm, Group, Record, Schedule

CLIPPED = run("sgd+clip", lr=1.0, clip=0.1, options={"momentum": 0.9}).arm


def twin_of(records: list[Record], *, target: float | None = None) -> Twin:
    (found,) = compare(records, question(target=target)).twins
    return found


def ratio(found: Paired) -> float:
    return found.shown(found.mean)


def pair(clipped: list[tuple[list[float], list[float]]], bare: list[tuple[list[float], list[float]]]) -> list[Record]:
    """Seeds of sgd+clip and of sgd, each as its losses and its sharpness."""
    ours = [
        record(run("sgd+clip", seed=seed, clip=0.1), losses, sharpness=sharpness)
        for seed, (losses, sharpness) in enumerate(clipped)
    ]
    theirs = [
        record(run("sgd", seed=seed), losses, sharpness=sharpness) for seed, (losses, sharpness) in enumerate(bare)
    ]
    return [*ours, *theirs]


@pytest.mark.parametrize(
    ("other", "is_one"),
    [
        (run("sgd", lr=1.0, options={"momentum": 0.9}).arm, True),
        (run("sgd", lr=0.1, options={"momentum": 0.9}).arm, True),
        (run("sgd", lr=1.0, options={"momentum": 0.0}).arm, False),
        (run("sgd", lr=1.0).arm, False),
        (run("adam", lr=1.0, options={"momentum": 0.9}).arm, False),
        (run("sgd", lr=1.0, options={"momentum": 0.9}, schedule=Schedule("cosine")).arm, False),
        (run("sgd+clip", lr=1.0, clip=0.5, options={"momentum": 0.9}).arm, False),
    ],
)
def test_a_twin_differs_in_clip_and_rate_alone(other: Arm, is_one: bool) -> None:
    assert is_twin(CLIPPED, other) is is_one


def test_groups_are_twins_where_they_take_the_same_and_may_have_other_rates() -> None:
    groups = (Group("a", CLIPPED.optimizer, kind="matrix"), Group("b", run("adam", lr=0.1).arm.optimizer))
    grouped = replace(CLIPPED, groups=groups)
    slower = grouped.twin().with_options({**grouped.options, "groups.a.lr": 0.2})
    assert is_twin(grouped, slower)
    assert [rates_in_words(arm) for arm in (grouped, slower)] == ["a 1, b 0.1", "a 0.2, b 0.1"]
    assert rates_in_words(grouped.with_options({**grouped.options, "groups.a.lr": 0.1})) == "0.1"
    assert not is_twin(grouped, grouped.twin().with_options({**grouped.options, "groups.a.momentum": 0.1}))
    assert not is_twin(grouped, replace(slower, groups=(replace(groups[0], kind="vector"), groups[1])))
    assert not is_twin(grouped, CLIPPED.twin())


def test_an_arm_without_a_clip_has_no_twin() -> None:
    bare = run("sgd").arm
    assert not is_twin(bare, bare)


def test_an_arms_own_twin_is_a_twin() -> None:
    assert is_twin(CLIPPED, CLIPPED.twin())


def test_the_quickstarts_question_is_answered_in_plain_words() -> None:
    of = twin_of([r for r in quickstart() if r.run.arm.name != "adam"], target=3.3)
    assert (of.arm, of.twin, of.task) == ("sgd+clip", "sgd", "code_lm")
    assert of.learning_rates == (1.0, 0.1)
    assert not of.same_rate
    # each clipped seed has geometric mean 0.2, each other 2
    assert ratio(of.sharpness) == pytest.approx(0.1)
    assert of.sharpness.interval()[1] < 0
    assert of.loss.mean == pytest.approx(-0.4 / 3)
    assert ratio(of.step_time) == pytest.approx(1.2)
    assert (of.fewer_steps_on, of.step_pairs) == (3, 3)
    assert of.answers == (
        "lower sharpness: yes (0.1×, 95 % interval 0.1–0.1, 3 seeds)",
        "lower final loss: undecided (-0.133, 95 % interval -0.28 to 0.01, 3 seeds)",
        "fewer steps to target: 100 (3/3 seeds reach it) vs 150 (3/3 seeds reach it); fewer on 3 of 3 paired seeds",
        "less time per step: no (1.2×, 95 % interval 1.2–1.2, 3 seeds)",
    )


def test_only_seeds_with_positive_sharpness_in_both_are_paired() -> None:
    of = twin_of(
        pair(
            clipped=[([5.0, 3.0], [1.0]), ([5.0, 3.0], [-1.0]), ([5.0, 3.0], [2.0])],
            bare=[([5.0, 3.1], [4.0]), ([5.0, 3.1], [4.0]), ([5.0, 3.1], [-4.0])],
        )
    )
    assert of.sharpness.n == 1
    assert ratio(of.sharpness) == pytest.approx(0.25)
    assert of.answers[0] == "lower sharpness: undecided (0.25× on 1 seed, no interval)"
    assert of.loss.n == 3


def test_without_a_positive_pair_the_sharpness_is_undecided() -> None:
    of = twin_of(pair(clipped=[([5.0, 3.0], [-1.0])], bare=[([5.0, 3.1], [4.0])]))
    assert of.answers[0] == "lower sharpness: undecided (no seed with positive values in both)"
    assert of.answers[1] == "lower final loss: undecided (-0.1 on 1 seed, no interval)"
    assert math.isnan(ratio(of.sharpness))


def test_a_clip_that_raises_the_sharpness_is_answered_with_no() -> None:
    of = twin_of(
        pair(
            clipped=[([5.0, 3.0], [8.0]), ([5.0, 3.2], [8.1]), ([5.0, 3.1], [8.0])],
            bare=[([5.0, 2.0], [1.0]), ([5.0, 2.2], [1.0]), ([5.0, 2.1], [1.0])],
        )
    )
    assert of.answers[0].startswith("lower sharpness: no (8.03×, ")
    assert of.answers[1].startswith("lower final loss: no (+1, 95 % interval 1 to 1")
    assert of.same_rate


def test_a_twin_that_is_identical_is_called_identical() -> None:
    seeds = [([5.0, 3.0], [1.0]), ([5.0, 3.2], [2.0])]
    of = twin_of(pair(clipped=seeds, bare=seeds))
    assert of.answers[0].startswith("lower sharpness: no, identical (1×")
    assert of.answers[1].startswith("lower final loss: no, identical (+0")


def test_a_diverged_twin_leaves_the_loss_undecided_and_misses_the_target() -> None:
    ours = [record(run("sgd+clip", seed=seed, clip=0.1), [5.0, 3.0]) for seed in (0, 1)]
    theirs = [record(run("sgd", seed=seed), [5.0, 9.0], status="diverged") for seed in (0, 1)]
    of = twin_of([*ours, *theirs], target=3.5)
    assert of.answers[1] == "lower final loss: undecided (no seed finished in both)"
    assert of.answers[2] == (
        "fewer steps to target: 50 (2/2 seeds reach it) vs ∞ (0/2 seeds reach it); fewer on 2 of 2 paired seeds"
    )
    assert of.answers[3] == "less time per step: undecided (no timed seed in common)"


def test_two_misses_are_not_fewer() -> None:
    of = twin_of(pair(clipped=[([5.0, 4.0], [])], bare=[([5.0, 4.1], [])]), target=1.0)
    assert (of.fewer_steps_on, of.step_pairs) == (0, 1)


def test_an_unfinished_twin_has_no_steps_yet() -> None:
    ours = record(run("sgd+clip", clip=0.1), [5.0, 3.0])
    theirs = record(run("sgd"), [5.0], status="unfinished")
    of = twin_of([ours, theirs], target=3.5)
    assert "vs no ended seed" in of.answers[2]
    assert of.answers[2].endswith("fewer on 0 of 0 paired seeds")


def test_without_a_target_there_is_no_answer_about_steps() -> None:
    of = twin_of(pair(clipped=[([5.0, 4.0], [])], bare=[([5.0, 4.1], [])]))
    assert of.steps is None
    assert not any("target" in answer for answer in of.answers)


def test_twins_meet_on_the_same_task_only() -> None:
    ours, theirs = pair(clipped=[([5.0, 4.0], [])], bare=[([5.0, 4.1], [])])
    elsewhere = replace(theirs, run=replace(theirs.run, task=replace(theirs.run.task, name="digits")))
    assert compare([ours, elsewhere], question()).twins == ()


def test_a_difference_from_the_baseline_has_one_verdict_and_not_another_as_a_clips() -> None:
    """The clip's differences are -1 ± 0.31 on three seeds: by themselves p = 0.03, and 0.06 beside another arm."""
    clipped = pair([([5.0, loss], [1.0]) for loss in (3.0, 2.69, 3.31)], [([5.0, 4.0], [1.0])] * 3)
    alone = compare(clipped, question("sgd", "sgd+clip"))
    assert alone.twins[0].answers[1].startswith("lower final loss: yes (-1, 95 % interval -1.8 to -0.23")
    assert {row.arm: row.verdict for row in alone.rows}["sgd+clip"] == "lower"
    beside = [record(run("adam", seed=seed), [5.0, 4.0 + shift]) for seed, shift in enumerate((0.1, -0.1, 0.05))]
    both = compare([*clipped, *beside], question("sgd", "sgd+clip", "adam"))
    [row] = [row for row in both.rows if row.arm == "sgd+clip"]
    assert row.judged is not None
    assert row.verdict == "undecided"
    assert both.twins[0].answers[1].startswith("lower final loss: undecided (-1, 97.5 % interval -2.")
    assert both.twins[0].judged == row.judged


def test_an_arm_meets_each_of_its_twins() -> None:
    records = [record(run("sgd+clip", clip=0.1), [5.0, 3.0])]
    records += [record(run(f"sgd {lr}", use="sgd", lr=lr), [5.0, 3.0]) for lr in (0.1, 0.3)]
    found = compare(records, question("sgd+clip", baseline="sgd+clip")).twins
    assert [twin.twin for twin in found] == ["sgd 0.1", "sgd 0.3"]


def test_a_run_that_took_no_time_has_no_time_ratio() -> None:
    records = [
        record(run("sgd+clip", clip=0.1), [5.0, 3.0], step_seconds=0.0),
        record(run("sgd"), [5.0, 3.0]),
    ]
    assert twin_of(records).step_time.n == 0
