from collections.abc import Sequence
from dataclasses import replace

import pytest
from judging.checks.unfair import as_task, asked, caveats, fair, found, planned
from judging.made import ending, question, record, run

from clipbench.records import INITIAL_WEIGHTS, Record


@pytest.mark.parametrize("check", ["same seeds", "enough seeds", "arms differ"])
def test_five_common_seeds_of_two_arms_pass(check: str) -> None:
    assert found(check, fair()).verdict == "pass"


def test_an_arm_that_lacks_a_seed_of_the_others_fails() -> None:
    answer = found("same seeds", fair()[:-1])
    assert (answer.verdict, answer.runs) == ("fail", ("adam",))
    assert answer.what.startswith("adam on code_lm lacks seed 4 that others have: differences use the common seeds")
    assert found("same seeds", [*fair()[:-1], *as_task("digits", fair(2))]).runs == ("adam",)


def begun(weights: Sequence[str]) -> list[Record]:
    """Fair runs; these are the fingerprints of what the seeds begin with, and later seeds recorded none."""
    return [
        ending(each, fingerprints={INITIAL_WEIGHTS: weights[each.run.seed]}) if each.run.seed < len(weights) else each
        for each in fair()
    ]


SAME_WEIGHTS = (
    "Seeds do not vary the weights that code_lm starts from: they vary the order of the examples, dropout and new "
    "layers alone."
)


def pretrained(is_so: bool) -> list[Record]:
    """Fair runs of a task with this option."""
    task = replace(run().task, options={"pretrained": is_so})
    return [replace(each, run=replace(each.run, task=task)) for each in fair()]


@pytest.mark.parametrize("records", [pretrained(True), begun("aaaaa"), begun("aa")])
def test_seeds_of_weights_that_are_loaded_vary_order_and_dropout_alone(records: list[Record]) -> None:
    answer = found("same seeds", records)
    assert (answer.verdict, answer.runs) == ("pass", ())
    assert answer.what.endswith(f" {SAME_WEIGHTS}")
    assert SAME_WEIGHTS in caveats(records)


def test_of_a_plan_the_option_tells_that_weights_are_loaded() -> None:
    records = pretrained(True)
    assert planned("same seeds", [each.run for each in records], asked(records)).what.endswith(SAME_WEIGHTS)


@pytest.mark.parametrize("records", [pretrained(False), begun("aaaab"), begun("a"), begun("")])
def test_nothing_is_told_of_weights_that_a_seed_draws_or_that_one_seed_alone_recorded(records: list[Record]) -> None:
    assert found("same seeds", records).what == "All arms on a task have the same seeds."
    assert not any("weights" in caveat for caveat in caveats(records))


@pytest.mark.parametrize(
    ("seeds", "sentence"),
    [
        # t(0.975, 2)/√3 = 4.303/1.732 = 2.48
        (3, "With 3 seeds, a verdict needs a mean difference above 2.5 standard deviations of the paired"),
        (1, "With 1 seed, a difference has no standard error and no verdict. Start with 5 seeds"),
    ],
)
def test_few_seeds_tell_what_they_can_resolve(seeds: int, sentence: str) -> None:
    records = fair(seeds)
    for answer in (found("enough seeds", records), planned("enough seeds", [r.run for r in records], asked(records))):
        assert (answer.verdict, answer.runs) == ("warn", ("code_lm/sgd", "code_lm/adam"))
        assert answer.what.startswith(sentence)


def spread(losses: list[float]) -> list[Record]:
    """SGD always ends at 2; Adam at these losses."""
    return [
        each
        for seed, loss in enumerate(losses)
        for each in (record(run(seed=seed), [5.0, 2.0]), record(run("adam", seed=seed), [5.0, loss]))
    ]


@pytest.mark.parametrize(
    ("losses", "effect", "verdict", "sentence"),
    [
        # relative differences -0.1, 0, 0.1: s = 0.1; (t.975 + t.8)·0.1/√n is .208 for n = 4 and .166 for n = 5
        ([1.8, 2.0, 2.2], 0.2, "fail", "adam on code_lm has 3 seeds and needs 5 to show 20 % with a paired spread of"),
        ([1.8, 2.0, 2.2], 0.5, "pass", "There are enough seeds to show the declared effect"),
        ([1.0, 3.0], 0.001, "fail", "needs more than 10000 to show 0.1 %"),
        ([1.8], 0.5, "fail", "adam on code_lm has a single seed in common with the baseline: the spread is unknown."),
    ],
)
def test_the_seeds_that_a_declared_effect_takes_are_there_or_it_fails(
    losses: list[float], effect: float, verdict: str, sentence: str
) -> None:
    records = spread(losses)
    answer = found("enough seeds", records, asked(records, effect=effect))
    assert (answer.verdict, answer.runs) == (verdict, ("adam",) if verdict == "fail" else ())
    assert sentence in answer.what


@pytest.mark.parametrize("losses", [[0.0, 0.0], [-1.0, -2.0]])
def test_a_loss_that_is_not_above_zero_has_no_relative_effect(losses: list[float]) -> None:
    records = [record(run(arm, seed=seed), [5.0, loss]) for seed, loss in enumerate(losses) for arm in ("sgd", "adam")]
    assert found("enough seeds", records, asked(records, effect=0.1)).verdict == "not applicable"


def test_of_a_plan_that_declares_an_effect_no_number_of_seeds_is_known() -> None:
    declared = replace(question("sgd", "adam"), effect=0.1)
    assert planned("enough seeds", [each.run for each in fair(3)], declared).verdict == "not applicable"


def ends_as(records: list[Record], arm: str, seeds: tuple[int, ...], *, like: str, shift: int = 0) -> list[Record]:
    """Runs of an arm that end with the weights of another arm's, of the same seed or of one `shift` away."""
    ends = {(each.run.arm.name, each.run.seed): each.outcome.weights_sha256 for each in records if each.outcome}
    return [
        ending(each, weights_sha256=ends[like, each.run.seed + shift])
        if each.run.arm.name == arm and each.run.seed in seeds
        else each
        for each in records
    ]


def test_arms_that_are_secretly_one_are_exposed_by_their_weights() -> None:
    """Equal weights of one seed, not equal losses: two arms may meet at one loss by accident."""
    answer = found("arms differ", ends_as(fair(), "adam", (0, 3), like="sgd"))
    assert (answer.verdict, answer.runs) == ("warn", ("sgd", "adam"))
    where = "on code_lm, seeds 0 and 3"
    assert answer.what == f"sgd and adam end with the same weights {where}: the options that differ had no effect."
    assert not any(
        "very same weights" in caveat for caveat in caveats(ends_as(fair(), "adam", (0,), like="sgd", shift=1))
    )
