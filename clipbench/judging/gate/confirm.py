"""Which further seeds could confirm a regression: those that the baseline has and the candidate has not run."""

from dataclasses import dataclass

from clipbench.judging.gate.report import GateReport
from clipbench.judging.gate.suite import Suite

_SEEDED = ("loss", "steps", "sharpness")  # what another seed can change the verdict of


@dataclass(frozen=True)
class Extra:
    """Seeds of one arm that are worth running."""

    spec: str
    arm: str
    seeds: tuple[int, ...]


def extra_seeds(report: GateReport, candidate: Suite, baseline: Suite, *, most: int) -> list[Extra]:
    """At most `most` further seeds for each arm with a metric that regressed by statistics; none where the baseline
    has no seed of it that was not used already."""
    regressed = (row.place for row in report.rows if row.verdict == "regressed" and row.metric in _SEEDED)
    found: dict[tuple[str, str], set[int]] = {}
    for place in dict.fromkeys(regressed):
        theirs, ours = (
            {run.seed for arm in side.arms if arm.place == place for run in arm.seeds} for side in (baseline, candidate)
        )
        found.setdefault((place[0], place[2]), set()).update(sorted(theirs - ours)[:most])
    return [Extra(spec, arm, tuple(sorted(seeds))) for (spec, arm), seeds in found.items()]
