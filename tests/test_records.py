"""A run's identity: what decides its numbers changes the key, what is only a label does not."""

import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, get_args

import pytest
from making import SGD, make_run

from clipbench.budget import Budget
from clipbench.records import Arm, Choice, ClipScale, ClipSettings, Measure, Outcome, Record, Run, Schedule

RUN = make_run()
[PROBE] = RUN.measure.probes


@pytest.mark.parametrize(
    "changed",
    [
        replace(RUN, seed=1),
        replace(RUN, budget=Budget(13, "steps")),
        replace(RUN, budget=Budget(12, "samples")),
        replace(RUN, device="cuda"),
        replace(RUN, threads=2),
        replace(RUN, data="another text"),
        replace(RUN, task=replace(RUN.task, options={"dimension": 17})),
        replace(RUN, task=replace(RUN.task, source="edited")),
        replace(RUN, arm=replace(RUN.arm, clip=ClipSettings(0.1))),
        replace(RUN, arm=replace(RUN.arm, clip=ClipSettings(0.1, "update"))),
        replace(RUN, arm=replace(RUN.arm, clip=ClipSettings(0.1, scope="tensor"))),
        replace(RUN, arm=replace(RUN.arm, clip=ClipSettings(0.1, scale="norm"))),
        replace(RUN, arm=replace(RUN.arm, clip=ClipSettings(0.1, ignore_zeros=True))),
        replace(RUN, arm=replace(RUN.arm, clip=ClipSettings(threshold=0.1))),
        replace(RUN, arm=replace(RUN.arm, clip=ClipSettings(norm=0.1))),
        replace(RUN, arm=replace(RUN.arm, schedule=Schedule("cosine"))),
        replace(RUN, arm=replace(RUN.arm, optimizer=replace(SGD, options={"lr": 0.06, "momentum": 0.9}))),
        replace(RUN, arm=replace(RUN.arm, optimizer=replace(SGD, source="edited"))),
        replace(RUN, measure=Measure(4, 6, RUN.measure.probes)),
        replace(RUN, measure=Measure(4, 5)),
        replace(RUN, measure=replace(RUN.measure, probe_at=(0.5,))),
        replace(RUN, measure=replace(RUN.measure, precision="tf32")),
        replace(RUN, measure=replace(RUN.measure, ghosts=(Arm("adam", SGD),))),
        replace(RUN, measure=replace(RUN.measure, ghosts=(Arm("another name of the direction", SGD),))),
    ],
)
def test_any_meaningful_field_changes_the_key(changed: Run) -> None:
    assert changed.key != RUN.key


@dataclass(frozen=True)
class LaterRun(Run):
    """The dataclasses of a run as a later clipbench may have them: each with an option more, at its default."""

    later: int = 3


@dataclass(frozen=True)
class LaterChoice(Choice):
    later: tuple[str, ...] = ()


@dataclass(frozen=True)
class LaterClip(ClipSettings):
    later: float | None = None


@dataclass(frozen=True)
class LaterSchedule(Schedule):
    later: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class LaterBudget(Budget):
    later: bool = False


@dataclass(frozen=True)
class LaterMeasure(Measure):
    later: Schedule | None = None


@dataclass(frozen=True)
class LaterArm(Arm):
    later: str = "as ever"


FULL = replace(
    RUN,
    arm=replace(RUN.arm, clip=ClipSettings(0.1, "update"), schedule=Schedule("cosine", warmup=0.1)),
    measure=replace(RUN.measure, ghosts=(Arm("adam", SGD, ClipSettings(norm=2.0)),), probe_at=(0.5,)),
)
[GHOST] = FULL.measure.ghosts


def later(thing: Any, kind: type, **changes: Any) -> Any:
    return kind(**{each.name: getattr(thing, each.name) for each in fields(thing)}, **changes)


@pytest.mark.parametrize(
    ("kind", "told", "put"),
    [
        (LaterRun, 4, lambda make: make(FULL)),
        (LaterChoice, ("a",), lambda make: replace(FULL, task=make(FULL.task))),
        (LaterChoice, ("a",), lambda make: replace(FULL, measure=replace(FULL.measure, probes=(make(PROBE),)))),
        (LaterClip, 0.5, lambda make: replace(FULL, arm=replace(FULL.arm, clip=make(FULL.arm.clip)))),
        (LaterSchedule, {"a": 1}, lambda make: replace(FULL, arm=replace(FULL.arm, schedule=make(FULL.arm.schedule)))),
        (LaterBudget, True, lambda make: replace(FULL, budget=make(FULL.budget))),
        (LaterMeasure, Schedule(), lambda make: replace(FULL, measure=make(FULL.measure))),
        (LaterArm, "new", lambda make: replace(FULL, arm=make(FULL.arm))),
        (LaterArm, "new", lambda make: replace(FULL, measure=replace(FULL.measure, ghosts=(make(GHOST),)))),
    ],
)
def test_an_option_that_comes_later_renames_no_run_until_it_is_used(
    kind: type, told: object, put: Callable[[Callable[[Any], Any]], Run]
) -> None:
    assert put(lambda thing: later(thing, kind)).key == FULL.key
    assert put(lambda thing: later(thing, kind, later=told)).key != FULL.key


def test_each_setting_of_a_clip_changes_the_key_by_itself() -> None:
    clips = [
        ClipSettings(0.1, scale=scale, ignore_zeros=zeros) for scale in get_args(ClipScale) for zeros in (False, True)
    ]
    assert len({replace(RUN, arm=replace(RUN.arm, clip=clip)).key for clip in clips}) == 4


def test_names_and_the_number_of_the_gpu_do_not_change_the_key() -> None:
    labels = replace(RUN, spec="other", task=replace(RUN.task, name="x"), arm=replace(RUN.arm, name="y"))
    assert labels.key == RUN.key
    renamed = replace(PROBE, name="x"), replace(SGD, name="x")
    named = replace(RUN, measure=replace(RUN.measure, probes=renamed[:1]), arm=replace(RUN.arm, optimizer=renamed[1]))
    assert named.key == RUN.key
    assert replace(RUN, arm=replace(RUN.arm, liveness="off")).key == RUN.key
    assert replace(RUN, trial_of="sgd").key == RUN.key
    assert replace(RUN, device="cuda:0").key == replace(RUN, device="cuda:1").key


@pytest.mark.parametrize(("amount", "same"), [(12, True), (12.0, True), (12.5, False), (13, False)])
def test_a_budget_of_12_is_one_of_12_0(amount: float, same: bool) -> None:
    assert (replace(RUN, budget=Budget(amount, "steps")).key == RUN.key) is same


def test_the_key_is_the_same_in_another_process_with_another_hash_seed() -> None:
    """Pitfall 5: nothing is derived from Python's salted hash()."""
    code = "from making import make_run; print(make_run().key)"
    for salt in ("1", "2"):
        environment = {"PYTHONHASHSEED": salt, "PYTHONPATH": "tests"}
        result = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        )
        assert result.stdout.strip() == RUN.key


def test_the_twin_is_the_same_arm_without_its_clip() -> None:
    arm = Arm("sgd+clip", Choice("sgd", "sgd", "m:build", {"lr": 1.0}), ClipSettings(0.1), Schedule("linear"))
    assert arm.twin() == replace(arm, clip=None)


@pytest.mark.parametrize(
    ("clip", "rule", "amount"),
    [
        (ClipSettings(0.1, "update", "tensor"), "fraction", 0.1),
        (ClipSettings(threshold=0.02), "threshold", 0.02),
        (ClipSettings(norm=3.0), "norm", 3.0),
    ],
)
def test_a_clip_has_one_rule(clip: ClipSettings, rule: str, amount: float) -> None:
    assert (clip.rule, clip.amount) == (rule, amount)


@pytest.mark.parametrize(("given", "found"), [({}, "none"), ({"fraction": 0.1, "norm": 1.0}, "fraction and norm")])
def test_a_clip_without_a_rule_or_with_two_is_refused(given: dict[str, Any], found: str) -> None:
    with pytest.raises(ValueError, match=f"exactly one of fraction, threshold, norm; this one has {found}"):
        ClipSettings(**given)


@pytest.mark.parametrize("ended", ["finished", "diverged", "failed"])
def test_a_run_that_has_not_ended_is_unfinished_and_has_no_weights(ended: Any) -> None:
    record = Record(RUN, outcome=Outcome(ended, weights_sha256="abc"))
    assert (record.status, record.weights) == (ended, "abc")
    assert (replace(record, outcome=None).status, replace(record, outcome=None).weights) == ("unfinished", "")
