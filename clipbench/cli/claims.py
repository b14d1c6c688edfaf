"""`clipbench claims`: test claims about optimizers on runs."""

from pathlib import Path
from typing import Annotated

import typer

from clipbench import console
from clipbench.cli.options import TableFormat
from clipbench.cli.results import by_spec, read
from clipbench.errors import UNDECIDED, UndecidedError
from clipbench.judging.claims.judge import cautions, judge, results_of
from clipbench.report.claims import document
from clipbench.report.render import render
from clipbench.spec.claims import load

PAPER = Path("pan_li_2023")  # comes with clipbench


def claims(
    results: Annotated[list[Path], typer.Argument(metavar="RESULTS...", help="Results folders.")],
    file: Annotated[
        list[Path] | None,
        typer.Option("--claims", metavar="FILE", help="A file of claims.  [default: pan_li_2023]"),
    ] = None,
    fmt: TableFormat = "table",
    each: Annotated[bool, typer.Option("--each", help="Show every comparison behind a claim.")] = False,
) -> None:
    """Test claims about optimizers on runs.

    A claim holds, fails, stays undecided, or was not measured. A failed claim is a result: exit code 0. Exit code 3 if
    no claim could be decided.
    """
    asked = [claim for path in file or [PAPER] for claim in load(path)]
    groups = by_spec(read(results))
    if not groups:
        raise UndecidedError(
            f"no runs to test claims on in {', '.join(map(str, results))}",
            remedy="runs are made by `clipbench run`",
        )
    specs = results_of(list(groups.values()))
    answers = judge(asked, specs)
    console.put(render(document(answers, each=each), fmt))
    for caution in cautions(specs):
        console.say(f"caveat: {caution}")
    if not any(answer.verdict in ("holds", "fails") for answer in answers):
        console.say("no claim could be decided")
        raise typer.Exit(UNDECIDED)
