"""`clipbench claims`: what the runs say of each claim."""

from pathlib import Path
from typing import Annotated

import typer

import clipbench
from clipbench import console
from clipbench.cli.options import TableFormat
from clipbench.cli.results import by_spec, read
from clipbench.errors import UNDECIDED, ClipbenchError, UndecidedError
from clipbench.judging.claims.judge import cautions, judge, results_of
from clipbench.report.claims import document
from clipbench.report.render import render
from clipbench.spec.claims import load

PAPER = Path(clipbench.__file__).parents[1] / "benchmarks/claims/pan_li_2023.yaml"


def claims(
    results: Annotated[list[Path], typer.Argument(metavar="RESULTS...", help="Folders of results.")],
    file: Annotated[
        list[Path] | None, typer.Option("--claims", metavar="FILE", help="Claims in place of Pan & Li's (2023).")
    ] = None,
    fmt: TableFormat = "table",
    each: Annotated[bool, typer.Option("--each", help="Show every comparison behind a claim.")] = False,
) -> None:
    """Claims about optimizers, each with its number, interval and verdict: holds, fails, undecided, not measured.

    A claim that fails is a result: exit code 0. Exit code 3 where no claim could be decided.
    """
    if file is None and not PAPER.exists():
        raise ClipbenchError(
            "the paper's claims are not in this installation", where=str(PAPER), remedy="give a file with --claims"
        )
    asked = [claim for path in file or [PAPER] for claim in load(path)]
    groups = by_spec(read(results))
    if not groups:
        raise UndecidedError(
            f"no runs to hold claims against in {', '.join(map(str, results))}",
            remedy="runs are made by `clipbench run`",
        )
    held_against = results_of(list(groups.values()))
    answers = judge(asked, held_against)
    console.put(render(document(answers, each=each), fmt))
    for caution in cautions(held_against):
        console.say(f"caveat: {caution}")
    if not any(answer.verdict in ("holds", "fails") for answer in answers):
        console.say("no claim could be decided")
        raise typer.Exit(UNDECIDED)
