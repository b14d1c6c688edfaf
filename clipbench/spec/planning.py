"""From a spec to its runs, in the order in which they are made."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

from clipbench.data import SOURCES
from clipbench.errors import ClipbenchError
from clipbench.records import Run
from clipbench.spec.loading import Spec
from clipbench.spec.models import LARGEST_SEED


def plan(spec: Spec, *, device: str, seeds: Sequence[int] | None = None) -> tuple[Run, ...]:
    """The runs of a spec: seed outermost, then task, then arm.

    So the arms of one comparison run close in time, and a plan that is cut short has whole seeds.

    Args:
        spec: what to run.
        device: where; cpu, mps, cuda or cuda:N.
        seeds: in place of the spec's own.

    Raises:
        ClipbenchError: the seeds are none, negative, too large or repeated, or a task's data is not there.
        ValueError: the device is auto, which is for the caller to resolve.
    """
    if device == "auto":
        raise ValueError("a run has one device: resolve auto before planning")
    chosen = tuple(spec.seeds if seeds is None else seeds)
    if not chosen or min(chosen) < 0 or max(chosen) > LARGEST_SEED or len(set(chosen)) < len(chosen):
        raise ClipbenchError(
            f"these cannot be the seeds: {', '.join(map(str, chosen[:8])) or '(none)'}",
            remedy=f"give at least one, each from 0 to {LARGEST_SEED} and each once",
        )
    data = {use: _fingerprint(use, source) for use, source in spec.data.items()}
    return tuple(
        Run(
            spec=spec.name,
            task=task,
            arm=arm,
            budget=spec.budget,
            seed=seed,
            measure=replace(spec.measure, ghosts=spec.ghosts.on_the_path_of(arm, spec.arms)),
            device=device,
            threads=spec.threads,
            data=data.get(task.use, ""),
        )
        for seed, task, arm in product(chosen, spec.tasks, spec.arms)
        if spec.ghosts.has_runs(arm)
    )


def _fingerprint(use: str, source: str) -> str:
    if source not in SOURCES:
        raise ClipbenchError(
            f"the task {use!r} names the data {source!r}, which clipbench does not know",
            remedy=f"known: {', '.join(sorted(SOURCES))}",
        )
    return SOURCES[source].fingerprint()
