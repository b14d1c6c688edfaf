import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from judging.claims.measured import ADAM, CLIPPED, SGD, answered, asked, claim, haunted, measured
from judging.made import record, run
from scipy import stats

from clipbench.judging.claims.judge import cautions, judge, results_of
from clipbench.measurements import Measurements
from clipbench.records import DIRECTIONAL_SHARPNESS, OWN, Arm, Record

# By seed ln 2 and ln 8: mean ln 4, s/√n = ln 2, t(0.975, 1) = 12.706: ln 4 ± 12.706 ln 2.
TWO_SEEDS = ([2.0, 2.0], [8.0, 8.0])


def runs(*by_seed: list[float], adam: float = 1.0, **made: Any) -> list[Record]:
    """SGD's runs with these sharpnesses a step, and Adam's ghost at a constant one."""
    return [
        haunted({OWN: values, "adam": [adam] * len(values)}, seed=seed, **made) for seed, values in enumerate(by_seed)
    ]


def test_a_ratio_has_its_geometric_mean_and_its_t_interval_over_seeds() -> None:
    answer = asked(claim(), runs(*TWO_SEEDS))
    [found] = answer.comparisons
    assert found.estimate == pytest.approx(4.0)
    assert math.log(found.low) == pytest.approx(math.log(4) - 12.7062 * math.log(2), rel=1e-4)
    assert math.log(found.high) == pytest.approx(math.log(4) + 12.7062 * math.log(2), rel=1e-4)
    assert (found.n, found.steps, found.used, found.excluded) == (2, 2, 4, 0)
    assert (found.site.task, found.site.trajectory, found.site.between) == ("code_lm", "sgd", "sgd against adam")


def test_steps_are_averaged_within_a_seed_and_are_not_independent() -> None:
    """Four steps of one seed are one seed: √(2·8) = 4 without an interval, and no verdict."""
    answer = asked(claim(), runs([2.0, 8.0, 2.0, 8.0]))
    [found] = answer.comparisons
    assert (found.estimate, found.n) == pytest.approx((4.0, 1))
    assert math.isnan(found.low)
    assert (answer.verdict, answer.why) == ("undecided", "a single seed has no confidence interval")


@pytest.mark.parametrize(
    ("by_seed", "verdict"),
    [
        (([4.0], [4.4], [4.2]), "holds"),
        (([0.4], [0.44], [0.42]), "fails"),
        (([0.5], [2.0], [1.1]), "undecided"),
        (([1.0], [1.0], [1.0]), "fails"),  # no difference at all is not a higher value
    ],
)
def test_the_verdict_is_where_the_interval_lies(by_seed: tuple[list[float], ...], verdict: str) -> None:
    assert asked(claim(), runs(*by_seed)).verdict == verdict
    down = claim(expect="lower")
    mirrored = {"holds": "fails", "fails": "holds" if by_seed[0] != [1.0] else "fails", "undecided": "undecided"}
    assert asked(down, runs(*by_seed)).verdict == mirrored[verdict]


STEPWISE = {"quantity": DIRECTIONAL_SHARPNESS, "of": "sgd", "against": "adam", "each_step": True}


def stepwise(odd: Sequence[float], *, steps: int) -> list[Record]:
    """SGD's step four times as sharp as Adam's at every step but the last, where it is `odd`, by seed."""
    spread = (0.9, 1.0, 1.1)
    by_seed = [[4.0 * more] * (steps - 1) + [last] for more, last in zip(spread, odd, strict=True)]
    return runs(*by_seed)


def test_among_many_comparisons_one_that_chance_may_have_put_on_the_wrong_side_is_no_failure() -> None:
    odd = (0.10, 0.14, 0.20)  # ln: mean −1.96, s/√3 0.20, so t = 9.8 with 2 degrees of freedom, and p = 0.010
    alone = asked(claim(compare=STEPWISE), stepwise(odd, steps=1))
    assert (alone.verdict, len(alone.comparisons)) == ("fails", 1)
    assert alone.comparisons[0].against == pytest.approx(stats.ttest_1samp(np.log(odd), 0.0).pvalue, rel=1e-9)
    among_four = asked(claim(compare=STEPWISE), stepwise(odd, steps=4))
    assert (among_four.verdict, among_four.why) == ("fails", "fails in 1 of 4 comparisons, holds in 3")
    among_six = asked(claim(compare=STEPWISE), stepwise(odd, steps=6))
    assert [each.verdict for each in among_six.comparisons].count("fails") == 1
    said = "holds in 5 of 6 comparisons, fails in 1 before Holm's correction and in none after it"
    assert (among_six.verdict, among_six.why) == ("undecided", said)


def test_a_comparison_that_chance_does_not_put_so_far_on_the_wrong_side_fails_the_claim_among_any_number() -> None:
    odd = (0.0100, 0.0101, 0.0102)
    assert asked(claim(compare=STEPWISE), stepwise(odd, steps=60)).verdict == "fails"


@pytest.mark.slow
@given(
    st.lists(st.tuples(*[st.floats(0.05, 20)] * 3), min_size=1, max_size=6),
    st.sampled_from(["higher", "lower"]),
    st.floats(0.2, 5),
)
def test_chance_is_told_as_a_two_sided_t_test_tells_it_on_the_wrong_side_and_as_1_on_the_right(
    by_step: list[tuple[float, float, float]], expect: str, margin: float
) -> None:
    answer = asked(claim(compare=STEPWISE, expect=expect, margin=margin), runs(*map(list, zip(*by_step, strict=True))))
    for values, found in zip(by_step, sorted(answer.comparisons, key=lambda each: each.site.step or 0), strict=True):
        off = np.log(values) - np.log(margin)
        if np.ptp(off) < 1e-9:
            continue  # SciPy's t loses its digits where nothing varies
        wrong = off.mean() < 0 if expect == "higher" else off.mean() > 0
        assert found.against == pytest.approx(stats.ttest_1samp(off, 0.0).pvalue if wrong else 1.0, rel=1e-6, abs=1e-12)


def test_a_margin_moves_the_line() -> None:
    records = runs([4.0], [4.4], [4.2])
    assert asked(claim(margin=3.0), records).verdict == "holds"
    assert asked(claim(margin=10.0), records).verdict == "fails"
    assert asked(claim(expect="lower", margin=10.0), records).verdict == "holds"


def test_a_ratio_of_what_is_not_positive_is_left_out_and_counted() -> None:
    answer = asked(claim(), runs([4.0, -1.0], [4.2, 0.0], [4.4, math.nan]))
    [found] = answer.comparisons
    assert (found.used, found.excluded, answer.verdict) == (3, 3, "holds")
    nothing_left = asked(claim(), runs([-4.0], [-4.0]))
    assert (nothing_left.verdict, nothing_left.why) == ("undecided", "no value is usable (2 left out)")


@pytest.mark.parametrize("status", ["diverged", "failed", "unfinished"])
def test_points_of_a_run_that_did_not_finish_are_in_no_number_and_its_seed_is_counted(status: Any) -> None:
    """The run that broke was probed once before: 0.1, against 4.0 to 4.4 of those that finished."""
    broken = haunted({OWN: [0.1], "adam": [1.0]}, seed=3)
    broken = replace(broken, outcome=record(broken.run, [5.0], status=status).outcome)
    records = runs([4.0, 4.0], [4.4, 4.4], [4.2, 4.2])
    whole, answer = asked(claim(), records), asked(claim(), [*records, broken])
    [found] = answer.comparisons
    assert (answer.verdict, found.n, found.left_out) == ("holds", 3, 1)
    assert replace(found, left_out=0) == whole.comparisons[0]
    assert answer.why == ("in the only comparison; seeds that lack a finished run are left out of the only comparison")
    each_step = claim(compare={"quantity": "directional_sharpness", "of": "sgd", "against": "adam", "each_step": True})
    assert [each.left_out for each in asked(each_step, [*records, broken]).comparisons] == [1, 1]


def test_where_no_run_finished_nothing_holds_and_that_is_why() -> None:
    sound = runs([4.0], [4.4], [4.2])
    broken = [replace(each, outcome=replace(each.outcome, status="diverged")) for each in sound if each.outcome]
    answer = asked(claim(), broken)
    assert (answer.verdict, answer.comparisons[0].left_out) == ("undecided", 3)
    assert answer.why.startswith("no seed is left to compare; seeds that lack a finished run")
    before_the_first_probe = [replace(each, measurements=Measurements.of(each.measurements[:1])) for each in broken]
    answer = asked(claim(), before_the_first_probe)
    assert answer.verdict == "not measured"
    assert answer.why == "these runs have no directional_sharpness (3 runs diverged, failed or did not end)"


def test_a_trajectory_that_broke_keeps_a_claim_about_both_from_holding() -> None:
    adam = [haunted({"sgd": [4.0 + seed], OWN: [1.0]}, seed=seed, arm=ADAM, ghosts=(SGD,)) for seed in range(3)]
    broken = [replace(each, outcome=replace(each.outcome, status="diverged")) for each in adam if each.outcome]
    sound = runs([4.0], [4.4], [4.2])
    assert asked(claim(), [*sound, *adam]).verdict == "holds"
    answer = asked(claim(), [*sound, *broken])
    assert answer.verdict == "undecided"
    assert "left out of 1 of 2 comparisons" in answer.why


def test_what_keeps_runs_from_being_compared_is_said_beside_the_claims() -> None:
    records = runs([4.0], [4.4], [4.2])
    assert cautions(results_of([(answered(), records)])) == []
    changed = replace(records[0].run, task=replace(records[0].run.task, source="changed"))
    [caution] = cautions(results_of([(answered(), [replace(records[0], run=changed), *records[1:]])]))
    assert caution.startswith("The task code_lm differs between its runs (its code changed)")
    [caution] = cautions(results_of([(answered(), [*records, replace(records[0], folder="elsewhere")])]))
    assert "exists twice" in caution


def test_a_step_at_which_one_direction_has_no_value_is_counted_as_left_out() -> None:
    """A probe leaves a row out where the value does not exist, the best decrease along a non-positive curvature."""
    records = [haunted({OWN: [4.0 + seed, 4.0], "adam": [1.0]}, seed=seed) for seed in range(3)]
    [found] = asked(claim(), records).comparisons
    assert (found.used, found.excluded, found.steps) == (3, 3, 1)


def test_what_was_not_measured_never_holds() -> None:
    bare = [record(run(seed=seed), [5.0, 3.0]) for seed in range(3)]
    answer = asked(claim(), bare)
    assert (answer.verdict, answer.why) == ("not measured", "these runs have no directional_sharpness")
    own_alone = [measured(each, {OWN: [4.0]}) for each in bare]
    assert asked(claim(), own_alone).why == "no run measured sgd and adam at shared points, which needs ghosts"


def test_a_claim_that_cannot_be_measured_says_why() -> None:
    answer = asked(claim(compare=None, expect=None, unmeasured="it takes interventions"), runs(*TWO_SEEDS))
    assert (answer.verdict, answer.why, answer.comparisons) == ("not measured", "it takes interventions", ())


def test_one_failing_comparison_of_many_is_a_failing_claim() -> None:
    hard = [replace(each, run=replace(each.run, task=run(task="digits").task)) for each in runs([0.1], [0.11], [0.12])]
    answer = asked(claim(), [*runs([4.0], [4.4], [4.2]), *hard])
    assert (answer.verdict, answer.why) == ("fails", "fails in 1 of 2 comparisons, holds in 1")
    assert answer.decisive is not None
    assert answer.decisive.site.task == "digits"


def test_the_comparison_that_is_shown_is_the_one_that_counts_most_against_the_claim() -> None:
    weak = [replace(each, run=replace(each.run, task=run(task="digits").task)) for each in runs([2.0], [2.1], [2.2])]
    answer = asked(claim(), [*runs([4.0], [4.4], [4.2]), *weak])
    assert answer.verdict == "holds"
    assert answer.decisive is not None
    assert answer.decisive.site.task == "digits"
    down = asked(claim(expect="lower", margin=10.0), [*runs([4.0], [4.4], [4.2]), *weak])
    assert down.decisive is not None
    assert down.decisive.site.task == "code_lm"


def test_a_comparison_of_one_seed_is_not_shown_beside_one_with_an_interval() -> None:
    lone = [replace(each, run=replace(each.run, task=run(task="digits").task)) for each in runs([0.5])]
    answer = asked(claim(), [*lone, *runs([4.0], [4.4], [4.2])])
    assert answer.decisive is not None
    assert (answer.decisive.site.task, answer.decisive.n) == ("code_lm", 3)


@pytest.mark.parametrize(
    ("needs", "why"),
    [
        ({"tasks": 2}, "it needs 2 tasks, and the runs have 1"),
        ({"trajectories": 2}, "it needs 2 trajectories, and the runs have 1"),
        ({"steps": 3}, "it needs 3 steps, and the runs have 2"),
        ({"comparisons": 2}, "it needs 2 comparisons, and the runs have 1"),
    ],
)
def test_a_claim_about_more_than_was_measured_is_not_measured_yet(needs: dict[str, int], why: str) -> None:
    records = runs([4.0, 4.1], [4.4, 4.3], [4.2, 4.2])
    assert asked(claim(), records).verdict == "holds"
    answer = asked(claim(needs=needs), records)
    assert (answer.verdict, answer.why) == ("not measured", why)


def test_steps_that_are_needed_are_needed_of_every_seed_and_on_every_task() -> None:
    few, many = runs([4.0], [4.4], [4.2]), runs([4.0, 4.1], [4.4, 4.3], [4.2, 4.2])
    mixed = asked(claim(needs={"steps": 2}), [*many[:2], few[2]])
    assert (mixed.comparisons[0].steps, mixed.why) == (1, "it needs 2 steps, and the runs have 1")
    elsewhere = [replace(each, run=replace(each.run, task=run(task="digits").task)) for each in few]
    assert asked(claim(needs={"steps": 2}), [*many, *elsewhere]).why == "it needs 2 steps, and the runs have 1"
    assert asked(claim(needs={"steps": 2}), many).verdict == "holds"


def test_tasks_can_be_left_out_at_shared_points_too() -> None:
    wanted = {"quantity": DIRECTIONAL_SHARPNESS, "of": "sgd", "against": "adam"}
    records = runs([4.0], [4.4], [4.2])
    assert asked(claim(compare={**wanted, "tasks": "code_*"}), records).verdict == "holds"
    assert asked(claim(compare={**wanted, "tasks": "digits"}), records).comparisons == ()


def test_a_claim_about_several_arms_needs_each_of_them() -> None:
    both = claim(compare={"quantity": "directional_sharpness", "of": "sgd", "against": ["adam", {"use": "lion"}]})
    records = runs([4.0], [4.4], [4.2])
    answer = asked(both, records)
    assert (answer.verdict, answer.why) == ("not measured", "these runs have no comparison for lion")
    lion = run("lion").arm
    whole = [
        haunted({OWN: [4.0 + seed], "adam": [1.0], "lion": [1.0]}, seed=seed, ghosts=(ADAM, lion)) for seed in range(3)
    ]
    assert asked(both, whole).verdict == "holds"


def test_what_fails_fails_though_more_was_asked_for() -> None:
    assert asked(claim(needs={"tasks": 2}), runs([0.1], [0.11], [0.12])).verdict == "fails"


def test_each_step_can_be_a_comparison_of_its_own() -> None:
    every = claim(
        compare={"quantity": "directional_sharpness", "of": "sgd", "against": "adam", "each_step": True},
        needs={"steps": 2},
    )
    answer = asked(every, runs([4.0, 0.1], [4.4, 0.11], [4.2, 0.12]))
    assert [(each.site.step, each.verdict) for each in answer.comparisons] == [(50, "holds"), (100, "fails")]
    assert asked(every, runs([4.0, 5.0], [4.4, 5.5], [4.2, 5.2])).verdict == "holds"
    assert asked(every, runs([4.0], [4.4], [4.2])).why == "it needs 2 steps, and the runs have 1"


def test_a_ghost_is_compared_with_a_ghost_on_the_trajectories_that_count() -> None:
    def of(arm: Arm) -> list[Record]:
        return [
            haunted({"sgd+clip": [0.1 + seed / 100], "sgd": [1.0]}, seed=seed, arm=arm, ghosts=(SGD, CLIPPED))
            for seed in range(3)
        ]

    twins = claim(
        compare={"quantity": "directional_sharpness", "of": {"clip": {"fraction": 0.1}}, "against": "twin"},
        expect="lower",
    )
    answer = asked(twins, of(ADAM))
    assert (answer.verdict, answer.comparisons[0].site.between) == ("holds", "sgd+clip against sgd")
    elsewhere = twins.model_copy(update={"compare": twins.compare.model_copy(update={"on": "sgd"})})  # type: ignore[union-attr]
    assert asked(elsewhere, of(ADAM)).verdict == "not measured"


def test_a_ghost_with_the_name_of_the_runs_own_arm_is_its_own_step() -> None:
    """Counted once: the run's own direction."""
    records = [
        haunted({OWN: [4.0 + seed / 10], "sgd": [99.0], "adam": [1.0]}, seed=seed, ghosts=(SGD, ADAM))
        for seed in range(3)
    ]
    [found] = asked(claim(), records).comparisons
    assert found.estimate == pytest.approx((4.0 * 4.1 * 4.2) ** (1 / 3))


def test_a_quantity_may_be_a_quotient_and_have_a_stand_in() -> None:
    base = [record(replace(haunted({}, seed=seed).run), [5.0, 3.0]) for seed in range(3)]
    both = [
        measured(measured(each, {OWN: [6.0 + seed], "adam": [1.0]}, "a"), {OWN: [2.0], "adam": [1.0]}, "b")
        for seed, each in enumerate(base)
    ]
    quotient = claim(compare={"quantity": ["absent", "a / b"], "of": "sgd", "against": "adam"})
    [found] = asked(quotient, both).comparisons
    assert (found.quantity, found.estimate) == pytest.approx(("a / b", (3.0 * 3.5 * 4.0) ** (1 / 3)))
    assert asked(quotient, base).why == "these runs have no absent"


def test_a_quotient_by_zero_or_by_nothing_is_no_value() -> None:
    base = [record(haunted({}, seed=seed).run, [5.0, 3.0]) for seed in range(3)]
    both = [
        measured(measured(each, {OWN: [6.0] * 3, "adam": [1.0] * 3}, "a"), {OWN: [2.0, 0.0], "adam": [1.0] * 3}, "b")
        for each in base
    ]
    quotient = claim(compare={"quantity": "a / b", "of": "sgd", "against": "adam"})
    [found] = asked(quotient, both).comparisons
    assert (found.estimate, found.used, found.excluded) == pytest.approx((3.0, 3, 6))


def test_a_value_stands_against_its_margin_and_a_difference_against_another_quantity() -> None:
    records = [
        measured(measured(record(run(seed=seed), [5.0, 3.0]), {OWN: [0.6 + seed / 100]}, "top"), {OWN: [0.1]}, "random")
        for seed in range(3)
    ]
    alone = claim(compare={"quantity": "top", "of": "sgd"}, margin=0.5)
    answer = asked(alone, records)
    assert (answer.verdict, answer.comparisons[0].estimate) == pytest.approx(("holds", 0.61))
    assert answer.comparisons[0].site.between == "sgd"
    assert asked(alone.model_copy(update={"margin": 0.7}), records).verdict == "fails"
    beside = claim(
        compare={"quantity": "top", "against_quantity": "random", "of": "sgd", "scale": "difference"}, margin=0.2
    )
    assert asked(beside, records).comparisons[0].estimate == pytest.approx(0.51)


def test_runs_of_two_specs_are_two_comparisons_of_one_task() -> None:
    records = runs([4.0], [4.4], [4.2])
    other = [replace(each, run=replace(each.run, spec="again")) for each in records]
    specs = [(answered(), records), (answered(spec="again"), other)]
    [answer] = judge([claim(needs={"comparisons": 2})], results_of(specs))
    assert [(each.site.spec, each.site.task) for each in answer.comparisons] == [
        ("quickstart", "code_lm"),
        ("again", "code_lm"),
    ]
    assert answer.verdict == "holds"
    [answer] = judge([claim(needs={"tasks": 2})], results_of(specs))
    assert answer.why == "it needs 2 tasks, and the runs have 1"
