"""A target of a metric: who reaches it, and how every report says it."""

import json
import math
from dataclasses import replace

import pytest
import typer
from judging.made import compared, question, record, run, with_metric
from report.shown import drawn, text

from clipbench.cli.compare import target_of
from clipbench.errors import ClipbenchError, UndecidedError
from clipbench.judging.checks.audit import audit
from clipbench.judging.compare import Asked, compare
from clipbench.judging.gate.suite import gathered
from clipbench.judging.versions import Folder, versions
from clipbench.quantities import asked as along
from clipbench.questions import Question, Target
from clipbench.records import Record
from clipbench.report import screen
from clipbench.report.arms import columns
from clipbench.report.compare import document
from clipbench.report.page.cards import cards
from clipbench.report.page.figures import figures
from clipbench.report.page.subject import subject_of

GOAL = Target(quantity="accuracy", at_least=0.9)
CURVES = {  # accuracies at steps 0, 50, …; adam reaches the target at 100 and sgd at 150, but ends with the lower loss
    "sgd": [0.1, 0.5, 0.8, 0.9, 0.95],
    "adam": [0.1, 0.7, 0.92, 0.8, 0.95],
}
LOSSES = {"sgd": [5.0, 4.0, 3.0, 2.0, 1.0], "adam": [5.0, 4.0, 3.0, 2.5, 2.0]}


def asked(target: Target = GOAL, *tasks: str) -> Question:
    return replace(question("sgd", "adam"), targets=dict.fromkeys(tasks or ("code_lm",), target))


def runs(seeds: int = 3) -> list[Record]:
    return [
        with_metric(record(run(arm, seed=seed), [loss + 0.01 * seed for loss in LOSSES[arm]]), CURVES[arm])
        for arm in CURVES
        for seed in range(seeds)
    ]


def test_steps_are_counted_to_the_target_of_the_metric_and_the_common_loss_stays_a_loss() -> None:
    of = compare(runs(), asked())
    sgd, adam = of.rows
    assert sgd.steps is not None and adam.steps is not None  # noqa: PT018
    assert (sgd.steps.median, sgd.steps.hits, adam.steps.median) == (150, 3, 100)
    assert [row.loss.mean for row in of.matched] == pytest.approx([1.01, 2.01])
    both = compare(runs(), asked(replace(GOAL, consecutive=2)))
    assert [row.steps.median for row in both.rows if row.steps] == [150, math.inf]


def test_every_report_says_the_target_in_words() -> None:
    of = compare(runs(8), asked())
    whole = text(document(of), "markdown")
    assert "· target accuracy ≥ 0.9 ·" in whole
    assert " steps to accuracy ≥ 0.9 |" in whole
    assert "The race to accuracy ≥ 0.9, over all tasks and seeds" in whole
    shown = drawn(screen.document(of, screen.Origin([], runs(8), ())), 160)
    assert "target accuracy ≥ 0.9" in shown
    assert "Fewer steps to accuracy ≥ 0.9 than sgd: adam 0.667×" in shown
    assert "adam is earlier to accuracy ≥ 0.9 (1.5×) but later to the loss that both reach (1.33× the steps)." in shown


def test_the_metric_of_a_target_stands_beside_the_loss() -> None:
    of = compare(runs(), asked())
    source = screen.Origin([], runs(), ())
    assert "accuracy  final loss  minus sgd" in drawn(screen.document(of, source), 160)
    assert " final loss |" in text(document(of), "markdown").partition(" accuracy |")[0]
    [adam] = [row for row in json.loads(text(document(of), "json"))["rows"] if row["arm"] == "adam"]
    assert (adam["accuracy"], adam["accuracy_seeds"]) == (pytest.approx(0.95), 3)
    unknown = compare(runs(), asked(Target(quantity="acuracy", at_least=0.9)))
    assert unknown.goals == ()
    lost = compare(runs(), question("sgd", "adam"))
    assert "accuracy" not in drawn(screen.document(lost, source), 160)


def test_a_quantity_that_is_asked_for_and_judged_has_one_column() -> None:
    of = compare(runs(), asked(), Asked(others=(along("final_loss", runs()), along("accuracy", runs()))))
    lines = drawn(screen.document(of, screen.Origin([], runs(), ())), 160).splitlines()
    [head] = [line for line in lines if "minus sgd" in line]
    assert (head.count("final loss"), head.count("accuracy")) == (1, 1)
    [adam] = [line for line in lines if " adam " in line and "0.95 ± 0" in line]
    assert "2.010 ± 0.006" in adam


def test_a_long_target_is_stacked_in_three_lines() -> None:
    stacked = {column.name: column.stacked for column in columns(compare(runs(), asked()))}
    assert stacked["steps_to_target"] == ("steps to", "accuracy", "≥ 0.9")
    assert stacked["seconds_to_target"] == ("s to", "accuracy", "≥ 0.9")


def test_an_arm_that_wins_the_race_and_loses_in_loss_is_told_of_what(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LOSSES, "sgd", [5.0, 4.0, 3.0, 2.9, 1.0])  # it is at adam's final loss no sooner than adam
    shown = drawn(screen.document(compare(runs(8), asked()), screen.Origin([], runs(8), ())), 160)
    assert "adam is earlier to accuracy ≥ 0.9 (1.5×) but higher in loss at the end (+1)." in shown


def test_programs_get_the_target_as_the_spec_says_it() -> None:
    parsed = json.loads(text(document(compare(runs(), asked())), "json"))
    assert parsed["target"] is None
    assert parsed["tasks"][0]["target"] == {"quantity": "accuracy", "at_least": 0.9, "consecutive": 1}
    falling = Target(consecutive=2, quantity="accuracy", at_most=0.5)
    parsed = json.loads(text(document(compare(runs(), asked(falling))), "json"))
    assert parsed["tasks"][0]["target"] == {"quantity": "accuracy", "at_most": 0.5, "consecutive": 2}


def test_several_targets_are_listed_each_with_what_it_is_of() -> None:
    there = [
        *runs(),
        *(replace(each, run=replace(each.run, task=replace(each.run.task, name="other"))) for each in runs()),
    ]
    both = replace(question("sgd", "adam", target=2.5), targets={"other": GOAL})
    shown = drawn(screen.document(compare(there, both), screen.Origin([], there, ())), 160)
    assert "target loss 2.5 and accuracy ≥ 0.9" in shown


def test_the_page_draws_the_target_where_the_metric_is_and_not_in_the_loss() -> None:
    made = {figure.name: figure for figure in figures(subject_of(runs(), asked()), "code_lm")}
    rows = {
        name: [row for row in figure.rows if row["kind"] == "target"]
        for name, figure in made.items()
        if "over_" in name or name == "loss"
    }
    assert rows["over_accuracy"] == [{"kind": "target", "value": 0.9}]
    assert rows["loss"] == []
    assert "Grey: the target accuracy ≥ 0.9." in made["over_accuracy"].about
    assert "Grey" not in made["loss"].about
    plain = {figure.name: figure for figure in figures(subject_of(runs(), question("sgd", "adam")), "code_lm")}
    assert not [row for row in plain["over_accuracy"].rows if row["kind"] == "target"]


def test_a_card_has_the_times_of_a_ratio_before_its_error_and_names_the_interval() -> None:
    _, race = cards(subject_of(runs(), asked()), "code_lm")
    assert race.asked.startswith("Fewer steps to accuracy ≥ 0.9 against sgd")
    assert race.effect.startswith("0.667× ×/÷ ")
    assert race.basis.startswith("verdict's interval 0.")


def test_a_target_that_no_evaluation_records_is_a_finding_and_no_traceback() -> None:
    other = asked(Target(quantity="acuracy", at_least=0.9))
    of = compare(runs(), other)
    assert [row.steps.hits for row in of.rows if row.steps] == [0, 0]
    said = "No evaluation on code_lm records acuracy, so no run can reach the target acuracy ≥ 0.9"
    assert any(sentence.startswith(said) for sentence in of.caveats)
    answers = {check.name: answer for check, answer in audit(runs(), other).findings}
    assert said in answers["nothing dropped"].what
    assert not any("No evaluation on" in answer.what for _, answer in audit(runs(), asked()).findings)
    shown = drawn(screen.document(of, screen.Origin([], runs(), ())), 160)
    assert "No evaluation on code_lm records acuracy" in shown
    assert [*figures(subject_of(runs(), other), "code_lm")]
    for fmt in ("markdown", "csv", "json", "latex"):
        assert "sgd" in text(document(of), fmt)


def test_notes_on_a_target_name_it() -> None:
    missed = compare(runs(), asked(Target(quantity="accuracy", at_least=0.99)))
    assert "No arm reached the target accuracy ≥ 0.99 on code_lm." in missed.caveats
    at_once = compare(runs(), asked(Target(quantity="accuracy", at_least=0.0)))
    assert any("every arm met the target accuracy ≥ 0 before the first step" in each for each in at_once.caveats)


def test_a_target_of_a_metric_may_be_asked_for_in_place_of_the_specs() -> None:
    """The spec's target is a loss, of two evaluations in a row."""
    loss = replace(question("sgd", "adam", target=2.5), consecutive=2)
    of = compare(runs(), loss, Asked(target=GOAL))
    wanted = compare(runs(), asked(replace(GOAL, consecutive=2)))
    assert of.tasks == wanted.tasks
    assert of.target is None
    assert [row.steps for row in of.rows] == [row.steps for row in wanted.rows]
    once = compare(runs(), loss, Asked(target=GOAL, consecutive=1))
    assert [row.steps for row in once.rows] == [row.steps for row in compare(runs(), asked()).rows]
    assert [row.steps for row in compare(runs(), asked(), Asked(target=2.5)).rows] == [
        row.steps for row in compare(runs(), question("sgd", "adam", target=2.5)).rows
    ]


def test_a_misspelt_target_is_answered_with_the_nearest_name() -> None:
    with pytest.raises(ClipbenchError, match="no run has a quantity 'acuracy'") as caught:
        compare(runs(), asked(), Asked(target=Target(quantity="acuracy", at_least=0.9)))
    assert "the nearest: accuracy" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("2.8", Target(2.8)),
        ("-1e-3", Target(-0.001)),
        ("accuracy>=0.9", Target(quantity="accuracy", at_least=0.9)),
        ("top 5 error ≤ 0.1", Target(quantity="top 5 error", at_most=0.1)),
        ("train_slice_loss<=2", Target(quantity="train_slice_loss", at_most=2.0)),
    ],
)
def test_the_words_of_a_target(text: str, target: Target) -> None:
    assert target_of(text) == target


@pytest.mark.parametrize("text", ["peak_bytes<=3", "eval_loss<=2.8", "accuracy@adam>=0.9", ">=0.9"])
def test_what_no_evaluation_records_is_no_target(text: str) -> None:
    with pytest.raises(ClipbenchError, match="no evaluation records a metric"):
        target_of(text)


@pytest.mark.parametrize("text", ["accuracy>=high", "accuracy", "accuracy>0.9", ""])
def test_what_is_no_target_is_told_both_forms(text: str) -> None:
    with pytest.raises(typer.BadParameter, match=r"neither a loss such as 2\.8 nor a metric as in 'accuracy>=0\.9'"):
        target_of(text)


def test_a_missed_target_of_a_metric_is_a_bound() -> None:
    of = compared(runs(), asked(Target(quantity="accuracy", at_least=0.92)), "steps")
    records = [*(each for each in runs() if each.run.arm.name == "adam")]
    records += [with_metric(record(run("sgd", seed=seed), [5.0, 4.0]), [0.1, 0.2]) for seed in range(3)]
    missed = compared(records, asked(), "steps")
    [adam] = [row for row in missed.rows if row.arm == "adam"]
    assert adam.against is not None
    assert adam.against.at_least
    assert "≤ " in text(document(missed), "markdown")
    assert of.rows[0].steps is not None


def test_the_gate_counts_steps_only_to_one_target_and_names_both() -> None:
    before, after = (gathered([(asked(goal), runs())]) for goal in (GOAL, Target(quantity="accuracy", at_least=0.8)))
    assert (before.arms[0].goal, after.arms[0].goal) == ("accuracy ≥ 0.9", "accuracy ≥ 0.8")
    turned = gathered([(asked(Target(quantity="accuracy", at_most=0.9)), runs())])
    assert turned.arms[0].goal == "accuracy ≤ 0.9"
    assert before.arms[0].seeds[0].readings["steps"].value == 150


def test_versions_with_other_targets_are_not_compared_in_steps() -> None:
    folders = [Folder("a", asked(), runs()), Folder("b", asked(Target(0.9)), runs())]
    with pytest.raises(UndecidedError, match=r"the target on code_lm is accuracy ≥ 0\.9, and 0\.9 in b"):
        versions(folders, Asked(metric=along("steps", runs())))
