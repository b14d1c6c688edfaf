"""The result of a comparison: rows by task and arm, clipped arms against their twins, caveats."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from clipbench.judging.checks.audit import Audit
from clipbench.judging.families import Ranks, Verdict, Word
from clipbench.judging.matched import MatchedRow
from clipbench.judging.moments import Moment
from clipbench.judging.paired import Paired
from clipbench.judging.race import RaceRow
from clipbench.judging.shared_points import SharedRow
from clipbench.judging.statistics import Estimate, GeometricEstimate
from clipbench.judging.tuning.summary import ArmTuning
from clipbench.quantities import LOSS, Along
from clipbench.questions import Target
from clipbench.records import TrainingSettings

Standing = Word | Literal["baseline", "broken"]
By = Literal["task", "arm"]  # the rows of a table share a task or an arm


@dataclass(frozen=True)
class SeedsByStatus:
    """The seeds of an arm by how they ended; means are over finished seeds."""

    finished: tuple[int, ...] = ()
    diverged: tuple[int, ...] = ()
    failed: tuple[int, ...] = ()
    unfinished: tuple[int, ...] = ()

    @property
    def total(self) -> int:
        """How many seeds there are, however they ended."""
        return len(self.finished) + len(self.diverged) + len(self.failed) + len(self.unfinished)


@dataclass(frozen=True)
class StepsToTarget:
    """Steps (or seconds) to the target: by seed, and the median over ended seeds; a miss counts as ∞."""

    by_seed: Mapping[int, float]
    median: float

    @property
    def hits(self) -> int:
        """On how many seeds the target was reached."""
        return sum(steps < float("inf") for steps in self.by_seed.values())

    @property
    def seeds(self) -> int:
        """How many seeds ended."""
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
        """How many values there are, positive or not."""
        return self.positive + self.non_positive + self.undefined


@dataclass(frozen=True)
class Row:
    """One arm on one task. Estimates are over finished seeds.

    - `against`: the paired difference from the baseline in the metric; `difference`: the same in the final loss. Both
      are None for the baseline.
    - `judged`: the verdict on `against`, corrected for all rows of the task; None for the baseline and for a broken arm
      (a run of it diverged or failed). `verdict` has a word for every arm.
    - `steps`, `seconds`: to the target; None without a target.
    - `clipped`: None without a clip. `rate_sharpness`: η·sharpness along own updates; None if not measured.
    - `ranking`: gives the ranks of the task's arms; an arm that is broken or has no value has none.
    - `others`: the means of the metric, of further quantities and of those that targets are of.
    - `steps_ratio`, `sharpness_ratio`: to the baseline's steps to the target (None without a target) and sharpness;
      None for the baseline.
    """

    task: str
    arm: str
    learning_rate: float | None
    seeds: SeedsByStatus
    verdict: Standing
    final_loss: Estimate
    difference: Paired | None
    steps: StepsToTarget | None
    step_milliseconds: Estimate
    sharpness: SharpnessSummary
    clipped: Estimate | None
    against: Paired | None = None
    judged: Verdict | None = None
    ranking: Callable[[], Mapping[str, Ranks]] = field(default=dict, repr=False, compare=False)
    seconds: StepsToTarget | None = None
    rate_sharpness: Estimate | None = None
    others: Mapping[str, Estimate | GeometricEstimate] = field(default_factory=dict)
    steps_ratio: Paired | None = None
    sharpness_ratio: Paired | None = None

    @property
    def ranks(self) -> Ranks | None:
        """The ranks that the arm may have."""
        return self.ranking().get(self.arm)


@dataclass(frozen=True)
class Twin:
    """A clipped arm against its twin, the same arm without its clip (the learning rate may differ).

    Ratios and differences are clipped arm over or minus twin, paired by seed. `fewer_steps_on` counts the seeds
    on which the clipped arm needs fewer steps to the target, of `step_pairs`. `answers` says it in plain words.
    `steps_ratio`: of the steps to the target; None without a target. `rates`: the learning rates in words, those of
    groups among them. `judged`: the verdict on `loss` where the twin is the baseline, against which the comparison
    judges it together with others; None elsewhere.
    """

    task: str
    arm: str
    twin: str
    learning_rates: tuple[float | None, float | None]
    rates: tuple[str, str]
    same_rate: bool
    sharpness: Paired
    loss: Paired
    step_time: Paired
    steps: tuple[StepsToTarget, StepsToTarget] | None
    fewer_steps_on: int
    step_pairs: int
    answers: tuple[str, ...]
    steps_ratio: Paired | None = None
    judged: Verdict | None = None


@dataclass(frozen=True)
class TaskHead:
    """Facts about all rows of a task: budgets (several if runs are mixed), devices, thread counts and target.

    `training` has how steps were computed, each way once.
    """

    name: str
    budgets: tuple[str, ...]
    devices: tuple[str, ...]
    threads: tuple[int, ...]
    target: Target | None = None
    training: tuple[TrainingSettings, ...] = ()


NOTHING_AUDITED = Audit("", ())


@dataclass(frozen=True)
class Comparison:
    """The result of `compare`; every format of the report is made from it."""

    spec: str
    question: str
    baseline: str
    target: float | None
    tasks: tuple[TaskHead, ...]
    rows: tuple[Row, ...]
    twins: tuple[Twin, ...]
    caveats: tuple[str, ...]
    consecutive: int = 1
    metric: Along = LOSS
    threshold: float | None = None
    by: By = "task"
    race: tuple[RaceRow, ...] = ()
    matched: tuple[MatchedRow, ...] = ()
    shared: tuple[SharedRow, ...] = ()
    tunings: tuple[ArmTuning, ...] = ()
    audit: Audit = NOTHING_AUDITED  # how the runs were made
    others: tuple[Along, ...] = ()  # further quantities that the table shows
    goals: tuple[Along, ...] = ()  # quantities other than the evaluation loss that targets are of
    at: Moment | None = None  # when runs are compared; None for their end
    left_out: tuple[str, ...] = ()  # the caveats about runs, or parts of runs, that are not compared
