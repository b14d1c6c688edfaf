"""Verdicts and ranks of a table: what is compared, what a miss counts, and what is corrected for."""

import math
import random

import pytest
from judging.made import compared, ending, question, quickstart, record, run, with_rows
from scipy import stats

from clipbench import quantities
from clipbench.errors import ClipbenchError
from clipbench.judging.compare import Asked, compare
from clipbench.judging.comparison import Row
from clipbench.judging.families import Ranks
from clipbench.judging.moments import Moment
from clipbench.measurements import Measurement
from clipbench.questions import Manner, Target
from clipbench.records import OWN, Measure, Record

SGD, BETTER = [3.0, 3.1, 3.2], [2.5, 2.7, 2.6]


def arms(**curves: list[float]) -> list[Record]:
    """Arms by their final losses, seed by seed."""
    return [
        record(run(arm, seed=seed), [9.0, loss]) for arm, losses in curves.items() for seed, loss in enumerate(losses)
    ]


def rows(records: list[Record], metric: str = "final_loss", **asked: object) -> dict[str, Row]:
    """The rows of a table by arm; the first arm is the baseline."""
    names = tuple(dict.fromkeys(one.run.arm.name for one in records))
    return {row.arm: row for row in compared(records, question(*names), metric, **asked).rows}


def verdicts(records: list[Record], metric: str = "final_loss", **asked: object) -> dict[str, str]:
    return {arm: row.verdict for arm, row in rows(records, metric, **asked).items()}


def reaching(**steps: list[int | None]) -> list[Record]:
    """Arms by the step at which each seed is at the target of 2.5, of 200 steps evaluated every 50; None for a miss."""
    return [
        record(run(arm, seed=seed), [2.0 if at is not None and 50 * place >= at else 9.0 for place in range(5)])
        for arm, of_arm in steps.items()
        for seed, at in enumerate(of_arm)
    ]


def test_verdicts_are_corrected_for_the_rows_of_the_table() -> None:
    """One arm is decided by itself, and no longer among eight others about which nothing is known."""
    alone = arms(sgd=SGD, adam=BETTER)
    assert verdicts(alone) == {"sgd": "baseline", "adam": "lower"}
    noise = {f"noise{i}": [3.0 + 0.1 * i, 3.3, 2.9] for i in range(8)}
    assert verdicts([*alone, *arms(**noise)])["adam"] == "undecided"


def test_a_broken_arm_takes_no_part_in_the_correction() -> None:
    broken = [record(run(f"lion{i}", seed=s), [9.0, 3.0], status="diverged") for i in range(8) for s in range(3)]
    found = rows([*arms(sgd=SGD, adam=BETTER), *broken])
    assert (found["adam"].verdict, found["lion0"].verdict) == ("lower", "broken")
    assert (found["lion0"].judged, found["sgd"].judged, found["sgd"].against) == (None, None, None)


def test_each_table_is_corrected_by_itself() -> None:
    other = [record(run(f"noise{i}", seed=s, task="digits"), [9.0, 3.0 + i * s]) for i in range(9) for s in range(3)]
    assert rows([*arms(sgd=SGD, adam=BETTER), *other])["adam"].verdict == "lower"


def test_a_row_has_its_difference_and_what_was_judged_of_it() -> None:
    """The paired t test by SciPy; two rows are judged, and this one, the clearer, at 0.05/2."""
    row = rows(arms(sgd=SGD, adam=BETTER, lion=[3.3, 2.9, 3.2]))["adam"]
    expected = stats.ttest_rel(BETTER, SGD)
    assert row.against is not None
    assert row.judged is not None
    assert row.against == row.difference
    assert (row.against.mean, row.against.p) == pytest.approx((-0.5, expected.pvalue))
    assert (row.judged.p, row.judged.level) == pytest.approx((2 * expected.pvalue, 0.025))
    interval = expected.confidence_interval(0.975)
    assert (row.judged.low, row.judged.high) == pytest.approx((interval.low, interval.high))


@pytest.mark.parametrize(
    ("losses", "threshold", "verdict"),
    [
        ([2.99, 2.98, 2.985], 0.05, "equivalent"),  # decidedly lower, by half a percent
        ([2.99, 2.98, 2.985], 0.001, "lower"),
        ([2.5, 2.6, 2.4], 0.05, "lower"),
        ([2.8, 3.2, 3.0], 0.05, "undecided"),
    ],
)
def test_a_difference_too_small_to_matter_is_equivalent(losses: list[float], threshold: float, verdict: str) -> None:
    assert verdicts(arms(sgd=[3.0, 3.0, 3.0], adam=losses), threshold=threshold)["adam"] == verdict


def test_the_threshold_of_a_ratio_is_a_factor() -> None:
    records = [
        record(run(arm, seed=seed), [9.0, 3.0], sharpness=[level * (1 + 0.001 * seed)])
        for arm, level in (("sgd", 1.0), ("adam", 1.04), ("lion", 1.06))
        for seed in range(4)
    ]
    found = verdicts(records, "sharpness", threshold=0.05)
    assert (found["adam"], found["lion"]) == ("equivalent", "higher")


@pytest.mark.parametrize("metric", ["steps", "seconds"])
def test_three_seeds_that_are_all_read_one_evaluation_sooner_are_no_proof(metric: str) -> None:
    """At steps 150 and 200, evaluated every 50: it may have been 150 and 151. By their spread alone p would be 0."""
    curves = {"sgd": {0: 9.0, 150: 4.0, 200: 2.0}, "adam": {0: 9.0, 150: 2.0, 200: 2.0}}
    records = [record(run(arm, seed=seed), curve) for arm, curve in curves.items() for seed in range(3)]
    row = rows(records, metric, target=2.5)["adam"]
    assert row.against is not None
    assert row.judged is not None
    error = math.hypot(50 / 200, 50 / 150) / math.sqrt(12) / math.sqrt(3)
    assert (row.verdict, row.ranks) == ("undecided", Ranks(1, 2))
    assert row.against.error == pytest.approx(error)
    assert row.judged.p == pytest.approx(2 * stats.t.sf(math.log(200 / 150) / error, 2))


def test_how_finely_a_target_is_seen_is_said_where_it_decides() -> None:
    records = arms(sgd=[4.0, 4.1], adam=[2.0, 2.1])
    for metric, said in (("steps", 1), ("seconds", 1), ("final_loss", 0)):
        found = compared(records, question("sgd", "adam"), metric, target=4.5)
        assert sum("checked only at evaluations" in caveat for caveat in found.caveats) == said


@pytest.mark.slow
def test_tables_of_steps_in_which_nothing_differs_err_as_seldom_as_they_say() -> None:
    """400 tables of 3 seeds, read every 10 steps; by the spread of the readings alone 15 % of them would err."""
    generator, wrong, names = random.Random(0), 0, ("sgd", "adam", "lion", "signsgd")
    for _ in range(400):
        middle = generator.uniform(100, 110)
        records = []
        for arm in names:
            for seed in range(3):
                hit = 10 * math.ceil(generator.gauss(middle, 8) / 10)
                curve = {0: 9.0, hit - 10: 4.0, hit: 2.0}
                records.append(record(run(arm, seed=seed, measure=Measure(10, 10)), curve))
        table = rows(records, "steps", target=2.5).values()
        wrong += any(row.verdict in ("lower", "higher") or row.ranks != Ranks(1, 4) for row in table)
    assert wrong / 400 <= 0.05


def test_each_metric_has_its_own_verdict() -> None:
    """adam ends higher, but is half as sharp, and twice as soon at the target."""
    curves = {"sgd": {0: 9.0, 50: 4.0, 100: 2.0}, "adam": {0: 9.0, 50: 2.4, 100: 2.3}}
    records = [
        record(run(arm, seed=seed), curve, sharpness=[0.5 if arm == "adam" else 1.0], step_seconds=0.01 + 0.001 * seed)
        for arm, curve in curves.items()
        for seed in range(5)
    ]
    decided = {"final_loss": "higher", "steps": "lower", "seconds": "lower", "sharpness": "lower"}
    assert {metric: verdicts(records, metric, target=2.5)["adam"] for metric in decided} == decided
    row = rows(records, "steps", target=2.5)["adam"]
    assert row.against is not None
    assert row.against.shown(row.against.mean) == pytest.approx(0.5)


def test_a_target_that_the_start_had_reached_is_no_race() -> None:
    row = rows(arms(sgd=[3.0, 3.0], adam=[2.0, 2.0]), "steps", target=9.0)["adam"]
    assert row.against is not None
    assert (row.against.n, row.against.left_out, row.verdict) == (0, 2, "undecided")


def test_one_seed_decides_nothing_in_any_metric() -> None:
    one = arms(sgd=[3.0], adam=[2.0])
    for metric in ("final_loss", "steps", "seconds", "sharpness"):
        assert verdicts(one, metric, target=2.5, threshold=0.5)["adam"] == "undecided"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"metric": "steps"}, "steps_to_target cannot be compared without a target"),
        ({"metric": "seconds"}, "seconds_to_target cannot be compared without a target"),
        ({"threshold": 0.0}, "the threshold is 0.0"),
        ({"threshold": math.nan}, "the threshold is nan"),
        ({"consecutive": 0}, "0 evaluations in a row"),
        ({"reference": "adma"}, "no arm or ghost is called 'adma'"),
        ({"reference": "own"}, "no arm or ghost is called 'own'"),
    ],
)
def test_what_makes_no_sense_is_an_error(asked: dict[str, object], message: str) -> None:
    with pytest.raises(ClipbenchError, match=message):
        compared(quickstart(), question("sgd", "sgd+clip", "adam"), **asked)  # type: ignore[arg-type]


def test_sooner_in_steps_may_be_later_in_seconds() -> None:
    """At half the steps, each of which takes three times as long."""
    records = [
        record(run(arm, seed=seed), {0: 9.0, at: 2.0}, step_seconds=seconds * (1 + 0.001 * seed))
        for arm, at, seconds in (("sgd", 100, 0.01), ("adam", 50, 0.03))
        for seed in range(4)
    ]
    for metric, factor in (("steps", 0.5), ("seconds", 1.5)):
        row = rows(records, metric, target=2.5)["adam"]
        assert row.against is not None
        assert row.against.shown(row.against.mean) == pytest.approx(factor)


# A missed target


def test_a_miss_is_in_the_mean_as_the_end_of_the_run_plus_one_evaluation() -> None:
    """Of 200 steps, evaluated every 50: 50/250, 50/100 and 250/100; on the fourth seed both missed."""
    row = rows(reaching(sgd=[None, 100, 100, None], adam=[50, 50, None, None]), "steps", target=2.5)["adam"]
    assert row.against is not None
    assert row.against.shown(row.against.mean) == pytest.approx((1 / 5 * 1 / 2 * 5 / 2) ** (1 / 3))
    assert (row.against.n, row.against.ahead, row.against.behind, row.against.neither) == (3, 1, 1, 1)
    assert row.steps is not None
    assert row.steps.by_seed == {0: 50, 1: 50, 2: math.inf, 3: math.inf}


def test_who_misses_on_some_seeds_what_the_rival_reaches_on_all_is_decided_by_the_mean() -> None:
    """Five seeds, one miss: ln 2 on four and ln 5 on one, which counts as 250 steps against 50."""
    table = reaching(sgd=[50] * 5, adam=[100, 100, 100, 100, None])
    row = rows(table, "steps", target=2.5)["adam"]
    assert row.against is not None
    logs = [math.log(2)] * 4 + [math.log(5)]
    assert (row.verdict, row.ranks) == ("higher", Ranks(2, 2))
    assert row.against.p == pytest.approx(stats.ttest_1samp(logs, 0.0).pvalue)
    turned = compared(table, question("sgd", "adam", baseline="adam"), "steps", target=2.5).rows[0]
    assert (turned.verdict, turned.ranks) == ("lower", Ranks(1, 1))


@pytest.mark.parametrize(("sgd", "adam"), [([50, 50, 50], [50, 50, None]), ([50, 50, None], [50, 50, 50])])
def test_with_a_miss_on_either_side_nothing_is_equivalent(sgd: list[int | None], adam: list[int | None]) -> None:
    """However wide the margin is; where both missed, the pair says nothing and stands in nobody's way."""
    table = reaching(sgd=sgd, adam=adam)
    assert rows(table, "steps", target=2.5, threshold=1e9)["adam"].verdict == "undecided"
    both = reaching(sgd=[50, 50, None], adam=[50, 50, None])
    assert verdicts(both, "steps", target=2.5) == {"sgd": "baseline", "adam": "identical"}


def test_of_an_undecided_mean_with_misses_it_is_said_how_many_seeds_it_needs() -> None:
    row = rows(reaching(sgd=[50, 100, 100], adam=[100, 100, None]), "steps", target=2.5)["adam"]
    assert row.against is not None
    assert row.judged is not None
    assert row.verdict == "undecided"
    assert row.judged.seeds_needed == row.against.seeds_to_decide()
    assert 3 < row.judged.seeds_needed < 100


def test_where_both_missed_on_every_seed_there_is_nothing_to_judge() -> None:
    row = rows(reaching(sgd=[None] * 3, adam=[None] * 3), "steps", target=2.5)["adam"]
    assert row.against is not None
    assert (row.against.n, row.against.neither, row.verdict) == (0, 3, "undecided")


# The least that an error can be


def test_losses_that_differ_alike_on_every_seed_are_no_surer_than_float32() -> None:
    """1.5 and 1.0 on each of three seeds: half a step of float32 on either side, and not an error of zero."""
    row = rows(arms(sgd=[1.0] * 3, adam=[1.5] * 3))["adam"]
    assert row.against is not None
    assert row.against.error == pytest.approx(math.hypot(1.0, 1.5) * 2.0**-23 / math.sqrt(12) / math.sqrt(3))
    assert row.verdict == "higher"
    close = rows(arms(sgd=[1.0] * 3, adam=[1.0 + 2.0**-24] * 3))["adam"]
    assert close.verdict == "undecided"
    assert rows(arms(sgd=[1.0] * 3, adam=[1.0] * 3))["adam"].verdict == "identical"


# Quantities that a probe recorded, and ranks


def probed(name: str, **values: list[float]) -> list[Record]:
    return [
        with_rows(record(run(arm, seed=seed), [9.0, 3.0]), [Measurement(50, 0.0, OWN, name, value)])
        for arm, of_arm in values.items()
        for seed, value in enumerate(of_arm)
    ]


def test_any_recorded_quantity_is_a_metric() -> None:
    """A difference of values, paired by seed; which way is better nobody said, and so there are no ranks."""
    found = rows(probed("angle", sgd=[-1.0, -1.1, -1.2], adam=[1.0, 1.1, 0.9], lion=[0.0, 2.0, -2.0]), "angle")
    adam = found["adam"]
    assert adam.against is not None
    assert (adam.against.scale, adam.against.mean) == pytest.approx(("linear", 2.1))
    assert {arm: row.verdict for arm, row in found.items()} == {
        "sgd": "baseline",
        "adam": "higher",
        "lion": "undecided",
    }
    pair = rows(probed("angle", sgd=[-1.0, -1.1, -1.2], adam=[1.0, 1.1, 0.9]), "angle")
    assert [row.ranks for row in pair.values()] == [None, None]


def test_where_higher_is_better_the_highest_is_first() -> None:
    records = probed("angle", sgd=[-1.0, -1.1, -1.2], adam=[1.0, 1.1, 0.9])
    said = {"angle": Manner(better="higher")}
    asked = Asked(metric=quantities.asked("angle", records, said))
    assert [row.ranks for row in compare(records, question("sgd", "adam"), asked).rows] == [Ranks(2, 2), Ranks(1, 1)]


def test_a_broken_arm_has_no_rank_and_takes_none() -> None:
    records = [*arms(sgd=[3.1, 3.2], adam=[2.1, 2.2]), record(run("lion"), [5.0, 1.0], status="diverged")]
    assert [row.ranks for row in rows(records).values()] == [Ranks(2, 2), Ranks(1, 1), None]


def test_an_arm_without_a_value_has_no_rank() -> None:
    records = probed("angle", sgd=[1.0, 1.1], adam=[2.0, 2.1]) + arms(lion=[3.0, 3.0])
    metric = quantities.asked("angle", records, {"angle": Manner(better="lower")})
    found = compare(records, question("sgd", "adam", "lion"), Asked(metric=metric)).rows
    assert [row.ranks for row in found] == [Ranks(1, 1), Ranks(2, 2), None]
    assert found[2].verdict == "undecided"


def test_ranks_are_of_a_task_and_by_the_metric_that_was_asked_for() -> None:
    records = [
        record(run(arm, seed=s, task=task), [5.0, loss + 0.1 * s], sharpness=[10 - loss + 0.1 * s])
        for task, order in (("one", 1), ("two", -1))
        for arm, loss in (("sgd", 3.0), ("adam", 3.0 - order))
        for s in range(3)
    ]
    by_loss, by_sharpness = (
        {(row.task, row.arm): row.ranks for row in compared(records, question("sgd", "adam"), metric).rows}
        for metric in ("final_loss", "sharpness")
    )
    assert by_loss["one", "adam"] == by_loss["two", "sgd"] == by_sharpness["two", "adam"] == Ranks(1, 1)
    assert by_sharpness["one", "adam"] == Ranks(2, 2)


def test_an_arm_that_never_reaches_the_target_is_not_sooner_since_its_runs_were_shorter() -> None:
    """Under equal seconds the slow arm makes few steps: its misses end early, and say nothing of the other's hits."""
    short = [
        ending(record(run("adam", seed=seed), {0: 9.0, 50: 8.0}), steps=50, train_seconds=1.0) for seed in range(5)
    ]
    long = [record(run("sgd", seed=seed), {0: 9.0, 150 + 50 * (seed % 2): 1.0}) for seed in range(5)]
    found = {row.arm: row for row in compared([*long, *short], question("sgd", "adam"), "steps", target=2.0).rows}
    adam = found["adam"]
    assert adam.against is not None
    assert (adam.verdict, adam.against.n, adam.against.neither) == ("undecided", 0, 5)


def test_at_an_earlier_step_a_miss_counts_as_the_end_that_is_looked_at() -> None:
    """At step 100 sgd has missed: 100 and one evaluation, and not the 250 that the whole run would make."""
    records = [
        record(run(arm, seed=seed), curve)
        for arm, curve in (("sgd", {0: 9.0, 50: 9.0, 100: 9.0, 150: 9.0}), ("adam", {0: 9.0, 50: 1.0}))
        for seed in range(3)
    ]
    moment = Moment(100, "step")
    row = compared(records, question("sgd", "adam"), "steps", target=2.0, at=moment).rows[1]
    assert row.against is not None
    assert math.exp(row.against.mean) == pytest.approx(50 / 150)


def test_a_run_that_ends_below_the_target_may_have_reached_it_when_that_began() -> None:
    """Two evaluations in a row are asked for, and the last one alone is below: at step 200, and not one later."""
    curve = {0: 9.0, 50: 9.0, 100: 9.0, 150: 9.0, 200: 1.0}
    [reading] = [quantities.asked("steps", [made]).read(made, Target(2.0, 2)) for made in [record(run("sgd"), curve)]]
    assert reading is not None
    assert (reading.value, reading.at_least) == (200, True)
