"""A benchmark as it is meant: what a spec's file says once its grids are expanded and its names looked up."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

from clipbench.budget import Budget
from clipbench.errors import ClipbenchError
from clipbench.questions import DIVERGED, Manner, Question, Side, Target
from clipbench.records import AS_WRITTEN, EVAL_LOSS, Arm, Choice, Measure, TrainingSettings
from clipbench.spec.ghosts import GhostPlan
from clipbench.spec.models import TuningSettings
from clipbench.spec.overrides import Overrides
from clipbench.spec.searching import Searched, selected_by
from clipbench.spec.wording import written

QUICK = "-quick"  # after the name of a spec that is only looked at


@dataclass(frozen=True)
class Terms:
    """What the runs of a task have, and what they race to: a budget, an evaluation every so many steps, a target."""

    budget: Budget
    evaluate_every: int
    target: Target | None


@dataclass(frozen=True)
class Spec:
    """A benchmark as it is meant: grids expanded, names looked up, defaults filled in.

    An arm that is to be tuned has no settings yet: it is `Searched`. `device` may still be auto: what that is depends
    on the machine. `data` has the name of what a task of the shelf reads from the user's disk, and `fingerprints` the
    SHA-256 of what a task of the user's says of its data, by the task's name. `measure` is without the ghosts: those
    are a run's, by its arm. `own` has the terms of the tasks that have some of their own, by name, and `quantities` how
    those of the user's own tasks and probes are read. `only` is a pattern for the names of the arms to run now; None
    for all. `command` has the words by which `clipbench run` was told of the spec and of what is overridden, but for
    the seeds. `code` is the spec's folder, in which modules of the user's are searched; empty if all is clipbench's.
    """

    name: str
    question: str
    tasks: tuple[Choice, ...]
    arms: tuple[Arm | Searched, ...]
    baseline: str
    budget: Budget
    seeds: tuple[int, ...]
    measure: Measure
    ghosts: GhostPlan = field(default_factory=GhostPlan)
    target: Target | None = None
    effect: float | None = None
    diverged: float = DIVERGED
    device: str = "auto"
    threads: int = 1
    training: TrainingSettings = AS_WRITTEN
    data: Mapping[str, str] = field(default_factory=dict)
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    tuning: TuningSettings | None = None
    own: Mapping[str, Terms] = field(default_factory=dict)
    quantities: Mapping[str, Manner] = field(default_factory=dict)
    only: str | None = None
    command: tuple[str, ...] = ()
    code: str = ""

    @property
    def selection(self) -> tuple[str, Side]:
        """The quantity by which trials are selected, and its better side."""
        return selected_by(self.tuning, self.quantities) if self.tuning else (EVAL_LOSS, "lower")

    @property
    def searched(self) -> tuple[Searched, ...]:
        """The arms that are to be tuned."""
        return tuple(arm for arm in self.arms if isinstance(arm, Searched))

    def terms_of(self, task: str) -> Terms:
        """The terms of a task's runs: its own, or else the spec's."""
        return self.own.get(task, Terms(self.budget, self.measure.evaluate_every, self.target))

    def wants(self, arm: str) -> bool:
        """Whether the arm of this name is to be run now. The others stay part of the plan, so their runs stay valid."""
        # The brackets in the name of a grid's arm are no pattern, so a name fits as it stands, too.
        return self.only is None or arm == self.only or fnmatchcase(arm, self.only)


def question(spec: Spec) -> Question:
    """What a spec asks, for those who read its results."""
    loss = spec.target if spec.target is not None and spec.target.loss is not None else Target()
    by_task = {task.name: spec.terms_of(task.name).target for task in spec.tasks}
    return Question(
        spec=spec.name,
        text=spec.question,
        arms=tuple(arm.name for arm in spec.arms if spec.ghosts.has_runs(arm)),
        baseline=spec.baseline,
        target=loss.loss,
        consecutive=loss.consecutive,
        effect=spec.effect,
        diverged=spec.diverged,
        targets={task: target for task, target in by_task.items() if target not in (None, loss)},
        quantities=spec.quantities,
        command=spec.command,
    )


def adjusted(spec: Spec, overrides: Overrides, quick: Mapping[str, Any]) -> Spec:
    """The spec with all that is overridden but the values, which were set in its document, as those of `quick` were.

    Raises:
        ClipbenchError: `only` matches no arm.
    """
    spec = _quick(spec, quick) if overrides.quick else spec
    spec = replace(
        spec,
        seeds=spec.seeds if overrides.seeds is None else tuple(overrides.seeds),
        device=overrides.device or spec.device,
        threads=overrides.threads or spec.threads,
        only=overrides.only,
    )
    if not any(spec.wants(arm.name) for arm in spec.arms):
        arms = ", ".join(arm.name for arm in spec.arms)
        raise ClipbenchError(f"--filter {overrides.only} matches no arm", remedy=f"the arms are: {arms}")
    return spec


def _quick(spec: Spec, said: Mapping[str, Any]) -> Spec:
    """Under a name of its own: never in one table with the real thing. `said` has what was set for it by path."""
    if not any("budget" in path.split(".") for path in said):
        spec = replace(
            spec,
            budget=_tenth(spec.budget),
            own={task: replace(terms, budget=_tenth(terms.budget)) for task, terms in spec.own.items()},
        )
        changes = "and a tenth of the budget"
    else:
        changes = "under " + ", ".join(f"{path}: {written(value)}" for path, value in said.items())
    return replace(
        spec,
        name=spec.name + QUICK,
        question=f"{spec.question} (A quick look: one seed {changes}; not comparable.)",
        seeds=spec.seeds[:1],
        tuning=spec.tuning and spec.tuning.model_copy(update={"seeds": spec.tuning.seeds[:1]}),
    )


def _tenth(budget: Budget) -> Budget:
    tenth = budget.amount / 10
    return Budget(tenth if budget.unit in ("epochs", "seconds") else max(1.0, float(round(tenth))), budget.unit)
