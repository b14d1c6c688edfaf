"""What the `tuning` section of a spec means, and what it refuses."""

from pathlib import Path
from typing import Any

import pytest
from spec.bench import MINIMAL, Bench

from clipbench.errors import SpecError
from clipbench.questions import Manner, Question, Space
from clipbench.records import ClipSettings
from clipbench.spec import Searched, load, question
from clipbench.spec.models import TuningSettings
from clipbench.spec.searching import selected_by


def tuned(slow: str, section: str = "{seeds: [9]}", fast: str = "{use: descent, lr: 0.3, momentum: 0.9}") -> str:
    text = MINIMAL.replace("{use: descent, lr: 0.1}", slow).replace("{use: descent, lr: 0.3, momentum: 0.9}", fast)
    return text + f"tuning: {section}\n"


def test_with_tuning_a_grid_is_one_arm_with_settings_to_try(bench: Bench) -> None:
    spec = bench.load(tuned("{use: descent, lr: [0.1, 1], clip: {fraction: [0, 0.5]}}"))
    slow, fast = spec.arms
    assert isinstance(slow, Searched)
    assert (slow.name, fast.name, spec.baseline) == ("slow", "fast", "slow")
    assert [dict(each) for each in slow.settings] == [
        {"lr": 0.1, "clip.fraction": 0.0},
        {"lr": 0.1, "clip.fraction": 0.5},
        {"lr": 1.0, "clip.fraction": 0.0},
        {"lr": 1.0, "clip.fraction": 0.5},
    ]
    assert slow.spaces == (Space("lr", (0.1, 1.0)), Space("clip.fraction", (0.0, 0.5)))
    assert question(spec) == Question("race", "Is it faster?", ("slow", "fast"), "slow", command=("race.yaml",))


def test_a_trial_says_its_settings_in_its_name_and_the_selected_arm_does_not(bench: Bench) -> None:
    arm = bench.load(tuned("{use: descent, lr: [0.1, 1], clip: {fraction: [0, 0.5]}, momentum: 0.9}")).searched[0]
    trial, selected = arm.trial(arm.settings[1]), arm.selected(arm.settings[1])
    assert (trial.name, selected.name) == ("slow[lr=0.1,clip.fraction=0.5]", "slow")
    assert trial.optimizer == selected.optimizer
    assert trial.clip == selected.clip == ClipSettings(0.5)
    assert (selected.optimizer.options["lr"], selected.optimizer.options["momentum"]) == (0.1, 0.9)
    assert arm.trial(arm.settings[0]).clip is None


def test_settings_beyond_the_grid_make_an_arm_as_well(bench: Bench) -> None:
    arm = bench.load(tuned("{use: descent, lr: [0.1, 1]}")).searched[0]
    assert arm.trial({"lr": 10.0}).optimizer.options["lr"] == 10.0


@pytest.mark.parametrize("search", ["halton", "random"])
def test_a_search_draws_as_many_settings_for_every_arm(bench: Bench, search: str) -> None:
    text = tuned(
        "{use: descent, lr: {log: [1e-4, 1e-1]}, clip: {fraction: {range: [0.1, 0.5]}}, every: {range: [1, 9]}}",
        f"{{seeds: [9], search: {search}, trials: 7}}",
        "{use: descent, lr: [1, 2, 3, 4, 5, 6, 7, 8]}",
    )
    slow, fast = bench.load(text).searched
    assert slow.spaces == (
        Space("lr", low=1e-4, high=1e-1, log=True),
        Space("clip.fraction", low=0.1, high=0.5),
        Space("every", low=1.0, high=9.0),
    )
    assert len(slow.settings) == len(fast.settings) == len({each["lr"] for each in fast.settings}) == 7
    for each in slow.settings:
        arm = slow.trial(each)
        rate = arm.optimizer.options["lr"]
        assert isinstance(rate, float)
        assert 1e-4 <= rate <= 1e-1
        assert arm.clip is not None
        assert 0.1 <= arm.clip.amount <= 0.5
        assert type(arm.optimizer.options["every"]) is int
    assert bench.load(text).searched[0].settings == slow.settings


@pytest.mark.parametrize("rule", ["threshold", "norm"])
def test_the_limit_of_a_clip_may_be_searched(bench: Bench, rule: str) -> None:
    text = f"{{use: descent, lr: 1, clip: {{{rule}: {{log: [0.01, 1]}}}}}}"
    arm = bench.load(tuned(text, "{seeds: [9], search: halton, trials: 2}")).searched[0]
    clips = [arm.trial(each).clip for each in arm.settings]
    assert [(clip.rule, clip.amount) for clip in clips if clip] == [(rule, 0.1), (rule, 0.03162)]


def test_the_number_of_trials_may_be_stated_for_grids(bench: Bench) -> None:
    assert len(bench.load(tuned("{use: descent, lr: [1, 2]}", "{seeds: [9], trials: 2}")).searched[0].settings) == 2


def test_tuning_may_be_asked_for_from_outside_the_file(bench: Bench) -> None:
    spec = bench.load(MINIMAL.replace("lr: 0.1", "lr: [0.1, 0.2]"), "tuning.seeds=[9]")
    assert [len(arm.settings) for arm in spec.searched] == [2]


def test_the_best_may_be_selected_by_the_steps_to_a_target(bench: Bench) -> None:
    text = tuned("{use: descent, lr: [1, 2]}", "{seeds: [9], select: steps_to_target}") + "target: {loss: 1}\n"
    tuning = bench.load(text).tuning
    assert tuning is not None
    assert tuning.select == "steps_to_target"


@pytest.mark.parametrize(
    ("written", "manners", "selection"),
    [
        ("eval_loss", {}, ("eval_loss", "lower")),
        ("final_loss", {}, ("eval_loss", "lower")),
        ("steps", {}, ("steps_to_target", "lower")),
        ("seconds_to_target", {}, ("seconds_to_target", "lower")),
        ("train_slice_loss", {}, ("train_slice_loss", "lower")),
        ("accuracy", {"accuracy": Manner(better="higher")}, ("accuracy", "higher")),
        ("error", {"error": Manner(better="lower")}, ("error", "lower")),
        ({"quantity": "accuracy", "better": "higher"}, {}, ("accuracy", "higher")),
        ({"quantity": "accuracy", "better": "lower"}, {"accuracy": Manner(better="higher")}, ("accuracy", "lower")),
        ({"quantity": "accuracy"}, {"accuracy": Manner(better="higher")}, ("accuracy", "higher")),
        ({"quantity": "eval_loss", "better": "lower"}, {}, ("eval_loss", "lower")),
    ],
)
def test_trials_are_selected_by_a_quantity_and_its_better_side(
    written: Any, manners: dict[str, Manner], selection: tuple[str, str]
) -> None:
    assert selected_by(TuningSettings(seeds=(9,), select=written), manners) == selection


def test_a_task_of_the_users_own_says_which_side_of_its_metric_is_better(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own_sided.py").write_text(
        "QUANTITIES = {'accuracy': ('linear', 'higher', 'last')}\ndef build(seed, device): ...\n"
    )
    text = "# Is it?\ntask: {use: 'own_sided:build'}\noptimizers: {sgd: {use: sgd, lr: [0.1, 0.2]}}\n"
    text += "budget: {steps: 9}\nseeds: [0]\nevaluate: {every: 3}\nmeasure: {probes: []}\n"
    Path("mine.yaml").write_text(text + "tuning: {seeds: [9], select: accuracy}\n")
    assert load("mine.yaml").selection == ("accuracy", "higher")
    Path("mine.yaml").write_text(text + "tuning: {seeds: [9], select: acuracy}\n")
    with pytest.raises(SpecError, match=r"which side of acuracy is better is not known: .*say it of accuracy"):
        load("mine.yaml")


GRID = "{use: descent, lr: [1, 2]}"


@pytest.mark.parametrize(
    ("section", "fault"),
    [
        ("{}", "8:1: tuning: the key 'seeds' is missing"),
        ("{seeds: []}", "8:17: tuning.seeds: at least one is needed, found the list []"),
        ("{seeds: [9, 0]}", "8:21: tuning.seeds.1: 0 is among `seeds` as well: what tuned an arm cannot judge it"),
        ("{seeds: [9], trials: 0}", "8:30: tuning.trials: must be at least 1, found 0"),
        (
            "{seeds: [9], search: halton}",
            "8:9: tuning: a halton search needs `trials`, the number of settings to draw for each arm",
        ),
        (
            "{seeds: [9], search: sobol}",
            "8:30: tuning.search: expected 'grid', 'random' or 'halton', found the text 'sobol'",
        ),
        ("{seeds: [9], trails: 3}", "8:22: tuning.trails: there is no such key; did you mean 'trials'?"),
        (
            "{seeds: [9], select: steps_to_target}",
            "8:30: tuning.select: there is no `target` to count the steps to",
        ),
        ("{seeds: [9], select: seconds}", "8:30: tuning.select: there is no `target` to count the seconds to"),
        (
            "{seeds: [9], select: recall}",
            "8:30: tuning.select: which side of recall is better is not known: write `select: {quantity: recall, "
            "better: higher}`, or lower",
        ),
        (
            "{seeds: [9], select: acuracy}",
            "8:30: tuning.select: which side of acuracy is better is not known: did you mean 'accuracy'? Or write "
            "`select: {quantity: acuracy, better: higher}`, or lower",
        ),
        (
            "{seeds: [9], select: accuracy@slow}",
            "8:30: tuning.select: trials are selected at evaluations, which have no direction: write accuracy",
        ),
        (
            "{seeds: [9], select: sharpness}",
            "8:30: tuning.select: no trial is selected by directional_sharpness: name a loss, steps_to_target or a "
            "metric of the task",
        ),
        (
            "{seeds: [9], select: {quantity: eval_loss, better: higher}}",
            "8:30: tuning.select: of eval_loss lower is better",
        ),
        (
            "{seeds: [9], select: {quantity: a, better: up}}",
            "8:52: tuning.select.better: expected 'lower' or 'higher', found the text 'up'",
        ),
        ("{seeds: [9], select: {better: lower}}", "8:22: tuning.select: the key 'quantity' is missing"),
        (
            "{seeds: [9], select: {quantity: a, beter: lower}}",
            "8:44: tuning.select.beter: there is no such key; did you mean 'better'?",
        ),
        ("{seeds: [9], select: [a]}", "8:30: tuning.select: expected text, found the list [a]"),
        (
            "{seeds: [9], search: halton, trials: 3}",
            "4:3: optimizers.slow: only 2 different settings could be drawn, and 3 trials are asked for",
        ),
        (
            "{seeds: [9], trials: 3}",
            "8:1: tuning: every arm must have the same number of trials, but slow has 2 and `trials` asks for 3; make "
            "the grids equal in size, or draw `trials` settings an arm by `search: halton` or `random`",
        ),
    ],
)
def test_a_wrong_section_is_a_fault_at_its_place(bench: Bench, section: str, fault: str) -> None:
    assert bench.faults(lambda: bench.load(tuned(GRID, section))) == [fault]


@pytest.mark.parametrize(
    ("section", "fault"),
    [
        ("{seeds: [9], search: halton, trials: 1000000000}", "tuning.trials: must be at most 1000, found 1000000000"),
        (f"{{seeds: {[*range(9, 1010)]}}}", "tuning.seeds: at most 1000 are allowed, found the list [9, 10, "),
    ],
)
def test_more_than_anybody_means_is_refused_before_it_fills_memory(bench: Bench, section: str, fault: str) -> None:
    [found] = bench.faults(lambda: bench.load(tuned("{use: descent, lr: [0.1, 1]}", section)))
    assert fault in found


@pytest.mark.parametrize("section", ["", "tuning: {seeds: [9]}\n"])
def test_a_grid_of_more_points_than_are_worth_making_is_refused_before_it_is_made(bench: Bench, section: str) -> None:
    rates, momenta = [f"{place}.5" for place in range(1, 41)], [f"0.{place}" for place in range(100, 130)]
    grid = f"{{use: descent, lr: [{', '.join(rates)}], momentum: [{', '.join(momenta)}]}}"
    text = MINIMAL.replace("{use: descent, lr: 0.1}", grid) + section
    [found] = bench.faults(lambda: bench.load(text))
    assert "optimizers.slow: its lists make 1200 settings, and at most 1000 are allowed" in found


def test_grids_of_unequal_size_are_refused_with_the_counts_of_every_arm(bench: Bench) -> None:
    [fault] = bench.faults(lambda: bench.load(tuned(GRID, fast="{use: descent, lr: [1, 2, 3]}")))
    assert fault.startswith("8:1: tuning: every arm must have the same number of trials, but slow has 2, fast has 3; ")


def test_a_tuning_that_leaves_nothing_open_is_refused(bench: Bench) -> None:
    [fault] = bench.faults(lambda: bench.load(MINIMAL + "baseline: fast\ntuning: {seeds: [9]}\n"))
    assert fault == "9:1: tuning: no arm has anything to tune: give one a list of values or a space"


def test_a_point_of_a_tuned_grid_cannot_be_the_baseline(bench: Bench) -> None:
    [fault] = bench.faults(lambda: bench.load(tuned(GRID) + "baseline: 'slow[lr=1]'\n"))
    assert fault == "9:11: baseline: there is no arm 'slow[lr=1]'; known: fast, slow"


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ("lr: {log: [2, 1]}", "lr: a space goes from a low to a higher end, [low, high]; this one is [2.0, 1.0]"),
        ("lr: {log: [1]}", "lr: a space goes from a low to a higher end, [low, high]; this one is [1.0]"),
        ("lr: {range: []}", "lr: a space goes from a low to a higher end, [low, high]; this one is []"),
        ("lr: {log: [0, 1]}", "lr: a space in the logarithm begins above 0, not at 0.0"),
        ("lr: {}", "lr: a space is one of `range: [low, high]` and `log: [low, high]`; this one has neither"),
        (
            "lr: {log: [1, 2], range: [1, 2]}",
            "lr: a space is one of `range: [low, high]` and `log: [low, high]`; this one has both",
        ),
        ("lr: {lgo: [1, 2]}", "lr.lgo: there is no such key; did you mean 'log'?"),
        ("lr: {log: [1, x]}", "lr.log.1: expected a number, found the text 'x'"),
        ("lr: {log: 3}", "lr.log: expected a list, found 3"),
        ("lr: 1, every: {range: [1, 2.5]}", "every: expected whole numbers as its ends, found [1.0, 2.5]"),
        ("lr: 1, form: {log: [1, 2]}", "form: expected 'plain' | 'fancy', found a mapping"),
        ("lr: 1, nesterov: {range: [0, 1]}", "nesterov: expected bool, found a mapping"),
        (
            "lr: 1, clip: {fraction: {range: [0.5, 1]}}",
            "clip.fraction: a fraction is at least 0 and below 1; this space is [0.5, 1.0]",
        ),
        ("lr: 1, clip: {norm: {range: [0, 1]}}", "clip.norm: a limit is above 0; this space is [0.0, 1.0]"),
        (
            "lr: 1, clip: {norm: {log: [2, 1]}}",
            "clip.norm: a space goes from a low to a higher end, [low, high]; this one is [2.0, 1.0]",
        ),
        ("lr: 1, clip: {norm: {lgo: [2, 1]}}", "clip.norm.lgo: there is no such key; did you mean 'log'?"),
    ],
)
def test_a_wrong_space_is_a_fault_at_its_place(bench: Bench, settings: str, fault: str) -> None:
    section = "{seeds: [9], search: halton, trials: 2}"
    [found] = bench.faults(lambda: bench.load(tuned(f"{{use: descent, {settings}}}", section)))
    place, _, said = found.partition(" optimizers.slow.")
    assert said == fault
    line, column, _ = place.split(":")
    assert line == "4"
    assert int(column) > len("  slow: {use: descent, ")


@pytest.mark.parametrize("option", ["lr: {log: [1, 2]}", "lr: 1, clip: {norm: {log: [1, 2]}}"])
def test_a_space_needs_a_search_that_draws_from_it(bench: Bench, option: str) -> None:
    slow = f"{{use: descent, {option}}}"
    [fault] = bench.faults(lambda: bench.load(tuned(slow)))
    assert "say `search: halton` or `random`, with `trials`, or list the values" in fault
    [fault] = bench.faults(lambda: bench.load(tuned(slow).partition("tuning")[0]))
    assert "add a `tuning` section, or list the values" in fault


def test_a_space_of_a_task_is_no_space(bench: Bench) -> None:
    text = tuned(GRID).replace("task: valley", "task: {use: valley, depth: {log: [1, 2]}}")
    assert bench.faults(lambda: bench.load(text)) == ["2:28: task.depth: expected float, found a mapping"]
