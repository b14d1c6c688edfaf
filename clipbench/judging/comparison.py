"""What a comparison says: one row per task and arm, clipped arms against their twins, and what to beware of."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from clipbench.judging.matched import MatchedRow
from clipbench.judging.race import RaceRow
from clipbench.judging.shared_points import SharedRow
from clipbench.judging.statistics import Estimate, GeometricEstimate, PairedDifference, PairedRatio
from clipbench.judging.tuning.summary import ArmTuning

Verdict = Literal["baseline", "better", "worse", "equal", "within", "undecided", "broken"]
Metric = Literal["final_loss", "steps", "seconds", "sharpness"]  # what verdicts and ranks go by; lower is better
By = Literal["task", "arm"]  # what the rows of one table have in common


@dataclass(frozen=True)
class Seeds:
    """Which seeds of an arm ended how; only the finished ones are averaged."""

    finished: tuple[int, ...] = ()
    diverged: tuple[int, ...] = ()
    failed: tuple[int, ...] = ()
    unfinished: tuple[int, ...] = ()

    @property
    def total(self) -> int:
        return len(self.finished) + len(self.diverged) + len(self.failed) + len(self.unfinished)


@dataclass(frozen=True)
class StepsToTarget:
    """The median over ended seeds of the first evaluated step at the target, or its seconds; a miss counts as ∞."""

    by_seed: Mapping[int, float]
    median: float

    @property
    def hits(self) -> int:
        return sum(steps < float("inf") for steps in self.by_seed.values())

    @property
    def seeds(self) -> int:
        return len(self.by_seed)


@dataclass(frozen=True)
class SharpnessSummary:
    """Directional sharpness of finished seeds: the mean of the positive values, and how many were not."""

    mean: GeometricEstimate
    positive: int
    non_positive: int
    undefined: int

    @property
    def total(self) -> int:
        return self.positive + self.non_positive + self.undefined


@dataclass(frozen=True)
class Contrast:
    """An arm against another in the metric that decides, paired by seed.

    `mean` is that of arm − other with its standard error and 95 % interval; in the natural logarithm (`in_logs`)
    unless the metric is the loss. `n` counts the pairs it is over; `ahead` those in which only the arm reached the
    target, `behind` only the other: they are ∞ and counted, not averaged. `p` is how often chance alone would go so
    far, by a t test, or by a sign test of all pairs where one is ahead or behind. `corrected` is p after Holm's
    correction for all rows of the table. `seeds_needed` is how many an undecided difference would need, else NaN.
    """

    mean: float
    standard_error: float
    low: float
    high: float
    n: int
    in_logs: bool = False
    ahead: int = 0
    behind: int = 0
    lower: int = 0  # pairs, those ahead included, in which the arm is lower
    higher: int = 0
    p: float = 1.0
    corrected: float = 1.0
    seeds_needed: float = float("nan")

    @property
    def pairs(self) -> int:
        return self.n + self.ahead + self.behind


@dataclass(frozen=True)
class Ranks:
    """The places an arm may have among the arms of its task, from the best: a tie is a range."""

    low: int
    high: int


@dataclass(frozen=True)
class Row:
    """One arm on one task. Estimates are over finished seeds.

    `difference` is this arm's final loss minus the baseline's, over the seeds that both finished; None for the
    baseline itself. `contrast` is the same in the metric that decides. `steps` and `seconds` (to the target) are None
    where no target is set, `clipped` where the arm has no clip, `rate_sharpness` (η·sharpness along own updates)
    where it was not measured, `ranks` for an arm that is broken or has no value.
    """

    task: str
    arm: str
    learning_rate: float | None
    seeds: Seeds
    verdict: Verdict
    final_loss: Estimate
    difference: PairedDifference | None
    steps: StepsToTarget | None
    step_milliseconds: Estimate
    sharpness: SharpnessSummary
    clipped: Estimate | None
    contrast: Contrast | None = None
    ranks: Ranks | None = None
    seconds: StepsToTarget | None = None
    rate_sharpness: Estimate | None = None


@dataclass(frozen=True)
class Twin:
    """A clipped arm against its twin, the same arm without its clip (the learning rate may differ).

    Ratios and differences are clipped arm over or minus twin, paired by seed. `fewer_steps_on` counts the seeds
    on which the clipped arm needs fewer steps to the target, of `step_pairs`. `answers` says it in plain words.
    """

    task: str
    arm: str
    twin: str
    learning_rates: tuple[float | None, float | None]
    sharpness: PairedRatio
    loss: PairedDifference
    step_time: PairedRatio
    steps: tuple[StepsToTarget, StepsToTarget] | None
    fewer_steps_on: int
    step_pairs: int
    answers: tuple[str, ...]

    @property
    def same_rate(self) -> bool:
        return self.learning_rates[0] == self.learning_rates[1]


@dataclass(frozen=True)
class TaskHead:
    """What holds for a task's rows: its budgets (one, unless runs are mixed), devices and thread counts."""

    name: str
    budgets: tuple[str, ...]
    devices: tuple[str, ...]
    threads: tuple[int, ...]


@dataclass(frozen=True)
class Comparison:
    """The answer to a question, before it is drawn; every format of the report is made from this."""

    spec: str
    question: str
    baseline: str
    target: float | None
    tasks: tuple[TaskHead, ...]
    rows: tuple[Row, ...]
    twins: tuple[Twin, ...]
    caveats: tuple[str, ...]
    consecutive: int = 1
    metric: Metric = "final_loss"
    threshold: float | None = None
    by: By = "task"
    race: tuple[RaceRow, ...] = ()
    matched: tuple[MatchedRow, ...] = ()
    shared: tuple[SharedRow, ...] = ()
    tunings: tuple[ArmTuning, ...] = ()
