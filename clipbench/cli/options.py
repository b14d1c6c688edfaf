"""The options that several commands take."""

from pathlib import Path
from typing import Annotated

import typer

from clipbench.harmless import shortened
from clipbench.report.render import Format
from clipbench.spec import Asked
from clipbench.spec.limits import MOST_SEEDS, MOST_THREADS

Specs = Annotated[list[Path], typer.Argument(metavar="SPEC...", help="Benchmark specs, as YAML files.")]
Results = Annotated[Path, typer.Option("-o", "--results", help="The folder that holds the results.")]
Sets = Annotated[list[str] | None, typer.Option("--set", metavar="A.B=C", help="Set one value of the spec.")]
Seeds = Annotated[str | None, typer.Option(help="Seeds in place of the spec's own: 0..4, or 0,3,7.")]
Filter = Annotated[str | None, typer.Option("--filter", metavar="GLOB", help="Only arms whose names match.")]
Quick = Annotated[bool, typer.Option("--quick", help="One seed and a tenth of the budget; not comparable.")]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:N or mps, in place of the spec's own.")]
Threads = Annotated[
    int | None, typer.Option(min=1, max=MOST_THREADS, help="CPU threads a run, in place of the spec's own.")
]
TableFormat = Annotated[Format, typer.Option("--format", help="How the table is written.")]
Json = Annotated[bool, typer.Option("--json", help="JSON in place of a table.")]


def asked(
    sets: list[str] | None, seeds: str | None, only: str | None, quick: bool, device: str | None, threads: int | None
) -> Asked:
    """What the command line asks beside the spec."""
    return Asked(sets or (), seeds_of(seeds), only, quick, device, threads)


def seeds_of(text: str | None) -> tuple[int, ...] | None:
    """`0..4` is 0 to 4 with both ends; `0,3,7` is what it says."""
    if text is None:
        return None
    first, dots, last = text.partition("..")
    try:
        seeds = range(int(first), int(last) + 1) if dots else [int(part) for part in text.split(",")]
    except ValueError:
        shown = shortened(text, 60)
        raise typer.BadParameter(f"{shown!r} is neither a range such as 0..4 nor a list such as 0,3,7") from None
    if seeds[MOST_SEEDS:]:  # a range is no list yet, and its length may be more than a machine's integer
        raise typer.BadParameter(
            f"{shortened(text, 60)!r} is more than {MOST_SEEDS} seeds, and each is a run of every arm: give fewer, "
            "such as 0..9"
        )
    return tuple(seeds)
