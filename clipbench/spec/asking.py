"""What is asked of a spec from outside its file: other seeds, some of its arms, a quick look, another device."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from clipbench.budget import Budget
from clipbench.errors import ClipbenchError
from clipbench.records import Question, Run
from clipbench.spec.loading import Spec, load, question
from clipbench.spec.planning import plan


@dataclass(frozen=True)
class Asked:
    """What the command line says beside the spec; None leaves what the spec says.

    `only` is a pattern for the names of arms; `quick` is one seed and a tenth of the budget.
    """

    overrides: Sequence[str] = ()
    seeds: Sequence[int] | None = None
    only: str | None = None
    quick: bool = False
    device: str | None = None
    threads: int | None = None


def ask(path: Path, asked: Asked, *, resolve: Callable[[str], str]) -> tuple[Question, tuple[Run, ...]]:
    """The question of a spec and the runs that are asked for, in their order.

    The question's keys are those of the whole plan: leaving out an arm now does not make its earlier runs obsolete.

    Args:
        path: the spec's file.
        asked: what to change or leave out.
        resolve: from the device as written, auto included, to the device that is meant.

    Raises:
        SpecError: the spec is faulty.
        ClipbenchError: no arm fits, the seeds make no sense, or the device is not there.
    """
    spec = load(path, asked.overrides)
    spec = replace(spec, device=asked.device or spec.device, threads=asked.threads or spec.threads)
    spec = _quick(spec) if asked.quick else spec
    everything = plan(spec, device=resolve(spec.device), seeds=asked.seeds)
    runs = tuple(run for run in everything if asked.only is None or _fits(run.arm.name, asked.only))
    if not runs:
        arms = ", ".join(arm.name for arm in spec.arms)
        raise ClipbenchError(f"--filter {asked.only} matches no arm", remedy=f"the arms are: {arms}")
    return replace(question(spec), keys=tuple(run.key for run in everything)), runs


def _fits(name: str, pattern: str) -> bool:
    """A name as it stands, or a pattern; the brackets in the name of a grid's arm are not a pattern."""
    return name == pattern or fnmatchcase(name, pattern)


def _quick(spec: Spec) -> Spec:
    """Under a name of its own: never in one table with the real thing."""
    unit, tenth = spec.budget.unit, spec.budget.amount / 10
    amount = tenth if unit == "seconds" else max(1.0, float(round(tenth)))
    return replace(
        spec,
        name=f"{spec.name}-quick",
        question=f"{spec.question} (A quick look: one seed and a tenth of the budget; not comparable.)",
        budget=Budget(amount, unit),
        seeds=spec.seeds[:1],
    )
