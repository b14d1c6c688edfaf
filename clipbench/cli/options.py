"""Options that several commands share, and loading of the specs that a command names."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from clipbench.cli import completing
from clipbench.harmless import shortened
from clipbench.report.render import Format
from clipbench.running.devices import refuse_too_few
from clipbench.running.engines import LOCAL, EngineChoice
from clipbench.spec import Overrides, Spec, load
from clipbench.spec.limits import MOST_SEEDS, MOST_THREADS

Specs = Annotated[
    list[Path],
    typer.Argument(
        metavar="SPEC...",
        help="Benchmark specs: YAML files, or names of those that come with clipbench.",
        autocompletion=completing.specs,
    ),
]
ResultsFolder = Annotated[Path, typer.Option("-o", "--results", help="The folder that holds the results.")]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="A.B=C", help="Set a value of the spec. Repeatable."),
]
SeedsOption = Annotated[str | None, typer.Option(help="Seeds in place of the spec's own: 0..4, or 0,3,7.")]
Filter = Annotated[
    str | None,
    typer.Option("--filter", metavar="GLOB", help="Only the arms whose names match.", autocompletion=completing.arms),
]
Quick = Annotated[bool, typer.Option("--quick", help="One seed and a tenth of the budget: only a smoke test.")]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:N or mps, in place of the spec's own.")]
Threads = Annotated[
    int | None, typer.Option(min=1, max=MOST_THREADS, help="CPU threads per run, in place of the spec's own.")
]
EngineName = Annotated[
    str, typer.Option("--engine", help="What makes the runs: local, ray or slurm.", autocompletion=completing.engines)
]
EngineOptions = Annotated[
    list[str] | None,
    typer.Option("--engine-opt", metavar="KEY=VALUE", help="An option of the engine. Repeatable."),
]
TableFormat = Annotated[Format, typer.Option("--format", help="The output format.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON in place of a table.")]


def repeated(
    specs: Sequence[Path], results: Path, changes: Overrides, engine: str, engine_options: Sequence[str]
) -> list[object]:
    """The words of a command for another command on the same runs."""
    return [
        *specs,
        *(["-o", results] if results != Path("results") else []),
        *changes.words(),
        *(["--filter", changes.only] if changes.only else []),
        *(["--engine", engine] if engine != LOCAL.name else []),
        *(word for option in engine_options for word in ("--engine-opt", option)),
    ]


def overrides(
    sets: list[str] | None, seeds: str | None, only: str | None, quick: bool, device: str | None, threads: int | None
) -> Overrides:
    """The values of the command line that replace the spec's own."""
    return Overrides(sets or (), seeds_of(seeds), only, quick, device, threads)


def loaded(paths: Sequence[Path], overrides: Overrides, *, engine: EngineChoice = LOCAL) -> list[Spec]:
    """Load specs for the machines of an engine."""
    return [on_machine(load(path, overrides), engine) for path in paths]


def on_machine(spec: Spec, engine: EngineChoice = LOCAL) -> Spec:
    """The spec with its device resolved: `auto` becomes a device of this machine, or of the engine's.

    Raises:
        ClipbenchError: there is no such device.
    """
    device = engine.resolve(spec.device)
    if engine == LOCAL:
        refuse_too_few(device, spec.training.processes)
    return replace(spec, device=device)


def seeds_of(text: str | None) -> tuple[int, ...] | None:
    """Parse seeds: `0..4` is 0 to 4 inclusive; `0,3,7` is a list."""
    if text is None:
        return None
    first, dots, last = text.partition("..")
    try:
        seeds = range(int(first), int(last) + 1) if dots else [int(part) for part in text.split(",")]
    except ValueError:
        shown = shortened(text, 60)
        raise typer.BadParameter(
            f"{shown!r} is neither a range such as 0..4 nor a list such as 0,3,7", param_hint="--seeds"
        ) from None
    if any(seed < 0 for seed in seeds[:MOST_SEEDS]):
        raise typer.BadParameter(f"{shortened(text, 60)!r} has a seed below 0", param_hint="--seeds")
    if seeds[MOST_SEEDS:]:  # not len(): a range's length may exceed a machine's integer
        raise typer.BadParameter(
            f"{shortened(text, 60)!r} is more than {MOST_SEEDS} seeds, and each is a run of every arm: give fewer, "
            "such as 0..9",
            param_hint="--seeds",
        )
    return tuple(seeds)
