"""`clipbench show`, `list` and `schema`: what there is."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from clipbench import console, quantities, spec, store
from clipbench.cli.options import Json, ResultsFolder
from clipbench.cli.results import by_spec, ends_read, read_with_errors
from clipbench.errors import UndecidedError
from clipbench.report import listing
from clipbench.report.compare import all_columns
from clipbench.report.raw import to_json
from clipbench.report.render import Format, render
from clipbench.report.show import document
from clipbench.spec import catalogue

Listable = Literal["tasks", "optimizers", "probes", "runs", "columns", "quantities"]


def show(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's folder, or the beginning of its key.")],
    results: ResultsFolder = Path("results"),
) -> None:
    """One run: how it ended, its curve, where its time went, its environment, the log of a failure."""
    folder = store.find(run, results)
    [record] = ends_read([store.read(folder)])
    console.put(render(document(record, log=store.read_log(folder))))


def list_(
    what: Annotated[Listable, typer.Argument(help="What to list.")],
    results: Annotated[Path | None, typer.Argument(help="Where the runs are; results by default.")] = None,
    json: Json = False,
) -> None:
    """What there is: tasks, optimizers and probes with their options; the runs that were made; what the columns of
    `compare --format csv` mean; and the quantities that `compare --metric` and `--columns` take."""
    fmt: Format = "json" if json else "table"
    if what == "runs":
        folder = Path("results") if results is None else results
        records, errors = read_with_errors([folder])
        if errors and not records:
            raise UndecidedError(f"no run in {folder} can be read", remedy="the lines above say why")
        console.put(render(listing.runs(ends_read(records)), fmt))
    if what == "quantities":
        folders = [Path("results")] if results is None and Path("results").is_dir() else [results] if results else []
        records, _ = read_with_errors(folders)
        said = {
            name: manner for question, _ in by_spec(records).values() for name, manner in question.quantities.items()
        }
        console.put(render(listing.quantities(quantities.known(records, said).values()), fmt))
    if what == "columns":
        console.put(render(listing.columns(all_columns()), fmt))
    for kind in catalogue.KINDS:
        if what == kind:
            console.put(render(listing.shelf(catalogue.shelf(kind)), fmt))


def schema() -> None:
    """The JSON Schema of a spec, for editors."""
    console.put(to_json(spec.json_schema()))
