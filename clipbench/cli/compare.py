"""`clipbench compare`: the table."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from clipbench import console, quantities
from clipbench.cli.audit import put_verdict
from clipbench.cli.options import TableFormat
from clipbench.cli.results import by_spec, read_with_errors, unread_of
from clipbench.errors import UNDECIDED, ClipbenchError, UndecidedError
from clipbench.judging.compare import Asked
from clipbench.judging.compare import compare as compare_records
from clipbench.judging.comparison import By, Comparison
from clipbench.judging.moments import Moment
from clipbench.quantities import FINAL_LOSS
from clipbench.report.compare import SectionName, arranged, document, sections
from clipbench.report.compare import section as section_of
from clipbench.report.render import Format, render


def compare(
    results: Annotated[list[Path], typer.Argument(metavar="RESULTS...", help="Folders of results.")],
    fmt: TableFormat = "table",
    baseline: Annotated[str | None, typer.Option(help="The arm to compare with.")] = None,
    target: Annotated[float | None, typer.Option(help="The evaluation loss to reach.")] = None,
    consecutive: Annotated[int | None, typer.Option(help="For how many evaluations in a row.")] = None,
    metric: Annotated[
        str, typer.Option(metavar="QUANTITY[@DIRECTION]", help="What verdicts and ranks go by; see `list quantities`.")
    ] = FINAL_LOSS,
    at: Annotated[str | None, typer.Option(metavar="STEP|SHARE", help="Not at the end: 100, 50% or 0.5.")] = None,
    threshold: Annotated[float | None, typer.Option(help="A relative difference too small to matter: 0.01.")] = None,
    by: Annotated[By, typer.Option(help="A table for each task, or each arm.")] = "task",
    sort: Annotated[str | None, typer.Option(metavar="COLUMN", help="Of the CSV; -COLUMN turns it round.")] = None,
    reference: Annotated[str | None, typer.Option(help="The direction others are over at shared points.")] = None,
    section: Annotated[SectionName | None, typer.Option(help="Only this table.")] = None,
) -> None:
    """The table: each arm against the baseline, paired by seed, with its caveats.

    Exit code 3 where no run has ended.
    """
    moment = None if at is None else moment_of(at)
    read, errors = read_with_errors(results)
    groups = by_spec(read)
    if not groups:
        raise UndecidedError(
            f"no runs to compare in {', '.join(map(str, results))}", remedy="runs are made by `clipbench run`"
        )
    if len(groups) > 1 and fmt in ("csv", "json"):
        raise ClipbenchError(
            f"{fmt} holds one spec, and here are {', '.join(groups)}", remedy="give one of their folders"
        )
    for question, records in groups.values():
        how = Asked(
            baseline=baseline,
            target=target,
            consecutive=consecutive,
            metric=quantities.asked(metric, records),
            at=moment,
            threshold=threshold,
            reference=reference,
        )
        comparison = compare_records(records, question, how)
        comparison = replace(comparison, caveats=(*unread_of(question.spec, errors), *comparison.caveats))
        comparison = arranged(comparison, by=by, sort=sort)
        if section is not None:
            console.put(render(section_of(comparison, section), fmt))
            continue
        _put(comparison, fmt)
        put_verdict(records, question, fmt=fmt, results=results)
    if all(record.outcome is None for record in read):
        console.say("no run has ended: there is nothing to compare yet")
        raise typer.Exit(UNDECIDED)


def _put(comparison: Comparison, fmt: Format) -> None:
    console.put(render(document(comparison), fmt))
    if fmt == "csv":  # a CSV file has no place for them
        for caveat in comparison.caveats:
            console.say(f"caveat: {caveat}")
        for other in sections(comparison):
            console.say(f"another table: --section {other.name}")


def moment_of(text: str) -> Moment:
    """`100` is a step, `50%` and `0.5` are shares of the budget."""
    if re.fullmatch(r"\d+", text):
        return Moment(int(text), "step")
    try:
        return Moment(float(text.removesuffix("%")) / (100 if text.endswith("%") else 1), "fraction")
    except ValueError:
        raise typer.BadParameter(f"{text!r} is neither a step such as 100 nor a share such as 50% or 0.5") from None
