"""What is asked of a spec from outside its file: other seeds, some of its arms, a quick look, another device."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from clipbench.budget import Budget
from clipbench.errors import ClipbenchError
from clipbench.spec.loading import QUICK, Spec, load


@dataclass(frozen=True)
class Asked:
    """What the command line says beside the spec; None leaves what the spec says.

    `only` is a pattern for the names of arms; `quick` is one seed (to tune on, as well) and a tenth of the budget.
    """

    overrides: Sequence[str] = ()
    seeds: Sequence[int] | None = None
    only: str | None = None
    quick: bool = False
    device: str | None = None
    threads: int | None = None


@dataclass(frozen=True)
class Inquiry:
    """A spec as it is asked for from outside its file: seeds, budget, device and threads are in `spec` already.

    `only` is a pattern for the names of the arms to run; leaving out an arm now does not make its earlier runs
    obsolete.
    """

    spec: Spec
    only: str | None = None

    def wants(self, arm: str) -> bool:
        """Whether the arm of this name was asked for."""
        return self.only is None or _fits(arm, self.only)


def ask(path: Path, asked: Asked, *, resolve: Callable[[str], str]) -> Inquiry:
    """What is to be run of a spec.

    Args:
        path: the spec's file.
        asked: what to change or leave out.
        resolve: from the device as written, auto included, to the device that is meant.

    Raises:
        SpecError: the spec is faulty.
        ClipbenchError: no arm fits, or the device is not there.
    """
    spec = load(path, asked.overrides)
    spec = _quick(spec) if asked.quick else spec
    spec = replace(
        spec,
        seeds=spec.seeds if asked.seeds is None else tuple(asked.seeds),
        device=resolve(asked.device or spec.device),
        threads=asked.threads or spec.threads,
    )
    inquiry = Inquiry(spec, asked.only)
    if not any(inquiry.wants(arm.name) for arm in spec.arms):
        arms = ", ".join(arm.name for arm in spec.arms)
        raise ClipbenchError(f"--filter {asked.only} matches no arm", remedy=f"the arms are: {arms}")
    return inquiry


def _fits(name: str, pattern: str) -> bool:
    """A name as it stands, or a pattern; the brackets in the name of a grid's arm are not a pattern."""
    return name == pattern or fnmatchcase(name, pattern)


def _quick(spec: Spec) -> Spec:
    """Under a name of its own: never in one table with the real thing."""
    unit, tenth = spec.budget.unit, spec.budget.amount / 10
    amount = tenth if unit == "seconds" else max(1.0, float(round(tenth)))
    return replace(
        spec,
        name=spec.name + QUICK,
        question=f"{spec.question} (A quick look: one seed and a tenth of the budget; not comparable.)",
        budget=Budget(amount, unit),
        seeds=spec.seeds[:1],
        tuning=spec.tuning and spec.tuning.model_copy(update={"seeds": spec.tuning.seeds[:1]}),
    )
