"""One record for each task, arm and seed: which of several copies is used, and what is said of the others."""

from dataclasses import replace

import pytest
from judging.made import record, run

from clipbench.judging.cells import one_per_seed
from clipbench.records import Record


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
