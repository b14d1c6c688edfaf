"""Arms against each other: what is compared, what a miss counts, and when a verdict is given."""

import math
import random

import pytest
from judging.made import question, quickstart, record, run
from scipy import stats

from clipbench.errors import ClipbenchError
from clipbench.judging.compare import compare
from clipbench.judging.comparison import Ranks
from clipbench.judging.contrasts import contrast, judged
from clipbench.judging.statistics import half_width
from clipbench.records import Measure, Record

LN2 = math.log(2)


def arms(**curves: list[float]) -> list[Record]:
    """Arms by their final losses, seed by seed."""
    return [
        record(run(arm, seed=seed), [9.0, loss]) for arm, losses in curves.items() for seed, loss in enumerate(losses)
    ]


def verdicts(records: list[Record], **asked: object) -> dict[str, str]:
    names = tuple(dict.fromkeys(one.run.arm.name for one in records))
    return {row.arm: row.verdict for row in compare(records, question(*names), **asked).rows}  # type: ignore[arg-type]


def test_a_contrast_of_losses_is_the_paired_t_test() -> None:
    ours, theirs = {0: 2.9, 1: 3.0, 2: 2.7, 7: 0.0}, {0: 3.0, 1: 3.3, 2: 2.8, 8: 0.0}
    found = contrast(ours, theirs, "final_loss")
    expected = stats.ttest_rel([2.9, 3.0, 2.7], [3.0, 3.3, 2.8])
    assert (found.mean, found.n, found.in_logs) == (pytest.approx(-0.5 / 3), 3, False)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-9)
    assert found.high - found.mean == pytest.approx(half_width(3) * found.standard_error)


def test_a_miss_is_counted_and_not_averaged() -> None:
    """Two pairs both reached it, on one only we did, on one only they, and on one neither."""
    ours = {0: LN2, 1: LN2, 2: 0.5, 3: math.inf, 4: math.inf}
    theirs = {0: 2 * LN2, 1: 2 * LN2, 2: math.inf, 3: 0.5, 4: math.inf}
    found = contrast(ours, theirs, "steps")
    assert (found.mean, found.n, found.ahead, found.behind) == (pytest.approx(-LN2), 2, 1, 1)
    assert (found.lower, found.higher) == (3, 1)
    assert found.p == stats.binomtest(3, 4).pvalue


def test_six_seeds_that_all_reach_what_the_other_misses_are_decided_and_five_are_not() -> None:
    for seeds, verdict in ((6, "better"), (5, "undecided")):
        found = contrast(dict.fromkeys(range(seeds), 1.0), dict.fromkeys(range(seeds), math.inf), "steps")
        [(_, said)] = judged([found], [None])
        assert said == verdict
        [(_, said)] = judged(
            [contrast(dict.fromkeys(range(6), math.inf), dict.fromkeys(range(6), 1.0), "steps")], [None]
        )
        assert said == "worse"


def test_verdicts_are_corrected_for_the_rows_of_the_table() -> None:
    """One arm is decided by itself, and no longer among eight others about which nothing is known."""
    sgd, better = [3.0, 3.1, 3.2], [2.5, 2.7, 2.6]
    alone = arms(sgd=sgd, adam=better)
    assert verdicts(alone)["adam"] == "better"
    noise = {f"noise{i}": [3.0 + 0.1 * i, 3.3, 2.9] for i in range(8)}
    assert verdicts(arms(sgd=sgd, adam=better, **noise))["adam"] == "undecided"


def test_a_broken_arm_takes_no_part_in_the_correction() -> None:
    sgd, better = [3.0, 3.1, 3.2], [2.5, 2.7, 2.6]
    broken = [record(run(f"lion{i}", seed=s), [9.0, 3.0], status="diverged") for i in range(8) for s in range(3)]
    found = verdicts([*arms(sgd=sgd, adam=better), *broken])
    assert (found["adam"], found["lion0"]) == ("better", "broken")


def test_each_table_is_corrected_by_itself() -> None:
    one = arms(sgd=[3.0, 3.1, 3.2], adam=[2.5, 2.7, 2.6])
    other = [record(run(f"noise{i}", seed=s, task="digits"), [9.0, 3.0 + i * s]) for i in range(9) for s in range(3)]
    rows = compare([*one, *other], question("sgd", "adam")).rows
    assert next(row.verdict for row in rows if row.arm == "adam") == "better"


@pytest.mark.parametrize(
    ("losses", "threshold", "verdict"),
    [
        ([2.99, 2.98, 2.985], 0.05, "within"),  # decidedly lower, by half a percent
        ([2.99, 2.98, 2.985], 0.001, "better"),
        ([2.5, 2.6, 2.4], 0.05, "better"),
        ([2.8, 3.2, 3.0], 0.05, "undecided"),
    ],
)
def test_a_difference_too_small_to_matter_is_called_within(losses: list[float], threshold: float, verdict: str) -> None:
    assert verdicts(arms(sgd=[3.0, 3.0, 3.0], adam=losses), threshold=threshold)["adam"] == verdict


def test_the_threshold_of_a_ratio_is_a_factor() -> None:
    records = [
        record(run(arm, seed=seed), [9.0, 3.0], sharpness=[level * (1 + 0.001 * seed)])
        for arm, level in (("sgd", 1.0), ("adam", 1.04), ("lion", 2.0))
        for seed in range(4)
    ]
    found = verdicts(records, metric="sharpness", threshold=0.05)
    assert (found["adam"], found["lion"]) == ("within", "worse")


@pytest.mark.parametrize("metric", ["steps", "seconds"])
def test_three_seeds_that_are_all_read_one_evaluation_sooner_are_no_proof(metric: str) -> None:
    """At steps 150 and 200, evaluated every 50: it may have been 150 and 151. By their spread alone p would be 0."""
    curves = {"sgd": {0: 9.0, 150: 4.0, 200: 2.0}, "adam": {0: 9.0, 150: 2.0, 200: 2.0}}
    records = [record(run(arm, seed=seed), curve) for arm, curve in curves.items() for seed in range(3)]
    row = compare(records, question("sgd", "adam"), metric=metric, target=2.5).rows[1]  # type: ignore[arg-type]
    assert row.contrast is not None
    assert row.ranks is not None
    error = math.hypot(50 / 200, 50 / 150) / math.sqrt(12) / math.sqrt(3)
    assert (row.verdict, row.ranks.low, row.ranks.high) == ("undecided", 1, 2)
    assert row.contrast.standard_error == pytest.approx(error)
    assert row.contrast.p == pytest.approx(2 * stats.t.sf(math.log(200 / 150) / error, 2))


def test_how_finely_a_target_is_seen_is_said_where_it_decides() -> None:
    records = arms(sgd=[4.0, 4.1], adam=[2.0, 2.1])
    for metric, said in (("steps", 1), ("seconds", 1), ("final_loss", 0)):
        found = compare(records, question("sgd", "adam"), metric=metric, target=4.5)  # type: ignore[arg-type]
        assert sum("seen only at an evaluation" in caveat for caveat in found.caveats) == said


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
        rows = compare(records, question(*names), metric="steps", target=2.5).rows
        wrong += any(row.verdict in ("better", "worse") or row.ranks != Ranks(1, 4) for row in rows)
    assert wrong / 400 <= 0.05


def test_each_metric_has_its_own_verdict() -> None:
    """adam ends higher, but is half as sharp, and twice as soon at the target."""
    curves = {"sgd": {0: 9.0, 50: 4.0, 100: 2.0}, "adam": {0: 9.0, 50: 2.4, 100: 2.3}}
    records = [
        record(run(arm, seed=seed), curve, sharpness=[0.5 if arm == "adam" else 1.0], step_seconds=0.01 + 0.001 * seed)
        for arm, curve in curves.items()
        for seed in range(5)
    ]
    for metric, verdict in (
        ("final_loss", "worse"),
        ("steps", "better"),
        ("seconds", "better"),
        ("sharpness", "better"),
    ):
        assert verdicts(records, metric=metric, target=2.5)["adam"] == verdict
    row = compare(records, question("sgd", "adam"), metric="steps", target=2.5).rows[1]
    assert row.contrast is not None
    assert math.exp(row.contrast.mean) == pytest.approx(0.5)


def test_a_target_that_the_start_had_reached_is_no_race() -> None:
    row = compare(arms(sgd=[3.0, 3.0], adam=[2.0, 2.0]), question("sgd", "adam"), metric="steps", target=9.0).rows[1]
    assert row.contrast is not None
    assert (row.contrast.n, row.verdict) == (0, "undecided")


def test_one_seed_decides_nothing_in_any_metric() -> None:
    one = arms(sgd=[3.0], adam=[2.0])
    for metric in ("final_loss", "steps", "seconds", "sharpness"):
        assert verdicts(one, metric=metric, target=2.5, threshold=0.5)["adam"] == "undecided"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"metric": "steps"}, "steps to the target cannot be compared without a target"),
        ({"metric": "seconds"}, "seconds to the target cannot be compared without a target"),
        ({"threshold": 0.0}, "the threshold is 0.0"),
        ({"threshold": math.nan}, "the threshold is nan"),
        ({"consecutive": 0}, "0 evaluations in a row"),
        ({"reference": "adma"}, "no arm or ghost is called 'adma'"),
        ({"reference": "own"}, "no arm or ghost is called 'own'"),
    ],
)
def test_what_makes_no_sense_is_an_error(asked: dict[str, object], message: str) -> None:
    with pytest.raises(ClipbenchError, match=message):
        compare(quickstart(), question("sgd", "sgd+clip", "adam"), **asked)  # type: ignore[arg-type]


def test_a_row_with_a_single_pair_takes_no_part_in_the_correction() -> None:
    decided = contrast({0: 2.5, 1: 2.7, 2: 2.6}, {0: 3.0, 1: 3.1, 2: 3.2}, "final_loss")
    single = contrast({0: 1.0}, {0: 2.0}, "final_loss")
    (first, verdict), (second, of_single) = judged([decided, single, None], [None] * 3)[:2]
    assert first is not None
    assert second is not None
    assert (first.corrected, verdict) == (decided.p, "better")
    assert (second.corrected, of_single) == (1.0, "undecided")


def test_seeds_are_asked_for_where_a_mean_is_undecided_and_at_the_level_of_the_whole_table() -> None:
    """The definition, by search: t tests at 0.05/2, since two are judged; the third pair of arms is settled."""
    differences = [0.1, 0.4, -0.1]
    open_one = contrast(dict(enumerate(differences)), dict.fromkeys(range(3), 0.0), "final_loss")
    settled = contrast({0: 2.001, 1: 2.0, 2: 1.999}, dict.fromkeys(range(3), 3.0), "final_loss")
    (undecided, _), (better, verdict) = judged([open_one, settled], [None, None])
    size = stats.tstd(differences) / 0.4 * 3
    least = next(
        n for n in range(2, 1000) if (stats.t.ppf(1 - 0.0125, n - 1) + stats.t.ppf(0.8, n - 1)) * size <= math.sqrt(n)
    )
    assert undecided is not None
    assert better is not None
    assert undecided.seeds_needed == least
    assert verdict == "better"
    assert math.isnan(better.seeds_needed)


@pytest.mark.parametrize("turned", [False, True])
def test_where_misses_are_counted_no_margin_and_no_number_of_seeds_is_spoken_of(turned: bool) -> None:
    """One missed what the other reached: the two finite pairs alone would lie well within so wide a margin."""
    sides = ({0: 1.0, 1: 2.0, 2: 2.5}, {0: math.inf, 1: 1.0, 2: 1.1})
    ours, theirs = reversed(sides) if turned else sides
    [(found, verdict)] = judged([contrast(ours, theirs, "steps")], [100.0])
    assert found is not None
    assert (found.ahead, found.behind) == ((0, 1) if turned else (1, 0))
    assert verdict == "undecided"
    assert math.isnan(found.seeds_needed)


def test_sooner_in_steps_may_be_later_in_seconds() -> None:
    """At half the steps, each of which takes three times as long."""
    records = [
        record(run(arm, seed=seed), {0: 9.0, at: 2.0}, step_seconds=seconds * (1 + 0.001 * seed))
        for arm, at, seconds in (("sgd", 100, 0.01), ("adam", 50, 0.03))
        for seed in range(4)
    ]
    for metric, factor in (("steps", 0.5), ("seconds", 1.5)):
        row = compare(records, question("sgd", "adam"), metric=metric, target=2.5).rows[1]  # type: ignore[arg-type]
        assert row.contrast is not None
        assert math.exp(row.contrast.mean) == pytest.approx(factor)
