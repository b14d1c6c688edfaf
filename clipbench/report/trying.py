"""Messages about arms that were tried before any run: each failure once, however many seeds it costs."""

from collections.abc import Iterator, Mapping, Sequence

from clipbench.judging.words import count, listing
from clipbench.quantities import RESERVED
from clipbench.records import TRAIN_SLICE_LOSS
from clipbench.report.numbers import seconds
from clipbench.running.trying import Tried
from clipbench.spec import Spec
from clipbench.spec.wording import meant

WORTH_SAYING = 1.0  # seconds


def beginning(arms: int, task: str) -> str:
    """What is said before the arms of a task are tried."""
    return f"trying {count(arms, 'arm')} on {task}"


def duration(arms: int, task: str, taken: float) -> str:
    """How long trying took; empty below WORTH_SAYING seconds."""
    return f"tried {count(arms, 'arm')} on {task} in {seconds(taken)}" if taken > WORTH_SAYING else ""


def broken_promises(tried: Mapping[str, Tried]) -> Iterator[str]:
    """Such as `moons breaks its contract: the seed changes nothing …`."""
    for task, result in tried.items():
        for fault in result.contract:
            yield f"{task} breaks its contract: {fault}"


def faults_of_arms(tried: Mapping[str, Tried], *, runs: Sequence[tuple[str, str]] = ()) -> Iterator[str]:
    """Such as `quadratic/heavy: ValueError: Invalid momentum value: -1 (3 runs count as failed)`.

    A fault that several arms of a task share is told once, with their names.

    Args:
        tried: the results by task name.
        runs: the task and the arm of each run to make; empty if none is to be made.
    """
    for task, result in tried.items():
        if result.task is not None:
            yield f"{task} cannot be built: {result.task}"
        sharing: dict[str, list[str]] = {}
        for arm, fault in result.arms.items():
            sharing.setdefault(str(fault), []).append(arm)
        for told, arms in sharing.items():
            cost = sum(runs.count((task, arm)) for arm in arms)
            yield f"{task}/{listing(arms)}: {told}" + (f" ({_counted(cost)} as failed)" if cost else "")


def faults_of_probes(tried: Mapping[str, Tried]) -> Iterator[str]:
    """Such as `the probe sharpness fails on quadratic: RuntimeError: out of memory`."""
    for task, result in tried.items():
        for probe, fault in result.probes.items():
            yield f"the probe {probe} fails on {task}: {fault.reason}"


def targets_unrecorded(tried: Mapping[str, Tried], spec: Spec) -> Iterator[str]:
    """Such as `no evaluation on moons records acuracy, and the target is of it; the task's metrics: accuracy`."""
    targets = {task: spec.terms_of(task).target for task in tried}
    wanted = {task: target.recorded for task, target in targets.items() if target}
    yield from _unrecorded(tried, wanted, "the target is of it")


def selection_unrecorded(tried: Mapping[str, Tried], spec: Spec) -> Iterator[str]:
    """The same of what trials are selected by."""
    wanted = dict.fromkeys(tried, spec.selection[0]) if spec.tuning else {}
    yield from _unrecorded(tried, wanted, "trials are selected by it")


def _unrecorded(tried: Mapping[str, Tried], wanted: Mapping[str, str], why: str) -> Iterator[str]:
    """The names, by task, that no evaluation there records; told once for tasks with the same metrics."""
    lacking: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for task, name in wanted.items():
        known = name in RESERVED and name != TRAIN_SLICE_LOSS
        if tried[task].task is None and not known and name not in tried[task].recorded:
            lacking.setdefault((name, tried[task].recorded), []).append(task)
    for (name, recorded), tasks in lacking.items():
        whose = "the task" if len(tasks) == 1 else "each task"
        there = f"{whose}'s metrics: {listing(recorded)}" if recorded else f"{whose} has no metrics"
        near = meant(name, recorded)
        yield f"no evaluation on {listing(tasks)} records {name}, and {why}; {near and f'{near} '}{there}"


def as_event(task: str, arms: Sequence[str], result: Tried, taken: float) -> dict[str, object]:
    """The result of a task as an event for programs."""
    return {
        "event": "tried",
        "task": task,
        "arms": list(arms),
        "failed": {arm: fault.reason for arm, fault in result.arms.items()},
        "failed_probes": {probe: fault.reason for probe, fault in result.probes.items()},
        "reason": result.task.reason if result.task else "",
        "seconds": taken,
    }


def _counted(runs: int) -> str:
    return f"{count(runs, 'run')} {'counts' if runs == 1 else 'count'}"
