"""The page as text: answers and tables as HTML, pictures as data for the script that draws them."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from clipbench.errors import ClipbenchError
from clipbench.harmless import on_one_line
from clipbench.report.page.cards import Card, cards
from clipbench.report.page.figures import GROUPS, figures
from clipbench.report.page.sections import main_tables, sections
from clipbench.report.page.subject import Subject
from clipbench.report.page.vega import AXES, ChartSpec, Figure
from clipbench.report.table import AnyColumn, AnyTable

HERE = Path(__file__).parent
REMEDY = "pip install vl-convert-python jinja2"


@dataclass(frozen=True)
class TaskView:
    """What stands on the page about a task, beside its pictures."""

    name: str
    line: str
    cards: Sequence[Card]
    table: AnyTable


def needed(name: str) -> ModuleType:
    """A module of the extra `report`.

    Raises:
        ClipbenchError: it is not installed.
    """
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError as error:
        raise ClipbenchError(
            f"a report needs the package {error.name or name}, which is missing", remedy=REMEDY
        ) from error


def page(subject: Subject, by_task: Mapping[str, Sequence[Figure]]) -> str:
    """The whole page.

    Args:
        subject: what it is about.
        by_task: the pictures of each task.

    Raises:
        ClipbenchError: a package that makes it is not installed.
    """
    jinja2, markup = needed("jinja2"), needed("markupsafe").Markup
    bundle: str = needed("vl_convert").javascript_bundle()
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: on_one_line(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    lines = main_tables(subject)
    text: str = environment.get_template("page.html").render(
        comparison=subject.comparison,
        tasks=[
            TaskView(head.name, line.title, cards(subject, head.name), line)
            for head, line in zip(subject.comparison.tasks, lines, strict=True)
        ],
        groups=GROUPS,
        looks=list(subject.looks.values()),
        axes=_axes(by_task),
        sections=sections(subject),
        is_table=lambda part: hasattr(part, "columns"),
        is_list=lambda part: hasattr(part, "sentences"),
        order=_order,
        data=markup(_in_script(_data(subject, by_task))),
        style=markup((HERE / "page.css").read_text(encoding="utf-8")),
        script=markup((HERE / "page.js").read_text(encoding="utf-8")),
        vega=markup(bundle),
    )
    return text


def pictured(subject: Subject) -> dict[str, list[Figure]]:
    """The pictures of each task."""
    return {head.name: figures(subject, head.name) for head in subject.comparison.tasks}


def _axes(by_task: Mapping[str, Sequence[Figure]]) -> dict[str, str]:
    """What x may be: tokens only where a run counted them."""
    rows = [row for each in by_task.values() for figure in each if figure.group == "loss" for row in figure.rows]
    return {name: title for name, title in AXES.items() if any(row.get(name) is not None for row in rows)}


def _data(subject: Subject, by_task: Mapping[str, Sequence[Figure]]) -> dict[str, object]:
    """What the script draws from: every spec and every table of rows once, however many pictures have it."""
    specs: dict[str, int] = {}
    rows: dict[str, int] = {}
    tasks = []
    for name, of_task in by_task.items():
        drawn = []
        for figure in of_task:
            shared, own = _split(figure.spec)
            drawn.append(
                {
                    "name": figure.name,
                    "group": figure.group,
                    "title": figure.title,
                    "about": on_one_line(figure.about),
                    "spec": specs.setdefault(_dumped(shared), len(specs)),
                    "own": own,
                    "headings": dict(figure.headings),
                    "axis": figure.axis,
                    "loss": figure.loss,
                    "rows": rows.setdefault(_dumped(_columns(figure.rows)), len(rows)),
                }
            )
        tasks.append({"name": on_one_line(name), "figures": drawn})
    return {
        "axes": AXES,
        "hidden": [subject.looks[name].shown for name in subject.hidden_at_first],
        "specs": [json.loads(spec) for spec in specs],
        "rows": [json.loads(each) for each in rows],
        "tasks": tasks,
    }


def _split(spec: ChartSpec) -> tuple[ChartSpec, ChartSpec]:
    """What many pictures share of a spec, and what is a picture's own."""
    own = ("description", "encoding", "height")
    return {name: spec[name] for name in spec if name not in own}, {name: spec[name] for name in own}


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, object]:
    """Rows as columns; a column of texts as places in a list of its texts."""
    columns: dict[str, object] = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [row.get(name) for row in rows]
        if any(isinstance(value, str) for value in values):
            texts = list(dict.fromkeys(values))
            places = {text: place for place, text in enumerate(texts)}
            columns[name] = {"texts": texts, "at": [places[value] for value in values]}
        else:
            columns[name] = values
    return columns


def _dumped(data: object) -> str:
    return json.dumps(data, allow_nan=False, separators=(",", ":"))


def _in_script(data: object) -> str:
    """JSON that cannot end the script it stands in: ASCII, without <, > and &."""
    text = _dumped(data)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _order(column: AnyColumn, row: object) -> str:
    """What a row is sorted by in a column: a number where programs get one."""
    value = column.value(row) if column.value is not None else None
    if not isinstance(value, int | float) or math.isnan(value):
        return ""
    return repr(float(value))
