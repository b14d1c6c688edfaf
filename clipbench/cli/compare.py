"""`clipbench compare`: the tables."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from clipbench import console
from clipbench.cli import completing
from clipbench.cli.audit import put_verdict
from clipbench.cli.options import TableFormat
from clipbench.cli.results import by_spec, read_with_errors, unread_of
from clipbench.errors import UNDECIDED, ClipbenchError, StoreError, UndecidedError, nearest
from clipbench.judging.compare import Asked
from clipbench.judging.compare import compare as compare_records
from clipbench.judging.comparison import By, Comparison
from clipbench.judging.moments import Moment
from clipbench.judging.versions import Folder, overlap, versions
from clipbench.judging.words import listing
from clipbench.quantities import FINAL_LOSS, RESERVED, asked
from clipbench.questions import Question, Target
from clipbench.records import EVAL_LOSS, OF_EVALUATIONS, Record
from clipbench.report import screen
from clipbench.report.compare import SectionName, arranged, document, sections
from clipbench.report.compare import section as section_of
from clipbench.report.render import Format, render
from clipbench.report.versions import document as versions_document
from clipbench.spec import bundled


def compare(
    results: Annotated[
        list[Path] | None, typer.Argument(metavar="[RESULTS]...", help="Results folders.  [default: results]")
    ] = None,
    fmt: TableFormat = "table",
    baseline: Annotated[
        str | None, typer.Option(help="The arm to compare with.", autocompletion=completing.arms)
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(metavar="LOSS|METRIC>=X", help="The evaluation loss to reach; or a metric of the task, quoted."),
    ] = None,
    consecutive: Annotated[int | None, typer.Option(help="Evaluations in a row that must reach the target.")] = None,
    metric: Annotated[
        str,
        typer.Option(
            metavar="QUANTITY[@DIRECTION]",
            help="What verdicts and ranks compare; see `list quantities`.",
            autocompletion=completing.quantities,
        ),
    ] = FINAL_LOSS,
    columns: Annotated[
        str | None,
        typer.Option(
            metavar="QUANTITY,...",
            help="Show these quantities in place of the usual columns.",
            autocompletion=completing.quantities,
        ),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(metavar="STEP|SHARE", help="Compare at this step or share of the budget: 100, 50% or 0.5."),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="The relative difference that is too small to matter: 0.01.")
    ] = None,
    by: Annotated[By, typer.Option(help="Make a table for each task, or for each arm.")] = "task",
    sort: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Sort rows by a column of the CSV; -COLUMN for descending.")
    ] = None,
    reference: Annotated[
        str | None, typer.Option(help="The direction that divides the ratios at shared points.")
    ] = None,
    section: Annotated[SectionName | None, typer.Option(help="Show only this table.")] = None,
    task: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Compare only on this task.", autocompletion=completing.tasks),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Show all tables, answers and caveats.")] = False,
) -> None:
    """Compare arms with the baseline, seed by seed.

    One screen answers the spec's question, with a line for each arm. --full shows every table, and the sentences that
    name what weakens the comparison.

    Folders with the same arms and seeds are versions: each folder is compared with the first, arm by arm. Exit code 3
    if no run has ended.
    """
    results = results or [Path("results")]
    how = Asked(
        baseline=baseline,
        target=None if target is None else target_of(target),
        consecutive=consecutive,
        at=None if at is None else moment_of(at),
        threshold=threshold,
        reference=reference,
    )
    folders = [read_with_errors([each]) for each in results]
    read = [record for records, _ in folders for record in records]
    errors = [error for _, of_folder in folders for error in of_folder]
    if not read:
        raise UndecidedError(
            f"no runs to compare in {', '.join(map(str, results))}", remedy="runs are made by `clipbench run`"
        )
    if overlap([records for records, _ in folders]):
        options = {
            "section": section,
            "columns": columns,
            "baseline": baseline,
            "reference": reference,
            "sort": sort,
            "task": task,
        }
        if unused := [f"--{name}" for name, value in options.items() if value is not None]:
            message = "the folders hold the same runs, and are compared with each other, each arm with itself"
            raise ClipbenchError(message, remedy=f"leave out {listing(unused)}")
        sides = [(label, records) for label, (records, _) in zip(labels_of(results), folders, strict=True)]
        _put_versions(sides, how, metric, fmt, errors)
    else:
        groups = by_spec(read) if task is None else on_task(task, by_spec(read))
        whole = full or fmt != "table" or by == "arm"
        for comparison in _comparisons(groups, how, metric, columns, fmt):
            unread = unread_of(comparison.spec, errors)
            comparison = replace(
                arranged(comparison, by=by, sort=sort),
                caveats=(*unread, *comparison.caveats),
                left_out=(*unread, *comparison.left_out),
            )
            if section is not None:
                console.put(render(section_of(comparison, section), fmt))
            elif whole:
                _put(comparison, fmt)
                put_verdict(comparison.audit, fmt=fmt, results=results)
            else:
                question, of_spec = groups[comparison.spec]
                command = question.command or (_path_of(comparison.spec),)
                source = screen.Origin(results, of_spec, command, question.keys)
                console.put(render(screen.document(comparison, source, is_sorted=sort is not None)))
    if all(record.outcome is None for record in read):
        console.say("no run has ended: there is nothing to compare yet")
        raise typer.Exit(UNDECIDED)


def on_task(task: str, groups: Mapping[str, tuple[Question, list[Record]]]) -> dict[str, tuple[Question, list[Record]]]:
    """The runs on a single task, with the parts of their specs' questions that are about it.

    Raises:
        ClipbenchError: no run is on it.
    """
    kept = {}
    for spec, (question, records) in groups.items():
        on_it = [record for record in records if record.run.task.name == task]
        elsewhere = {record.identity for record in records if record.run.task.name != task}
        tuning = question.tuning
        if tuning is not None:
            tuning = replace(tuning, arms=tuple(tuned for tuned in tuning.arms if tuned.task == task))
        if on_it:
            keys = tuple(key for key in question.keys if key not in elsewhere)
            kept[spec] = replace(question, keys=keys, tuning=tuning), on_it
    if not kept:
        names = dict.fromkeys(record.run.task.name for _, records in groups.values() for record in records)
        remedy = f"choose one of: {', '.join(nearest(task, list(names)))}"
        raise ClipbenchError(f"no run is on a task {task!r}", remedy=remedy)
    return kept


def put_screen(folder: Path) -> None:
    """Print the first screen of the results of a spec, by the spec's own question.

    Raises:
        ClipbenchError: there is nothing to compare.
    """
    records, errors = read_with_errors([folder])
    for question, of_spec in by_spec(records).values():
        comparison = compare_records(of_spec, question)
        comparison = replace(comparison, left_out=(*unread_of(question.spec, errors), *comparison.left_out))
        source = screen.Origin([folder], of_spec, question.command, question.keys)
        console.put(render(screen.document(comparison, source)))


def _path_of(spec: str) -> str:
    """Where the spec of that name probably is, for a command to be copied."""
    paths = [Path("benchmarks", f"{spec}.yaml"), Path(f"{spec}.yaml")]
    there = next((path for path in paths if path.is_file()), None)
    return spec if there is None and spec in bundled.names() else str(there or paths[0])


def _comparisons(
    groups: Mapping[str, tuple[Question, list[Record]]], how: Asked, metric: str, columns: str | None, fmt: Format
) -> Iterator[Comparison]:
    """A comparison for each spec.

    Raises:
        ClipbenchError: there are several specs, and the format can hold only one.
    """
    if len(groups) > 1 and fmt in ("csv", "json"):
        raise ClipbenchError(
            f"{fmt} holds a single spec, but the results have {', '.join(groups)}", remedy="give the folder of one spec"
        )
    wanted = [*dict.fromkeys(name.strip() for name in columns.split(","))] if columns else []
    for question, records in groups.values():
        of_spec = replace(
            how,
            metric=asked(metric, records, question.quantities),
            others=tuple(dict.fromkeys(asked(name, records, question.quantities) for name in wanted)),
        )
        yield compare_records(records, question, of_spec)


def _put_versions(
    sides: Sequence[tuple[str, Sequence[Record]]], how: Asked, metric: str, fmt: Format, errors: Sequence[StoreError]
) -> None:
    """A table for each spec that more than one of the folders has."""
    by_label = [(label, by_spec(records)) for label, records in sides]
    specs = list(dict.fromkeys(name for _, groups in by_label for name in groups))
    if len(specs) > 1 and fmt in ("csv", "json"):
        raise ClipbenchError(f"{fmt} holds one spec, and here are {', '.join(specs)}", remedy="give their folders")
    for spec in specs:
        folders = [Folder(label, *groups[spec]) for label, groups in by_label if spec in groups]
        if len(folders) < 2:
            console.say(f"{spec} is in {folders[0].label} alone, and in no table", style="yellow")
        else:
            everywhere = [record for folder in folders for record in folder.records]
            metric_of_spec = asked(metric, everywhere, folders[0].question.quantities)
            compared = versions(folders, replace(how, metric=metric_of_spec))
            compared = replace(compared, notes=(*unread_of(spec, errors), *compared.notes))
            console.put(render(versions_document(compared), fmt))
            if fmt == "csv":
                for note in compared.notes:
                    console.say(f"caveat: {note}")


def labels_of(paths: Sequence[Path]) -> list[str]:
    """Short labels for folders: `a` and `b` for a/results and b/results; the whole paths if no single part differs."""
    parts = [path.resolve().parts for path in paths]
    for place in range(-1, -min(map(len, parts)) - 1, -1):
        names = [each[place] for each in parts]
        if len(set(names)) == len(names):
            return names
    return list(map(str, paths))


def _put(comparison: Comparison, fmt: Format) -> None:
    console.put(render(document(comparison), fmt))
    if fmt == "csv":  # CSV cannot hold caveats
        for caveat in comparison.caveats:
            console.say(f"caveat: {caveat}")
        for table in sections(comparison):
            console.say(f"more: --section {table.name}")


def moment_of(text: str) -> Moment:
    """`100` is a step, `50%` and `0.5` are shares of the budget."""
    if re.fullmatch(r"\d+", text):
        return Moment(int(text), "step")
    try:
        return Moment(float(text.removesuffix("%")) / (100 if text.endswith("%") else 1), "fraction")
    except ValueError:
        raise typer.BadParameter(f"{text!r} is neither a step such as 100 nor a share such as 50% or 0.5") from None


def target_of(text: str) -> Target:
    """`2.8` is an evaluation loss; `accuracy>=0.9` and `error<=0.1` are of a metric.

    Raises:
        ClipbenchError: no evaluation records such a quantity.
    """
    *before, bound = re.split(r"\s*([<>]=|[≤≥])", text, maxsplit=1)
    try:
        number = float(bound)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is neither a loss such as 2.8 nor a metric as in 'accuracy>=0.9'") from None
    if not before:
        return Target(number)
    name, sign = before
    if not name.strip() or "@" in name or (name in RESERVED and name not in OF_EVALUATIONS) or name == EVAL_LOSS:
        remedy = "give a loss as --target 2.8, or a metric of the task as --target 'accuracy>=0.9'"
        raise ClipbenchError(f"no evaluation records a metric {name!r}", remedy=remedy)
    if sign in (">=", "≥"):
        return Target(quantity=name, at_least=number)
    return Target(quantity=name, at_most=number)
