"""What the gate says of arms that are on one side alone because somebody renamed them."""

from collections.abc import Sequence
from dataclasses import replace

from judging.gate.sides import FIVE, arm, judged, suite
from judging.made import question

from clipbench.judging.gate.check import check
from clipbench.judging.gate.gathering import gathered
from clipbench.judging.gate.rules import Rules
from clipbench.records import Record

IF_RENAMED = "if renamed, rename it back, or keep a new baseline (clipbench check RESULTS --save-baseline FILE)."


def renamed(records: Sequence[Record], *, task: str = "", name: str = "") -> list[Record]:
    """The records with other labels and the same descriptions."""
    made = []
    for each in records:
        run = replace(each.run, task=replace(each.run.task, name=task)) if task else each.run
        made.append(replace(each, run=replace(run, arm=replace(run.arm, name=name)) if name else run))
    return made


def said(ours: Sequence[Record], theirs: Sequence[Record]) -> list[str]:
    return [caveat for caveat in judged(ours, theirs).caveats if "renamed" in caveat or "No arm" in caveat]


def test_a_renamed_spec_is_named_with_what_to_do() -> None:
    both = arm(FIVE) + arm(FIVE, name="lion")
    quick = gathered(
        [(replace(question(), spec="quick"), [replace(r, run=replace(r.run, spec="quick")) for r in both])]
    )
    report = check(suite(both), quick, Rules())
    assert report.exit_code == 3
    assert report.caveats[:2] == (
        "No arm is on both sides: quick/code_lm/sgd and quick/code_lm/lion in the baseline, quickstart/code_lm/sgd and "
        "quickstart/code_lm/lion here.",
        f"The baseline has the spec 'quick', here is 'quickstart', described alike: {IF_RENAMED}",
    )


def test_a_renamed_arm_is_named_beside_arms_that_were_not() -> None:
    theirs = arm(FIVE) + arm(FIVE, name="lion")
    ours = arm(FIVE) + renamed(arm(FIVE, name="lion"), name="my lion")
    assert said(ours, theirs) == [f"The baseline has the arm 'lion', here is 'my lion', described alike: {IF_RENAMED}"]


def test_a_renamed_task_is_named_once_for_all_of_its_arms() -> None:
    theirs = arm(FIVE) + arm(FIVE, name="lion")
    first, *others = said(renamed(theirs, task="lm"), theirs)
    assert first.startswith("No arm is on both sides: ")
    assert others == [f"The baseline has the task 'code_lm', here is 'lm', described alike: {IF_RENAMED}"]


def test_of_arms_that_are_described_alike_the_one_of_the_same_task_is_meant() -> None:
    lion = arm(FIVE, name="lion")
    theirs = arm(FIVE) + renamed(lion, name="a", task="lm 2") + renamed(lion, name="a")
    ours = arm(FIVE) + renamed(lion, name="b", task="lm 2") + renamed(lion, name="b")
    assert said(ours, theirs) == [f"The baseline has the arm 'a', here is 'b', described alike: {IF_RENAMED}"]


def test_an_arm_that_was_left_out_and_another_that_was_added_were_not_renamed() -> None:
    assert said(arm(FIVE) + arm(FIVE, name="lion"), arm(FIVE) + arm(FIVE, name="adam")) == []
    (only,) = said(arm(FIVE, name="lion"), arm(FIVE, name="adam"))
    assert only == "No arm is on both sides: quickstart/code_lm/adam in the baseline, quickstart/code_lm/lion here."
