"""`clipbench show`, `list` and `schema`."""

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
from clipbench.spec import catalogue, offers

Listable = Literal["tasks", "optimizers", "wrappers", "probes", "runs", "columns", "quantities"]


def show(
    run: Annotated[
        str,
        typer.Argument(metavar="RUN|FOLDER", help="A run's folder, the start of its key, or a folder of several runs."),
    ],
    results: ResultsFolder = Path("results"),
) -> None:
    """Show a run: its end, curve, times, environment and log. The runs of a folder are listed."""
    within = store.run_folders(Path(run))
    if len(within) > 1:
        _list_runs(Path(run), "table")
        return
    folder = within[0] if within else store.find(run, results)
    [record] = ends_read([store.read(folder)])
    console.put(render(document(record, log=store.read_log(folder))))


def list_(
    what: Annotated[Listable, typer.Argument(help="What to list.")],
    results: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FOLDER]",
            help="The results folder, for runs and quantities; for tasks, optimizers and probes the folder of a spec.",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """List tasks, optimizers, probes, runs, columns or quantities.

    Tasks, optimizers and probes come with their options and their origin: clipbench, an installed package, or the
    folder `shelf` beside a spec. The columns of `compare --format csv` come with their meanings. Quantities are the
    values of `compare --metric` and `--columns`.
    """
    fmt: Format = "json" if json else "table"
    if what == "runs":
        _list_runs(Path("results") if results is None else results, fmt)
    if what == "quantities":
        folders = [Path("results")] if results is None and Path("results").is_dir() else [results] if results else []
        records, _ = read_with_errors(folders)
        manners = {
            name: manner for question, _ in by_spec(records).values() for name, manner in question.quantities.items()
        }
        console.put(render(listing.quantities(quantities.known(records, manners).values()), fmt))
    if what == "columns":
        console.put(render(listing.columns(all_columns()), fmt))
    for kind in catalogue.KINDS:
        if what == kind:
            folder = (Path() if results is None else results).absolute()
            console.put(render(listing.shelf(offers.entries(kind, folder=folder)), fmt))


def _list_runs(folder: Path, fmt: Format) -> None:
    records, errors = read_with_errors([folder])
    if errors and not records:
        raise UndecidedError(f"no run in {folder} can be read", remedy="the lines above say why")
    console.put(render(listing.runs(ends_read(records)), fmt))


def schema() -> None:
    """Print the JSON Schema of a spec, for editors, with the names that are known in the current folder."""
    console.put(to_json(spec.json_schema(folder=Path.cwd())))
