import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from judging.made import ending, record, run, with_metric, with_rows
from report.shown import drawn

from clipbench.measurements import Measurement
from clipbench.records import CODE, INITIAL_WEIGHTS, RESUME, TRAINING_POINT_LOSS, Change, ClipSettings
from clipbench.report.show import document, sparkline


def line_of(text: str, name: str) -> str:
    return next(line.strip() for line in text.splitlines() if line.strip().startswith(name))


def test_a_sparkline_runs_from_the_lowest_to_the_highest_bar() -> None:
    assert sparkline([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]) == "▁▂▃▄▅▆▇██"


def test_a_sparkline_shows_what_is_not_finite() -> None:
    assert sparkline([1.0, math.nan, 0.0, math.inf]) == "█x▁x"


@pytest.mark.parametrize("values", [[3.0], [3.0, 3.0, 3.0]])
def test_a_flat_curve_is_half_high(values: list[float]) -> None:
    assert sparkline(values) == "▅" * len(values)


def test_nothing_makes_an_empty_sparkline() -> None:
    assert sparkline([]) == ""


def test_huge_values_do_not_overflow() -> None:
    assert sparkline([-1.7e308, 1.7e308]) == "▁█"


def test_a_long_curve_keeps_its_ends() -> None:
    line = sparkline([9.0, *[5.0] * 500, 0.0], width=60)
    assert len(line) == 60
    assert (line[0], line[-1]) == ("█", "▁")


@given(st.lists(st.floats(), max_size=60))
def test_a_sparkline_has_a_mark_per_value(values: list[float]) -> None:
    assert len(sparkline(values)) == len(values)


def test_a_run_is_shown_whole() -> None:
    made = record(run("sgd+clip", lr=1.0, clip=0.1, options={"momentum": 0.9}), [5.0, 4.0, 3.0])
    text = drawn(document(made, log="one\ntwo\nthree [bold]\n"))
    assert text.startswith("code_lm/sgd+clip/seed 0\n")
    assert line_of(text, "clip").split("  ")[-1].strip() == "10 % of the gradient"
    assert "lr=1.0, momentum=0.9" in line_of(text, "optimizer")
    assert line_of(text, "status").endswith("finished")
    assert "10 ms (median; first step 0.02 s)" in line_of(text, "time per step")
    assert "█▅▁  5 at step 0 to 3 at step 100, 3 evaluations" in text
    assert line_of(text, "train ").split() == ["train", "2.000", "66.7%"]
    assert line_of(text, "all").split() == ["all", "3.000", "100.0%"]
    assert line_of(text, "machine id").endswith("m1")
    assert "three [bold]" in text


def test_what_the_probes_say_of_themselves_is_shown() -> None:
    made = record(run(), [5.0, 4.0])
    assert made.outcome is not None
    assert "of themselves" not in drawn(document(made))
    outcome = replace(
        made.outcome,
        remarks={"sharpness": ("by jets", "checked")},
        failed_probes={"norms": "at step 5: ValueError: no"},
    )
    text = drawn(document(replace(made, outcome=outcome)))
    assert line_of(text, "sharpness").split("  ")[-1].strip() == "by jets; checked"
    assert line_of(text, "norms").endswith("failed at step 5: ValueError: no")


def test_what_a_run_says_of_itself_is_apart_from_its_probes() -> None:
    remarks = {CODE: ("code unknown: x.py",), RESUME: ("starts again",), "norms": ("by hand",)}
    text = drawn(document(ending(record(run(), [5.0, 4.0]), remarks=remarks)))
    of_run, of_probes = text.split("Remarks on the run")[1].split("Remarks of the probes")
    assert line_of(of_run, "code").endswith("unknown: x.py")
    assert line_of(of_run, "resume").endswith("starts again")
    assert "starts again" not in of_probes
    assert line_of(of_probes, "norms").endswith("by hand")
    assert "of itself" not in drawn(document(record(run(), [5.0, 4.0])))


def test_what_a_run_began_with_and_how_its_loss_changed_is_shown() -> None:
    made = ending(
        record(run(), [5.0, 4.0]),
        change=Change(5.0, 4.0, 0.0123),
        fingerprints={INITIAL_WEIGHTS: "0123456789abcdef"},
        loaded={"org/text@main": "c" * 40},
    )
    text = drawn(document(made))
    assert line_of(text, "change of the loss").endswith("-1 (± 0.012)")
    assert line_of(text, "initial weights").endswith(" 0123456789ab")
    assert line_of(text, "org/text@main").endswith("c" * 40)
    assert "not finite" not in text
    one_batch = drawn(document(ending(made, change=Change(5.0, 6.0, math.nan))))
    assert line_of(one_batch, "change of the loss").endswith("+1 (one evaluation batch, no error)")
    broken = drawn(document(ending(made, status="diverged", non_finite_step=17)))
    assert line_of(broken, "not finite at").endswith("step 17")
    assert "Initial weights, batches and downloads" not in drawn(document(record(run(), [5.0, 4.0])))


def test_a_loss_where_gradients_are_taken_is_a_curve_of_its_own() -> None:
    made = record(run(), [5.0, 4.0])
    assert "where gradients are taken" not in drawn(document(made))
    both = with_rows(made, [Measurement(50 * place, 0.0, "", TRAINING_POINT_LOSS, 9.0 - place) for place in range(3)])
    text = drawn(document(both))
    assert "5 at step 0 to 4 at step 50, 2 evaluations" in text
    assert "9 at step 0 to 7 at step 100, 3 evaluations" in text.split("where gradients are taken")[1]


@pytest.mark.parametrize(
    ("clip", "said"),
    [
        (None, "none"),
        (ClipSettings(0.25, "update"), "25 % of the update"),
        (ClipSettings(0.1, scope="tensor"), "10 % of the gradient, each tensor by itself"),
        (ClipSettings(0.1, "update", scale="norm"), "10 % of the update, its length kept"),
        (ClipSettings(0.1, ignore_zeros=True), "10 % of the non-zero coordinates of the gradient"),
        (ClipSettings(threshold=0.01), "each coordinate of the gradient at 0.01"),
        (ClipSettings(norm=1.0), "the gradient at a norm of 1"),
    ],
)
def test_a_clip_is_said_in_words(clip: ClipSettings | None, said: str) -> None:
    made = record(run("sgd"), [5.0, 4.0])
    text = drawn(document(replace(made, run=replace(made.run, arm=replace(made.run.arm, clip=clip)))))
    assert line_of(text, "clip").split("  ")[-1].strip() == said


def test_the_precision_of_the_curvature_is_shown_where_it_is_not_float32() -> None:
    made = record(run("sgd"), [5.0, 4.0])
    assert "curvature" not in drawn(document(made))
    rounded = replace(made.run, measure=replace(made.run.measure, precision="tf32"))
    assert line_of(drawn(document(replace(made, run=rounded))), "curvature").endswith(
        "tf32 on a GPU that has it, else float32"
    )


def test_a_failed_run_shows_its_reason_and_the_end_of_its_log() -> None:
    failed = record(run(), [], status="failed", reason="the process died")
    text = drawn(document(failed, log="\n".join(f"line {i}" for i in range(100))))
    assert line_of(text, "reason").endswith("the process died")
    assert "line 99" in text
    assert "line 80" in text
    assert "line 79" not in text
    assert "no evaluation was recorded" in text


def test_an_unfinished_run_has_no_ledger_yet() -> None:
    text = drawn(document(record(run(), [5.0], status="unfinished", environment=None)))
    assert line_of(text, "status").endswith("unfinished")
    assert "Where the time went" not in text
    assert "Environment" not in text
    assert "End of the log" not in text


def test_the_memory_and_the_products_of_a_run_are_shown_where_it_is_on_record() -> None:
    made = record(run(), [5.0, 4.0])
    assert made.outcome
    assert "optimizer state" not in drawn(document(made))
    text = drawn(
        document(replace(made, outcome=replace(made.outcome, state_bytes=1234, peak_bytes=3 * 2**20, step_flops=5678)))
    )
    assert line_of(text, "FLOPs per step").endswith("5,678 (products alone)")
    assert "attention" not in text
    flash = drawn(document(replace(made, outcome=replace(made.outcome, attention="flash"))))
    assert line_of(flash, "attention").endswith("by torch's kernel flash")
    assert "driver" not in text  # of a machine without a GPU
    assert "resumed" not in text
    resumed = drawn(document(replace(made, outcome=replace(made.outcome, resumed_at=(120, 400)))))
    assert line_of(resumed, "resumed").endswith("from a checkpoint, at steps 120 and 400")
    assert line_of(text, "optimizer state").endswith("1,234 bytes")
    assert line_of(text, "peak memory").endswith("3.0 MiB")


def test_the_curves_of_metrics_and_of_the_slice_stand_below_that_of_the_loss() -> None:
    made = with_metric(
        with_metric(record(run(), [5.0, 4.0, 3.0]), [0.1, 0.5, 0.9]), [4.0, 2.0, 1.0], "train_slice_loss"
    )
    shown = drawn(document(made))
    assert "accuracy\n  ▁▅█  0.1 at step 0 to 0.9 at step 100, 3 evaluations" in shown
    assert "Loss of the slice of training data\n  █▃▁  4 at step 0 to 1 at step 100, 3 evaluations" in shown
    assert shown.count("evaluations") == 3
