"""The tables, lists and pictures of README and docs, written from the reference runs and the shelves.

    python -m clipbench.report.readme results/reference README.md docs/*.md

writes every block anew that stands between `<!-- NAME -->` and `<!-- /NAME -->`; a test compares the files with this.
"""

import hashlib
import json
import re
import sys
from dataclasses import replace
from pathlib import Path

from tabulate import tabulate

from clipbench import store
from clipbench.errors import ClipbenchError
from clipbench.judging.claims.judge import judge, results_of
from clipbench.judging.compare import compare
from clipbench.questions import Question
from clipbench.records import Record
from clipbench.report import claims as claims_report
from clipbench.report import compare as compare_report
from clipbench.report.markdown import as_markdown
from clipbench.report.page.page import pictured
from clipbench.report.page.pictures import as_svg
from clipbench.report.page.subject import subject_of
from clipbench.report.page.vega import Figure
from clipbench.report.table import Document, Table
from clipbench.spec import catalogue
from clipbench.spec.claims import load

_BLOCK = re.compile(
    r"<!-- (?P<kind>table|arms|claims|list|picture|tried):(?P<name>[^ ]+) -->\n(?P<old>.*?)"
    r"<!-- /(?P=kind):(?P=name) -->",
    re.DOTALL,
)
_MARKER = re.compile(r"<!-- /?(?:table|arms|claims|list|picture|tried):")
SHORT = ("verdict", "arm", "rank_low", "final_loss", "contrast", "steps_to_target", "step_ms", "sharpness")  # columns
_PICTURE_WIDTH = 560
CLAIMS = "benchmarks/claims/pan_li_2023.yaml"  # beside the folder of the results


def written(text: str, reference: Path) -> str:
    """`text` with its blocks written anew; the rest is left as it is.

    A block `table:PLACE/SPEC` is the comparison of the runs in that folder below `reference`, and `arms:PLACE/SPEC` its
    main table alone, with fewer columns. A block `claims:PLACE` tests the paper's claims on the specs in that folder; a
    block `list:KIND` is a shelf (tasks, optimizers or probes). A block `picture:PLACE/SPEC` shows the loss of these
    runs, which `draw` draws. A block `tried:FILE` has a line for each optimizer of a table that
    benchmarks/compatibility/optimizers.py wrote.

    Raises:
        ClipbenchError: a marker without its partner, or a block that names nothing.
        UndecidedError: a table's folder has no runs.
    """
    if len(_MARKER.findall(text)) != 2 * len(_BLOCK.findall(text)):
        remedy = "each <!-- NAME --> needs one <!-- /NAME --> beneath it, and blocks do not overlap"
        raise ClipbenchError("a marker stands alone in the README", remedy=remedy)
    return _BLOCK.sub(lambda match: _block(match, reference), text)


def _block(marker: re.Match[str], reference: Path) -> str:
    kind, name = marker["kind"], marker["name"]
    match kind:
        case "table":
            question, records = _runs(reference / name)
            content = as_markdown(compare_report.document(compare(records, question)))
        case "arms":
            question, records = _runs(reference / name)
            content = as_markdown(_arms(compare_report.document(compare(records, question))))
        case "claims":
            content = _claims(reference / name, reference.parents[1] / CLAIMS)
        case "tried":
            content = _tried(reference / name)
        case "picture":
            content = f"![{_loss(reference / name).spec['description']}]({picture_path(name)})"
        case _:
            content = _shelf(name)
    return f"<!-- {kind}:{name} -->\n{content}\n<!-- /{kind}:{name} -->"


def _arms(document: Document) -> Document:
    [table] = [part for part in document.parts if isinstance(part, Table) and part.name == "compare"]
    return Document((replace(table, order=tuple(each for each in table.order if each in SHORT), note=""),))


def picture_path(name: str) -> str:
    """Where the picture of a block lies, seen from the top of the repository."""
    return f"docs/pictures/{name.replace('/', '-')}.svg"


def drawn_from(name: str, reference: Path) -> str:
    """A mark of the numbers and the description behind a picture; the file ends with it, so that a test can compare.

    The file itself depends on the fonts of the machine that drew it.
    """
    content = json.dumps(_loss(reference / name).whole(), sort_keys=True)
    return f"<!-- drawn from {hashlib.sha256(content.encode()).hexdigest()} -->\n"


def draw(text: str, reference: Path) -> None:
    """Draw the pictures that blocks of `text` show."""
    for block in _BLOCK.finditer(text):
        if block["kind"] == "picture":
            path = reference.parents[1] / picture_path(block["name"])
            path.parent.mkdir(exist_ok=True)
            svg = as_svg(_loss(reference / block["name"]), width=_PICTURE_WIDTH)
            path.write_text(f"{svg}\n{drawn_from(block['name'], reference)}", encoding="utf-8")


def _loss(folder: Path) -> Figure:
    question, records = _runs(folder)
    [figures] = pictured(subject_of(records, question)).values()
    [loss] = [figure for figure in figures if figure.name == "loss"]
    return loss


def _runs(folder: Path) -> tuple[Question, list[Record]]:
    records, errors = store.read_all(folder)
    for error in errors:
        raise error
    question = store.read_question(folder)
    if question is None:
        raise ClipbenchError("this folder has no question", where=str(folder / store.QUESTION))
    return question, records


def _claims(folder: Path, claims: Path) -> str:
    if not folder.is_dir():
        raise ClipbenchError("there are no runs to test claims on", where=str(folder))
    answers = judge(load(claims), results_of([_runs(spec) for spec in sorted(folder.iterdir())]))
    return as_markdown(claims_report.document(answers))


_TRIED = re.compile(
    r"^(?P<use>[\w.]+:\w+) +\d+ +(?P<no>no\b)?(?:, )?(?P<way>by name|\w+)?(?: {2,}(?P<said>.*))?$", re.MULTILINE
)
_WAYS = {
    "by name": "by its name",
    "create_graph": "with `create_graph: true`",
    "option": "with an option that it needs",
    "group": "for matrices, in a group",
    "wrap": "under `wrap`",
    "factory": "by a factory",
}
_LONGEST = 160  # characters of what is said


def _tried(path: Path) -> str:
    """A line for each optimizer: how it runs, or why it does not, and what its record says of it."""
    lines = ["| optimizer | runs | what is said |", "|---|---|---|"]
    for match in _TRIED.finditer(path.read_text(encoding="utf-8")):
        reason, *remarks = re.split(r" {2,}", match["said"] or "")
        if match["no"]:
            said = re.sub(r"^\w+Error: ", "", reason)
        else:  # the reason is why it does not run by its name; without one, what is said is a remark
            said = reason if match["way"] == "by name" else " ".join(remarks)
        runs = "no" if match["no"] else _WAYS[match["way"]]
        lines.append(f"| `{match['use']}` | {runs} | {_shortened(said)} |")
    return "\n".join(lines)


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST].rpartition(' ')[0]} …"


def _shelf(name: str) -> str:
    for kind in catalogue.KINDS:
        if kind == name:
            rows = [
                (f"`{entry.name}`", entry.summary, ", ".join(f"`{option.name}`" for option in entry.options))
                for entry in catalogue.shelf(kind)
            ]
            return tabulate(rows, headers=("name", "what it is", "options"), tablefmt="github")
    raise ClipbenchError(f"there is no shelf called {name!r}", remedy=f"the shelves are: {', '.join(catalogue.KINDS)}")


if __name__ == "__main__":
    reference_runs, *paths = map(Path, sys.argv[1:])
    for path in paths:
        draw(path.read_text(encoding="utf-8"), reference_runs.resolve())
        path.write_text(written(path.read_text(encoding="utf-8"), reference_runs), encoding="utf-8")
