"""From a spec to its runs, in the order in which they are made."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from types import MappingProxyType

from clipbench.data import SOURCES
from clipbench.errors import ClipbenchError
from clipbench.records import Arm, Choice, Measure, Options, Run
from clipbench.spec import Spec
from clipbench.spec.limits import LARGEST_SEED, MOST_RUNS

Selected = Mapping[tuple[str, str], Arm | None]  # by the names of a task and an arm
NO_RUNS: Selected = MappingProxyType({})


def plan(spec: Spec, *, device: str, selected: Selected = NO_RUNS) -> tuple[Run, ...]:
    """The runs that a spec reports: seed outermost, then task, then arm.

    So the arms of one comparison run close in time, and a plan that is cut short has whole seeds.

    Args:
        spec: what to run.
        device: where; cpu, mps, cuda or cuda:N.
        selected: the arms that are tuned, by task, None for one that none of its trials could select; an arm that is
            not here yet has no runs, nor has one whose ghost it is.

    Raises:
        ClipbenchError: the seeds are none, negative, too large, too many, repeated or used for tuning, or a task's
            data is not there.
        ValueError: the device is auto, which is for the caller to resolve.
    """
    chosen = spec.seeds
    if not chosen or min(chosen) < 0 or max(chosen) > LARGEST_SEED or len(set(chosen)) < len(chosen):
        raise ClipbenchError(
            f"these cannot be the seeds: {', '.join(map(str, chosen[:8])) or '(none)'}",
            remedy=f"give at least one, each from 0 to {LARGEST_SEED} and each once",
        )
    if spec.tuning is not None and (shared := set(chosen) & set(spec.tuning.seeds)):
        raise ClipbenchError(
            f"arms are tuned on seed {min(shared)}, so it cannot be reported: what tuned an arm cannot judge it",
            remedy="give seeds that are not among the `tuning` seeds",
        )
    if (number := len(chosen) * len(spec.tasks) * len(spec.arms)) > MOST_RUNS:
        raise ClipbenchError(
            f"these are {number:,} runs, and at most {MOST_RUNS:,} are allowed", remedy="give fewer seeds"
        )
    runs = _Runs(spec, device, _data(spec))
    return tuple(
        runs.of(task, arm, seed=seed, ghosts=ghosts)
        for seed, task in product(chosen, spec.tasks)
        for arm, ghosts in _decided(spec, task, selected)
    )


def _decided(spec: Spec, task: Choice, selected: Selected) -> Iterator[tuple[Arm, tuple[Arm, ...]]]:
    """The arms that have runs on a task, each with its ghosts."""
    arms = [arm for each in spec.arms if (arm := selected.get((task.name, each.name), each)) is not None]
    for arm in arms:
        ghosts = spec.ghosts.on_the_path_of(arm, arms)
        known = tuple(ghost for ghost in ghosts if isinstance(ghost, Arm))
        if isinstance(arm, Arm) and spec.ghosts.has_runs(arm) and len(known) == len(ghosts):
            yield arm, known


def trials(
    spec: Spec, task: Choice, settings: Mapping[str, Sequence[Options]], *, device: str
) -> dict[str, list[tuple[Run, ...]]]:
    """The runs that try settings of arms on a task: for each arm by name, for each of its settings, one a tuning seed.

    A trial has the whole budget of a run that is reported, so that what was good in it is good there; nothing is
    probed in it.
    """
    every = spec.terms_of(task.name).evaluate_every
    unprobed = Measure(evaluate_every=every, probe_every=every)
    runs = _Runs(spec, device, _data(spec))
    seeds = spec.tuning.seeds if spec.tuning else ()
    return {
        arm.name: [
            tuple(
                replace(runs.of(task, arm.trial(options), seed=seed), measure=unprobed, trial_of=arm.name)
                for seed in seeds
            )
            for options in settings[arm.name]
        ]
        for arm in spec.searched
    }


@dataclass(frozen=True)
class _Runs:
    """Makes runs of a spec on a device; `data` has the fingerprint of what each task reads from the user's disk."""

    spec: Spec
    device: str
    data: Mapping[str, str]

    def of(self, task: Choice, arm: Arm, *, seed: int, ghosts: tuple[Arm, ...] = ()) -> Run:
        if self.device == "auto":
            raise ValueError("a run has one device: resolve auto before planning")
        terms = self.spec.terms_of(task.name)
        return Run(
            spec=self.spec.name,
            task=task,
            arm=arm,
            budget=terms.budget,
            seed=seed,
            measure=replace(self.spec.measure, evaluate_every=terms.evaluate_every, ghosts=ghosts),
            device=self.device,
            threads=self.spec.threads,
            data=self.data.get(task.name, ""),
            training=self.spec.training,
        )


def _data(spec: Spec) -> dict[str, str]:
    """The fingerprint of what each task reads from the user's disk, by the task's name, where it is known."""
    return {name: _fingerprint(name, source) for name, source in spec.data.items()} | dict(spec.fingerprints)


def _fingerprint(task: str, source: str) -> str:
    if source not in SOURCES:
        raise ClipbenchError(
            f"the task {task!r} names the data {source!r}, which clipbench does not know",
            remedy=f"known: {', '.join(sorted(SOURCES))}",
        )
    return SOURCES[source].fingerprint()
