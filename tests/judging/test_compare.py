import math
import random
from dataclasses import replace

import pytest
from judging.made import question, quickstart, record, run

from clipbench import quantities
from clipbench.budget import Budget
from clipbench.errors import FINDING, UNDECIDED, USAGE, ClipbenchError, UndecidedError
from clipbench.judging.compare import Asked, compare
from clipbench.judging.comparison import Comparison, Row
from clipbench.judging.families import Ranks
from clipbench.records import Record

ARMS = ("sgd", "sgd+clip", "adam")


@pytest.fixture(scope="module")
def compared() -> Comparison:
    return compare(quickstart(), question(*ARMS, target=3.3))


def row_of(comparison: Comparison, arm: str) -> Row:
    (found,) = (row for row in comparison.rows if row.arm == arm)
    return found


def test_rows_stand_in_the_questions_order_whatever_the_order_of_the_records() -> None:
    records = quickstart()
    random.Random(0).shuffle(records)
    assert [row.arm for row in compare(records, question(*ARMS)).rows] == list(ARMS)


def test_arms_that_are_not_in_the_question_come_after() -> None:
    rows = compare(quickstart(), question("sgd+clip", "sgd")).rows
    assert [row.arm for row in rows] == ["sgd+clip", "sgd", "adam"]


def test_the_order_of_the_records_changes_no_number(compared: Comparison) -> None:
    # as text, because what is undefined is NaN, which equals nothing
    assert repr(compare(quickstart()[::-1], question(*ARMS, target=3.3)).rows) == repr(compared.rows)


def test_the_final_loss_is_the_mean_over_seeds_with_its_error(compared: Comparison) -> None:
    of = row_of(compared, "sgd").final_loss
    assert of.mean == pytest.approx(3.1)
    assert of.standard_error == pytest.approx(0.1 / math.sqrt(3))
    assert of.n == 3


def test_the_difference_is_paired_by_seed(compared: Comparison) -> None:
    of = row_of(compared, "sgd+clip").difference
    assert of is not None
    assert of.mean == pytest.approx(-0.4 / 3)
    assert of.error == pytest.approx(1 / 30)
    assert of.n == 3
    # t(0.975, 2) · 1/30 = 0.143 exceeds 0.133
    assert row_of(compared, "sgd+clip").verdict == "undecided"


def test_the_baseline_has_no_difference(compared: Comparison) -> None:
    assert row_of(compared, "sgd").difference is None
    assert row_of(compared, "sgd").verdict == "baseline"


def test_a_diverged_seed_is_counted_and_in_no_mean(compared: Comparison) -> None:
    adam = row_of(compared, "adam")
    assert (adam.seeds.finished, adam.seeds.diverged, adam.seeds.total) == ((0, 1), (2,), 3)
    assert adam.final_loss.mean == pytest.approx(2.55)
    assert adam.difference is not None
    assert adam.difference.n == 2
    assert adam.step_milliseconds.n == 2


def test_a_seed_that_diverged_outweighs_those_that_were_better(compared: Comparison) -> None:
    assert row_of(compared, "adam").verdict == "broken"


def test_a_diverged_run_keeps_its_row_when_nothing_else_is_left() -> None:
    records = [record(run(seed=seed), [5.0, 3.0]) for seed in (0, 1)]
    records += [record(run("adam", seed=seed), [5.0, 1e23], status="diverged") for seed in (0, 1)]
    adam = row_of(compare(records, question(target=3.5)), "adam")
    assert adam.seeds.diverged == (0, 1)
    assert adam.final_loss.n == 0
    assert math.isnan(adam.final_loss.mean)
    assert adam.difference is not None
    assert adam.difference.n == 0
    assert adam.steps is not None
    assert (adam.steps.median, adam.steps.hits, adam.steps.seeds) == (math.inf, 0, 2)


def test_steps_to_the_target_are_a_median_with_misses_as_infinity(compared: Comparison) -> None:
    sgd, clip, adam = (row_of(compared, arm).steps for arm in ARMS)
    assert sgd is not None
    assert sgd.by_seed == {0: 150, 1: 150, 2: 150}
    assert clip is not None
    assert (clip.median, clip.hits, clip.seeds) == (100, 3, 3)
    assert adam is not None
    # seed 2 was below the target at step 50, then diverged: a miss
    assert adam.by_seed == {0: 50, 1: 50, 2: math.inf}
    assert (adam.median, adam.hits, adam.seeds) == (50, 2, 3)


def test_a_median_among_misses_is_infinite() -> None:
    records = [record(run(seed=seed), [5.0, end]) for seed, end in enumerate((1.0, 4.0, 4.0))]
    steps = row_of(compare(records, question(target=2.0)), "sgd").steps
    assert steps is not None
    assert (steps.median, steps.hits) == (math.inf, 1)


def test_an_unfinished_seed_counts_neither_as_a_hit_nor_as_a_miss() -> None:
    records = [record(run(seed=0), [5.0, 1.0]), record(run(seed=1), [5.0], status="unfinished")]
    row = row_of(compare(records, question(target=2.0)), "sgd")
    assert row.steps is not None
    assert row.steps.by_seed == {0: 50}
    assert row.seeds.unfinished == (1,)
    assert row.final_loss.n == 1


def test_only_unfinished_seeds_leave_a_row_without_numbers() -> None:
    row = row_of(compare([record(run(), [5.0], status="unfinished")], question(target=2.0)), "sgd")
    assert row.steps is not None
    assert (row.steps.seeds, row.final_loss.n) == (0, 0)
    assert math.isnan(row.steps.median)


def test_without_a_target_there_are_no_steps() -> None:
    assert all(row.steps is None for row in compare(quickstart(), question(*ARMS)).rows)


def test_sharpness_is_a_geometric_mean_over_seeds_and_counts_non_positive_values(compared: Comparison) -> None:
    of = row_of(compared, "sgd").sharpness
    # seeds: √(4·1) = 2; √(2·2) = 2; ∛(1·4·2) = 2
    assert of.mean.mean == pytest.approx(2.0)
    assert of.mean.factor == pytest.approx(1.0)
    assert (of.positive, of.non_positive, of.undefined, of.total) == (7, 2, 0, 9)


def test_sharpness_of_a_diverged_seed_is_left_out() -> None:
    records = [record(run(seed=0), [5.0, 3.0], sharpness=[1.0])]
    records.append(record(run(seed=1), [5.0, 9.0], sharpness=[1e9, -1.0], status="diverged"))
    of = row_of(compare(records, question()), "sgd").sharpness
    assert (of.mean.mean, of.mean.n, of.total) == (1.0, 1, 1)


def test_milliseconds_a_step_are_averaged_over_seeds() -> None:
    records = [record(run(seed=seed), [5.0, 3.0], step_seconds=t) for seed, t in enumerate((0.010, 0.012))]
    of = row_of(compare(records, question()), "sgd").step_milliseconds
    assert of.mean == pytest.approx(11.0)
    assert of.standard_error == pytest.approx(1.0)


def test_the_clipped_fraction_is_given_for_clipped_arms_only(compared: Comparison) -> None:
    clipped = row_of(compared, "sgd+clip").clipped
    assert clipped is not None
    assert clipped.mean == pytest.approx(0.1)
    assert row_of(compared, "sgd").clipped is None


def test_one_seed_decides_nothing() -> None:
    records = [record(run(), [5.0, 3.0]), record(run("adam"), [5.0, 1.0])]
    adam = row_of(compare(records, question("sgd", "adam")), "adam")
    assert adam.difference is not None
    assert (adam.difference.mean, adam.difference.n) == (-2.0, 1)
    assert adam.verdict == "undecided"
    assert math.isnan(adam.final_loss.standard_error)


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_stays_visible_and_decides_nothing(loss: float) -> None:
    """A finished run whose last evaluation overflowed: neither dropped nor taken for better or worse."""
    ends = {"sgd": [3.0, 3.1, 3.2], "adam": [2.0, loss, 2.1]}
    records = [record(run(arm, seed=seed), [5.0, end]) for arm, by in ends.items() for seed, end in enumerate(by)]
    [_, adam] = compare(records, question("sgd", "adam", target=2.5)).rows
    assert not math.isfinite(adam.final_loss.mean)
    assert (adam.verdict, adam.ranks) == ("undecided", Ranks(1, 2))
    assert adam.steps is not None
    assert (adam.steps.hits, adam.steps.seeds) == (2, 3)


@pytest.mark.parametrize(
    ("losses", "verdict"), [((2.0, 2.1), "lower"), ((9.0, 9.1), "higher"), ((3.0, 3.1), "identical")]
)
def test_verdicts_say_lower_higher_and_identical(losses: tuple[float, float], verdict: str) -> None:
    records = [record(run(seed=seed), [9.5, 3.0 + seed / 10]) for seed in (0, 1)]
    records += [record(run("adam", seed=seed), [9.5, loss]) for seed, loss in enumerate(losses)]
    assert row_of(compare(records, question("sgd", "adam")), "adam").verdict == verdict


def test_another_baseline_and_target_may_be_asked_for() -> None:
    of = compare(quickstart(), question(*ARMS, target=3.3), Asked(baseline="adam", target=2.9))
    assert (of.baseline, of.target) == ("adam", 2.9)
    difference = row_of(of, "sgd").difference
    assert difference is not None
    assert (difference.n, difference.mean) == pytest.approx((2, 0.55))


def test_further_quantities_are_means_over_the_runs_that_are_counted() -> None:
    """Of sharpness geometric, as its scale is; a run that diverged is in none, and what nobody has is no number."""
    records = quickstart()
    others = tuple(quantities.asked(name, records) for name in ("sharpness", "clipped_fraction", "train_seconds"))
    sgd, clip, adam = (row.others for row in compare(records, question(*ARMS), Asked(others=others)).rows)
    assert list(sgd) == ["final_loss", "directional_sharpness", "clipped_fraction", "train_seconds"]
    assert (sgd["directional_sharpness"].mean, clip["directional_sharpness"].mean) == pytest.approx((2.0, 0.2))
    assert (clip["clipped_fraction"].mean, sgd["clipped_fraction"].n) == pytest.approx((0.1, 0))
    assert (adam["train_seconds"].mean, adam["train_seconds"].n) == pytest.approx((2.0, 2))


def test_each_task_has_its_own_rows_and_baseline() -> None:
    other = [replace(r, run=replace(r.run, task=replace(r.run.task, name="digits"))) for r in quickstart()]
    of = compare([*quickstart(), *other], question(*ARMS))
    assert [head.name for head in of.tasks] == ["code_lm", "digits"]
    assert [(row.task, row.arm) for row in of.rows] == [(t, a) for t in ("code_lm", "digits") for a in ARMS]
    one, two = ([row.difference for row in of.rows if row.task == name] for name in ("code_lm", "digits"))
    assert one == two


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        (Budget(200, "steps"), "200 steps a run: equal steps, not equal time"),
        (Budget(30, "seconds"), "30 seconds of training time a run: a race"),
        (Budget(1e6, "tokens"), "1e+06 tokens a run: equal tokens, not equal time"),
    ],
)
def test_the_head_says_what_the_budget_means(budget: Budget, said: str) -> None:
    (head,) = compare([record(run(budget=budget), [5.0])], question()).tasks
    assert head.budgets == (said,)


def test_the_head_names_device_and_threads(compared: Comparison) -> None:
    (head,) = compared.tasks
    assert (head.devices, head.threads) == (("Xeon at 2.2 GHz",), (1,))
    (bare,) = compare([record(run(), [5.0], environment=None)], question()).tasks
    assert bare.devices == ("cpu",)


def test_no_runs_are_undecided_and_not_a_finding() -> None:
    with pytest.raises(UndecidedError, match="there are no runs of quickstart") as caught:
        compare([], question())
    assert caught.value.exit_code == UNDECIDED
    assert UNDECIDED != FINDING


def test_an_unknown_baseline_is_an_error_that_names_the_nearest_arm_first() -> None:
    with pytest.raises(ClipbenchError, match="no arm is called 'adm'") as caught:
        compare(quickstart(), question(*ARMS), Asked(baseline="adm"))
    assert "choose one of: adam, " in str(caught.value)
    assert "sgd+clip" in str(caught.value)
    assert caught.value.exit_code == USAGE


@pytest.mark.parametrize("target", [math.nan, math.inf])
def test_a_target_that_is_no_number_is_an_error(target: float) -> None:
    with pytest.raises(ClipbenchError, match="the target is"):
        compare(quickstart(), question(*ARMS), Asked(target=target))


def test_two_different_runs_for_one_seed_are_undecided() -> None:
    old, new = record(run(lr=0.1), [5.0, 3.0]), record(run(lr=0.3), [5.0, 2.0])
    new = replace(new, folder="results/other")
    with pytest.raises(UndecidedError, match="code_lm/sgd/seed 0 exists twice") as caught:
        compare([old, new], question())
    said = str(caught.value)
    assert "arm.optimizer.options.lr is 0.1 and 0.3" in said
    assert "results/other" in said
    assert "results/quickstart/code_lm/sgd/seed 0" in said


def test_a_copy_of_a_run_is_used_once_and_said() -> None:
    first = record(run(), [5.0, 3.0])
    second = replace(record(run(), [5.0, 2.0]), folder="results/copy")
    of = compare([first, second], question())
    assert row_of(of, "sgd").final_loss.mean == 3.0
    assert any("exists twice" in caveat and "results/copy is not" in caveat for caveat in of.caveats)


def test_many_copies_are_said_in_one_caveat_and_those_with_other_numbers_in_another() -> None:
    first = [record(run(seed=seed), [5.0, 3.0]) for seed in range(4)]
    second = [replace(record(run(seed=seed), [5.0, 3.0 + (seed == 2)]), folder="results/copy") for seed in range(4)]
    said, odd = [
        caveat for caveat in compare([*first, *second], question()).caveats if "opies" in caveat or "twice" in caveat
    ]
    assert said.endswith("the copy in results/copy is not; likewise 3 other runs.")
    assert odd.startswith("Copies of code_lm/sgd/seed 2 end with different weights or losses")


@pytest.mark.parametrize("turned", [False, True])
def test_of_two_copies_the_one_that_ended_is_used(turned: bool) -> None:
    ended = replace(record(run(), [5.0, 3.0]), folder="results/ended")
    pair: list[Record] = [record(run(), [5.0], status="unfinished"), ended]
    of = compare(pair[::-1] if turned else pair, question())
    assert row_of(of, "sgd").seeds.finished == (0,)
    assert any("results/ended is used" in caveat for caveat in of.caveats)
