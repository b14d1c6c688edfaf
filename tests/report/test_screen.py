"""The first screen of `compare`: exact screens of the reference runs, and what each part says of made runs.

`python tests/report/write_screens.py` writes the exact screens anew.
"""

import json
import random
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from judging.made import compared, question, quickstart, record, run, trial, tuning, with_rows
from report.shown import drawn, text
from rich.cells import cell_len

from clipbench import store
from clipbench.harmless import ENDLESS
from clipbench.judging.compare import Asked, compare
from clipbench.judging.moments import Moment
from clipbench.measurements import Measurement
from clipbench.quantities import Along, recorded
from clipbench.questions import Manner, Question
from clipbench.records import DIRECTIONAL_SHARPNESS, EVAL_LOSS, OWN, Record, TrainingSettings
from clipbench.report import screen
from clipbench.report.compare import arranged, document
from clipbench.report.drawing import axis, bar

HOME = Path(__file__).parents[2]
REFERENCE = Path("results/reference/cpu/quickstart")
SCREENS = Path(__file__).with_name("screens")
WIDTHS = {"80": 80, "100": 100, "160": 160, "pipe": ENDLESS}
ARMS = ("sgd", "sgd+clip", "adam")
Arms = dict[str, list[float]]


def shown(records: list[Record], asks: Question, width: int = 100, **options: Any) -> list[str]:
    """The lines of the screen of these runs."""
    source = screen.Origin([Path("results/quickstart")], records, ("benchmarks/quickstart.yaml",))
    return drawn(screen.document(compared(records, asks, **options), source), width).splitlines()


def ended(arms: Arms, task: str = "code_lm", **changes: Any) -> list[Record]:
    """A run for each final loss; each arm starts at 5 and is at 3.5 half-way."""
    return [
        record(run(arm, seed=seed, task=task, **changes), [5.0, 4.0, 3.5, loss])
        for arm, losses in arms.items()
        for seed, loss in enumerate(losses)
    ]


def of_the_reference(width: int) -> str:
    records, errors = store.read_all(HOME / REFERENCE)
    asks = store.read_question(HOME / REFERENCE)
    assert asks is not None
    assert not errors
    here = [replace(each, folder=str(Path(each.folder).relative_to(HOME))) for each in records]
    source = screen.Origin([REFERENCE], here, ("benchmarks/quickstart.yaml",))
    return drawn(screen.document(compare(here, asks), source), width)


@pytest.fixture(autouse=True)
def _in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the specs lie that commands name."""
    monkeypatch.chdir(HOME)


@pytest.mark.parametrize("name", WIDTHS)
def test_the_screen_of_the_reference_runs_is_exactly_this(name: str) -> None:
    assert of_the_reference(WIDTHS[name]) == (SCREENS / f"{name}.txt").read_text(encoding="utf-8")


def test_the_screen_of_the_reference_runs_has_at_most_25_lines_at_100_columns() -> None:
    lines = of_the_reference(100).splitlines()
    assert len(lines) <= 25
    assert max(map(cell_len, lines)) <= 100


def test_arms_are_sorted_by_the_metric_and_the_broken_ones_come_last() -> None:
    """adam has the least loss, and a seed of it diverged; the legend says what x means."""
    lines = shown(quickstart(), question(*ARMS, target=3.3))
    assert [line.split()[:2] for line in lines if re.match(r"[~x ]  (sgd|adam)", line)] == [
        ["~", "sgd+clip"],
        ["sgd", "3"],
        ["x", "adam"],
    ]
    text = "\n".join(lines)
    assert "No verdict, as a seed diverged or\nfailed: adam." in text
    assert "x a seed diverged or failed" in text
    assert "2/3 1 diverged" in text


def test_the_clip_is_answered_first_with_its_size_interval_and_seeds() -> None:
    """Sharpness 0.2 against 2, on each of three seeds; all reach 3.3, in 100 steps against 150."""
    _, _, _, sharpness, faster, *_ = shown(quickstart(), question(*ARMS, target=3.3))
    assert sharpness == "Lower sharpness: yes. sgd+clip is 10× less sharp than sgd (95 %: 10–10×, 3 seeds)."
    assert faster.startswith("Faster: undecided. 3.3 is reached on 3 of 3 seeds against 3 of 3; final loss -0.13 (")
    bare = "\n".join(shown(quickstart(), question(*ARMS)))
    assert "Lower final loss: undecided. sgd+clip against sgd -0.13 (-0.28 to 0.01, 3 seeds)." in bare
    assert "Faster" not in bare


def test_decided_and_undecided_arms_are_named_with_the_interval_of_their_verdict() -> None:
    arms = {"sgd": [3.0, 3.1, 3.2], "adam": [2.0, 2.1, 2.2001], "lion": [2.9, 3.15, 3.0]}
    of = compare(ended(arms), question(*arms))
    adam, lion = (row.judged for row in of.rows[1:])
    assert adam is not None
    assert lion is not None
    text = " ".join(shown(ended(arms), question(*arms)))
    assert f"Lower final loss than sgd: adam -1 ({adam.low:.2g} to {adam.high:.2g}, 3 seeds)." in text
    assert f"Undecided, of 2 judged together: lion -0.083 ({lion.low:.2g} to {lion.high:.2g}, 3 seeds)." in text


def racing(losses: Arms, sharpness: Arms | None = None) -> list[Record]:
    """Runs that are evaluated at every step, with their losses from step 1 on; of arms on three seeds."""
    finely = replace(run().measure, evaluate_every=1)
    return [
        record(
            run(arm, seed=seed, measure=finely),
            {0: 5.0, **dict(enumerate(of_arm, 1)), 9: of_arm[-1] + seed / 100},
            sharpness=[each * (1 + seed / 10) for each in (sharpness or {}).get(arm, [])],
        )
        for arm, of_arm in losses.items()
        for seed in range(6)
    ]


FAST_AND_SLOW = {"sgd": [4.5] * 6 + [2.5], "mine": [4.5, 2.5], "late": [4.5] * 7 + [2.5]}


def test_without_a_clip_speed_and_sharpness_are_answered_against_the_baseline() -> None:
    """mine takes 2 steps to sgd's 7, late 8; mine is half as sharp on every seed, and late alike."""
    sharpness = {"sgd": [2.0], "mine": [1.0], "late": [2.0]}
    lines = shown(racing(FAST_AND_SLOW, sharpness), question(*FAST_AND_SLOW, target=2.6))
    text = " ".join(lines)
    assert "Fewer steps to 2.6 than sgd: mine 0.286× (0.2" in text
    assert "; no for late." in text
    assert "Lower sharpness than sgd: mine 0.5× (0.5–0.5×); no for late." in text
    slow = " ".join(shown(racing({"sgd": [4.5, 2.5], "late": [4.5] * 7 + [2.5]}), question("sgd", "late", target=2.6)))
    assert "Fewer steps to 2.6 than sgd: no for late 4× (" in slow
    assert "sharpness than" not in slow
    by_steps = " ".join(shown(racing(FAST_AND_SLOW), question(*FAST_AND_SLOW, target=2.6), metric="steps"))
    assert "Fewer steps" not in by_steps


def test_speed_and_sharpness_that_are_not_shown_are_undecided() -> None:
    """The arms take turns: each is the sharper one on three seeds, and the faster one on three."""
    records = [
        record(run(arm, seed=seed), [5.0, 4.5 - 2 * turn, 2.5], sharpness=[1 + turn])
        for seed in range(6)
        for arm, turn in (("sgd", seed % 2), ("mine", (seed + 1) % 2))
    ]
    text = " ".join(shown(records, question("sgd", "mine", target=2.6)))
    assert "Fewer steps to 2.6 than sgd: undecided for mine 1× (" in text
    assert "Lower sharpness than sgd: undecided for mine 1× (" in text


def test_arms_with_fewer_than_two_pairs_are_named_apart_from_those_judged_together() -> None:
    arms = {"sgd": [3.0, 3.1, 3.2], "adam": [2.9, 3.2, 3.1], "lion": [3.1, 3.0, 3.3], "late": [2.0]}
    text = " ".join(shown(ended(arms), question(*arms)))
    assert "Undecided, of 2 judged together: " in text
    assert "Not judged, with fewer than two pairs of seeds: late." in text


def test_an_arm_that_is_earlier_to_a_hard_target_and_later_to_an_easy_one_is_said_to_be() -> None:
    """sgd reaches 2.5 never and adam at step 150; the loss that both reach is 3.0: adam at 150, sgd at 100.

    Steps are read every 50: on three seeds their rounding alone hides it, on eight it does not.
    """
    records = [
        record(run(arm, seed=seed), losses)
        for seed in range(8)
        for arm, losses in {"sgd": [5.0, 4.0, 3.0 - seed / 100, 3.0], "adam": [5.0, 4.0, 3.9, 2.4]}.items()
    ]
    text = " ".join(shown(records, question("sgd", "adam", target=2.5)))
    assert "adam is earlier to 2.5 (≥ 1.67×) but later to the loss that both reach (1.5× the steps)." in text
    assert " but " not in " ".join(shown(records[:6], question("sgd", "adam", target=2.5)))
    alike = " ".join(shown(ended({"sgd": [3.0, 3.1], "adam": [2.0, 2.2]}), question("sgd", "adam", target=2.5)))
    assert " but " not in alike


def test_more_seeds_are_new_seeds_alone_in_a_folder_of_their_own_with_their_cost() -> None:
    """adam needs some number of seeds; the runs took 3 s each; the trials' seeds 3 to 5 tuned and cannot report."""
    arms = {"sgd": [3.0, 3.2, 3.1], "adam": [2.7, 3.1, 2.9]}
    asks = question(*arms)
    judged = compare(ended(arms), asks).rows[1].judged
    assert judged is not None
    new = int(judged.seeds_needed)
    assert new > 1
    text = "\n".join(shown(ended(arms), asks))
    cost = f"{new} are {2 * new} runs, about {6 * new} s"
    assert f"New seeds alone would decide (80 % power; {cost}): {new} for adam" in text
    command = f"clipbench run benchmarks/quickstart.yaml --seeds 3..{2 + new} -o results-new"
    assert f"\n  {command}\n" in text
    tried = [record(trial("adam", lr=0.1, seed=seed), [5.0, 3.0]) for seed in (3, 4, 5)]
    with_trials = replace(asks, tuning=tuning({"adam": [0.1]}, seeds=(3, 4, 5), selected={"adam": 0.1}))
    assert f"--seeds 6..{5 + new} " in "\n".join(shown([*ended(arms), *tried], with_trials))


def many(n: int) -> Arms:
    draw = random.Random(1)
    return {f"arm{arm}": [3 - (arm > n / 2) * arm / 10 + draw.gauss(0, 0.2) for _ in range(5)] for arm in range(n)}


@pytest.mark.parametrize("n", [8, 9, 30])
def test_many_arms_are_the_decided_and_the_best_undecided_in_25_lines(n: int) -> None:
    arms = many(n)
    asks = question(*arms, baseline="arm0", target=3.2)
    sharp = [with_rows(each, [Measurement(50, 0.0, OWN, DIRECTIONAL_SHARPNESS, 1.0)]) for each in ended(arms)]
    lines = shown(sharp, asks)
    assert len(lines) <= 25
    text = " ".join(lines)
    assert "Fewer steps to 3.2 than arm0: " in text
    assert "Lower sharpness than arm0: no for arm" in text
    there = [line.split() for line in lines if re.match(r"[~+ -]  arm\d", line)]
    assert len(there) == 8
    of = compare(ended(arms), asks)
    decided = {row.arm for row in of.rows if row.verdict in ("lower", "higher")}
    names = [words[0] if words[0].startswith("arm") else words[1] for words in there]
    assert "arm0" in names
    assert decided >= set(names) - {"arm0"} or decided <= set(names)
    left = [row.verdict for row in of.rows if row.arm not in names]
    assert any(line.startswith(f"and {len(left)} more: ") for line in lines) is bool(left)


def over_three_tasks() -> list[Record]:
    """adam wins on two tasks and is undecided on one; lion loses on one; both reach 3.2 on some."""
    losses: dict[str, Arms] = {
        "lm": {"sgd": [3.0, 3.1, 3.2], "adam": [2.0, 2.1, 2.2001], "lion": [3.0, 3.3, 3.1]},
        "images": {"sgd": [3.3, 3.4, 3.5], "adam": [2.0, 2.1, 2.2001], "lion": [4.3, 4.4, 4.5001]},
        "graphs": {"sgd": [3.0, 3.1, 3.2], "adam": [3.1, 3.0, 3.2], "lion": [3.0, 3.3, 3.1]},
    }
    return [each for task, arms in losses.items() for each in ended(arms, task)]


def test_several_tasks_have_a_line_for_each_arm_with_what_it_won_and_lost() -> None:
    lines = shown(over_three_tasks(), question("sgd", "adam", "lion", target=3.2))
    text = "\n".join(lines)
    head = next(place for place, line in enumerate(lines) if line.startswith("arm "))
    assert lines[head].split()[:6] == ["arm", "speed-up", "reached", "won", "lost", "undecided"]
    counts = {line.split()[0]: re.findall(r" [\d–]+(?= )", line)[-3:] for line in lines[head + 1 : head + 4]}
    assert counts == {"adam": [" 2", " 0", " 1"], "sgd": [" –", " –", " –"], "lion": [" 0", " 1", " 2"]}
    assert "Lower final loss than sgd: adam on 2 of 3 tasks. Higher final loss than sgd: lion on 1 of 3 tasks." in text
    assert "--task lm|images|graphs" in text
    assert len(lines) <= 25


@pytest.mark.parametrize("metric", ["steps", "seconds", "sharpness", "train_seconds", "clipped_fraction"])
def test_the_screen_goes_by_the_metric_that_is_asked_for(metric: str) -> None:
    records = [with_rows(each, [Measurement(50, 0.0, OWN, "angle", 0.5)]) for each in quickstart()]
    of = compared(records, question(*ARMS, target=3.3), metric)
    text = " ".join(shown(records, question(*ARMS, target=3.3), metric=metric))
    name = {"steps": "steps to 3.3", "seconds": "seconds to target"}.get(metric, metric.replace("_", " "))
    assert name in text
    assert ("over sgd's" if of.metric.quantity.scale == "log" else "minus sgd") in text


def test_the_rows_keep_the_order_that_was_asked_for() -> None:
    records = quickstart()
    of = arranged(compared(records, question(*ARMS)), sort="-final_loss")
    source = screen.Origin([Path("results")], records, ("x.yaml",))
    text = drawn(screen.document(of, source, is_sorted=True), 100)
    names = re.findall(r"^[~x ]  (sgd\+clip|sgd|adam) ", text, re.MULTILINE)
    assert names == ["sgd", "sgd+clip", "adam"]


@pytest.mark.parametrize(
    ("moment", "told"), [(Moment(0.5, "fraction"), "at 50 % of 200 steps"), (Moment(50, "step"), "at step 50")]
)
def test_the_moment_of_the_comparison_is_told_with_the_budget(moment: Moment, told: str) -> None:
    lines = shown(quickstart(), question(*ARMS), at=moment)
    assert f" · {told} · " in lines[1]


@pytest.mark.parametrize("width", [160, 100, 80, 60, 40])
def test_no_line_is_wider_than_the_terminal_and_bars_go_before_numbers(width: int) -> None:
    lines = shown(quickstart(), question(*ARMS, target=3.3), width)
    commands = [line for line in lines if line.startswith(("  clipbench run ", "more: "))]  # whole, to be copied
    assert len(commands) == 2
    assert max(cell_len(line) for line in lines if line not in commands) <= width
    text = "\n".join(lines)
    assert ("━" in text) is (width >= 100)
    assert ("█" in text) is (width >= 80)
    if width >= 60:
        assert all(number in text for number in ("2.97", "3.10", "2.55", "-0.13"))


def test_warnings_are_counted_and_the_first_are_named_in_a_clause_that_says_something() -> None:
    text = " ".join(shown(quickstart(), question(*ARMS)))
    assert (
        "14 pass, 4 warn, 0 fail: Learning rates come from the spec and were not tuned · sgd+clip and its twin" in text
    )
    left = replace(compared(quickstart(), question(*ARMS)), left_out=("2 unreadable runs are left out: a and b.",))
    source = screen.Origin([Path("results")], quickstart(), ("x.yaml",))
    assert "fail: 2 unreadable runs are left out: a and b · Learning rates" in drawn(screen.document(left, source), 100)
    # a clause that is long is told without its figures, and once
    trials = (
        "Arms on a task were tuned unequally (" + f"{'sgd 5 trials of 200 steps, ' * 5}and {n} more)" for n in (1, 2)
    )
    left = replace(left, left_out=tuple(trials))
    assert "fail: Arms on a task were tuned unequally · Learning rates" in drawn(screen.document(left, source), 100)


@pytest.mark.parametrize(
    ("finding", "told"),
    [
        ("Left out: 2 runs of an earlier version of the spec or its code (mine).", "the whole"),
        ("Not finished, so in no mean: sgd on lm, seed 1.", "the whole"),
        ("mine: the probe norms failed; its other values are valid.", "the whole"),
        ("12 finished runs ended before the budget was spent: the schedule was cut short.", "spent"),
        ("With 2 seeds, a verdict needs a mean difference above 9. Start with 5 seeds", "9"),
    ],
)
def test_a_warning_is_not_cut_to_a_name_or_a_heading(finding: str, told: str) -> None:
    left = replace(compared(quickstart(), question(*ARMS)), left_out=(finding,))
    source = screen.Origin([Path("results")], quickstart(), ("x.yaml",))
    text = drawn(screen.document(left, source), ENDLESS)
    whole = finding.removesuffix(".") if told == "the whole" else finding[: finding.index(told) + len(told)]
    assert f" fail: {whole} · " in text


def test_a_race_that_all_arms_end_alike_is_told_beneath_the_table() -> None:
    """Their columns are the same in all rows, and dropped."""
    both = ended({"sgd": [3.0, 3.1], "adam": [2.9, 3.2]})
    asks = question("sgd", "adam")
    assert "all reach 3.6 at step 100 · " in "\n".join(shown(both, replace(asks, target=3.6)))
    assert "no run reached 0.1 · " in "\n".join(shown(both, replace(asks, target=0.1)))
    assert "2 of 4 runs reached 3.05 · " in "\n".join(shown(both, replace(asks, target=3.05)))
    by_steps = " ".join(shown(both, replace(asks, target=0.1), metric="steps"))
    assert "Undecided against sgd: adam (the target was missed in every pair)." in by_steps
    later = [each if each.run.seed else with_rows(each, [Measurement(25, 0.0, "", EVAL_LOSS, 3.0)]) for each in both]
    assert "all reach 3.6 at a median step of 62.5 · " in "\n".join(shown(later, replace(asks, target=3.6)))


def test_sharpness_as_the_metric_has_one_column() -> None:
    lines = shown(quickstart(), question(*ARMS), 160, metric="directional_sharpness")
    [head] = [line for line in lines if "over sgd's" in line]
    assert head.count("sharpness") == 1


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ([TrainingSettings()], " · target loss 3.3 · Xeon at 2.2 GHz · 1 thread"),
        (
            [TrainingSettings(precision="bf16", micro_batch=8)],
            " · micro-batches of 8, bf16 · Xeon at 2.2 GHz · 1 thread",
        ),
        ([TrainingSettings(processes=4)], " · 4 processes · Xeon at 2.2 GHz · 1 thread each"),
        (
            [TrainingSettings(), TrainingSettings(precision="tf32")],
            " · default training and tf32 · Xeon at 2.2 GHz · 1 thread",
        ),
    ],
)
def test_how_steps_were_computed_is_told_where_it_is_not_the_default(
    settings: list[TrainingSettings], told: str
) -> None:
    made = [
        replace(each, run=replace(each.run, training=settings[place % len(settings)]))
        for place, each in enumerate(quickstart())
    ]
    first = " ".join(shown(made, question(*ARMS, target=3.3), ENDLESS)[1:3])
    assert f"{told} " in f"{first} "
    of = compare(made, question(*ARMS, target=3.3))
    assert told in drawn(document(of), ENDLESS)
    [head] = json.loads(text(document(of), "json"))["tasks"]
    assert " and ".join(head["training"]) == ("" if "target" in told else told.split(" · ")[1])


LONG = {
    "sgd": [3.0, 3.1, 3.2],
    "sgd+clip[clip.fraction=0.1,clip.scope=global,lr=0.03]": [2.0, 2.1, 2.2001],
    "sgd+clip[clip.fraction=0.1,clip.scope=global,lr=0.3]": [2.9, 3.1, 3.3],
}


def test_a_long_name_is_shortened_in_its_middle_where_it_takes_the_room_of_the_intervals() -> None:
    lines = shown(ended(LONG), question(*LONG))
    [decided] = [line for line in lines if line.startswith("+  ")]
    assert decided.split()[1] == "sgd+clip[clip.f…lr=0.03]"
    assert "●" in decided
    assert any("sgd+clip[clip.fraction=0.1,clip.scope=global,lr=0.03]" in line for line in lines)
    wide = shown(ended(LONG), question(*LONG), ENDLESS)
    assert any(line.startswith("+  sgd+clip[clip.fraction=0.1,clip.scope=global,lr=0.03] ") for line in wide)


def test_names_that_would_be_shortened_alike_stay_whole() -> None:
    alike = {name.replace("clip.scope=global,lr=0.3]", "z=1,lr=0.03]"): each for name, each in LONG.items()}
    names = [line.split()[1] for line in shown(ended(alike), question(*alike)) if line[3:12] == "sgd+clip["]
    assert sorted(names) == sorted(alike)[1:]


def test_identical_arms_are_drawn_as_a_point() -> None:
    lines = shown(ended({"sgd": [3.0, 3.1, 3.2], "adam": [3.0, 3.1, 3.2]}), question("sgd", "adam"))
    [adam] = [line for line in lines if line.startswith("=  adam")]
    assert adam.count("●") == 1
    assert not set("━┄") & set(adam)


def test_over_several_tasks_the_baseline_is_answered_first_and_those_who_won_most_lead() -> None:
    """lion is better on one task of two, adam on both; and in accuracy higher is better."""
    won = {("lion", "lm"), ("adam", "lm"), ("adam", "images")}
    records = [
        with_rows(each, [Measurement(200, 0.0, "", "accuracy", 0.5 + 0.3 * ((each.run.arm.name, task) in won))])
        for task in ("lm", "images")
        for each in ended({"sgd": [3.0, 3.1, 3.2], "lion": [2.9, 3.2, 3.1], "adam": [2.9, 3.2, 3.1]}, task)
    ]
    accuracy = Along(recorded("accuracy", Manner("linear", "higher")))
    of = compare(records, question("sgd", "lion", "adam"), Asked(metric=accuracy))
    text = drawn(screen.document(of, screen.Origin([Path("results")], records, ("x.yaml",))), 100)
    assert "Higher accuracy than sgd: adam on 2 of 2 tasks and lion on 1 of 2 tasks." in text
    assert re.findall(r"^(adam|lion|sgd) ", text, re.MULTILINE) == ["adam", "lion", "sgd"]
    assert "won: tasks on which the accuracy is shown to be higher than sgd's" in text


def test_commands_quote_what_a_shell_would_read() -> None:
    source = screen.Origin([Path("my results; rm")], quickstart(), ("a b.yaml",))
    text = drawn(screen.document(compared(quickstart(), question(*ARMS)), source), ENDLESS)
    assert "of the spec 'a b.yaml'" in text
    assert f"clipbench report {shlex.quote('my results; rm')} -o page.html" in text


def test_a_bar_is_as_long_as_its_number_and_a_miss_is_a_shade() -> None:
    assert (bar(50, 200, 8), bar(200, 200, 8), bar(1, 200, 8)) == ("██", "████████", "█")
    assert (bar(float("inf"), 200, 4), bar(float("nan"), 200, 4), bar(0, 0, 4)) == ("░░░░", "", "")


def test_an_interval_is_drawn_to_scale_around_its_mean() -> None:
    """From -1 to 1 in 41 places: 0 in the middle, and a place for each 0.05."""
    line = replace(axis([(-1.0, 1.0)], [(-1.0, 1.0)], 41, "linear"), low=-1.0, high=1.0)
    drawing = line.interval(-0.5, (-0.75, -0.25), (-1.0, 0.5))
    assert (drawing.index("━"), drawing.rindex("━"), drawing.index("●")) == (5, 15, 10)
    assert (drawing.index("┄"), drawing.rindex("┄"), drawing.index("┼")) == (0, 30, 20)
    assert line.interval(float("nan"), (float("nan"),) * 2, (float("nan"),) * 2).strip() == "│"
    beyond = line.interval(0.5, (0.25, 0.75), (-9.0, 9.0))
    assert (beyond[0], beyond[-1]) == ("←", "→")
    assert line.labels().split() == ["-1", "-0.5", "0", "+0.5", "+1"]


def test_a_ratios_axis_is_labelled_with_ratios() -> None:
    assert "1×" in axis([(-3.0, -0.5)], [], 40, "log").labels().split()
    assert axis([(-0.1, 0.2)], [], 40, "log").labels().split()[0].endswith("×")
