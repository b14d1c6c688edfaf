"""`clipbench report`: one page with pictures."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from clipbench import console
from clipbench.cli.claims import PAPER
from clipbench.cli.results import by_spec, read_with_errors, unread_of
from clipbench.errors import ClipbenchError, UndecidedError
from clipbench.judging.claims.judge import judge, results_of
from clipbench.judging.words import count, listing
from clipbench.report.page.page import page, pictured
from clipbench.report.page.pictures import write
from clipbench.report.page.subject import subject_of
from clipbench.spec.bundled import located
from clipbench.spec.claims import load
from clipbench.store.atomic import make_folder, replace_content


def report(
    results: Annotated[list[Path], typer.Argument(metavar="RESULTS...", help="Results folders.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="The page.")] = Path("report.html"),
    pictures: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Also write every picture as SVG, PNG and PDF for a paper.")
    ] = None,
) -> None:
    """Write one page with the answers, pictures and tables of a comparison.

    The page is a single file that needs no network. Its numbers are those of `clipbench compare`.
    """
    output = output.resolve() if output.is_symlink() else output  # what it points to is what is meant
    if output.exists() and not output.is_file():
        what = "a folder" if output.is_dir() else "no ordinary file"
        raise ClipbenchError(f"this is {what}", where=str(output), remedy="give a file for the page: -o report.html")
    records, errors = read_with_errors(results)
    groups = by_spec(records)
    if not groups:
        message = f"no runs to report in {', '.join(map(str, results))}"
        raise UndecidedError(message, remedy="runs are made by `clipbench run`")
    if len(groups) > 1:
        message = f"a page holds a single spec, but the results have {listing(groups)}"
        raise ClipbenchError(message, remedy="give the folder of one spec")
    [(question, of_spec)] = groups.values()
    subject = subject_of(of_spec, question)
    unread = unread_of(question.spec, errors)
    comparison = replace(subject.comparison, caveats=(*unread, *subject.comparison.caveats))
    answers = tuple(judge(load(PAPER), results_of([(question, of_spec)]))) if located(PAPER).is_file() else ()
    subject = replace(subject, comparison=comparison, answers=answers)
    by_task = pictured(subject)
    text = page(subject, by_task)
    make_folder(output.parent)
    replace_content(output, text.encode())
    if pictures is not None:
        written = write(pictures, by_task)
        console.say(f"{count(len(written), 'file')} in {pictures}")
    console.put(str(output))
