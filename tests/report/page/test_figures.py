"""The pictures show the numbers of `compare`, each arm with its own look, and only what was measured."""

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from judging.made import question, quickstart, record, run, trials, tuning, with_rows

from clipbench.judging.compare import Asked
from clipbench.measurements import Measurement
from clipbench.quantities import asked
from clipbench.records import OWN, Record
from clipbench.report.page.figures import figures
from clipbench.report.page.subject import BASELINE_COLOUR, Subject, looks, subject_of
from clipbench.report.page.vega import Figure, fits

ASKED = question("sgd", "sgd+clip", "adam", target=3.05)


def made(records: list[Record], **changes: Any) -> dict[str, Figure]:
    subject = subject_of(records, replace(ASKED, **changes))
    return {figure.name: figure for figure in figures(subject, "code_lm")}


def rows(figure: Figure, **values: object) -> list[dict[str, Any]]:
    return [dict(row) for row in figure.rows if all(row.get(name) == value for name, value in values.items())]


def test_the_last_means_of_the_loss_are_the_final_losses_of_compare() -> None:
    subject = subject_of(quickstart(), ASKED)
    loss = made(quickstart())["loss"]
    for row in subject.comparison.rows:
        assert rows(loss, kind="mean", arm=row.arm)[-1]["value"] == pytest.approx(row.final_loss.mean, rel=1e-5)
    assert rows(loss, kind="target") == [{"kind": "target", "value": 3.05}]


def test_differences_have_both_intervals_of_compare_and_are_sorted() -> None:
    subject = subject_of(quickstart(), ASKED)
    [_, clip, adam] = subject.comparison.rows
    shown = made(quickstart())["differences"]
    assert [row["arm"] for row in shown.rows] == ["adam", "sgd+clip"]
    [row] = rows(shown, arm="sgd+clip")
    assert clip.against is not None
    assert clip.judged is not None
    assert (row["low"], row["high"]) == pytest.approx(clip.against.interval(), rel=1e-5)
    assert (row["judged_low"], row["judged_high"]) == pytest.approx((clip.judged.low, clip.judged.high), rel=1e-5)
    assert (row["label"], row["verdict"], row["n"]) == ("~ sgd+clip", clip.verdict, 3)
    [broken] = rows(shown, arm="adam")
    assert (adam.verdict, broken["label"], broken["judged_low"]) == ("broken", "x adam", None)


def test_differences_of_a_ratio_are_factors() -> None:
    metric = Asked(metric=asked("sharpness", quickstart()))
    subject = subject_of(quickstart(), ASKED, metric)
    shown = next(figure for figure in figures(subject, "code_lm") if figure.name == "differences")
    [row] = rows(shown, arm="sgd+clip")
    against = subject.comparison.rows[1].against
    assert against is not None
    assert row["value"] == pytest.approx(math.exp(against.mean), rel=1e-5)
    assert shown.spec["encoding"]["x"]["scale"] == {"type": "log"}


def test_a_broken_run_is_drawn_to_its_end_and_is_in_no_mean() -> None:
    loss = made(quickstart())["loss"]
    [end] = rows(loss, kind="broken")
    assert (end["arm"], end["seed"], end["step"]) == ("adam", 2, 50)
    assert all(row["n"] == 2 for row in rows(loss, kind="mean", arm="adam"))
    assert "where 1 broken run ended" in loss.about
    assert "1 value of broken runs" in loss.about  # its last loss of 9 would flatten all others


LONG = [5.0, *(3.0 - step / 10 for step in range(9))]  # from step 50 on at most 3.0


@pytest.mark.parametrize(
    ("losses", "status"),
    [([5.0] + [40.0] * 9, "finished"), ([5.0, 4.5, 4.9], "diverged"), ([5.0] + [5.6] * 9, "finished")],
)
def test_an_arm_that_diverged_does_not_flatten_the_losses(losses: list[float], status: Any) -> None:
    """Losses that end a tenth above their start, of 5, are useless; a finished run of made records is not judged."""
    runs = [record(run(arm, seed=seed), LONG) for arm in ("sgd", "sgd+clip") for seed in (0, 1)]
    loss = made([*runs, record(run("adam"), losses, status=status)], target=2.5)["loss"]
    assert loss.spec["encoding"]["y"]["scale"] == {"type": "linear", "zero": False, "domainMax": 3.0, "clamp": True}
    assert "Cut at a loss of 3, above which adam went; a logarithmic loss shows all." in loss.about


def test_a_target_above_the_losses_is_within_the_picture() -> None:
    runs = [record(run("sgd"), LONG), record(run("adam"), [5.0] + [40.0] * 9)]
    assert made(runs, target=3.5)["loss"].spec["encoding"]["y"]["scale"]["domainMax"] == 3.5


@pytest.mark.parametrize("losses", [LONG, [5.0] + [5.4] * 9, [5.0] + [1.0] * 9])
def test_losses_are_not_cut_where_no_arm_rises_above_its_start(losses: list[float]) -> None:
    loss = made([record(run("sgd"), LONG), record(run("adam"), losses)])["loss"]
    assert loss.spec["encoding"]["y"]["scale"] == {"type": "linear", "zero": False}
    assert "Cut at" not in loss.about


def test_a_name_that_a_task_chose_keeps_its_underscores() -> None:
    rows = [Measurement(50, 0.0, "", name, 2.0 + place) for place, name in enumerate(("loss_rare", "gradient_norm"))]
    titles = {figure.title for figure in made([with_rows(each, rows) for each in quickstart()]).values()}
    assert {"loss_rare", "gradient norm"} <= titles


def test_up_to_five_seeds_are_drawn_each_and_more_as_their_range() -> None:
    five = [record(run(arm, seed=seed), [5.0, 3.0 + seed]) for arm in ("sgd", "adam") for seed in range(5)]
    loss = made(five)["loss"]
    assert len(rows(loss, kind="seed")) == 2 * 5 * 2
    assert not any(row["band"] for row in rows(loss, kind="mean"))
    assert "Thin lines: each seed" in loss.about
    six = [*five, *(record(run(arm, seed=5), [5.0, 9.0]) for arm in ("sgd", "adam"))]
    loss = made(six)["loss"]
    assert rows(loss, kind="seed") == []
    [last] = rows(loss, kind="mean", arm="sgd", step=50)
    assert (last["low"], last["high"], last["n"], last["band"]) == (3.0, 9.0, 6, True)
    assert "Band: the least and the greatest of all seeds" in loss.about


def test_sharpness_is_signed_and_what_is_not_positive_is_counted() -> None:
    shown = made(quickstart())["sharpness"]
    assert "Zero or negative: sgd 2 of 9" in shown.about
    assert shown.spec["encoding"]["y"]["scale"]["type"] == "symlog"
    assert rows(shown, arm="sgd", kind="seed", seed=0)[-1]["value"] == -1.0
    means = rows(shown, arm="sgd", kind="mean")
    assert [row["value"] for row in means] == pytest.approx([2.0, 2.0, 2.0], rel=1e-5)  # ∛(4·2·1); at the last step 2
    assert [row["n"] for row in means] == [3, 3, 1]


def test_only_what_was_measured_has_a_picture() -> None:
    plain = [record(run(arm, seed=seed), [5.0, 4.0 - seed / 10]) for arm in ("sgd", "adam") for seed in range(2)]
    assert made(plain, target=None).keys() == {"loss", "loss_seconds", "differences", "ledger"}
    alone = [record(run("sgd", seed=seed), [5.0, 4.0]) for seed in range(2)]
    assert made(alone, target=None).keys() == {"loss", "loss_seconds", "ledger"}


def test_the_steps_of_a_missed_target_are_a_bound() -> None:
    speed = made(quickstart())["speed"]
    [sgd] = rows(speed, arm="sgd")
    assert (sgd["steps"], sgd["missed"]) == (250.0, 2)  # 200 steps and one evaluation of 50
    assert sgd["sharpness"] == pytest.approx(2.0, rel=1e-5)


def along_u(direction: str, slope: float, curvature: float) -> list[Measurement]:
    """The loss along a unit step of a quadratic, as the probe landscape measures it."""
    values = {"slope": slope, "directional_sharpness": curvature, "update_norm": 1.0}
    values |= {f"line_change_at_{t:+g}u": slope * t + curvature * t * t / 2 for t in (-4.0, -1.0, 1.0, 4.0)}
    return [Measurement(50, 0.5, direction, name, value) for name, value in values.items()]


def test_the_model_of_a_quadratic_is_what_was_measured_along_every_direction() -> None:
    bare = [record(run(arm, seed=seed), [5.0, 4.0]) for arm in ("sgd", "adam") for seed in range(2)]
    records = [with_rows(each, [*along_u(OWN, -1.0, 2.0), *along_u("lion", -0.5, 0.1)]) for each in bare]
    shown = made(records, target=None)
    for place, path in enumerate(("sgd", "adam")):
        landscape = shown[f"landscape_{place}"]
        assert f"on the path of {path} at step 50" in landscape.about
        assert {row["arm"] for row in landscape.rows} == {path, "lion"}
        assert len(landscape.rows) == 2 * 5  # with t = 0
        for row in rows(landscape):
            assert row["model"] == pytest.approx(row["value"], rel=1e-5)


def test_the_largest_coordinates_stand_beside_their_random_control() -> None:
    names = {"sharpness_without_top_1%": 0.5, "sharpness_without_random_1%": 3.0}
    extra = [Measurement(50, 0.5, OWN, name, value) for name, value in names.items()]
    records = [with_rows(record(run(arm, seed=0), [5.0, 4.0]), extra) for arm in ("sgd", "adam")]
    [random, largest] = sorted(rows(made(records)["coordinates"], arm="adam"), key=lambda row: -row["value"])
    assert (largest["which"], largest["percent"], largest["value"]) == ("largest", 1.0, 0.5)
    assert (random["which"], random["percent"], random["value"]) == ("random", 1.0, 3.0)


def test_tuning_shows_the_chosen_rate_its_edge_and_what_diverged() -> None:
    losses = {0.1: 4.0, 1.0: 3.0, 10.0: math.inf}
    tuned = replace(ASKED, tuning=tuning({"sgd": [*losses]}, selected={"sgd": 1.0}))
    subject = subject_of([*quickstart(), *trials("sgd", losses)], tuned)
    shown = next(figure for figure in figures(subject, "code_lm") if figure.name == "tuning")
    assert [(row["rate"], row["value"], row["chosen"], row["broken"]) for row in shown.rows] == [
        (0.1, 4.0, "", ""),
        (1.0, 3.0, "yes", ""),
        (10.0, None, "", "yes"),
    ]


def test_every_picture_is_plain_json_and_hides_arms_before_it_scales() -> None:
    for figure in made(quickstart()).values():
        json.dumps(figure.whole(), allow_nan=False)
        assert "hidden" in figure.spec["transform"][0]["filter"]
        assert set(figure.headings) <= {name for row in figure.rows for name in row}, figure.name


def test_an_arm_looks_the_same_everywhere_and_no_two_are_shown_alike() -> None:
    names = [*(f"arm {place}" for place in range(9)), "a\n", r"a\n", "", "__proto__", "toString"]
    made_looks = looks(names, "arm 0").values()
    assert len({look.shown for look in made_looks}) == len(names)
    assert all(look.shown.isprintable() and look.shown not in ("__proto__", "toString") for look in made_looks)
    assert [look.colour for look in made_looks].count(BASELINE_COLOUR) == 1
    assert len({(look.colour, look.shape, look.dash) for look in made_looks}) == len(names)


def test_of_many_arms_the_best_are_shown_at_first() -> None:
    arms = [f"arm {place:02}" for place in range(14)]
    records = [
        record(run(arm, use="sgd", seed=seed), [9.0, 8.0 - place / 4 + seed])
        for place, arm in enumerate(arms)
        for seed in range(2)
    ]
    subject = subject_of(records, question(*arms, baseline="arm 00"))
    assert sorted(subject.hidden_at_first) == arms[1:5]
    few: Subject = subject_of(records[:20], question(*arms[:10], baseline="arm 00"))
    assert few.hidden_at_first == ()


@pytest.mark.parametrize(
    ("values", "log", "kind"),
    [
        ((1.0, 2.0), False, "linear"),
        ((1.0, 2.0), True, "log"),
        ((0.0, 2.0), True, "symlog"),
        ((-1.0, 2.0), True, "symlog"),
        ((), True, "linear"),
        ((0.0,), True, "linear"),
        ((math.nan, 1.0), True, "log"),
    ],
)
def test_a_scale_fits_the_signs_of_its_values(values: tuple[float, ...], log: bool, kind: str) -> None:
    assert fits(values, log=log)["type"] == kind


@pytest.mark.parametrize(("evaluations", "begin"), [([5.0, 4.0, 3.0], 0), ([5.0] + [3.0] * 4, 50), ([5.0] * 41, 200)])
def test_the_loss_begins_after_a_tenth_of_the_run_if_that_leaves_three_points(
    evaluations: list[float], begin: int
) -> None:
    """An evaluation every 50 steps."""
    loss = made([record(run(arm, seed=0), evaluations) for arm in ("sgd", "sgd+clip")])["loss"]
    [_, first] = loss.spec["params"]
    assert first == {"name": "first", "value": begin}
    assert (f"From step {begin}" in loss.about) is (begin > 0)
