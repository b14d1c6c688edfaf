"""The race, matched loss and shared points in every format, and tables grouped and sorted."""

import math
import re
from dataclasses import replace

import pytest
from judging.made import compared, question, quickstart, record, run, trials, tuning, with_rows
from judging.test_shared_points import along
from making import outcome_of
from report.shown import all_told, cells, data, drawn, headings, lines, text

from clipbench.errors import ClipbenchError
from clipbench.judging.compare import compare
from clipbench.judging.comparison import Comparison
from clipbench.measurements import Measurement
from clipbench.records import COSINE, LINE_BEST_DECREASE, OWN, RATE_SHARPNESS
from clipbench.report.compare import NAMES, SectionName, all_columns, arranged, document, section, sections
from clipbench.report.listing import columns as columns_listed
from clipbench.report.render import FORMATS
from clipbench.report.table import AnyTable, Document, Table

ARMS = ("sgd", "sgd+clip", "adam")


def full() -> Comparison:
    """The quickstart with a target, two ghosts along two trajectories on two seeds, and the trials of adam."""
    decrease = {LINE_BEST_DECREASE: {OWN: [3.0], "adam": [1.0], "lion": [-1.0]}, COSINE: {OWN: [0.5], "lion": [0.1]}}
    ghosts = [
        along(arm, {OWN: [8.0, 2.0], "adam": [2.0, 1.0], "lion": [1.0, -1.0]}, decrease, seed=seed)
        for arm in ("sgd", "sgd+clip")
        for seed in (10, 11)
    ]
    tried = trials("adam", {0.001: 3.0, 0.003: 2.5, 0.01: 9.0})
    asked = replace(
        question(*ARMS, target=3.3), tuning=tuning({"adam": [0.001, 0.003, 0.01]}, selected={"adam": 0.003})
    )
    return compare([*quickstart(), *ghosts, *tried], asked)


def table(name: SectionName, comparison: Comparison) -> AnyTable:
    [made] = section(comparison, name).tables
    return made


def cells_of(name: SectionName, comparison: Comparison) -> list[list[str]]:
    return cells(table(name, comparison))


def main_tables(comparison: Comparison) -> list[AnyTable]:
    return [part for part in document(comparison).parts if isinstance(part, Table) and part.name == "compare"]


def test_the_race_is_worked_out_by_hand() -> None:
    """Target 3.3: sgd at step 150 on all seeds, its clip at 100, adam at 50 on two, diverged on the third.

    Every seed says the same, but only at each 50th step: ln 1.5 ± t(0.975, 2)·50/√12·√(1/150² + 1/100²)/√3.
    Of adam 3, 3 and 150/250, as a run that diverged counts as its budget and one evaluation.
    """
    assert cells_of("race", compare(quickstart(), question(*ARMS, target=3.3))) == [
        ["sgd", "baseline", "baseline", "3", "0", "0", "0", "0 %", "33 %", "33 %", "100 %", "3/3"],
        [
            "sgd+clip",
            "1.5× 0.97–2.3 (3)",
            "1.25× 0.81–1.9 (3)",
            "3",
            "0",
            "0",
            "0",
            "33 %",
            "33 %",
            "100 %",
            "100 %",
            "3/3",
        ],
        [
            "adam",
            "≤ 1.75× 0.17–18 (2 of 3 against 3)",
            "≤ 1.75× 0.17–18 (2 of 3 against 3)",
            "2",
            "0",
            "1",
            "0",
            "67 %",
            "67 %",
            "67 %",
            "67 %",
            "2/3",
        ],
    ]


def test_arms_at_the_same_loss_are_worked_out_by_hand() -> None:
    """adam ends at 2.5 and the others at 3.0 (3.1, 3.2): sgd is there at its end, adam and the clip sooner."""
    of = compare([one for one in quickstart() if one.run.seed == 0], question(*ARMS))
    [sgd, clip, adam] = cells_of("matched", of)
    assert sgd[1:4] == ["3 ± ?", "150 ± ?", "baseline"]
    assert clip[4] == "0.1 ×/÷ ?"  # probed at 0 and 50, and the last one stays
    assert adam[2:5] == ["50 ± ?", "0.333× (1)", "–"]


def test_the_shared_points_are_worked_out_by_hand() -> None:
    """√(4·2) = 2.83 over adam; lion's 0.5 where both are positive; both seeds alike."""
    assert cells_of("shared", full())[:3] == [
        ["sgd", "sgd", "2.83× 2.8–2.8 (2)", "2–4", "4", "0", "0.5 ± 0", "3× 3–3 (2)", "0"],
        ["sgd", "adam", "reference", "–", "4", "0", "–", "reference", "0"],
        ["sgd", "lion", "0.5× 0.5–0.5 (2)", "0.5–0.5", "2", "2", "0.1 ± 0", "–", "2"],
    ]


def test_runs_that_are_in_no_shared_point_are_told_beneath_the_table() -> None:
    ghosts = [along("sgd", {OWN: [8.0], "adam": [2.0]}, seed=seed) for seed in (0, 1, 2)]
    broken = replace(ghosts[2], outcome=replace(outcome_of(ghosts[2]), status="diverged"))
    told = compare([*ghosts[:2], broken], question(*ARMS))
    assert table("shared", told).note.endswith(
        "Left out because they diverged, failed or have not ended: 1 run along sgd."
    )
    assert {int(row["runs_left_out"]) for row in lines(section(told, "shared"))} == {1}
    assert "Left out because" not in table("shared", full()).note


@pytest.mark.parametrize("name", NAMES)
def test_every_format_of_every_section_has_its_title_or_its_names_and_every_row(name: SectionName) -> None:
    of = full()
    made, alone = table(name, of), section(of, name)
    assert made.name == name
    names = [column.name for column in made.named]
    assert [list(row) for row in lines(alone)] == [list(row) for row in data(alone)] == [names] * len(made.rows)
    for fmt in ("table", "markdown", "latex"):
        shown = text(alone, fmt, 300)
        assert shown.strip() in text(document(of), fmt, 300)
        assert shown.count("lion") == repr(cells(made)).count("lion")
    within = data(document(of))[name]
    assert [whole | line for whole, line in zip(within, data(alone), strict=True)] == within or name == "tuning"
    assert within == data(alone) or name == "tuning"  # of which the whole has every number of every rate


@pytest.mark.parametrize("width", [300, 120, 100, 80, 40])
def test_no_number_of_a_section_is_cut_at_any_width(width: int) -> None:
    of = full()
    for made in sections(of):
        shown = drawn(Document([made]), width)
        assert max(map(len, shown.splitlines())) <= width
        assert all_told(made, shown)


def test_the_race_has_a_line_for_each_arm_at_80_columns() -> None:
    shown = drawn(Document([table("race", full())]), 80).splitlines()
    assert [line.split()[0] for line in shown if line.startswith(ARMS)] == list(ARMS)
    assert "no room for: both, only arm, only sgd, neither, reached" in shown


def test_where_no_sharpness_was_measured_the_same_loss_has_no_column_for_it() -> None:
    bare = compare([record(run(arm, seed=seed), [5.0, 3.0]) for arm in ("sgd", "adam") for seed in (0, 1)], question())
    for fmt in ("table", "markdown", "latex"):
        assert "sharpness" not in text(section(bare, "matched"), fmt).lower()
    assert "sharpness" in lines(section(bare, "matched"))[0]


def test_shared_points_and_own_paths_share_no_column() -> None:
    of = full()
    own = {column.name for column in all_columns()["compare"]}
    shared = {column.name for column in table("shared", of).named}
    assert own & shared == {"task"}


def test_a_section_with_several_tasks_says_which() -> None:
    records = [record(run(arm, task=task), [5.0, 3.0]) for task in ("one", "two") for arm in ("sgd", "adam")]
    assert [row[0] for row in cells_of("matched", compare(records, question("sgd", "adam")))] == [
        "one",
        "one",
        "two",
        "two",
    ]


def test_a_section_without_rows_is_left_out_and_can_still_be_asked_for() -> None:
    of = compare([record(run(), [5.0, 3.0])], question())
    assert sections(of) == []
    for name in NAMES:
        assert all(text(section(of, name), fmt) for fmt in FORMATS)
        assert text(section(of, name), "csv").count("\n") == 1
        assert re.match("There is no|No run|Nothing was", text(section(of, name), "table"))


def shown_against(of: Comparison, heading: str) -> list[str]:
    [made] = main_tables(of)
    return [row[headings(made).index(heading)] for row in cells(made)]


def test_a_ratio_as_the_metric_is_shown_as_a_factor_with_its_misses() -> None:
    """Of adam 1/3, 1/3 and 250/150: at least so many; of a baseline that missed twice 1, 150/250 and 150/250."""
    asks, heading = question(*ARMS, target=3.3), "steps to target over sgd's"
    assert shown_against(compared(quickstart(), asks, "steps"), heading) == [
        "baseline",
        "0.667 ×/÷ 1.11 (3)",
        "≥ 0.57 ×/÷ 1.71 (2 of 3 against 3)",
    ]
    for target, shown in ((3.05, "≤ 0.711 ×/÷ 1.19 (3 of 3 against 1)"), (1.0, "target missed")):
        assert shown_against(compared(quickstart(), asks, "steps", target=target), heading)[1] == shown


def test_a_recorded_quantity_as_the_metric_is_shown_as_a_difference_and_along_a_direction_by_its_name() -> None:
    made = [
        with_rows(record(run(arm, seed=seed), [5.0, 3.0]), [Measurement(50, 0.0, OWN, "angle", value + seed)])
        for arm, value in (("sgd", 1.0), ("adam", 2.5))
        for seed in (0, 1)
    ]
    assert shown_against(compared(made, question("sgd", "adam"), "angle"), "angle minus sgd's")[1] == "+1.5 ± 0 (2)"
    ghostly = [with_rows(each, [Measurement(50, 0.0, "lion", "angle", 1.0)]) for each in made]
    of = compared(ghostly, question("sgd", "adam"), "angle@lion")
    assert shown_against(of, "angle@lion minus sgd's")[1] == "0 ± 0 (2)"


def test_the_metric_itself_has_a_column_in_every_format() -> None:
    """The norms of sgd are 1 and 2, those of adam 4 and 5; its geometric mean sharpness is 2 on each seed of sgd."""
    made = [
        with_rows(record(run(arm, seed=seed), [5.0, 3.0]), [Measurement(50, 0.0, "", "norm", value + seed)])
        for arm, value in (("sgd", 1.0), ("adam", 4.0))
        for seed in (0, 1)
    ]
    of = compared(made, question("sgd", "adam"), "norm")
    assert [(row["norm"], row["norm_error"]) for row in lines(document(of))] == [("1.5", "0.5"), ("4.5", "0.5")]
    assert [row["norm"] for row in data(document(of))["rows"]] == [1.5, 4.5]
    assert shown_against(of, "norm") == ["1.5 ± 0.5", "4.5 ± 0.5"]
    assert [row.arm for row in arranged(of, sort="-norm").rows] == ["adam", "sgd"]
    [sgd, *_] = lines(document(compared(quickstart(), question(*ARMS), "sharpness")))
    assert float(sgd["directional_sharpness"]) == pytest.approx(2.0)


@pytest.mark.parametrize("metric", ["final_loss", "steps", "seconds", "sharpness", "clipped_fraction", "norm"])
def test_no_column_is_there_twice_whatever_the_metric(metric: str) -> None:
    made = [with_rows(each, [Measurement(50, 0.0, "", "norm", 1.0)]) for each in quickstart()]
    of = compared(made, question(*ARMS, target=3.3), metric)
    named = text(document(of), "csv").splitlines()[0].split(",")
    assert len(set(named)) == len(named)
    [shown] = main_tables(of)
    assert len(set(headings(shown))) == len(headings(shown))
    assert sum("sharpness" in str(heading) for heading in headings(shown)) == 1 + (metric == "sharpness")


def test_rate_times_sharpness_is_shown_where_it_was_measured() -> None:
    made = [record(run(seed=seed), [5.0, 3.0]) for seed in (0, 1)]
    of = compare(made, question("sgd"))
    assert not any("η" in str(heading) for made in main_tables(of) for heading in headings(made))
    measured = [
        with_rows(
            one,
            [
                Measurement(40, 0.0, OWN, RATE_SHARPNESS, 1.5 + one.run.seed),
                Measurement(80, 0.0, OWN, RATE_SHARPNESS, 2.5 + one.run.seed),
                Measurement(80, 0.0, "adam", RATE_SHARPNESS, 99.0),
            ],
        )
        for one in made
    ]
    of = compare(measured, question("sgd"))
    [main] = main_tables(of)
    assert cells(main)[0][headings(main).index("η·sharpness (limit 2)")] == "2.5 ± 0.5"
    assert '"rate_times_sharpness": 2.5' in text(document(of), "json")
    assert r"$\eta$$\cdot$sharpness" in text(document(of), "latex")


def test_rows_are_sorted_by_any_column_of_the_csv_within_their_task() -> None:
    of = compare(quickstart(), question(*ARMS, target=3.3))
    assert [row.arm for row in arranged(of, sort="final_loss").rows] == ["adam", "sgd+clip", "sgd"]
    assert [row.arm for row in arranged(of, sort="-final_loss").rows] == ["sgd", "sgd+clip", "adam"]
    assert [row.arm for row in arranged(of, sort="arm").rows] == ["adam", "sgd", "sgd+clip"]
    for sort in ("sharpness", "-sharpness"):  # adam has none
        assert arranged(of, sort=sort).rows[-1].arm == "adam"
    two = compare([*quickstart(), record(run("adam", task="another"), [5.0, 0.1])], question(*ARMS))
    assert [row.task for row in arranged(two, sort="final_loss").rows] == ["code_lm"] * 3 + ["another"]
    with pytest.raises(ClipbenchError, match="no column 'loss' to sort by"):
        arranged(of, sort="loss")


def test_by_arm_there_is_a_table_for_each_arm_with_its_tasks() -> None:
    records = [record(run(arm, task=task), [5.0, 3.0]) for task in ("one", "two") for arm in ("sgd", "adam")]
    of = arranged(compare(records, question("sgd", "adam")), by="arm", sort="-task")
    tables = main_tables(of)
    assert [(made.title.split(" ")[0], [row.task for row in made.rows]) for made in tables] == [
        ("sgd", ["two", "one"]),
        ("adam", ["two", "one"]),
    ]
    assert headings(tables[0])[1] == "task"
    assert "one · 200 steps a run" in tables[0].title
    for fmt in FORMATS:
        assert "sgd" in text(document(of), fmt)
    assert "adam" in drawn(document(of), 100)


def test_consecutive_evaluations_are_said_beside_the_target() -> None:
    of = compared([record(run(), [5.0, 1.0, 2.0, 1.0, 1.0])], question(target=1.0), consecutive=2)
    assert of.rows[0].steps is not None and of.rows[0].seconds is not None  # noqa: PT018
    assert (of.rows[0].steps.median, of.rows[0].seconds.median) == pytest.approx((150, 1.5))
    assert "target loss 1, 2 evaluations in a row" in text(document(of), "markdown")
    assert data(document(of))["consecutive"] == 2


def test_what_was_asked_for_is_in_the_json() -> None:
    of = compared(quickstart(), question(*ARMS), "sharpness", threshold=0.1)
    parsed = data(document(of))
    assert (parsed["metric"], parsed["threshold"]) == ("directional_sharpness", 0.1)
    assert parsed["rows"][1]["contrast"] == pytest.approx(math.log(0.1))
    assert (parsed["rows"][1]["rank_low"], parsed["rows"][1]["rank_high"]) == (1, 1)


def test_every_column_of_every_csv_is_listed_with_what_it_means() -> None:
    whole = full()
    listed = {name: [column.name for column in columns] for name, columns in all_columns().items()}
    written = {"compare": document(whole)} | {name: section(whole, name) for name in NAMES}
    assert listed == {name: list(lines(each)[0]) for name, each in written.items()}
    rows, shown = data(columns_listed(all_columns())), drawn(columns_listed(all_columns()), 160)
    assert len(rows) == sum(map(len, listed.values()))
    assert all(row["meaning"] and row["column"] in shown for row in rows)
