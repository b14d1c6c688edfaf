"""`clipbench merge`: collect results from several machines in one folder."""

from pathlib import Path
from typing import Annotated

import typer

from clipbench import console, store
from clipbench.errors import UndecidedError
from clipbench.judging.words import count


def merge(
    results: Annotated[list[Path], typer.Argument(metavar="RESULTS...", help="Results folders.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The folder to copy to; it may be among RESULTS.")],
) -> None:
    """Copy the runs of several folders into one. Equal copies are kept once; nothing is overwritten."""
    merged = store.merge(results, out)
    for error in merged.errors:
        console.complain(error, before="not merged", style="yellow")
    for folder in merged.unfinished:
        console.say(f"not merged: {folder} is not finished", style="yellow")
    if not merged.copies and not merged.there:
        raise UndecidedError("there are no ended runs to merge", remedy="runs are made by `clipbench run`")
    console.say(f"{count(len(merged.copies), 'run')} copied, {merged.there} there already")
    console.put(str(out))
    console.say(f"next: {console.command('compare', out)}")
