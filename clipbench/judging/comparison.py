"""What a comparison says: one row per task and arm, clipped arms against their twins, and what to beware of."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

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
class SpeedUp:
    """By what factor an arm is sooner at the target than the baseline: baseline/arm, a geometric mean.

    Over tasks, with a 95 % t interval over tasks; over the seeds of a single task, with one over seeds. `n` counts
    those tasks, or seeds. Only pairs in which both reached the target are in it.
    """

    factor: PairedRatio
    over: Literal["tasks", "seeds"]


@dataclass(frozen=True)
class RaceRow:
    """An arm in the race to the target over all tasks and seeds.

    `within` has, for each factor of `RACE_FACTORS`, the share of its `instances` (a task with a seed) in which the arm
    reached the target within that factor of the first arm there: a performance profile (Dolan & Moré 2002). A miss is
    ∞ times the first. `both`, `only_arm`, `only_baseline` and `neither` count pairs with the baseline.
    """

    arm: str
    steps: SpeedUp | None
    seconds: SpeedUp | None
    both: int
    only_arm: int
    only_baseline: int
    neither: int
    instances: int
    reached: int
    within: tuple[float, ...]


RACE_FACTORS = (1.0, 1.5, 2.0, 4.0)


@dataclass(frozen=True)
class MatchedRow:
    """An arm where its loss first is at or below what all arms of the task reach, seed by seed.

    `loss` is that common loss, the highest of the finished arms' final losses on a seed; `steps` where the arm is
    there; `sharpness` its directional sharpness there, over the seeds where that is positive; `no_sharpness` counts
    the others. Ratios are to the baseline, paired by seed; None for the baseline.
    """

    task: str
    arm: str
    loss: Estimate
    steps: Estimate
    steps_ratio: PairedRatio | None
    sharpness: GeometricEstimate
    sharpness_ratio: PairedRatio | None
    no_sharpness: int


@dataclass(frozen=True)
class SharedRow:
    """A direction tried at the points of another arm's trajectory, or of its own: same weights, same batches.

    `ratio` is its directional sharpness over that of the `reference` direction at the same point: the mean logarithm
    over a run's steps, then over seeds. `low` and `high` are the least and greatest ratio of the `cells` (a seed with a
    step) where both are positive; `excluded` counts the other cells. `decrease` is the same for the best decrease
    along the direction, None where none was measured. Both ratios are None for the reference itself. `left_out` counts
    the trajectory's runs that diverged, failed or have not ended: no point of theirs is in it.
    """

    task: str
    trajectory: str
    direction: str
    reference: str
    ratio: PairedRatio | None
    low: float
    high: float
    cells: int
    excluded: int
    cosine: Estimate
    decrease: PairedRatio | None
    decrease_of: Literal["line", "taylor"] | None
    decrease_excluded: int
    left_out: int


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
