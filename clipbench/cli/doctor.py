"""`clipbench doctor`: this machine, and its noise by an A/A test (pairs of identical runs)."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from clipbench import console, spec, store
from clipbench.cli.options import Json, on_machine
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
from clipbench.spec.limits import MOST_THREADS

SPEC = """\
# How much do two identical runs differ?
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
    seeds: Annotated[int | None, typer.Option(min=2, help="Pairs of identical runs.  [default: 5]")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Three pairs of short runs, for a rough answer.")] = False,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, max=MOST_THREADS, help="CPU threads per run.")] = None,
    json: Json = False,
) -> None:
    """Describe this machine and measure its noise.

    Makes pairs of identical runs (an A/A test) and tests whether equal seeds give equal bits. Exit code 1 if a pair
    ends with different weights.
    """
    wanted = tuple(range(seeds or (QUICK_SEEDS if quick else 5)))
    with tempfile.TemporaryDirectory(prefix="clipbench-doctor-") as folder:
        path = Path(folder, "doctor.yaml")
        path.write_text(SPEC, encoding="utf-8")
        overrides = [f"budget.steps={QUICK_STEPS}", f"evaluate.every={QUICK_STEPS}"] if quick else []
        asked = on_machine(spec.load(path, Overrides(overrides, wanted, device=device, threads=threads)))
        runs = plan(asked, device=asked.device)
        console.say(f"{count(2 * len(runs), 'run')}: the same arm twice on each seed, one run at a time")
        pairs = _in_turns(runs, Path(folder))
    failed = [record for pair in pairs for record in pair if record.outcome and record.outcome.status != "finished"]
    if failed:
        reason = brief(failed[0].outcome.reason) if failed[0].outcome else ""
        console.say(f"{count(len(failed), 'run')} did not finish: {reason}", style="bold red")
        raise typer.Exit(RUN_FAILED)
    measured, facts = noise(pairs), _facts(pairs[0][0].environment, runs[0])
    console.put(render(document(facts, measured), "json" if json else "table"))
    console.say(f"next: {console.command('init')}")
    if measured.same_bits < measured.pairs:
        raise typer.Exit(FINDING)


def _in_turns(runs: Sequence[Run], folder: Path) -> list[tuple[Record, Record]]:
    """Make every run twice, in two results folders, so that neither is reused."""
    sides = (folder / "a", folder / "b")
    need = Need(runs[0].device, runs[0].threads)
    try:
        with LocalEngine(need, jobs=1) as engine:
            for number, run in enumerate(runs):
                # Alternate which side runs first, so that a machine that warms up favours neither.
                for side in sides if number % 2 == 0 else reversed(sides):
                    supervise([run], side, engine=engine, watcher=_Quiet())
    except InterruptedRunsError:
        raise KeyboardInterrupt from None
    first, second = (as_read([store.read(store.folder_of(run, side)) for run in runs], DIVERGED) for side in sides)
    return list(zip(first, second, strict=True))


class _Quiet:
    """A watcher that prints a line for each run that ended, and nothing else."""

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
        "numerics id": f"{place.numerics_id} (bits are comparable between runs with the same id)",
        "machine": _listed(place.machine),
        "machine id": f"{place.machine_id} (times are comparable between runs with the same id)",
    }


def _listed(facts: Mapping[str, Scalar]) -> str:
    return ", ".join(f"{name} {value}" for name, value in facts.items() if value not in (None, ""))
