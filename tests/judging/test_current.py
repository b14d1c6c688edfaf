"""After a spec is edited, its earlier runs are left out, whatever their seed, and the table says so."""

from dataclasses import replace

import pytest
from judging.made import question, record, run

from clipbench.errors import UndecidedError
from clipbench.judging.compare import compare
from clipbench.judging.current import one_per_seed
from clipbench.records import Record

OLD = [record(run(seed=seed, lr=0.1), [5.0, 4.0]) for seed in (0, 1, 2)]
NEW = [record(run(seed=seed, lr=0.3), [5.0, 3.0]) for seed in (0, 1)]
OTHER = [record(run("adam", seed=seed), [5.0, 2.0]) for seed in (0, 1)]


def test_runs_of_an_earlier_version_are_left_out_with_a_caveat() -> None:
    asked = replace(question("sgd", "adam"), keys=tuple(each.run.key for each in (*NEW, *OTHER)))
    comparison = compare(OLD + NEW + OTHER, asked)
    assert [row.final_loss.mean for row in comparison.rows] == [3.0, 2.0]
    assert comparison.rows[0].seeds.finished == (0, 1)
    assert "Left out: 3 runs of an earlier version of the spec or its code (sgd)." in comparison.caveats


def test_further_seeds_of_the_same_arm_are_not_an_earlier_version() -> None:
    asked = replace(question("sgd"), keys=(OLD[0].run.key,))
    comparison = compare(OLD, asked)
    assert comparison.rows[0].seeds.finished == (0, 1, 2)
    assert not any("Left out" in caveat for caveat in comparison.caveats)


def test_an_arm_the_latest_plan_does_not_know_is_kept() -> None:
    asked = replace(question("sgd", "adam"), keys=tuple(each.run.key for each in NEW))
    assert [row.arm for row in compare(NEW + OTHER, asked).rows] == ["sgd", "adam"]


def test_an_arm_that_the_latest_plan_no_longer_has_is_left_out_with_a_caveat() -> None:
    """Renamed or taken out of the spec: under its old name it would stand in the table as an arm of today's."""
    asked = replace(question("sgd"), keys=tuple(each.run.key for each in NEW))
    found = compare(NEW + OTHER, asked)
    assert [row.arm for row in found.rows] == ["sgd"]
    assert any("of an earlier version of the spec or its code (adam)" in caveat for caveat in found.caveats)


def test_without_a_plan_two_versions_cannot_be_told_apart() -> None:
    with pytest.raises(UndecidedError, match=r"lr is 0\.1 and 0\.3"):
        compare(OLD + NEW, question("sgd"))


def copies(seed: int, *endings: str) -> list[Record]:
    """The same run in several folders, each with how it ended there."""
    made = [record(run(seed=seed), [5.0, 3.0], status=status) for status in endings]  # type: ignore[arg-type]
    return [replace(each, folder=f"{place}/{seed}") for place, each in zip("abc", made, strict=False)]


@pytest.mark.parametrize(
    ("endings", "used"),
    [
        (("finished", "finished"), "a/0"),
        (("unfinished", "unfinished"), "a/0"),
        (("finished", "unfinished"), "a/0"),
        (("unfinished", "finished"), "b/0"),
        (("unfinished", "unfinished", "diverged"), "c/0"),
    ],
)
def test_of_copies_the_first_that_ended_is_used_and_the_first_of_all_where_none_did(
    endings: tuple[str, ...], used: str
) -> None:
    kept, [said] = one_per_seed(copies(0, *endings))
    assert [each.folder for each in kept] == [used]
    assert f"the copy in {used} is used" in said


def test_the_first_copy_is_told_of_by_its_folder_and_the_others_by_their_number() -> None:
    pairs = [copies(seed, "finished", "finished") for seed in range(3)]
    _, [of_one] = one_per_seed(pairs[0])
    assert of_one.endswith("the copy in a/0 is used, the copy in b/0 is not.")
    _, [of_three] = one_per_seed([each for pair in pairs for each in pair])
    assert of_three.endswith("the copy in b/0 is not; likewise 2 other runs.")
    assert one_per_seed(pairs[0][:1]) == (pairs[0][:1], [])
