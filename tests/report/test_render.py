import json
import math
import re

import pytest
from judging.made import question, quickstart, record, run
from report.shown import all_told, cells, data, drawn, headings, lines, text

from clipbench.judging.compare import compare
from clipbench.judging.comparison import Comparison, Row
from clipbench.report.arms import legend
from clipbench.report.compare import all_columns, document
from clipbench.report.markdown import escaped
from clipbench.report.table import Table

ARMS = ("sgd", "sgd+clip", "adam")


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    return compare(quickstart(), question(*ARMS, target=3.3))


def main_table(comparison: Comparison) -> Table[Row]:
    [table] = [part for part in document(comparison).parts if isinstance(part, Table) and part.name == "compare"]
    return table


def cells_of(comparison: Comparison) -> list[list[str]]:
    return cells(main_table(comparison))


def test_the_cells_are_worked_out_by_hand(comparison: Comparison) -> None:
    assert headings(main_table(comparison)) == [
        "",
        "arm",
        "rank",
        "seeds",
        "final loss",
        "minus sgd",
        "steps to 3.3",
        "seconds to 3.3",
        "ms/step",
        "directional sharpness",
        "≤ 0",
        "clipped",
    ]
    assert cells_of(comparison) == [
        ["", "sgd", "1–2", "3", "3.10 ± 0.06", "baseline", "150 (3/3)", "1.5", "10 ± 0", "2 ×/÷ 1", "2/9", "–"],
        [
            "~",
            "sgd+clip",
            "1–2",
            "3",
            "2.97 ± 0.03",
            "-0.13 ± 0.03 (3)",
            "100 (3/3)",
            "1.2",
            "12 ± 0",
            "0.2 ×/÷ 1",
            "0/6",
            "10 ± 0 %",
        ],
        [
            "x",
            "adam",
            "–",
            "2/3 1 diverged",
            "2.55 ± 0.05",
            "-0.55 ± 0.05 (2)",
            "50 (2/3)",
            "0.5",
            "10 ± 0",
            "–",
            "0/0",
            "–",
        ],
    ]


def test_the_terminal_shows_every_cell_question_answer_and_caveat(comparison: Comparison) -> None:
    shown = drawn(document(comparison), width=400)
    rows = shown.splitlines()
    assert rows[0].strip() == comparison.question
    for row in cells_of(comparison):
        (line,) = (found for found in rows if re.match(rf"[-+~x= ]\s+{re.escape(row[1])}\s{{2}}", found))
        assert re.split(r"\s{2,}", line.strip()) == [cell for cell in row if cell]
    for sentence in (*comparison.twins[0].answers, *comparison.caveats):
        assert sentence in shown


@pytest.mark.parametrize("width", [200, 120, 100, 80, 40])
def test_no_number_is_cut_at_any_width_and_columns_without_room_are_named(comparison: Comparison, width: int) -> None:
    shown = drawn(document(comparison), width=width)
    assert max(map(len, shown.splitlines())) <= width
    assert all_told(main_table(comparison), shown)


def test_at_120_columns_each_arm_has_one_line(comparison: Comparison) -> None:
    rows = drawn(document(comparison), width=120).splitlines()
    assert any("sgd+clip" in line and "2.97 ± 0.03" in line and "10 ± 0 %" in line for line in rows)


def test_the_legend_explains_sharpness_where_it_is_shown_alone(comparison: Comparison) -> None:
    bare = compare([record(run(), [5.0, 3.0]), record(run("adam"), [5.0, 2.0])], question("sgd", "adam"))
    assert "Directional sharpness" in legend(comparison)
    assert "sharpness" not in legend(bare)
    assert "sharpness" not in " ".join(filter(None, headings(main_table(bare))))


def test_markdown_shows_the_same_cells(comparison: Comparison) -> None:
    rows = text(document(comparison), "markdown").splitlines()
    table = [line for line in rows[: rows.index(escaped(legend(comparison)))] if line.startswith("|")]
    parsed = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    assert parsed[0] == headings(main_table(comparison))
    assert parsed[2:] == cells_of(comparison)
    for sentence in (*comparison.twins[0].answers, *comparison.caveats):
        assert f"- {sentence}" in rows


def test_latex_shows_the_same_cells(comparison: Comparison) -> None:
    page = text(document(comparison), "latex")
    signs = {r"$\pm$": "±", r"$\times$": "×", r"$\div$": "÷", r"$\le$": "≤", r"\textasciitilde{}": "~", r"\%": "%"}
    first = page.partition(r"\end{table}")[0]
    rows = [line for line in first.splitlines() if line.rstrip().endswith(r"\\")]
    parsed = []
    for line in rows:
        for code, sign in signs.items():
            line = line.replace(code, sign)
        parsed.append([cell.strip().replace("--", "–") for cell in line.rstrip(" \\").split(" & ")])
    assert parsed[1:] == cells_of(comparison)
    assert page.count(r"\begin{") == page.count(r"\end{")


def test_latex_escapes_names(comparison: Comparison) -> None:
    hostile = compare(
        [record(run("a_b&c%{#}$^", use="sgd"), [5.0, 3.0])], question("a_b&c%{#}$^", baseline="a_b&c%{#}$^")
    )
    assert r"a\_b\&c\%\{\#\}\$\textasciicircum{}" in text(document(hostile), "latex")
    assert r"code\_lm" in text(document(comparison), "latex")


def test_markdown_escapes_names() -> None:
    name = "a|b *c* _d_ [e] f_g"
    hostile = compare([record(run(name, use="sgd"), [5.0, 3.0])], question(name, baseline=name))
    assert r"| a\|b \*c\* \_d\_ \[e\] f_g |" in text(document(hostile), "markdown")


def test_the_terminal_reads_no_name_as_markup() -> None:
    name = "[red]sgd[/red]"
    hostile = compare([record(run(name, use="sgd"), [5.0, 3.0])], question(name, baseline=name))
    assert name in drawn(document(hostile))


def test_csv_has_one_row_per_task_and_arm_with_every_digit(comparison: Comparison) -> None:
    rows = lines(document(comparison))
    assert [row["arm"] for row in rows] == list(ARMS)
    assert list(rows[0]) == [column.name for column in all_columns()["compare"]]
    for parsed, row in zip(rows, comparison.rows, strict=True):
        assert float(parsed["final_loss"]) == row.final_loss.mean
        assert float(parsed["final_loss_se"]) == row.final_loss.standard_error
        assert float(parsed["step_ms"]) == row.step_milliseconds.mean
        assert int(parsed["sharpness_non_positive"]) == row.sharpness.non_positive
        assert parsed["difference"] == ("" if row.difference is None else repr(row.difference.mean))
        assert parsed["clipped_fraction"] == ("" if row.clipped is None else repr(row.clipped.mean))
    assert rows[2]["sharpness"] == "nan"
    assert rows[2]["seeds_diverged"] == "1"


def test_json_and_csv_hold_the_same_numbers(comparison: Comparison) -> None:
    parsed = data(document(comparison))
    rows = lines(document(comparison))
    texts = {None: ("", "nan")}
    for ours, theirs in zip(parsed["rows"], rows, strict=True):
        assert set(ours) == set(theirs) | {"seeds"}
        for name, value in theirs.items():
            assert value in texts.get(ours[name], (str(ours[name]),))


def test_a_row_holds_what_was_judged_and_at_which_level(comparison: Comparison) -> None:
    """One row is judged, the clip's, at 0.05: its interval is the one at 95 %; adam, which diverged once, is not."""
    sgd, clip, adam = data(document(comparison))["rows"]
    judged = comparison.rows[1].judged
    assert judged is not None
    assert (clip["verdict"], clip["level"], clip["seeds_needed"]) == ("undecided", 0.05, judged.seeds_needed)
    assert (clip["p"], clip["p_corrected"]) == (judged.p, judged.p)
    assert (clip["judged_low"], clip["judged_high"]) == (clip["contrast_low"], clip["contrast_high"])
    for row, verdict in ((sgd, "baseline"), (adam, "broken")):
        assert (row["verdict"], row["p_corrected"], row["level"], row["judged_low"]) == (verdict, None, None, None)


def test_json_is_valid_and_tells_infinity_from_undefined() -> None:
    records = [record(run(), [5.0, 4.0]), record(run("adam"), [5.0, 9.0], status="diverged")]
    dumped = text(document(compare(records, question("sgd", "adam", target=1.0))), "json")

    def refuse(literal: str) -> float:
        raise AssertionError(f"{literal} is not JSON")

    sgd, adam = json.loads(dumped, parse_constant=refuse)["rows"]
    assert sgd["steps_to_target"] == "inf"
    assert sgd["final_loss_se"] is None
    assert adam["final_loss"] is None
    assert adam["seeds"] == {"finished": [], "diverged": [0], "failed": [], "unfinished": []}


def test_json_holds_twins_caveats_and_what_was_compared(comparison: Comparison) -> None:
    parsed = data(document(comparison))
    assert (parsed["baseline"], parsed["target"], parsed["spec"]) == ("sgd", 3.3, "quickstart")
    assert parsed["tasks"][0]["budget"] == "200 steps a run: equal steps, not equal time"
    (twin,) = parsed["twins"]
    assert twin["sharpness_ratio"]["ratio"] == math.exp(comparison.twins[0].sharpness.mean)
    assert twin["steps_to_target"] == [100, 150]
    assert twin["fewer_steps_on"] == [3, 3]
    assert tuple(parsed["caveats"]) == comparison.caveats


def test_a_missed_target_is_infinite_in_every_format() -> None:
    missed = compare([record(run(), [5.0, 4.0])], question(target=1.0))
    assert "∞ (0/1)" in drawn(document(missed))
    assert "∞ (0/1)" in text(document(missed), "markdown")
    assert r"$\infty$ (0/1)" in text(document(missed), "latex")
    (row,) = lines(document(missed))
    assert float(row["steps_to_target"]) == math.inf


def test_columns_without_content_are_left_out() -> None:
    plain = compare([record(run(), [5.0, 4.0])], question())
    assert headings(main_table(plain)) == [
        "",
        "arm",
        "rank",
        "seeds",
        "final loss",
        "minus sgd",
        "ms/step",
    ]
    assert "target" not in text(document(plain), "markdown")
    assert data(document(plain))["twins"] == []


def test_a_twin_without_a_target_has_no_steps_in_json() -> None:
    assert "steps_to_target" not in data(document(compare(quickstart(), question(*ARMS))))["twins"][0]


def test_one_seed_is_shown_with_an_unknown_error() -> None:
    one = compare([record(run(), [5.0, 4.0], sharpness=[2.0])], question())
    assert "4 ± ?" in text(document(one), "markdown")
    assert "2 ×/÷ ?" in text(document(one), "markdown")


def test_an_arm_of_which_nothing_finished_shows_no_number() -> None:
    lost = [
        record(run(), [5.0, 4.0]),
        record(run("adam"), [5.0], status="unfinished"),
        record(run("lion+clip", clip=0.1), [5.0], status="failed"),
    ]
    of = compare(lost, question("sgd", "adam", "lion+clip", target=1.0))
    assert cells_of(of)[1:] == [
        ["~", "adam", "–", "0/1 1 unfinished", "–", "–", "–", "–", "–"],
        ["x", "lion+clip", "–", "0/1 1 failed", "–", "–", "∞ (0/1)", "∞", "–"],
    ]


def test_a_clip_that_was_never_measured_shows_no_number() -> None:
    of = compare([record(run("sgd+clip", clip=0.1), [5.0, 4.0])], question("sgd+clip", baseline="sgd+clip"))
    table = main_table(of)
    assert "clipped" not in headings(table)


def test_every_verdict_has_its_mark() -> None:
    ends = {"sgd": (3.0, 3.1), "adam": (2.0, 2.1), "lion": (4.0, 4.1), "same": (3.0, 3.1), "so": (2.9, 3.3)}
    records = [record(run(arm, seed=seed), [5.0, end]) for arm, pair in ends.items() for seed, end in enumerate(pair)]
    of = compare(records, question(*ends))
    assert [cells[0] for cells in cells_of(of)] == ["", "+", "-", "=", "~"]


def test_the_twins_line_says_whether_the_rates_differ() -> None:
    assert "sgd+clip against its twin sgd on code_lm (learning rates differ: 1 against 0.1)" in text(
        document(compare(quickstart(), question(*ARMS))), "markdown"
    )
    same = [record(run("sgd+clip", clip=0.1), [5.0, 3.0]), record(run(), [5.0, 3.1])]
    assert "(both at lr 0.1)" in text(document(compare(same, question())), "markdown")


def test_each_column_of_a_csv_has_a_name_of_its_own() -> None:
    for columns in all_columns().values():
        assert len({column.name for column in columns}) == len(columns)
