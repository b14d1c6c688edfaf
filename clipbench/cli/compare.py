"""`clipbench compare`: the table."""

from pathlib import Path
from typing import Annotated

import typer

from clipbench import console
from clipbench.cli.audit import put_verdict
from clipbench.cli.options import TableFormat
from clipbench.cli.results import by_spec, read
from clipbench.errors import ClipbenchError, UndecidedError
from clipbench.judging.compare import compare as compare_records
from clipbench.report.render import render


def compare(
    results: Annotated[list[Path], typer.Argument(metavar="RESULTS...", help="Folders of results.")],
    fmt: Annotated[TableFormat, typer.Option("--format", help="How the table is written.")] = TableFormat.table,
    baseline: Annotated[str | None, typer.Option(help="The arm to compare with.")] = None,
    target: Annotated[float | None, typer.Option(help="The evaluation loss to reach.")] = None,
) -> None:
    """The table: each arm against the baseline, paired by seed, with its caveats."""
    groups = by_spec(read(results))
    if not groups:
        raise UndecidedError(
            f"no runs to compare in {', '.join(map(str, results))}", remedy="runs are made by `clipbench run`"
        )
    if len(groups) > 1 and fmt in (TableFormat.csv, TableFormat.json):
        raise ClipbenchError(
            f"{fmt} holds one spec, and here are {', '.join(groups)}", remedy="give one of their folders"
        )
    for question, records in groups.values():
        comparison = compare_records(records, question, baseline=baseline, target=target)
        console.put(render(comparison, fmt))
        if fmt is TableFormat.csv:  # a CSV file has no place for them
            for caveat in comparison.caveats:
                console.say(f"caveat: {caveat}")
        put_verdict(records, question, fmt=fmt, results=results)
