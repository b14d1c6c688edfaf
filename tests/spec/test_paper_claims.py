"""The claims that come with clipbench."""

from pathlib import Path

import pytest
from spec.bench import settled
from spec.test_benchmarks import settings

from clipbench.records import (
    COSINE,
    CRITICAL_SHARPNESS,
    DIRECTIONAL_SHARPNESS,
    LINE_BEST_DECREASE,
    TAYLOR_BEST_DECREASE,
    UPDATE_NORM,
)
from clipbench.spec import load as load_spec
from clipbench.spec.claims import Claim, load

FOLDER = Path(__file__).parents[2] / "benchmarks/claims"
CLAIMS = load(FOLDER / "pan_li_2023.yaml")

# What the probe `coordinates` calls its rows.
COORDINATES = {
    "curvature_share_top_10%",
    "norm_share_top_10%",
    "sharpness_without_top_10%",
    "sharpness_without_random_10%",
    "gradient_curvature_rank_correlation",
}
RECORDED = {
    COSINE,
    CRITICAL_SHARPNESS,
    DIRECTIONAL_SHARPNESS,
    LINE_BEST_DECREASE,
    TAYLOR_BEST_DECREASE,
    UPDATE_NORM,
    "final_loss",
    "steps_to_target",
}


def quantities(claim: Claim) -> set[str]:
    found: list[str] = []
    if claim.compare is not None:
        asked = claim.compare.quantity
        found += [asked] if isinstance(asked, str) else asked
        found += [claim.compare.against_quantity or ""]
    if claim.rank is not None:
        found += [claim.rank.by, (claim.rank.rather_than or "").removeprefix("-"), claim.rank.to]
    return {part.strip() for name in found for part in name.split("/") if part.strip()}


def test_all_seventeen_are_there_in_their_order() -> None:
    numbers = [int(claim.name.split()[0].removeprefix("C")) for claim in CLAIMS]
    assert sorted(set(numbers)) == list(range(1, 18))
    assert numbers == sorted(numbers)


def test_each_is_decided_by_a_quantity_that_is_recorded_or_says_why_not() -> None:
    assert {name for claim in CLAIMS for name in quantities(claim)} <= RECORDED | COORDINATES
    assert [claim.name for claim in CLAIMS if claim.unmeasured] == ["C17"]


def test_only_directions_are_asserted_and_no_magnitudes() -> None:
    """A half is what `most` means, and 2 % is the tolerance of `never hurts`."""
    margins = {claim.name: claim.margin for claim in CLAIMS if claim.margin is not None}
    assert margins == {"C5": 0.5, "C6 imbalance": 0.5, "C16": 1.02}


@pytest.mark.parametrize("task", ["code_lm", "number_translation"])
def test_every_clipped_arm_runs_beside_its_twin_at_rates_of_the_grid_and_on_other_seeds(task: str) -> None:
    spec, grid = load_spec(FOLDER / f"convergence_{task}.yaml"), load_spec(FOLDER / "convergence_rates.yaml")
    clipped = {arm.optimizer.use for arm in settled(spec) if arm.clip}
    assert clipped == {"sgd", "adam", "adafactor", "normalized_sgd"}
    assert clipped == {arm.optimizer.use for arm in settled(spec) if not arm.clip}
    assert {settings(arm) for arm in settled(spec)} <= {settings(arm) for arm in settled(grid)}
    assert not set(spec.seeds) & set(grid.seeds)
    assert (spec.budget, spec.tasks[0].name) == (grid.budget, task)
    assert spec.target is not None
