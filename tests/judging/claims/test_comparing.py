"""Arms along their own paths, paired by seed."""

import math
from collections.abc import Sequence
from typing import Any

import pytest
from judging.claims.measured import asked, claim, measured
from judging.made import record, run

from clipbench.judging.paired import half_width
from clipbench.records import OWN, Record
from clipbench.spec.claims import Claim


def own(quantity: str, **changes: Any) -> Claim:
    """The clipped arm is lower than its twin."""
    compare = {"quantity": quantity, "of": {"use": "sgd", "clip": True}, "against": "twin", "at": "own"}
    return claim(compare={**compare, **changes.pop("compare", {})}, expect="lower", **changes)


def pair(clipped: Sequence[float], twin: Sequence[float], **made: Any) -> list[Record]:
    return [
        each
        for seed, (ours, theirs) in enumerate(zip(clipped, twin, strict=True))
        for each in (
            record(run("sgd+clip", use="sgd", clip=0.1, lr=1.0, seed=seed), [5.0, ours], **made),
            record(run("sgd", seed=seed), [5.0, theirs]),
        )
    ]


def test_final_losses_are_paired_by_seed() -> None:
    answer = asked(own("final_loss"), pair([2.0, 3.0, 4.0], [2.2, 3.3, 4.4]))
    [found] = answer.comparisons
    assert (answer.verdict, found.estimate, found.n) == pytest.approx(("holds", 1 / 1.1, 3))
    assert (found.site.trajectory, found.site.between) == ("", "sgd+clip against sgd")


def test_a_seed_that_only_one_arm_has_is_not_paired() -> None:
    """And it is counted, whichever arm lacks it."""
    records = pair([2.0, 3.0, 4.0, 5.0], [2.2, 3.3, 4.4, 5.5])
    [found] = asked(own("final_loss"), [*records[:4], records[4], records[7]]).comparisons
    assert (found.n, found.left_out, found.lost) == (2, 2, 0)
    answer = asked(own("final_loss"), [records[0], records[3]])
    assert (answer.verdict, answer.why) == (
        "not measured",
        "no task has ended runs of sgd with a clip and its twin with the same seed",
    )


def test_an_arm_that_diverges_where_its_twin_does_not_is_not_lower() -> None:
    records = pair([2.0, 3.0, 4.0], [2.2, 3.3, 4.4])
    broken = record(records[4].run, [5.0, 9.0], status="diverged")
    answer = asked(own("final_loss"), [*records[:4], broken, records[5]])
    [found] = answer.comparisons
    assert (answer.verdict, found.lost, found.left_out, found.estimate) == ("fails", 1, 1, math.inf)


def test_an_arm_that_diverges_does_not_refute_that_it_ends_higher() -> None:
    higher = own("final_loss", margin=0.5).model_copy(update={"expect": "higher"})
    records = pair([2.0, 3.0, 4.0], [2.2, 3.3, 4.4])
    broken = record(records[4].run, [5.0, 9.0], status="diverged")
    answer = asked(higher, [*records[:4], broken, records[5]])
    assert (answer.verdict, answer.comparisons[0].lost) == ("holds", 1)


def test_a_twin_that_diverges_proves_nothing_and_is_left_out() -> None:
    records = pair([2.0, 3.0, 4.0], [2.2, 3.3, 4.4])
    broken = record(records[5].run, [5.0, 9.0], status="diverged")
    [found] = asked(own("final_loss"), [*records[:5], broken]).comparisons
    assert (found.n, found.lost, found.left_out) == (2, 0, 1)


def test_an_unfinished_run_is_not_a_lost_one() -> None:
    records = pair([2.0, 3.0, 4.0], [2.2, 3.3, 4.4])
    waiting = record(records[4].run, [5.0], status="unfinished")
    [found] = asked(own("final_loss"), [*records[:4], waiting, records[5]]).comparisons
    assert (found.n, found.lost, found.left_out) == (2, 0, 1)


@pytest.mark.parametrize("status", ["diverged", "failed", "unfinished"])
def test_what_a_broken_run_measured_along_its_path_is_in_no_number_and_no_failure_of_the_claim(status: Any) -> None:
    """Its seed is counted: 0.1, and not the 1000 of the run that broke."""
    whole = [measured(each, {OWN: [0.1 if each.run.arm.clip else 1.0]}) for each in pair([2.0] * 4, [3.0] * 4)]
    broken = measured(record(whole[-2].run, [5.0], status=status), {OWN: [1000.0]})
    answer = asked(own("directional_sharpness"), [*whole[:-2], broken, whole[-1]])
    [found] = answer.comparisons
    assert (answer.verdict, found.estimate, found.n) == pytest.approx(("holds", 0.1, 3))
    assert (found.left_out, found.lost, found.excluded) == (1, 0, 0)


def test_harm_beyond_the_margin_is_a_counter_example_to_never_hurts() -> None:
    never_hurts = own("final_loss", margin=1.02)
    assert asked(never_hurts, pair([2.0, 3.0], [2.0, 3.0])).verdict == "holds"
    assert asked(never_hurts, pair([2.2, 3.3, 4.4], [2.0, 3.0, 4.0])).verdict == "fails"


def test_a_miss_of_the_target_counts_as_one_evaluation_more_and_two_misses_say_nothing() -> None:
    """Evaluated at steps 0 and 50; both runs have 200 steps: 50/250, 50/50, and nothing."""
    records = pair([2.0, 2.0, 4.0], [3.0, 2.0, 4.0])
    [found] = asked(own("steps_to_target"), records, target=2.5).comparisons
    assert (found.n, found.excluded) == (2, 1)
    assert found.estimate == pytest.approx(math.sqrt(0.2))


@pytest.mark.parametrize("scale", ["ratio", "difference"])
def test_steps_to_the_target_are_no_surer_than_the_evaluations_they_are_read_at(scale: str) -> None:
    """50 steps against 100 with every seed, evaluated every 50."""
    records = [
        record(each.run, {0: 5.0, 50: 2.0 if each.run.arm.clip else 4.0, 100: 2.0})
        for each in pair([2.0] * 3, [2.0] * 3)
    ]
    answer = asked(own("steps_to_target", compare={"scale": scale}), records, target=2.5)
    [found] = answer.comparisons
    error = (math.hypot(50 / 50, 50 / 100) if scale == "ratio" else math.hypot(50, 50)) / math.sqrt(12) / math.sqrt(3)
    middle = math.log(0.5) if scale == "ratio" else -50
    high = middle + half_width(3) * error
    assert found.high == pytest.approx(math.exp(high) if scale == "ratio" else high)
    assert answer.verdict == "undecided"


@pytest.mark.parametrize("scale", ["ratio", "difference"])
def test_final_losses_that_are_alike_on_every_seed_are_no_surer_than_float32(scale: str) -> None:
    """2 against 3 with every seed: of either loss half a step of float32 is not known."""
    [found] = asked(own("final_loss", compare={"scale": scale}), pair([2.0] * 3, [3.0] * 3)).comparisons
    error = (math.hypot(1, 1) if scale == "ratio" else math.hypot(2, 3)) * 2.0**-23 / math.sqrt(12) / math.sqrt(3)
    width = found.high - found.estimate if scale == "difference" else math.log(found.high / found.estimate)
    assert width == pytest.approx(half_width(3) * error, rel=1e-6)


def test_a_target_has_to_hold_for_as_long_as_the_spec_says() -> None:
    """At or below 2 at step 50 and again from 150 on, against from 100 on: 50/100, and where it has to hold 150/100."""
    curves = {"sgd+clip": [5.0, 1.0, 4.0, 1.0, 1.0], "sgd": [5.0, 4.0, 1.0, 1.0, 1.0]}
    clips = {"sgd+clip": 0.1, "sgd": None}
    records = [
        record(run(name, use="sgd", clip=clips[name], seed=seed), curve)
        for seed in range(2)
        for name, curve in curves.items()
    ]
    found = [asked(own("steps_to_target"), records, target=2.0, consecutive=held) for held in (1, 2)]
    assert [answer.comparisons[0].estimate for answer in found] == [pytest.approx(0.5), pytest.approx(1.5)]


def test_without_a_target_nothing_is_reached() -> None:
    answer = asked(own("steps_to_target"), pair([2.0], [3.0]))
    assert (answer.verdict, answer.why) == (
        "not measured",
        "no task has ended runs of sgd with a clip and its twin with the same seed",
    )


def test_what_was_measured_along_own_paths_is_paired_by_seed_and_step() -> None:
    records = [
        measured(each, {OWN: [0.1] if each.run.arm.clip else [1.0 + each.run.seed / 10]})
        for each in pair([2.0] * 3, [3.0] * 3)
    ]
    answer = asked(own("directional_sharpness"), records)
    [found] = answer.comparisons
    assert (answer.verdict, found.estimate) == pytest.approx(("holds", 0.1 / (1.0 * 1.1 * 1.2) ** (1 / 3)))


def test_arms_are_chosen_by_name_by_use_and_by_what_their_clip_does() -> None:
    records = pair([2.0, 3.0, 4.0], [2.2, 3.3, 4.4])

    def between(of: object, against: object = "twin") -> list[str]:
        answer = asked(own("final_loss", compare={"of": of, "against": against}), records)
        return [each.site.between for each in answer.comparisons]

    assert between("sgd+*") == ["sgd+clip against sgd"]
    assert between("sgd", "sgd+clip") == ["sgd against sgd+clip"]
    assert between(["lion", {"clip": {"fraction": 0.1, "of": "gradient"}}]) == ["sgd+clip against sgd"]
    assert between({"clip": {"fraction": 0.5}}) == []
    assert between({"clip": {"of": "update"}}) == []
    assert between({"use": "sgd"}, {"clip": False}) == ["sgd+clip against sgd"]
    assert between({"name": "[sgd]"}) == []


def test_other_tasks_can_be_left_out() -> None:
    records = pair([2.0, 3.0], [2.2, 3.3])
    assert asked(own("final_loss", compare={"tasks": ["digits", "code_*"]}), records).comparisons
    assert asked(own("final_loss", compare={"tasks": "digits"}), records).verdict == "not measured"
