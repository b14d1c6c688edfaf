"""What was selected, in words."""

from dataclasses import replace

from judging.made import question, tuning
from report.test_tuning import ASKED, FOUND, GRID

from clipbench.planning.extending import EXTENSIONS
from clipbench.questions import Question, Trial
from clipbench.report.selection import beyond_the_edge, selection_line


def test_a_line_says_what_was_selected_and_whether_it_is_bracketed() -> None:
    sgd, adam = FOUND
    assert selection_line(sgd) == "sgd on code_lm: selected lr=0.3 from 3 trials, loss 2"
    assert selection_line(adam) == (
        "adam on code_lm: selected lr=0.1 from 3 trials, loss 1.25; lr is the lowest value tried: not bracketed"
    )
    crashed = replace(sgd, crashed=2)
    assert selection_line(crashed) == "sgd on code_lm: selected lr=0.3 from 3 trials, loss 2; 2 trials crashed"
    lost = replace(sgd, selected=None)
    assert selection_line(lost) == "sgd on code_lm: nothing selected (none of 3 trials finished)"
    assert selection_line(replace(lost, ended=1)) == "sgd on code_lm: nothing selected (2 trials not ended)"


def test_what_can_be_done_about_an_edge_is_said() -> None:
    assert "--extend-grid adds up to" in beyond_the_edge(ASKED, extended=False)
    assert "can add no trial to every arm" in beyond_the_edge(ASKED, extended=True)
    assert ASKED.tuning is not None
    drawn = replace(ASKED, tuning=replace(ASKED.tuning, search="halton"))
    assert "widen the search spaces" in beyond_the_edge(drawn, extended=False)
    assert beyond_the_edge(question("sgd"), extended=False) == ""
    bracketed = replace(ASKED, tuning=tuning({"sgd": GRID}, selected={"sgd": 0.3}))
    assert beyond_the_edge(bracketed, extended=False) == ""


def test_the_limit_of_extensions_is_named() -> None:
    def lengthened(asked: Question) -> Question:
        assert asked.tuning is not None
        adam = asked.tuning.arms[1]
        more = tuple(Trial({"lr": 2.0 + place}, ("x",)) for place in range(EXTENSIONS))
        return replace(asked, tuning=replace(asked.tuning, arms=(replace(adam, trials=adam.trials + more),)))

    said = beyond_the_edge(lengthened(ASKED), extended=True)
    assert said.startswith(f"a selected value is not bracketed after {EXTENSIONS} extra trials per arm")
