"""What is to be run next, from the spec and from what was run before."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from judging.made import record, with_metric

from clipbench.errors import ClipbenchError
from clipbench.planning.extending import EXTENSIONS
from clipbench.planning.staging import Stage, staged
from clipbench.questions import Tuned
from clipbench.records import Record, Run
from clipbench.spec import Overrides, Spec, load

SPEC = """\
# Which is faster, each at its best?
task: [{use: quadratic, dimension: 8}, {use: quadratic, dimension: 16}]
optimizers:
  sgd: {use: sgd, lr: [0.1, 0.3, 1.0]}
  fixed: {use: lion, lr: 0.1}
  adam: {use: adam, lr: [0.1, 0.3, 1.0]}
budget: {steps: 10}
seeds: [0, 1]
tuning: {seeds: [8, 9]}
device: cpu
"""

SMALL, LARGE = "quadratic[dimension=8]", "quadratic[dimension=16]"
Losses = Callable[[Run], float]


def asked_for(folder: Path, text: str = SPEC, only: str | None = None) -> Spec:
    path = folder / "race.yaml"
    path.write_text(text)
    return load(path, Overrides(only=only))


def rate(run: Run) -> float:
    rate = run.arm.optimizer.options["lr"]
    assert isinstance(rate, float)
    return rate


def tuned_arms(stage: Stage) -> tuple[Tuned, ...]:
    assert stage.question.tuning is not None
    return stage.question.tuning.arms


def made(runs: Sequence[Run], loss: Losses) -> list[Record]:
    found = [(run, loss(run)) for run in runs]
    return [record(run, [5.0, end], status="finished" if end < 5 else "diverged") for run, end in found]


def towards(best: Mapping[str, float]) -> Losses:
    """Losses that are least at a rate for each arm, and grow with the distance from it."""
    return lambda run: 1 + abs(rate(run) - best[run.trial_of])


def names(runs: Sequence[Run]) -> list[str]:
    return [f"{run.arm.name}/{run.seed}" for run in runs if run.task.name == SMALL]


def test_at_first_there_are_trials_and_what_needs_none(tmp_path: Path) -> None:
    stage = staged(asked_for(tmp_path), [])
    assert names(stage.trials) == [
        *(f"{arm}[lr={lr}]/{seed}" for seed in (8, 9) for arm in ("sgd", "adam") for lr in ("0.1", "0.3", "1")),
    ]
    assert len(stage.trials) == 24
    assert names(stage.runs) == ["fixed/0", "fixed/1"]
    assert names(stage.waiting) == ["sgd/0", "adam/0", "sgd/1", "adam/1"]
    assert stage.question.arms == ("sgd", "fixed", "adam")
    assert stage.question.keys == tuple(run.key for run in stage.runs)


def test_what_was_selected_on_each_task_is_reported(tmp_path: Path) -> None:
    asked = asked_for(tmp_path)
    trials = staged(asked, []).trials
    best = {(SMALL, "sgd"): 0.3, (LARGE, "sgd"): 1.0, (SMALL, "adam"): 0.1, (LARGE, "adam"): 0.3}
    stage = staged(asked, made(trials, lambda run: 1 + abs(rate(run) - best[run.task.name, run.trial_of])))
    assert stage.trials == trials
    assert stage.waiting == ()
    assert names(stage.runs) == ["sgd/0", "fixed/0", "adam/0", "sgd/1", "fixed/1", "adam/1"]
    found = {(run.task.name, run.arm.name): rate(run) for run in stage.runs if run.arm.name != "fixed"}
    assert found == best
    assert stage.question.tuning is not None
    assert {(one.task, one.arm): one.selected["lr"] for one in tuned_arms(stage) if one.selected} == best
    assert stage.question.keys == tuple(run.key for run in stage.runs)
    assert all(run.measure.probes for run in stage.runs)


def test_an_arm_waits_for_its_own_trials_alone(tmp_path: Path) -> None:
    asked = asked_for(tmp_path)
    trials = staged(asked, []).trials
    half = [run for run in trials if run.trial_of == "sgd"]
    stage = staged(asked, made(half, towards({"sgd": 0.3})))
    assert {run.arm.name for run in stage.runs} == {"sgd", "fixed"}
    assert {run.arm.name for run in stage.waiting} == {"adam"}


def test_an_arm_of_which_no_trial_finished_neither_runs_nor_waits(tmp_path: Path) -> None:
    asked = asked_for(tmp_path)
    stage = staged(asked, made(staged(asked, []).trials, lambda run: 9.0 if run.trial_of == "sgd" else 1.0))
    assert {run.arm.name for run in (*stage.runs, *stage.waiting)} == {"fixed", "adam"}


def test_a_trial_that_crashed_keeps_its_place_and_is_spent(tmp_path: Path) -> None:
    asked = asked_for(tmp_path)
    trials = staged(asked, []).trials
    records = made(trials, towards({"sgd": 0.3, "adam": 0.3}))
    place = next(place for place, run in enumerate(trials) if run.trial_of == "sgd" and rate(run) == 0.3)
    records[place] = record(trials[place], [5.0], status="failed")
    stage = staged(asked, records)
    assert stage.trials == trials
    assert stage.spent == {trials[place].key}
    assert stage.waiting == ()
    found = {one.arm: one.selected for one in tuned_arms(stage) if one.task == trials[place].task.name}
    assert found == {"sgd": {"lr": 0.1}, "adam": {"lr": 0.3}}
    assert staged(asked, made(trials, lambda _: 9.0)).spent == frozenset()  # divergence is a result
    assert staged(asked, records[:-1]).spent == {trials[place].key}  # another arm's search goes on
    none = [record(run, [5.0], status="failed") for run in trials]
    assert staged(asked, none).spent == frozenset()  # nothing is selected, so nothing is reported


def test_a_filter_leaves_the_others_out_of_the_runs_and_in_the_question(tmp_path: Path) -> None:
    stage = staged(asked_for(tmp_path, only="s*"), [])
    assert {run.trial_of for run in stage.trials} == {"sgd"}
    assert {run.arm.name for run in (*stage.runs, *stage.waiting)} == {"sgd"}
    assert [each.arm for each in stage.tunings] == ["sgd", "sgd"]
    assert stage.question.tuning is not None
    assert {one.arm for one in tuned_arms(stage)} == {"sgd", "adam"}
    assert len(stage.question.keys) == 4  # the runs of `fixed` are still part of the plan


def test_without_tuning_there_is_one_stage(tmp_path: Path) -> None:
    stage = staged(asked_for(tmp_path, SPEC.replace("tuning: {seeds: [8, 9]}\n", "")), [])
    assert (stage.trials, stage.waiting, stage.question.tuning) == ((), (), None)
    assert len(stage.runs) == 2 * 2 * 7


def carried_out(asked: Spec, loss: Losses, *, extend: bool) -> tuple[Stage, list[Record]]:
    """All trials, as `run` makes them: those that are asked for, until no other follow."""
    records: list[Record] = []
    while True:
        stage = staged(asked, records, extend=extend)
        known = {each.run.key for each in records}
        further = [run for run in stage.trials if run.key not in known]
        if not further:
            return stage, records
        records += made(further, loss)


def test_an_extension_goes_beyond_the_edge_until_the_best_is_bracketed(tmp_path: Path) -> None:
    asked = asked_for(tmp_path)
    plain, _ = carried_out(asked, towards({"sgd": 4.0, "adam": 0.3}), extend=False)
    assert {len(one.trials) for one in tuned_arms(plain)} == {3}
    stage, records = carried_out(asked, towards({"sgd": 4.0, "adam": 0.3}), extend=True)
    tuned = {one.arm: one for one in tuned_arms(stage) if one.task == SMALL}
    assert [trial.settings["lr"] for trial in tuned["sgd"].trials] == [0.1, 0.3, 1.0, 3.333, 11.11]
    assert [trial.settings["lr"] for trial in tuned["adam"].trials] == [0.1, 0.3, 1.0, 0.1732, 0.5477]
    assert (tuned["sgd"].selected, tuned["sgd"].planned) == ({"lr": 3.333}, 3)
    assert {len(one.trials) for one in tuned_arms(stage)} == {5}  # as many for every arm
    # what was made counts whether it is asked for again or not
    assert staged(asked, records).question == stage.question
    # and new seeds, in a folder of their own, are tuned likewise
    assert stage.question.command == (*plain.question.command, "--extend-grid")


def test_an_extension_that_was_only_begun_does_not_count_until_it_is_asked_for_again(tmp_path: Path) -> None:
    asked = asked_for(tmp_path)
    loss = towards({"sgd": 4.0, "adam": 0.3})
    begun = made(staged(asked, []).trials, loss)
    further = [run for run in staged(asked, begun, extend=True).trials if rate(run) > 1]
    begun += made(further[:1], loss)
    assert {len(one.trials) for one in tuned_arms(staged(asked, begun))} == {3}
    assert {len(one.trials) for one in tuned_arms(staged(asked, begun, extend=True))} == {4}


def test_an_extension_has_a_limit(tmp_path: Path) -> None:
    stage, _ = carried_out(asked_for(tmp_path), lambda run: 4 / (1 + rate(run)), extend=True)
    assert {len(one.trials) for one in tuned_arms(stage)} == {3 + EXTENSIONS}
    assert {each.edges["lr"] for each in stage.tunings} == {"highest"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new", "only", "said"),
    [
        ("tuning: {seeds: [8, 9]}\n", "", None, "nothing is tuned"),
        ("{seeds: [8, 9]}", "{seeds: [8], search: halton, trials: 2}", None, "its search is halton"),
        ("# Which", "# Which", "sgd", "an extension gives every arm a trial"),
    ],
)
def test_what_cannot_be_extended_alike_for_all_is_refused(
    tmp_path: Path, old: str, new: str, only: str | None, said: str
) -> None:
    with pytest.raises(ClipbenchError, match=said):
        staged(asked_for(tmp_path, SPEC.replace(old, new), only=only), [], extend=True)


def test_trials_are_selected_by_the_steps_to_a_target_that_holds_as_long_as_the_spec_says(tmp_path: Path) -> None:
    curves = {0.1: [5.0, 1.0, 4.0, 1.0], 0.3: [5.0, 4.0, 1.0, 1.0], 1.0: [5.0, 4.0, 4.0, 4.0]}
    for consecutive, rate_selected in ((1, 0.1), (2, 0.3)):
        target = f"target: {{loss: 2, consecutive: {consecutive}}}\n"
        text = SPEC.replace("tuning: {seeds: [8, 9]}", f"tuning: {{seeds: [8, 9], select: steps_to_target}}\n{target}")
        asked = asked_for(tmp_path, text)
        stage = staged(asked, [record(run, curves[rate(run)]) for run in staged(asked, []).trials])
        assert {rate(run) for run in stage.runs if run.arm.name != "fixed"} == {rate_selected}


def test_trials_are_selected_by_a_metric_as_the_spec_says(tmp_path: Path) -> None:
    accuracy = {0.1: 0.5, 0.3: 0.9, 1.0: 0.7}
    for better, rate_selected in (("higher", 0.3), ("lower", 0.1)):
        select = f"{{quantity: accuracy, better: {better}}}"
        asked = asked_for(tmp_path, SPEC.replace("seeds: [8, 9]}", f"seeds: [8, 9], select: {select}}}"))
        records = [
            with_metric(record(run, [5.0, rate(run)]), [0.1, accuracy[rate(run)]]) for run in staged(asked, []).trials
        ]
        stage = staged(asked, records)
        assert {rate(run) for run in stage.runs if run.arm.name != "fixed"} == {rate_selected}
        assert stage.question.tuning is not None
        assert (stage.question.tuning.select, stage.question.tuning.better) == ("accuracy", better)
        [first, *_] = stage.tunings
        assert (first.selected_by, first.value.mean, first.loss.mean) == (
            "accuracy",
            accuracy[rate_selected],
            rate_selected,
        )
