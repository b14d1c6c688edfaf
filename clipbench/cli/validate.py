"""`clipbench validate`: check specs without making a run."""

from pathlib import Path
from typing import Annotated

import typer

from clipbench import console, spec
from clipbench.cli.commands import require_unix
from clipbench.cli.options import Sets, Specs, on_machine
from clipbench.errors import ClipbenchError
from clipbench.judging.words import count
from clipbench.planning.staging import staged
from clipbench.spec import Overrides, Spec


def validate(
    specs: Specs,
    sets: Sets = None,
    build: Annotated[
        bool,
        typer.Option("--build", help="Also prove the contract of every task, and try a step of every arm and probe."),
    ] = False,
) -> None:
    """Check specs without running them; show every error, with its line and column."""
    faulty: list[ClipbenchError] = []
    for path in specs:
        try:
            loaded = spec.load(path, Overrides(sets or ()))
            if build:
                _build(loaded, path)
        except ClipbenchError as error:
            faulty.append(error)
        else:
            parts = (loaded.arms, "arm"), (loaded.tasks, "task"), (loaded.seeds, "seed")
            counts = " × ".join(count(len(things), noun) for things, noun in parts)
            console.put(f"{path}: valid: {counts}{_tuned_by(loaded)}")
    for fault in faulty:
        console.complain(fault)
    if faulty:
        raise typer.Exit(faulty[0].exit_code)
    console.say(f"next: {console.command('run', *specs)}")


def _build(loaded: Spec, path: Path) -> None:
    """Build each task of a spec, prove its contract, and try each arm and probe.

    Raises:
        ClipbenchError: anything fails; all failures but the last are printed.
    """
    require_unix()
    from clipbench.cli import trying
    from clipbench.report import groups
    from clipbench.report import trying as lines
    from clipbench.report.render import render
    from clipbench.report.table import Document

    stage = staged(on_machine(loaded), ())
    runs = [*stage.trials, *stage.runs]
    with console.sigterm_as_ctrl_c():
        results = trying.try_arms(stage, runs, code=loaded.code, prove=True)
    faults = [*lines.broken_promises(results), *lines.faults_of_arms(results), *lines.faults_of_probes(results)]
    faults += [*lines.targets_unrecorded(results, loaded), *lines.selection_unrecorded(results, loaded)]
    if faults:
        for fault in faults[:-1]:
            console.complain(ClipbenchError(fault, where=str(path)))
        raise ClipbenchError(faults[-1], where=str(path))
    of_groups = [
        row
        for run in {(run.task.name, run.arm.name): run for run in runs}.values()
        for row in groups.rows(run.task.name, run.arm, results[run.task.name].groups.get(run.arm.name, {}))
        if row.taken is not None
    ]
    if of_groups:
        console.put(render(Document([groups.table(of_groups)]), "table"))


def _tuned_by(loaded: Spec) -> str:
    if loaded.tuning is None:
        return ""
    trials, seeds = len(loaded.searched[0].settings), count(len(loaded.tuning.seeds), "seed")
    return f"; {count(len(loaded.searched), 'arm')} tuned with {count(trials, 'trial')} on {seeds} per task"
