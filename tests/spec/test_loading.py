import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from spec.bench import MINIMAL, Bench, settled

from clipbench.budget import Budget
from clipbench.errors import SpecError
from clipbench.planning.runs import plan
from clipbench.questions import Question, Target
from clipbench.records import ClipSettings, Schedule
from clipbench.spec import load, question


def test_a_spec_is_filled_in_and_looked_up(bench: Bench) -> None:
    spec = bench.load()
    assert (spec.name, spec.question, spec.baseline) == ("race", "Is it faster?", "slow")
    assert (spec.budget, spec.seeds, spec.device, spec.threads) == (Budget(100.0, "steps"), (0, 1), "auto", 1)
    assert (spec.measure.evaluate_every, spec.measure.probe_every, spec.target) == (20, 50, None)
    [probe] = spec.measure.probes
    assert (probe.use, probe.options) == ("sharpness", {"samples": 1})
    slow, fast = settled(spec)
    assert slow.optimizer.target == "bench.optimizers.descent:build"
    assert slow.optimizer.options == {
        "lr": 0.1,
        "momentum": 0.0,
        "betas": (0.9, 0.999),
        "eps": 1e-8,
        "nesterov": False,
        "form": "plain",
        "every": 1,
        "cap": None,
    }
    assert fast.optimizer.options["momentum"] == 0.9
    assert len(slow.optimizer.source) == 64


def test_numbers_are_of_one_type_however_they_are_written(bench: Bench) -> None:
    spec = bench.arm("{use: descent, lr: 1, clip: {fraction: 0.1}, schedule: {use: linear, warmup: 0, final: 1}}")
    [arm, _] = settled(spec)
    assert repr(arm.optimizer.options["lr"]) == "1.0"
    assert repr((arm.schedule.warmup, arm.schedule.final)) == "(0.0, 1.0)"
    assert repr(spec.budget.amount) == "100.0"


def test_every_key_of_a_spec_is_carried_over(bench: Bench) -> None:
    spec = bench.load(
        MINIMAL.replace("{steps: 100}", "{seconds: 2.5}")
        + "baseline: fast\nschedule: {use: cosine, warmup: 0.1, final: 0.2}\nevaluate: {every: 3}\ntarget: {loss: 2}\n"
        + "measure: {every: 7, probes: [norms, {use: sharpness, samples: 4}]}\ndevice: cuda:1\nthreads: 2\n"
    )
    assert (spec.baseline, spec.budget, spec.target) == ("fast", Budget(2.5, "seconds"), Target(2.0))
    assert {arm.schedule for arm in settled(spec)} == {Schedule("cosine", 0.1, 0.2)}
    assert (spec.measure.evaluate_every, spec.measure.probe_every) == (3, 7)
    assert [(one.name, one.options["samples"]) for one in spec.measure.probes] == [("norms", 1), ("sharpness", 4)]
    assert (spec.device, spec.threads) == ("cuda:1", 2)


def test_from_which_rise_a_run_has_diverged_is_the_questions_and_makes_no_other_run(bench: Bench) -> None:
    plain, strict = bench.load(), bench.load(MINIMAL + "evaluate: {diverged: 0.02}\n")
    assert (question(plain).diverged, question(strict).diverged) == (0.1, 0.02)
    assert question(bench.load(MINIMAL, "evaluate.diverged=1")).diverged == 1.0
    keys = [[run.key for run in plan(spec, device="cpu")] for spec in (plain, strict)]
    assert keys[0] == keys[1]


def test_an_arm_may_have_its_own_schedule_and_clip(bench: Bench) -> None:
    spec = bench.arm("{use: descent, lr: 0.1, clip: {fraction: 0.5, of: update}, schedule: cosine}")
    assert settled(spec)[0].clip == ClipSettings(0.5, of="update")
    assert [arm.schedule.use for arm in settled(spec)] == ["cosine", "constant"]


@pytest.mark.parametrize("liveness", ["refuse", "warn", "off"])
def test_an_arm_says_what_becomes_of_it_where_its_check_of_life_fails(bench: Bench, liveness: str) -> None:
    """To every point of its grid, and to no other arm; it is no option of the optimizer."""
    spec = bench.arm(f"{{use: descent, lr: [0.1, 0.2], liveness: {liveness}}}")
    assert [arm.liveness for arm in settled(spec)] == [liveness, liveness, "refuse"]
    assert "liveness" not in settled(spec)[0].optimizer.options


def test_an_arm_that_is_tuned_keeps_what_becomes_of_it(bench: Bench) -> None:
    text = MINIMAL.replace("lr: 0.1", "lr: [0.1, 0.2], liveness: warn") + "tuning: {seeds: [9]}\n"
    [slow] = bench.load(text).searched
    made = [slow.trial(slow.settings[0]), slow.selected(slow.settings[1])]
    assert [arm.liveness for arm in made] == ["warn", "warn"]


def test_the_check_of_life_may_be_set_from_outside_the_file(bench: Bench) -> None:
    assert settled(bench.load(MINIMAL, "optimizers.slow.liveness=off"))[0].liveness == "off"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("{fraction: 0.1}", ClipSettings(0.1)),
        ("{fraction: 0.1, of: gradient, scope: global}", ClipSettings(0.1)),
        ("{fraction: 0.1, scope: tensor}", ClipSettings(0.1, scope="tensor")),
        ("{fraction: 0.5, of: numerator, scope: group}", ClipSettings(0.5, of="numerator", scope="group")),
        ("{fraction: 0.1, of: update, scale: norm}", ClipSettings(0.1, of="update", scale="norm")),
        ("{fraction: 0.1, scale: none, ignore_zeros: false}", ClipSettings(0.1)),
        ("{fraction: 0.1, ignore_zeros: true}", ClipSettings(0.1, ignore_zeros=True)),
        ("{threshold: 1e-2}", ClipSettings(threshold=0.01)),
        ("{norm: 1}", ClipSettings(norm=1.0)),
    ],
)
def test_a_clip_is_by_fraction_by_threshold_or_by_norm(bench: Bench, written: str, meant: ClipSettings) -> None:
    assert settled(bench.arm(f"{{use: descent, lr: 0.1, clip: {written}}}"))[0].clip == meant


@pytest.mark.parametrize("rule", ["threshold", "norm"])
def test_the_limit_of_a_clip_may_be_a_grid(bench: Bench, rule: str) -> None:
    arms = settled(bench.arm(f"{{use: descent, clip: {{{rule}: [1, 0.1]}}, lr: [0.5]}}"))
    assert [arm.name for arm in arms] == [f"slow[clip.{rule}=1,lr=0.5]", f"slow[clip.{rule}=0.1,lr=0.5]", "fast"]
    assert [arm.clip and (arm.clip.rule, arm.clip.amount) for arm in arms] == [(rule, 1.0), (rule, 0.1), None]


def test_a_fraction_of_zero_is_no_clip(bench: Bench) -> None:
    for zero in ("0", "0.0"):
        assert settled(bench.arm(f"{{use: descent, lr: 0.1, clip: {{fraction: {zero}}}}}"))[0].clip is None


def test_an_empty_list_of_probes_measures_nothing(bench: Bench) -> None:
    assert bench.load(MINIMAL + "measure: {probes: []}\n").measure.probes == ()


def test_lists_are_grids_in_the_order_written(bench: Bench) -> None:
    spec = bench.arm("{use: descent, lr: [1.0, 0.1], clip: {fraction: [0, 0.25]}, momentum: [0.9]}")
    assert [arm.name for arm in spec.arms] == [
        "slow[lr=1,clip.fraction=0,momentum=0.9]",
        "slow[lr=1,clip.fraction=0.25,momentum=0.9]",
        "slow[lr=0.1,clip.fraction=0,momentum=0.9]",
        "slow[lr=0.1,clip.fraction=0.25,momentum=0.9]",
        "fast",
    ]
    assert [arm.clip for arm in settled(spec)[:2]] == [None, ClipSettings(0.25)]
    assert spec.baseline == spec.arms[0].name
    assert "clip.fraction" not in settled(spec)[1].optimizer.options


def test_an_option_that_is_a_tuple_takes_a_list_and_its_grid_a_list_of_lists(bench: Bench) -> None:
    [one, _] = settled(bench.arm("{use: descent, lr: 1, betas: [0.5, 1]}"))
    assert (one.name, one.optimizer.options["betas"]) == ("slow", (0.5, 1.0))
    first, second, _ = settled(bench.arm("{use: descent, lr: 1, betas: [[0.5, 1], [0, 0]]}"))
    assert (first.name, first.optimizer.options["betas"]) == ("slow[betas=(0.5, 1)]", (0.5, 1.0))
    assert second.optimizer.options["betas"] == (0.0, 0.0)


def test_tasks_of_one_name_are_told_apart_by_the_options_written_for_them(bench: Bench) -> None:
    def names(task: str) -> list[str]:
        return [one.name for one in bench.replaced("task: valley", f"task: {task}").tasks]

    assert names("[bowl, valley]") == ["bowl", "valley"]
    assert names("{use: bowl, width: [2, 4], name: b}") == ["bowl[width=2]", "bowl[width=4]"]
    assert names("[bowl, {use: bowl, width: 4, name: b}]") == ["bowl", "bowl[width=4,name=b]"]


def test_a_baseline_may_be_one_point_of_a_grid(bench: Bench) -> None:
    text = MINIMAL.replace("lr: 0.1", "lr: [0.1, 0.2]")
    assert bench.load(text + "baseline: slow[lr=0.2]\n").baseline == "slow[lr=0.2]"


@pytest.mark.parametrize(
    ("baseline", "said"),
    [
        ("fats", "there is no arm 'fats'; did you mean 'fast'?"),
        ("slow", "the arm 'slow' is a grid; name one of slow[lr=0.1], slow[lr=0.2]"),
        ("slow[lr=0.3]", "there is no arm 'slow[lr=0.3]'; did you mean 'slow[lr=0.2]'?"),
    ],
)
def test_a_baseline_that_is_no_arm_is_a_fault(bench: Bench, baseline: str, said: str) -> None:
    text = MINIMAL.replace("lr: 0.1", "lr: [0.1, 0.2]") + f"baseline: {baseline}\n"
    assert bench.faults(lambda: bench.load(text)) == [f"8:11: baseline: {said}"]


def test_a_baseline_that_may_be_an_arm_is_not_blamed_for_other_faults(bench: Bench) -> None:
    text = MINIMAL.replace("lr: 0.1", "lr: [0.1, yes]")
    for baseline in ("slow", "fast", "slow[lr=0.2]"):
        [fault] = bench.faults(partial(bench.load, text + f"baseline: {baseline}\n"))
        assert fault.startswith("4:34: ")


def test_a_grid_may_not_make_the_name_of_another_arm(bench: Bench) -> None:
    text = MINIMAL.replace("lr: 0.1", "lr: [0.1, 0.2]").replace("fast", "slow[lr=0.1]")
    [fault] = bench.faults(lambda: bench.load(text))
    assert fault.startswith("5:3: ")
    assert "has an arm 'slow[lr=0.1]', and so has 'slow'; rename one" in fault


def test_the_question_goes_to_those_who_read_the_results(bench: Bench) -> None:
    spec = bench.load(MINIMAL + "target: {loss: 0.5, consecutive: 3}\n")
    assert question(spec).consecutive == 3
    spec = bench.load(MINIMAL + "target: {loss: 0.5}\neffect: 0.05\n")
    asked = Question("race", "Is it faster?", ("slow", "fast"), "slow", 0.5, effect=0.05, command=("race.yaml",))
    assert question(spec) == asked
    assert question(bench.load()).effect is None


def test_a_spec_error_is_a_usage_error(bench: Bench) -> None:
    with pytest.raises(SpecError, match=r"1 error in .*race\.yaml; nothing was run") as caught:
        bench.replaced("[0, 1]", "[]")
    assert caught.value.exit_code == 2


REAL = """\
# Does it work?
task: code_lm
optimizers:
  sgd: {use: sgd, lr: [0.1, 0.3]}
  adam: {use: adam, lr: 1e-3, betas: [0.9, 0.99], clip: {fraction: 0.5, of: numerator}}
budget: {steps: 20}
seeds: [0]
"""


def test_a_spec_of_real_names_is_read(tmp_path: Path) -> None:
    path = tmp_path / "real.yaml"
    path.write_text(REAL)
    spec = load(path)
    assert [arm.name for arm in spec.arms] == ["sgd[lr=0.1]", "sgd[lr=0.3]", "adam"]
    assert settled(spec)[2].optimizer.options["betas"] == (0.9, 0.99)
    assert spec.tasks[0].target == "clipbench.tasks.code_lm:build"
    assert spec.data == {"code_lm": "python_stdlib"}


@pytest.mark.slow
def test_reading_a_spec_imports_nothing_that_is_slow_to_import(tmp_path: Path) -> None:
    path = tmp_path / "real.yaml"
    path.write_text(REAL)
    script = (
        "import sys\nfrom clipbench.planning.runs import plan\nfrom clipbench.spec import load, question, json_schema\n"
        f"spec = load({str(path)!r})\nplan(spec, device='cpu'), question(spec), json_schema()\n"
        "assert not {'torch', 'numpy', 'scipy'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
