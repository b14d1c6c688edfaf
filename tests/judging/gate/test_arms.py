"""How the gate joins the arms of both sides: those that were renamed, and those that did not begin alike."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from judging.gate.sides import ELSEWHERE, FIVE, arm, judged, row, suite
from judging.made import question

from clipbench.judging.gate.baseline import dumped, loaded
from clipbench.judging.gate.check import check
from clipbench.judging.gate.rules import Rules
from clipbench.judging.gate.suite import gathered
from clipbench.records import EVALUATION_BATCHES, FIRST_BATCHES, INITIAL_WEIGHTS, PROBE_BATCHES, Record

IF_RENAMED = "here: if renamed, rename it back, or save a new baseline (clipbench check RESULTS --save-baseline FILE)."


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
        "quickstart/code_lm/lion in the candidate.",
        f"The spec 'quick' of the baseline is described like 'quickstart' {IF_RENAMED}",
    )


def test_a_renamed_arm_is_named_beside_arms_that_were_not() -> None:
    theirs = arm(FIVE) + arm(FIVE, name="lion")
    ours = arm(FIVE) + renamed(arm(FIVE, name="lion"), name="my lion")
    assert said(ours, theirs) == [f"The arm 'lion' of the baseline is described like 'my lion' {IF_RENAMED}"]


def test_a_renamed_task_is_named_once_for_all_of_its_arms() -> None:
    theirs = arm(FIVE) + arm(FIVE, name="lion")
    first, *others = said(renamed(theirs, task="lm"), theirs)
    assert first.startswith("No arm is on both sides: ")
    assert others == [f"The task 'code_lm' of the baseline is described like 'lm' {IF_RENAMED}"]


def test_of_arms_that_are_described_alike_the_one_of_the_same_task_is_meant() -> None:
    lion = arm(FIVE, name="lion")
    theirs = arm(FIVE) + renamed(lion, name="a", task="lm 2") + renamed(lion, name="a")
    ours = arm(FIVE) + renamed(lion, name="b", task="lm 2") + renamed(lion, name="b")
    assert said(ours, theirs) == [f"The arm 'a' of the baseline is described like 'b' {IF_RENAMED}"]


def test_an_arm_that_was_left_out_and_another_that_was_added_were_not_renamed() -> None:
    assert said(arm(FIVE) + arm(FIVE, name="lion"), arm(FIVE) + arm(FIVE, name="adam")) == []
    (only,) = said(arm(FIVE, name="lion"), arm(FIVE, name="adam"))
    assert (
        only
        == "No arm is on both sides: quickstart/code_lm/adam in the baseline, quickstart/code_lm/lion in the candidate."
    )


# How both sides began

NAMES = (INITIAL_WEIGHTS, FIRST_BATCHES, EVALUATION_BATCHES, PROBE_BATCHES)
PRINTS = dict.fromkeys(NAMES, "a" * 64)
NOT_KNOWN = (
    "sgd on code_lm may have begun with other weights or batches than the baseline: a side has no fingerprints, or the "
    "numerical set-ups differ."
)


def began(prints: Mapping[str, str], **more: Any) -> list[Record]:
    return arm(FIVE, outcome={"fingerprints": prints}, **more)


@pytest.mark.parametrize("name", NAMES)
def test_an_arm_that_began_otherwise_is_not_comparable_whatever_its_losses(name: str) -> None:
    theirs = began(PRINTS)
    other = began({**PRINTS, name: "b" * 64})
    ours = [*theirs[:3], *other[3:]]
    report = judged(ours, theirs)
    (only,) = report.rows
    assert (only.metric, only.verdict) == ("arm", "not comparable")
    assert only.detail == f"different {name} from the baseline's on seeds 3 and 4"
    assert report.exit_code == 3
    assert NOT_KNOWN not in report.caveats


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (began({INITIAL_WEIGHTS: "b" * 64}, environment=ELSEWHERE), began(PRINTS)),
        (began({}), began(PRINTS)),
        (began(PRINTS), began({})),
        (began({FIRST_BATCHES: "a"}), began({INITIAL_WEIGHTS: "b"})),
        (began({}, environment=None), began({}, environment=None)),
    ],
    ids=["other numerics", "not here", "not in the baseline", "other names", "no numerics"],
)
def test_where_fingerprints_cannot_be_compared_that_is_said_and_bars_nothing(
    ours: list[Record], theirs: list[Record]
) -> None:
    report = judged(ours, theirs)
    assert NOT_KNOWN in report.caveats
    assert report.exit_code == 0


def test_a_beginning_that_is_known_to_be_alike_is_not_mentioned_and_is_kept_in_the_file() -> None:
    theirs = suite(began(PRINTS))
    report = check(suite(began(PRINTS)), loaded(dumped(theirs), where="b.json"), Rules())
    assert (report.exit_code, NOT_KNOWN in report.caveats) == (0, False)
    other = check(suite(began({**PRINTS, FIRST_BATCHES: "b"})), loaded(dumped(theirs), where="b.json"), Rules())
    assert other.exit_code == 3


def test_data_are_compared_whatever_the_numerical_set_up() -> None:
    ours = [replace(each, run=replace(each.run, data="d" * 64)) for each in began({}, environment=ELSEWHERE)]
    assert row(judged(ours, began({})), "arm").verdict == "not comparable"
