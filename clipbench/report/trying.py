"""What trying arms before any run has shown, in lines: each fault once, however many seeds it costs."""

from collections.abc import Iterator, Mapping, Sequence

from clipbench.judging.words import count
from clipbench.report.numbers import seconds
from clipbench.running.trying import Tried

WORTH_SAYING = 1.0  # seconds


def beginning(arms: int, task: str) -> str:
    """What is said before the arms of a task are tried."""
    return f"trying {count(arms, 'arm')} on {task}"


def duration(arms: int, task: str, taken: float) -> str:
    """Empty where it took no time to speak of."""
    return f"tried {count(arms, 'arm')} on {task} in {seconds(taken)}" if taken > WORTH_SAYING else ""


def faults_of_arms(tried: Mapping[str, Tried], *, runs: Sequence[tuple[str, str]] = ()) -> Iterator[str]:
    """Such as `quadratic/heavy: ValueError: Invalid momentum value: -1 (3 runs count as failed)`.

    Args:
        tried: what was shown on each task, by its name.
        runs: the task and the arm of each run that is to be made; empty where none is.
    """
    for task, found in tried.items():
        if found.task is not None:
            yield f"{task} cannot be built: {found.task.reason}"
        for arm, fault in found.arms.items():
            cost = runs.count((task, arm))
            yield f"{task}/{arm}: {fault.reason}" + (f" ({_counted(cost)} as failed)" if cost else "")


def faults_of_probes(tried: Mapping[str, Tried]) -> Iterator[str]:
    """Such as `the probe sharpness fails on quadratic: RuntimeError: out of memory`."""
    for task, found in tried.items():
        for probe, fault in found.probes.items():
            yield f"the probe {probe} fails on {task}: {fault.reason}"


def as_event(task: str, arms: Sequence[str], found: Tried, taken: float) -> dict[str, object]:
    """The same of one task for a program."""
    return {
        "event": "tried",
        "task": task,
        "arms": list(arms),
        "failed": {arm: fault.reason for arm, fault in found.arms.items()},
        "failed_probes": {probe: fault.reason for probe, fault in found.probes.items()},
        "reason": found.task.reason if found.task else "",
        "seconds": taken,
    }


def _counted(runs: int) -> str:
    return f"{count(runs, 'run')} {'counts' if runs == 1 else 'count'}"
