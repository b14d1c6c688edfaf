"""`clipbench check`: the regression gate of a CI."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from clipbench import console, store
from clipbench.cli.options import TableFormat, seeds_of
from clipbench.cli.results import by_spec
from clipbench.errors import DONE, ClipbenchError, UndecidedError
from clipbench.files import read_ordinary
from clipbench.judging.gate.baseline import MOST_BASELINE_BYTES, dumped, loaded
from clipbench.judging.gate.check import check as judge
from clipbench.judging.gate.report import GateReport
from clipbench.judging.gate.rules import rules
from clipbench.judging.gate.suite import Suite, Unread, counted, gathered
from clipbench.report.check import as_markdown, render
from clipbench.report.junit import as_junit
from clipbench.report.render import Format

FailOn = Annotated[
    list[str] | None,
    typer.Option(
        metavar="VERDICT[:METRIC]", help="Verdicts that fail the gate; by default regressed and changed. Repeatable."
    ),
]
Tolerances = Annotated[
    list[str] | None,
    typer.Option("--tolerance", metavar="[METRIC=]X", help="How much worse a metric may be: loss=0.02. Repeatable."),
]


def check(
    results: Annotated[Path, typer.Argument(metavar="RESULTS", help="The results folder to check.")],
    baseline: Annotated[Path | None, typer.Option(help="The baseline: a results folder, or a saved file.")] = None,
    save_baseline: Annotated[Path | None, typer.Option(metavar="FILE", help="Save RESULTS as a baseline.")] = None,
    fail_on: FailOn = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Also fail on undecided, missing or not comparable rows.")
    ] = False,
    tolerances: Tolerances = None,
    seeds: Annotated[
        str | None, typer.Option(help="The seeds to compare, in place of the baseline's: 0..4, or 0,3,7.")
    ] = None,
    junit: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write the verdicts as JUnit XML.")] = None,
    fmt: TableFormat = "table",
) -> None:
    """Check whether anything got worse than in a baseline, for CI.

    Exit code 0: nothing did. Exit code 1: a metric regressed, or final weights changed although neither the spec nor
    the machine did; if you meant to change them, save a new baseline. Exit code 3: too little data to decide.
    """
    if baseline is None and save_baseline is None:
        raise typer.BadParameter("give --baseline to compare RESULTS with it, or --save-baseline to save a baseline")
    if baseline is None and seeds is not None:
        raise typer.BadParameter("--seeds needs --baseline: it selects the seeds to compare")
    asked = seeds_of(seeds)
    if asked is not None and not asked:
        raise typer.BadParameter(f"--seeds {seeds} is an empty range")
    allowed = rules(fail_on or (), tolerances or (), strict=strict, seeds=asked)
    try:
        theirs = None if baseline is None else _baseline(baseline)
        ours = _suite(results)
    except UndecidedError as error:
        if junit is not None:
            _write(junit, as_junit(GateReport((), (str(error),), allowed)))
        raise
    if theirs is not None:
        report = judge(ours, theirs, allowed)
        _tell(report, fmt, junit)
        if report.exit_code != DONE:
            raise typer.Exit(report.exit_code)
        console.say(f"next: {console.command('compare', results)}")
    if save_baseline is not None:
        _save(ours, save_baseline)


def _suite(results: Path) -> Suite:
    """The runs in a folder, with those that cannot be read."""
    records, errors = store.read_all(results)
    if not records:
        unread = f": {errors[0]}" if errors else ""
        raise UndecidedError(f"no runs in {results}{unread}", remedy="runs are made by `clipbench run`")
    unread_runs = [
        Unread(store.place_of(Path(error.where).parent), f"{error.where}: {error.message}") for error in errors
    ]
    return replace(gathered(list(by_spec(records).values())), unread=tuple(unread_runs))


def _baseline(path: Path) -> Suite:
    if path.is_dir():
        return _suite(path)
    try:
        return loaded(read_ordinary(path, most=MOST_BASELINE_BYTES), where=str(path))
    except OSError as error:
        raise UndecidedError(
            f"the baseline cannot be read ({error.strerror})",
            where=str(path),
            remedy=f"make one: {console.command('check', 'RESULTS', '--save-baseline', path)}",
        ) from error


def _tell(report: GateReport, fmt: Format, junit: Path | None) -> None:
    console.put(render(report, fmt))
    if fmt == "csv":  # CSV cannot hold caveats
        for caveat in report.caveats:
            console.say(f"caveat: {caveat}")
        console.say(report.sentence)
    if junit is not None:
        _write(junit, as_junit(report))
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        _write(Path(summary), f"## clipbench check\n\n{as_markdown(report)}\n\n", append=True)


def _save(suite: Suite, path: Path) -> None:
    content = dumped(suite)
    if path.is_dir():
        raise ClipbenchError("this is a folder; a baseline is a file", where=str(path))
    if path.exists() and path.read_bytes().rstrip(b"\n") != content:
        remedy = "delete the old baseline first, or choose another name"
        raise ClipbenchError("this file exists already, and is not overwritten", where=str(path), remedy=remedy)
    _write(path, content.decode() + "\n")
    console.put(str(path))
    for caveat in suite.caveats:
        console.say(f"caveat: {caveat}")
    console.say(f"saved {counted(suite)}")
    console.say(f"next: {console.command('check', 'RESULTS', '--baseline', path)}")


def _write(path: Path, text: str, *, append: bool = False) -> None:
    try:
        with path.open("a" if append else "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise ClipbenchError(f"cannot write this file ({error.strerror})", where=str(path)) from error
