"""`clipbench doctor`: this machine, and its own noise by an A/A test."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from clipbench import console, spec, store
from clipbench.cli.options import Device, Json, Threads, on_this_machine
from clipbench.errors import FINDING, RUN_FAILED
from clipbench.judging.endings import as_read, ended
from clipbench.judging.noise import noise
from clipbench.judging.words import brief, count
from clipbench.planning.runs import plan
from clipbench.questions import DIVERGED
from clipbench.records import Environment, Outcome, Record, Run, Scalar
from clipbench.report.noise import document
from clipbench.report.render import render
from clipbench.running.devices import cpu_sets, gpu_ids, has_mps
from clipbench.running.engines import Need
from clipbench.running.engines.local import LocalEngine
from clipbench.running.supervisor import InterruptedRunsError, supervise
from clipbench.spec import Overrides

SPEC = """\
# What do two identical runs differ by?
task: {use: code_lm}
optimizers:
  adam: {use: adam, lr: 0.003}
budget: {steps: 100}
seeds: [0, 1, 2, 3, 4]
evaluate: {every: 50}
measure: {every: 100, probes: []}
"""
QUICK_SEEDS, QUICK_STEPS = 3, 30


def doctor(
    seeds: Annotated[int | None, typer.Option(min=2, help="How many pairs of runs.  [default: 5]")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Three pairs of short runs; a rough answer.")] = False,
    device: Device = None,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """What this machine is, whether equal seeds give equal bits on it, and how small an effect it could show."""
    wanted = tuple(range(seeds or (QUICK_SEEDS if quick else 5)))
    with tempfile.TemporaryDirectory(prefix="clipbench-doctor-") as folder:
        path = Path(folder, "doctor.yaml")
        path.write_text(SPEC, encoding="utf-8")
        overrides = [f"budget.steps={QUICK_STEPS}", f"evaluate.every={QUICK_STEPS}"] if quick else []
        asked = on_this_machine(spec.load(path, Overrides(overrides, wanted, device=device, threads=threads)))
        runs = plan(asked, device=asked.device)
        console.say(f"{count(2 * len(runs), 'run')} of one arm, one at a time, in turns")
        pairs = _in_turns(runs, Path(folder))
    failed = [record for pair in pairs for record in pair if record.outcome and record.outcome.status != "finished"]
    if failed:
        reason = brief(failed[0].outcome.reason) if failed[0].outcome else ""
        console.say(f"{count(len(failed), 'run')} did not finish: {reason}", style="bold red")
        raise typer.Exit(RUN_FAILED)
    found, facts = noise(pairs), _facts(pairs[0][0].environment, runs[0])
    console.put(render(document(facts, found), "json" if json else "table"))
    console.say(f"next: {console.command('init')}")
    if found.same_bits < found.pairs:
        raise typer.Exit(FINDING)


def _in_turns(runs: Sequence[Run], folder: Path) -> list[tuple[Record, Record]]:
    """Every run made twice, in two results folders, so that none is reused for the other."""
    sides = (folder / "a", folder / "b")
    need = Need(runs[0].device, runs[0].threads)
    try:
        with LocalEngine(need, jobs=1) as engine:
            for number, run in enumerate(runs):
                # The first of a pair is not always the same side: a machine that warms up is held against neither.
                for side in sides if number % 2 == 0 else reversed(sides):
                    supervise([run], side, engine=engine, watcher=_Quiet())
    except InterruptedRunsError:
        raise KeyboardInterrupt from None
    one, other = (as_read([store.read(store.folder_of(run, side)) for run in runs], DIVERGED) for side in sides)
    return list(zip(one, other, strict=True))


class _Quiet:
    """A watcher who says a line for each run that ended, and nothing else."""

    def started(self, run: Run) -> None: ...
    def advanced(self, run: Run, progress: float, text: str) -> None: ...
    def heartbeat(self) -> None: ...
    def log(self, text: str) -> None:
        console.say(text)

    def finished(self, run: Run, outcome: Outcome) -> None:
        status = ended(outcome, DIVERGED).status
        console.say(f"{run} {status}: {outcome.step_seconds * 1000:.3g} ms a step")


def _facts(place: Environment | None, run: Run) -> dict[str, str]:
    devices = ["cpu", *(f"cuda:{gpu}" for gpu in gpu_ids()), *(["mps"] if has_mps() else [])]
    facts = {
        "devices": f"{', '.join(devices)}; used here: {run.device}",
        "CPU runs at once": f"{len(cpu_sets(run.threads))}, each with {count(run.threads, 'thread')} on its own cores",
    }
    if place is None:
        return facts
    return facts | {
        "software": f"clipbench {place.clipbench}, Python {place.python}, torch {place.torch}",
        "numerics": _listed(place.numerics),
        "numerics id": f"{place.numerics_id}: where it is the same, bits may be compared",
        "machine": _listed(place.machine),
        "machine id": f"{place.machine_id}: where it is the same, times may be compared",
    }


def _listed(facts: Mapping[str, Scalar]) -> str:
    return ", ".join(f"{name} {value}" for name, value in facts.items() if value not in (None, ""))
