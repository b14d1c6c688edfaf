from dataclasses import replace

import pytest
from judging.gate.sides import arm, judged, suite
from judging.made import HERE, question, record, run

from clipbench.errors import UndecidedError
from clipbench.judging.gate.check import check
from clipbench.judging.gate.rules import Rules
from clipbench.judging.gate.suite import differences, gathered
from clipbench.records import Group, Scalar, Schedule


def test_an_arm_whose_seeds_are_described_differently_is_refused() -> None:
    with pytest.raises(
        UndecidedError, match=r"runs of sgd on code_lm differ in more than their seed \(seeds 0 and 1\)"
    ):
        suite([*arm({0: 3.0}), *arm({1: 3.0}, of={"lr": 0.2})])


def test_an_arm_whose_code_changed_between_its_seeds_is_refused() -> None:
    first, second = arm({0: 3.0, 1: 3.0})
    other = replace(second.run.arm, optimizer=replace(second.run.arm.optimizer, source="another"))
    with pytest.raises(UndecidedError, match="differ in more than their seed"):
        suite([first, replace(second, run=replace(second.run, arm=other))])


def test_the_options_the_matchers_and_the_code_of_groups_are_compared_by_their_names() -> None:
    [plain] = arm({0: 3.0})
    sgd = plain.run.arm.optimizer
    groups = (Group("hidden", sgd, kind="matrix"), Group("rest", sgd))

    def described(of: tuple[Group, ...]) -> tuple[dict[str, Scalar], str]:
        [found] = suite([replace(plain, run=replace(plain.run, arm=replace(plain.run.arm, groups=of)))]).arms
        return dict(found.described), found.code

    before, code = described(groups)
    faster = (replace(groups[0], optimizer=replace(sgd, options={"lr": 0.2}, source="new")), groups[1])
    after, edited = described(faster)
    assert differences(before, after) == "groups.hidden.lr was 0.1 and is 0.2"
    assert code != edited
    wider, _ = described((replace(groups[0], kind=None, names=("*.weight",)), groups[1]))
    assert differences(before, wider).endswith("for matrix and is clipbench.optimizers.sgd:build for *.weight")


def test_a_schedule_is_described_as_it_was_before_it_had_a_decay() -> None:
    [of] = suite(arm({0: 3.0})).arms
    assert {name for name in of.described if name.startswith("schedule.")} == {
        "schedule.use",
        "schedule.warmup",
        "schedule.final",
    }
    [plain] = arm({0: 3.0})
    falling = replace(plain.run.arm, schedule=Schedule("wsd", decay=0.2))
    [other] = suite([replace(plain, run=replace(plain.run, arm=falling))]).arms
    assert differences(of.described, other.described) == (
        "schedule.use was constant and is wsd and schedule.decay was nothing and is 0.2"
    )


def test_which_of_several_gpus_a_run_was_on_does_not_matter() -> None:
    [of] = suite(arm({0: 3.0}, environment=replace(HERE, device="cuda:1"))).arms
    assert of.seeds[0].device == "cuda"


def test_two_runs_of_one_seed_that_differ_are_refused() -> None:
    with pytest.raises(UndecidedError, match="exists twice"):
        suite([*arm({0: 3.0}), *arm({0: 3.0}, of={"lr": 0.2})])


def test_runs_of_an_earlier_version_of_the_spec_are_left_out_and_counted() -> None:
    old, new = arm({0: 3.0}), arm({0: 2.0}, of={"lr": 0.2})
    asked = replace(question(), keys=(new[0].run.key,))
    of = gathered([(asked, [*old, *new])])
    assert [result.final_loss for result in of.arms[0].seeds] == [2.0]
    assert of.caveats == ("Left out: 1 run of an earlier version of the spec or its code (sgd).",)


def test_two_specs_with_an_arm_of_one_name_stay_apart() -> None:
    other = [replace(each, run=replace(each.run, spec="other")) for each in arm({0: 9.0, 1: 9.0})]
    both = gathered([(question(), arm({0: 3.0, 1: 3.1})), (replace(question(), spec="other"), other)])
    assert [result.place for result in both.arms] == [("quickstart", "code_lm", "sgd"), ("other", "code_lm", "sgd")]
    assert check(both, both, Rules()).exit_code == 0


def test_a_run_that_left_no_environment_has_no_identity_to_compare() -> None:
    bare = arm({0: 3.0, 1: 3.1}, environment=None)
    report = judged(bare, bare)
    assert not [row for row in report.rows if row.metric == "weights"]
    assert [row.detail for row in report.rows if row.metric == "time"] == ["+0 % (different machine)"]


def test_a_target_has_to_hold_for_as_long_as_the_spec_says() -> None:
    asked = replace(question(target=2.0), consecutive=2)
    of = gathered([(asked, [record(run(), [5.0, 1.0, 4.0, 1.0, 1.0])])])
    assert of.arms[0].goal == "2 in 2 evaluations in a row"
    assert of.arms[0].seeds[0].readings["steps"].value == 150
