"""What a spec asks of its runs, and how its arms were tuned: plain frozen data that lies beside the records."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from clipbench.records import EVAL_LOSS, Options, Value

Search = Literal["grid", "random", "halton"]  # how the settings of trials are found
DIVERGED = 0.1  # the share of a first loss by which a run must end above it to count as diverged


@dataclass(frozen=True)
class Target:
    """What arms race to: reached where so many `consecutive` evaluations meet it.

    It is an evaluation `loss`, met at or below it; or any `quantity` that evaluations record, such as a metric of the
    task, met where that is `at_least` or `at_most` so much.
    """

    loss: float | None = None
    consecutive: int = 1
    quantity: str = ""
    at_least: float | None = None
    at_most: float | None = None

    @property
    def bounds(self) -> tuple[float, ...]:
        """The numbers that it has: one, or it makes no sense."""
        return tuple(bound for bound in (self.loss, self.at_least, self.at_most) if bound is not None)

    @property
    def bound(self) -> float:
        """The number to reach."""
        [bound] = self.bounds
        return bound

    @property
    def recorded(self) -> str:
        """The name under which evaluations record what is to reach it."""
        return self.quantity or EVAL_LOSS

    def met_by(self, value: float) -> bool:
        """Whether an evaluation meets it; NaN and infinity never do."""
        if not math.isfinite(value):
            return False
        if self.loss is not None:  # a million times where thousands of runs are read
            return value <= self.loss
        return value <= self.bound if self.at_least is None else value >= self.bound


Scale = Literal["linear", "log"]  # differences are of values, or of their natural logarithms
Side = Literal["lower", "higher"]
Better = Literal[Side, "neither"]
Over = Literal["mean", "last", "least", "greatest"]  # which one number stands for all of a run


@dataclass(frozen=True)
class Manner:
    """How a quantity is read that a probe or a task records, as their file says in its constant QUANTITIES.

    `over` is over the probed steps, or over the evaluations.
    """

    scale: Scale = "linear"
    better: Better = "neither"
    over: Over = "mean"


@dataclass(frozen=True)
class Space:
    """What one setting is left open to: the `values` of a list, or the range of all between `low` and `high`.

    `setting` is an option of an optimizer or a task or, after `clip.`, the rule of an arm's clip. A range is even, or
    with `log` even in the logarithm; between integers it is of integers alone.
    """

    setting: str
    values: tuple[Value, ...] = ()
    low: float | None = None
    high: float | None = None
    log: bool = False


@dataclass(frozen=True)
class Trial:
    """One setting of an arm, and the keys of its runs: one for each tuning seed."""

    settings: Options
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Tuned:
    """The search for one arm's settings on one task; `selected` is None until there is one that can be selected.

    `trials` come in the order in which they were made; those after the first `planned` extend the search.
    """

    task: str
    arm: str
    spaces: tuple[Space, ...]
    trials: tuple[Trial, ...]
    planned: int
    selected: Options | None = None


@dataclass(frozen=True)
class Tuning:
    """How the arms of a spec were tuned, apart from the seeds that are reported. An arm that is not here was not.

    The best trial has the least of the quantity `select`, or the most of it where `better` is higher.
    """

    seeds: tuple[int, ...]
    search: Search
    select: str
    arms: tuple[Tuned, ...]
    better: Side = "lower"


@dataclass(frozen=True)
class Question:
    """What a spec asks, for those who read its results: which arms, against which baseline, to which target.

    It lies beside the runs (`question.json`) and decides no number in them. `keys` are the reported runs of the latest
    plan: when a spec is edited and run again, they tell the runs that are meant from those of an earlier version.
    `target` is a loss, reached where so many `consecutive` evaluations are at or below it. `effect` is the difference
    in final loss that the spec sets out to show, relative to the baseline's. `tuning` is None where nothing was tuned.
    A run counts as diverged that ends above its start by more than the share `diverged` of its first loss's size and by
    more than three standard errors. `targets` has the tasks with another target, or with one that is no loss, and
    `quantities` how those of the user's own tasks and probes are read. `command` has the words that name the spec and
    what was overridden in it, as `clipbench run` takes them: for a command that resumes such runs, or makes more.
    """

    spec: str
    text: str
    arms: tuple[str, ...]
    baseline: str
    target: float | None = None
    keys: tuple[str, ...] = ()
    consecutive: int = 1
    effect: float | None = None
    tuning: Tuning | None = None
    diverged: float = DIVERGED
    targets: Mapping[str, Target] = field(default_factory=dict)
    quantities: Mapping[str, Manner] = field(default_factory=dict)
    command: tuple[str, ...] = ()

    def target_of(self, task: str) -> Target | None:
        """What the arms race to on a task; None where there is no target."""
        general = None if self.target is None else Target(self.target, self.consecutive)
        return self.targets.get(task, general)
