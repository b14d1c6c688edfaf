"""What runs say of themselves, under the table: each text once."""

import pytest
from judging.audit.unfair import fair
from judging.gate.sides import FIVE, arm, judged
from judging.made import ending, question

from clipbench.judging.compare import compare
from clipbench.records import CODE, DATA, LIFE, RESUME


def said(*changed: tuple[str, str, str]) -> list[str]:
    """The caveats about arms whose runs have a remark: arm, whose it is, text."""
    remarks = {arm: {whose: (text,)} for arm, whose, text in changed}
    records = [ending(each, remarks=remarks.get(each.run.arm.name, {})) for each in fair()]
    plain = compare(fair(), question("sgd", "adam")).caveats
    return [each for each in compare(records, question("sgd", "adam")).caveats if each not in plain]


@pytest.mark.parametrize(
    ("whose", "text", "sentence"),
    [
        (CODE, "code unknown: x.py", "{}: code unknown: x.py: a change of it does not make these runs again."),
        (DATA, "data unknown: x.csv", "{}: data unknown: x.csv: a change of it does not make these runs again."),
        (LIFE, "eps changes nothing.", "{}: eps changes nothing."),
    ],
)
def test_a_remark_is_said_once_with_the_arms_that_it_is_of(whose: str, text: str, sentence: str) -> None:
    assert said(("adam", whose, text)) == [sentence.format("adam")]
    assert said(("adam", whose, text), ("sgd", whose, text)) == [sentence.format("sgd and adam")]


def test_different_texts_are_said_each() -> None:
    assert len(said(("adam", CODE, "code unknown: x.py"), ("sgd", CODE, "code unknown: y.py"))) == 2


def test_the_gate_says_them_of_both_sides() -> None:
    ours = [ending(each, remarks={CODE: ("code unknown: x.py",)}) for each in arm(FIVE)]
    expected = "sgd: code unknown: x.py: a change of it does not make these runs again."
    assert judged(ours, ours).caveats[:2] == (f"In the baseline: {expected}", expected)


@pytest.mark.parametrize("whose", [RESUME, "sharpness", "ghosts"])
def test_how_a_probe_measured_and_what_an_interruption_costs_are_not_said_there(whose: str) -> None:
    assert said(("adam", whose, "by jets")) == []
