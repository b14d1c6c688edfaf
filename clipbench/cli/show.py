"""`clipbench show`, `list` and `schema`: what there is."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from clipbench import console, spec, store
from clipbench.cli.options import Json, Results
from clipbench.cli.results import ends_read, read_with_errors
from clipbench.errors import UndecidedError
from clipbench.report import listing
from clipbench.report.raw import to_json
from clipbench.report.sections import all_fields
from clipbench.report.show import show as show_record
from clipbench.spec import catalogue


class Listable(StrEnum):
    tasks = "tasks"
    optimizers = "optimizers"
    probes = "probes"
    runs = "runs"
    columns = "columns"


def show(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's folder, or the beginning of its key.")],
    results: Results = Path("results"),
) -> None:
    """One run: how it ended, its curve, where its time went, its environment, the log of a failure."""
    folder = store.find(run, results)
    [record] = ends_read([store.read(folder)])
    console.put(show_record(record, log=store.read_log(folder)))


def list_(
    what: Annotated[Listable, typer.Argument(help="What to list.")],
    results: Annotated[Path, typer.Argument(help="Where the runs are.")] = Path("results"),
    json: Json = False,
) -> None:
    """The tasks, optimizers or probes there are, with their options; the runs that were made; what the columns of
    `compare --format csv` mean."""
    fmt: listing.ListFormat = "json" if json else "table"
    if what is Listable.runs:
        records, errors = read_with_errors([results])
        if errors and not records:
            raise UndecidedError(f"no run in {results} can be read", remedy="the lines above say why")
        console.put(listing.runs(ends_read(records), fmt=fmt))
    if what is Listable.columns:
        console.put(listing.columns(all_fields(), fmt=fmt))
    for kind in catalogue.KINDS:
        if what == kind:
            console.put(listing.shelf(catalogue.shelf(kind), fmt=fmt))


def schema() -> None:
    """The JSON Schema of a spec, for editors."""
    console.put(to_json(spec.json_schema()))
