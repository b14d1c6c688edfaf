"""Two versions of the same arms: the later folder against the first, arm by arm."""

import math
from dataclasses import replace

import pytest
from judging.made import ending, question, record, run
from scipy import stats

from clipbench.errors import UndecidedError
from clipbench.judging.compare import Asked
from clipbench.judging.moments import Moment
from clipbench.judging.versions import Folder, Versions, overlap, versions
from clipbench.quantities import asked
from clipbench.records import Record

BEFORE = {"sgd": [3.0, 3.2, 3.1], "adam": [2.5, 2.6, 2.4]}


def runs(losses: dict[str, list[float]], *, lr: float = 0.1, task: str = "code_lm") -> list[Record]:
    return [
        record(run(arm, seed=seed, lr=lr, task=task), [5.0, loss])
        for arm, of_arm in losses.items()
        for seed, loss in enumerate(of_arm)
    ]


def compared(old: list[Record], *later: list[Record], metric: str = "final_loss", **how: object) -> Versions:
    folders = [Folder(label, question(), records) for label, records in zip("abc", [old, *later], strict=False)]
    return versions(folders, Asked(metric=asked(metric, old), **how))  # type: ignore[arg-type]


def test_folders_of_the_same_seeds_are_versions_and_of_others_parts_of_one_whole() -> None:
    whole = runs(BEFORE)
    assert overlap([whole, whole])
    assert not overlap([whole])
    assert not overlap([[each for each in whole if each.run.seed == 0], [each for each in whole if each.run.seed > 0]])
    assert not overlap([runs({"sgd": [3.0]}), runs({"adam": [3.0]})])


def test_an_arm_is_compared_with_itself_seed_by_seed() -> None:
    later = {"sgd": BEFORE["sgd"], "adam": [2.9, 3.1, 2.8]}
    sgd, adam = compared(runs(BEFORE), runs(later)).rows
    assert (sgd.judged.word, sgd.before, sgd.same_weights, sgd.pairs) == ("identical", sgd.after, 3, 3)
    assert (adam.judged.word, adam.same_weights) == ("higher", 0)
    assert adam.against.p == pytest.approx(stats.ttest_rel(later["adam"], BEFORE["adam"]).pvalue)


def test_verdicts_are_corrected_for_the_arms_of_a_folder_and_a_task() -> None:
    """By itself adam would be decided; of nine arms it is not."""
    slightly = {arm: [loss + 0.01 * (1 + seed) for seed, loss in enumerate(of)] for arm, of in BEFORE.items()}
    assert compared(runs({"adam": BEFORE["adam"]}), runs({"adam": slightly["adam"]})).rows[0].judged.p < 0.1
    many = {f"arm{place}": losses for place in range(5) for losses in BEFORE.values()}
    more = {f"arm{place}": losses for place in range(5) for losses in slightly.values()}
    row = compared(runs(many), runs(more)).rows[0]
    assert row.judged.p == pytest.approx(min(1.0, 5 * row.against.p))


def test_a_third_folder_has_rows_of_its_own() -> None:
    rows = compared(runs(BEFORE), runs(BEFORE), runs({"sgd": [2.0, 2.1, 2.2]})).rows
    assert [(row.label, row.arm) for row in rows] == [("b", "sgd"), ("b", "adam"), ("c", "sgd")]


def test_what_one_folder_lacks_and_what_did_not_finish_is_told() -> None:
    later = runs({"adam": BEFORE["adam"], "lion": [2.0]})
    broken = [ending(each, status="diverged") if each.run.arm.name == "lion" else each for each in later]
    notes = compared(runs(BEFORE), broken).notes
    assert "sgd on code_lm is only in a." in notes
    assert "lion on code_lm is only in b." in notes
    assert "b: of lion on code_lm 1 diverged of 1 run." in notes


def test_what_the_runs_say_otherwise_of_how_they_were_made_is_named() -> None:
    assert compared(runs(BEFORE), runs(BEFORE, lr=0.2)).rows[0].changed == ("arm.optimizer.options.lr",)


def test_any_quantity_and_a_margin_may_be_asked_for() -> None:
    row = compared(runs(BEFORE), runs(BEFORE), metric="steps", target=4.0).rows[0]
    assert row.against.scale == "log"
    assert row.after.mean == 50
    assert compared(runs(BEFORE), runs(BEFORE), metric="steps", target=2.45).rows[0].after.mean == math.inf
    slightly = {"adam": [loss + 0.001 for loss in BEFORE["adam"]]}
    assert compared(runs(BEFORE), runs(slightly), threshold=0.1).rows[0].judged.word == "equivalent"
    assert math.isnan(compared(runs({"sgd": [3.0]}), runs({"sgd": [3.0]})).rows[0].judged.low)


def test_an_earlier_moment_is_asked_of_both_sides() -> None:
    row = compared(runs(BEFORE), runs(BEFORE), at=Moment(0, "step")).rows[0]
    assert row.after.mean == 5.0


def test_other_targets_cannot_be_compared_in_steps_and_other_data_is_told() -> None:
    other = [replace(each, run=replace(each.run, data="d" * 64)) for each in runs(BEFORE)]
    notes = compared(runs(BEFORE), other).notes
    assert "The data of code_lm is not the same in b: losses are not comparable." in notes
    sides = [Folder("a", question(target=4.0), runs(BEFORE)), Folder("b", question(target=3.0), runs(BEFORE))]
    with pytest.raises(UndecidedError, match=r"the target on code_lm is 4, and 3 in b"):
        versions(sides, Asked(metric=asked("steps", runs(BEFORE))))
    assert versions(sides, Asked(metric=asked("steps", runs(BEFORE)), target=4.0)).rows


def test_seeds_that_one_side_lacks_are_told() -> None:
    notes = compared(runs(BEFORE), runs({"sgd": [3.0, 3.2], "adam": [2.5, 2.6, 2.4]})).notes
    assert "sgd on code_lm: seed 2 on one side alone, and in no pair (b)." in notes


def test_one_seed_in_common_makes_no_versions() -> None:
    whole = runs({"sgd": [3.0, 3.1, 3.2, 3.3, 3.4]})
    assert not overlap([[each for each in whole if each.run.seed < 3], [each for each in whole if each.run.seed > 1]])
