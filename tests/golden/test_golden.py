"""No number of the shelf, the loop, a clip or a probe moves while METHOD stands."""

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import get_args

import pytest
from golden.cases import CASES
from golden.runs import Golden, Numbers, data_of, fingerprint, make, moved, numbers, read, verdict, write

from clipbench.budget import UNITS
from clipbench.errors import ClipbenchError
from clipbench.records import CLIP_PLACES, CLIP_RULES, CLIP_SCOPES, METHOD, ClipScale, Run, ScheduleName
from clipbench.spec import catalogue

GOLDEN = read()
RUNS = list(CASES.values())
KEPT = Numbers("ab", {"eval_loss": {0: 1.0, 1: 0.5}, "own slope": {1: -0.25}})


def skip_without_the_data(run: Run) -> None:
    if "model" in catalogue.entry("tasks", run.task.use).files:
        pytest.importorskip("transformers", reason="not installed: transformers")
    if data := data_of(run):
        try:
            here = fingerprint(data)
        except ClipbenchError as error:
            pytest.skip(f"not installed: {error.message}")
        if here != GOLDEN.data[data]:
            pytest.skip(f"the numbers were made from other data than this machine's {data}")


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_no_number_moves_while_method_stands(case: str, tmp_path: Path) -> None:
    assert case in GOLDEN.cases, f"'{case}' is not in golden.json: write it anew: python tests/golden/write.py"
    skip_without_the_data(CASES[case])
    record = make(CASES[case], tmp_path)
    assert record.environment is not None
    exactly = record.environment.numerics_id == GOLDEN.numerics_id
    differences = list(moved(GOLDEN.cases[case], numbers(record), exactly=exactly))
    assert not differences, verdict(case, differences, GOLDEN)


def test_the_file_is_of_this_method() -> None:
    assert GOLDEN.method == METHOD, verdict("", [], GOLDEN)


def test_the_file_has_no_case_that_is_gone() -> None:
    assert GOLDEN.cases.keys() <= CASES.keys(), "write golden.json anew: python tests/golden/write.py"


@pytest.mark.parametrize("kind", catalogue.KINDS)
def test_whatever_is_on_a_shelf_has_a_case(kind: catalogue.Kind) -> None:
    used = {
        "tasks": {run.task.use for run in RUNS},
        "optimizers": {each.use for run in RUNS for each in run.arm.optimizers.values()},
        "wrappers": {each.use for run in RUNS for each in run.arm.wrap},
        "probes": {probe.use for run in RUNS if not run.measure.ghosts for probe in run.measure.probes},
    }[kind]
    missing = set(catalogue.names(kind)) - used
    assert not missing, f"no case of tests/golden/cases.py uses {sorted(missing)} of the {kind}"


def test_every_probe_has_a_case_beside_ghosts() -> None:
    probed = {probe.use for run in RUNS if run.measure.ghosts for probe in run.measure.probes}
    assert probed >= set(catalogue.names("probes"))


def test_every_way_to_clip_to_schedule_and_to_budget_has_a_case() -> None:
    clips = [run.arm.clip for run in RUNS if run.arm.clip]
    assert {clip.rule for clip in clips} == set(CLIP_RULES)
    assert {clip.scale for clip in clips} == set(get_args(ClipScale))
    assert {clip.ignore_zeros for clip in clips} == {True, False}
    cut = {(clip.of, clip.fraction, clip.scope) for clip in clips if not clip.ignore_zeros and clip.scale == "none"}
    assert cut >= set(product(CLIP_PLACES, (0.1, 0.5), CLIP_SCOPES))
    kinds = get_args(ScheduleName)
    assert {(run.arm.schedule.use, run.arm.schedule.warmup > 0) for run in RUNS} == set(product(kinds, (True, False)))
    assert {run.budget.unit for run in RUNS} == set(UNITS) - {"epochs", "seconds"}  # which no two machines spend alike


@pytest.mark.parametrize(
    ("now", "exactly", "said"),
    [
        (KEPT, True, []),
        (replace(KEPT, series={**KEPT.series, "own new": {1: 3.0}}), True, []),
        (replace(KEPT, weights="cd"), True, ["the final weights are others"]),
        (replace(KEPT, weights="cd"), False, []),
        (
            replace(KEPT, series={**KEPT.series, "own slope": {1: -0.25000000000000006}}),
            True,
            ["own slope at step 1 is -0.25000000000000006 and was -0.25"],
        ),
        (replace(KEPT, series={**KEPT.series, "own slope": {1: -0.250002}}), False, []),
        (
            replace(KEPT, series={**KEPT.series, "own slope": {1: -0.250003}}),
            False,
            ["own slope at step 1 is -0.250003 and was -0.25"],
        ),
        (
            replace(KEPT, series={**KEPT.series, "own slope": {1: float("nan")}}),
            False,
            ["own slope at step 1 is nan and was -0.25"],
        ),
        (
            replace(KEPT, series={"eval_loss": {0: 1.0}, "own slope": {1: -0.25}}),
            False,
            ["eval_loss is measured at the steps [0] and was at [0, 1]"],
        ),
        (
            replace(KEPT, series={"eval_loss": KEPT.series["eval_loss"]}),
            True,
            ["own slope is measured at the steps [] and was at [1]"],
        ),
    ],
)
def test_what_moved_is_told_by_its_name(now: Numbers, exactly: bool, said: list[str]) -> None:
    assert list(moved(KEPT, now, exactly=exactly)) == said


def test_a_number_that_moved_and_a_method_that_was_raised_are_told_apart() -> None:
    still = verdict("optimizer: adam", ["own slope at step 1 is 2.0 and was 1.0"], replace(GOLDEN, method=METHOD))
    assert "'optimizer: adam' moved" in still
    assert "raise METHOD in clipbench/records.py and write the file anew: python tests/golden/write.py" in still
    raised = verdict("optimizer: adam", [], replace(GOLDEN, method=METHOD - 1))
    assert raised.startswith(f"METHOD is {METHOD} and golden.json is of METHOD {METHOD - 1}: write the file anew")


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    odd = Numbers("ef", {"own slope": {2: float("nan"), 3: -0.0, 4: 1e-323}})
    written = Golden(METHOD, "id", {"threads": 1, "tf32": None}, {"made_up": "00"}, {"a": KEPT, "b: 'c'": odd})
    write(written, tmp_path / "golden.json")
    assert repr(read(tmp_path / "golden.json")) == repr(written)
