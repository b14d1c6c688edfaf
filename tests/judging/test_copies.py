"""Runs that end with the same weights are one observation, wherever numbers are made of them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from judging.checks.unfair import asked as asked_of
from judging.checks.unfair import found as found_by
from judging.claims.measured import asked, claim, haunted
from judging.gate.sides import ELSEWHERE, FIVE, arm, judged, row, scaled, suite
from judging.made import compared, copied, ending, question, record, run, trial, tuning

from clipbench.judging.compare import compare
from clipbench.judging.comparison import Twin
from clipbench.judging.copies import alike, counted, once
from clipbench.judging.families import Ranks
from clipbench.judging.gate.baseline import dumped, loaded
from clipbench.judging.gate.check import check
from clipbench.judging.gate.report import GateRow
from clipbench.judging.gate.rules import Rules
from clipbench.judging.tuning.summary import tunings
from clipbench.judging.tuning.trials import BY_LOSS, Criterion, tried
from clipbench.measurements import Measurement, Measurements
from clipbench.quantities import STEPS
from clipbench.questions import Target
from clipbench.records import DIRECTIONAL_SHARPNESS, OWN, Record

COPIES = {3: 0, 4: 1, 5: 0}
ALL_COPIES = dict.fromkeys(range(1, 6), 0)


def test_of_copies_the_first_counts() -> None:
    ours, theirs = {0: "a", 1: "b", 2: "a", 3: "a"}, {0: "x", 1: "y", 2: "x", 3: "z"}
    assert counted(ours, ours) == [0, 1]
    assert counted(ours, ours, theirs) == [0, 1, 3]  # 3 is a copy on one side alone
    assert alike({seed: [weights] for seed, weights in ours.items()}) == [(0, 2, 3), (1,)]
    assert once({0: 1.0, 2: 3.0, 3: 4.0}, theirs, ours, theirs) == {0: 1.0, 3: 4.0}


def test_a_run_without_weights_is_nobodys_copy() -> None:
    nothing = {0: "", 1: ""}
    assert counted(nothing, nothing) == [0, 1]
    assert counted(nothing, nothing, {0: "x", 1: "x"}) == [0, 1]
    assert counted([0, 1], {}) == [0, 1]


def whole() -> list[Record]:
    """Three seeds of three arms, with ghosts, sharpness and a clip: something for every table."""
    records = []
    for seed in range(3):
        for place, (name, clip) in enumerate((("sgd", None), ("sgd+clip", 0.1), ("adam", None))):
            of = run(name, seed=seed, clip=clip)
            ghosts = (run("lion").arm,)
            of = replace(of, measure=replace(of.measure, ghosts=ghosts))
            losses = [5.0, 4.0 - 0.2 * place + 0.1 * seed, 3.0 - 0.3 * place + 0.05 * seed * (1 + place)]
            made = record(
                of, losses, sharpness=[-1.0, 4.0 + seed, 2.0 + place + 0.1 * seed], clipped=[0.1, 0.2 + 0.1 * seed]
            )
            along = [Measurement(50, 0.0, "lion", DIRECTIONAL_SHARPNESS, 3.0 + seed + place)]
            records.append(replace(made, measurements=Measurements.of((*made.measurements, *along))))
    return records


def but_times(twin: Twin) -> Twin:
    return replace(twin, step_time=None, answers=twin.answers[:-1])  # type: ignore[arg-type]


@pytest.mark.parametrize("metric", ["final_loss", "steps", "seconds", "sharpness", "clipped_fraction"])
def test_copies_change_no_number_of_a_comparison(metric: str) -> None:
    """But the seeds as they ended, and times: a machine takes another time for each."""
    asks = question("sgd", "sgd+clip", "adam", target=3.2)
    plain, more = (compared(of, asks, metric, threshold=0.01) for of in (whole(), copied(whole(), COPIES)))
    for ours, theirs in zip(more.rows, plain.rows, strict=True):
        assert replace(ours, seeds=theirs.seeds, step_milliseconds=theirs.step_milliseconds) == theirs
        assert ours.seeds.total == 6
    assert [*map(but_times, more.twins)] == [*map(but_times, plain.twins)]
    for mine, other in ((more.race, plain.race), (more.matched, plain.matched), (more.shared, plain.shared)):
        assert (repr(mine), len(mine) > 0) == (repr(other), True)  # as text, where NaN equals NaN
    said = [
        "Seeds 0, 3 and 5 of sgd, sgd+clip and adam on code_lm end with the same weights: the seed has no effect, "
        "so they count once.",
        "Seeds 1 and 4 of sgd, sgd+clip and adam on code_lm end with the same weights: the seed has no effect, so "
        "they count once.",
    ]
    assert [caveat for caveat in more.caveats if caveat not in plain.caveats] == said
    [few] = [caveat for caveat in plain.caveats if caveat not in more.caveats]
    assert few.startswith("With 3 seeds")


def deaf(*losses: float, arms: Sequence[str] = ("sgd", "adam")) -> list[Record]:
    """One run an arm, and five copies of it."""
    return copied([record(run(name), [5.0, loss]) for name, loss in zip(arms, losses, strict=True)], ALL_COPIES)


def test_copies_of_one_run_decide_nothing() -> None:
    of = compare(deaf(3.0, 2.9), question("sgd", "adam"))
    assert [each.verdict for each in of.rows] == ["baseline", "undecided"]
    assert [each.ranks for each in of.rows] == [Ranks(1, 2), Ranks(1, 2)]
    assert of.rows[1].difference is not None
    assert [each.final_loss.n for each in of.rows] == [1, 1]
    assert of.rows[1].difference.n == 1


@pytest.mark.parametrize(("threshold", "verdict"), [(0.02, "higher"), (0.03, "equivalent")])
def test_what_is_too_small_to_matter_is_a_share_of_a_mean_without_copies(threshold: float, verdict: str) -> None:
    """Of 6, the mean of 3 and 9, a difference of 0.13 is more than 2 %; of 7.8, with copies of 9, it were less."""
    records = [record(run(seed=seed), [10.0, loss]) for seed, loss in enumerate((3.0, 9.0))]
    records += [record(run("adam", seed=seed), [10.0, loss]) for seed, loss in enumerate((3.1299, 9.1301))]
    more = copied(records, dict.fromkeys(range(2, 5), 1))
    verdicts = [compared(of, question("sgd", "adam"), threshold=threshold).rows[1].verdict for of in (records, more)]
    assert verdicts == [verdict, verdict]


def test_copies_of_one_arm_are_pairs_with_a_rival_that_varies() -> None:
    """An optimizer with chance of its own, against a twin that is deaf: each of its runs was really made."""
    records = [each for each in deaf(3.0, 2.0) if each.run.arm.name == "sgd"]
    records += [record(run("adam", seed=seed), [5.0, 2.0 + 0.01 * seed]) for seed in range(6)]
    of = compare(records, question("sgd", "adam"))
    assert of.rows[1].verdict == "lower"
    assert of.rows[1].against is not None
    assert (of.rows[1].against.n, of.rows[0].final_loss.n, of.rows[1].final_loss.n) == (6, 1, 6)


def test_copies_that_miss_the_target_are_one_miss() -> None:
    """Six pairs would be decided; a baseline that diverged alike on every seed is one pair."""
    records = [
        ending(each, status="diverged", weights_sha256="nan") if each.run.arm.name == "sgd" else each
        for each in deaf(9.0, 2.0)
    ]
    row = compared(records, question("sgd", "adam", target=2.5), "steps").rows[1]
    assert row.against is not None
    assert (row.against.ahead, row.against.n, row.verdict) == (1, 1, "undecided")


def test_the_time_of_a_step_is_compared_in_every_copy() -> None:
    """Measured anew each time; the seconds to a target are as many observations as the steps to it."""
    for metric, pairs in (("step_seconds", 6), ("train_seconds", 6), ("seconds", 1), ("steps", 1), ("final_loss", 1)):
        row = compared(deaf(2.1, 2.0), question("sgd", "adam", target=2.5), metric).rows[1]
        assert row.against is not None
        assert (metric, row.against.n) == (metric, pairs)


def test_runs_that_diverged_to_nothing_but_nan_are_counted_each() -> None:
    """Weights that are NaN throughout are equal, whatever the seed was."""
    records = [ending(record(run(seed=seed), [5.0]), status="diverged", weights_sha256="nan") for seed in range(4)]
    of = compare(records, question("sgd", target=1.0))
    assert of.rows[0].steps is not None
    assert of.rows[0].steps.seeds == 4
    assert not any("same weights" in caveat for caveat in of.caveats)


def test_a_seed_whose_copy_finished_is_not_lost_with_a_run_that_did_not() -> None:
    """Evaluated on other batches, the same weights may count as diverged; the pair that finished stands."""
    records = deaf(3.0, 2.9)
    broken = [ending(each, status="diverged") if each.run.seed == 0 else each for each in records]
    of = compare(broken, question("sgd", "adam"))
    assert of.rows[1].difference is not None
    assert of.rows[1].difference.n == 1


def test_the_audit_fails_on_copies_and_names_them() -> None:
    finding = found_by("enough seeds", deaf(3.0, 2.9), asked_of(deaf(3.0, 2.9)))
    assert finding.verdict == "fail"
    said = "Seeds 0, 1, 2, 3, 4 and 5 of sgd and adam on code_lm end with the same weights: the seed has no effect"
    assert finding.what.startswith(said)
    assert "code_lm/sgd/seed 0" in finding.runs
    assert "code_lm/adam/seed 5" in finding.runs


def test_the_seeds_that_an_effect_takes_are_reckoned_without_copies() -> None:
    few = [
        record(run(name, seed=seed), [5.0, loss + 0.05 * (-1) ** seed * (name == "adam")])
        for seed in range(2)
        for name, loss in (("sgd", 3.0), ("adam", 2.9))
    ]
    more = copied(few, {seed: seed % 2 for seed in range(2, 8)})
    said = [found_by("enough seeds", of, asked_of(of, effect=0.05)).what for of in (few, more)]
    assert said[0].startswith("adam on code_lm has 2 seeds and needs ")
    assert said[0] in said[1]


# The gate


def by_metric(candidate: Sequence[Record], baseline: Sequence[Record], *metrics: str) -> list[GateRow]:
    report = judged(candidate, baseline, target=3.3)
    return [row(report, metric) for metric in metrics]


def test_copies_change_no_verdict_of_the_gate() -> None:
    ours = arm(scaled(FIVE, 1.2, 0.9, 1.1, 1.0, 1.05), sharpness=[2.0])
    theirs = arm(FIVE, sharpness=[1.0])
    more = {seed: seed % 5 for seed in range(5, 15)}
    metrics = ("loss", "steps", "sharpness")
    assert by_metric(copied(ours, more), copied(theirs, more), *metrics) == by_metric(ours, theirs, *metrics)


@pytest.mark.parametrize("factor", [1.5, 0.5])
def test_a_change_seen_in_copies_alone_is_not_decided(factor: float) -> None:
    one = {0: 3.0}
    report = judged(copied(arm({0: 3.0 * factor}, environment=ELSEWHERE), ALL_COPIES), copied(arm(one), ALL_COPIES))
    assert (row(report, "loss").verdict, row(report, "loss").seeds) == ("undecided", 1)
    assert report.exit_code == 3
    said = "of sgd on code_lm in the baseline end with the same weights"
    assert sum(said in caveat for caveat in report.caveats) == 1


def test_a_baseline_file_knows_its_copies() -> None:
    kept = loaded(dumped(suite(copied(arm({0: 3.0}), ALL_COPIES))), where="baseline.json")
    report = check(suite(copied(arm({0: 4.0}, environment=ELSEWHERE), ALL_COPIES)), kept, Rules())
    assert row(report, "loss").verdict == "undecided"


def test_times_of_copies_are_measurements_all_the_same() -> None:
    ours, theirs = copied(arm({0: 3.0}), ALL_COPIES), copied(arm({0: 3.0}), ALL_COPIES)
    assert row(judged(ours, theirs), "time").seeds == 6


# Claims


@pytest.mark.parametrize("at", ["own", "shared"])
def test_a_claim_is_not_borne_out_by_copies(at: str) -> None:
    compare_at: dict[str, Any] = {"quantity": DIRECTIONAL_SHARPNESS, "of": "sgd", "against": "adam", "at": at}
    one = [haunted({OWN: [4.0] * 3, "adam": [2.0] * 3}), record(run("adam"), [5.0, 2.0], sharpness=[2.0] * 4)]
    answer = asked(claim(compare=compare_at), copied(one, ALL_COPIES))
    assert answer.verdict == "undecided"
    assert [each.n for each in answer.comparisons] == [1]
    assert [each.left_out for each in answer.comparisons] == [0]


def test_an_order_of_arms_is_one_observation_in_copies() -> None:
    names = ("sgd", "adam", "lion")
    ghosts = [run(name).arm for name in names[1:]]
    one = [haunted({OWN: [4.0] * 3, "adam": [2.0] * 3, "lion": [1.0] * 3}, ghosts=ghosts)]
    one += [record(run(name), [5.0, loss]) for name, loss in (("adam", 2.0), ("lion", 1.0))]
    ranked = claim(compare=None, rank={"by": DIRECTIONAL_SHARPNESS}, needs={"arms": 3})
    assert asked(ranked, one).comparisons[0].n == 1
    assert asked(ranked, copied(one, ALL_COPIES)).comparisons[0].n == 1
    broken = [ending(each, status="failed", weights_sha256="") if each.run.arm.name == "lion" else each for each in one]
    assert asked(ranked, copied(broken, ALL_COPIES)).comparisons[0].n == 1
    two = copied(one, {1: 0})
    apart = [ending(each, weights_sha256=f"{each.run}") for each in two]
    assert asked(ranked, apart).comparisons[0].n == 2


# Tuning


def test_a_trials_loss_is_a_mean_over_its_runs_and_not_over_copies() -> None:
    seeds = (7, 8, 9)
    [tuned] = tuning({"sgd": [0.1]}, seeds=seeds).arms
    first, other = record(trial(lr=0.1, seed=7), [5.0, 2.0]), record(trial(lr=0.1, seed=8), [5.0, 3.0])
    copy = replace(first, run=trial(lr=0.1, seed=9))
    made = {each.run.key: each for each in (first, other, copy)}
    for by, score in ((BY_LOSS, 2.5), (Criterion(STEPS, target=Target(3.5)), 50.0)):
        [found] = tried(tuned, made, by=by)
        assert (found.losses, found.loss, found.score) == ((2.0, 3.0), 2.5, score)
    of = replace(question("sgd"), tuning=tuning({"sgd": [0.1]}, seeds=seeds, selected={"sgd": 0.1}))
    assert tunings(list(made.values()), of)[0].loss.n == 2
