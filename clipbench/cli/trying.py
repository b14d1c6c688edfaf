"""Tries the first steps of every arm with missing runs before any run starts, and reports failures at once."""

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from clipbench import console, store
from clipbench.errors import ClipbenchError, StoreError
from clipbench.planning.staging import Stage
from clipbench.records import Outcome, Run
from clipbench.report import trying as lines
from clipbench.report.progress import JsonlWatcher, WatcherFormat
from clipbench.running.engines import LOCAL, EngineChoice, Need
from clipbench.running.trying import FirstStepFault, Tried, to_try, tried

FailingRuns = list[tuple[Run, FirstStepFault]]  # runs whose arm fails at its first steps, and why


def try_arms(
    stage: Stage,
    missing: Sequence[Run],
    *,
    code: str,
    fmt: WatcherFormat = "human",
    timeout: float | None = None,
    prove: bool = False,
    engine: EngineChoice = LOCAL,
) -> dict[str, Tried]:
    """Try the arms of the missing runs; `code` is that of their spec. Return the results by task name.

    With `prove`, first prove the contract of each task. The arms are tried where the runs will be made.
    """
    if not missing:
        return {}
    need = Need(missing[0].device, missing[0].threads, code, processes=missing[0].training.processes)
    results: dict[str, Tried] = {}
    with engine.build(need, jobs=1) as place:
        if engine != LOCAL and fmt == "human":
            console.say(f"arms are tried {place.about}")
        for task in dict.fromkeys(run.task.name for run in missing):
            of_task = [run for run in missing if run.task.name == task]
            runs = to_try(of_task)
            reported = (run for run in [*of_task, *stage.waiting] if run.task.name == task and not run.trial_of)
            measure = next((run.measure for run in reported), of_task[0].measure)
            if fmt == "human":
                console.say(lines.beginning(len(runs), task))
            begin = time.monotonic()
            results[task] = place.call(tried, runs, measure, timeout=timeout, code=code, prove=prove)
            taken = time.monotonic() - begin
            if fmt == "jsonl":
                event = lines.as_event(task, [run.arm.name for run in runs], results[task], taken)
                console.put(json.dumps(event, ensure_ascii=False))
            elif line := lines.duration(len(runs), task, taken):
                console.say(line)
    return results


def failing(stage: Stage, missing: Sequence[Run], results: Mapping[str, Tried]) -> FailingRuns:
    """The missing runs of arms that fail. Failures are printed.

    Raises:
        ClipbenchError: a task cannot be built, or every arm fails and no run of the plan exists; of several faults the
            last, and the others are printed.
    """
    tried_arms = {(run.task.name, run.arm.name) for task in results for run in to_try(_of(task, missing))}
    faults = {(task, arm): fault for task, of_task in results.items() for arm, fault in of_task.arms.items()}
    nothing_is_there = len(missing) == len(stage.trials) + len(stage.runs)
    if any(of_task.task for of_task in results.values()) or (
        nothing_is_there and tried_arms and tried_arms <= faults.keys()
    ):
        *others, last = lines.faults_of_arms(results)
        for line in others:
            console.complain(ClipbenchError(line, where=stage.question.spec))
        raise ClipbenchError(last, where=stage.question.spec, remedy="nothing was run")
    for line in lines.faults_of_arms(results, runs=[(run.task.name, run.arm.name) for run in missing]):
        console.say(line, style="bold red")
    for line in lines.faults_of_probes(results):
        console.say(f"{line}; its values will be missing", style="yellow")
    named = ((run, faults.get((run.task.name, run.arm.name))) for run in missing)
    return [(run, fault) for run, fault in named if fault is not None]


def record(failed: FailingRuns, results: Path, *, fmt: WatcherFormat) -> list[tuple[Run, Outcome]]:
    """Record the runs of failing arms as failed, without starting a worker."""
    ended = [(run, Outcome("failed", reason=fault.reason)) for run, fault in failed]
    for (run, outcome), (_, fault) in zip(ended, failed, strict=True):
        folder = store.folder_of(run, results)
        with suppress(StoreError, OSError):  # a folder that cannot be written must not stop the other runs
            store.describe(run, folder)
            if fault.log:
                with store.replacing(folder / store.LOG) as draft:
                    draft.write_text(fault.log, encoding="utf-8")
            store.finish(folder, outcome, None)
        if fmt == "jsonl":
            JsonlWatcher(console.put).finished(run, outcome)
    return ended


def _of(task: str, runs: Sequence[Run]) -> list[Run]:
    return [run for run in runs if run.task.name == task]
