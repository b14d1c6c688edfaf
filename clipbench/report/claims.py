"""Answers to claims in any format: a row for each claim, and every comparison behind it where it is asked for."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table

from clipbench.judging.claims.answers import VERDICTS, Answer, Comparison, Verdict
from clipbench.judging.words import count, number
from clipbench.report import latex, markdown
from clipbench.report.numbers import NONE
from clipbench.report.raw import to_csv, to_json
from clipbench.report.text import lines_of, text_of

Row = tuple[str, str, str, str, str, str, str]  # as _HEADINGS

MARKS: dict[Verdict, str] = {"holds": "+", "fails": "x", "undecided": "~", "not measured yet": ""}
LEGEND = (
    "Of the comparisons of a claim the one that speaks most against it is shown, with its 95 % interval over n seeds; "
    "each interval is at 95 % by itself. A claim holds where all its comparisons hold, and fails where one is so far "
    "on the wrong side as chance does not bring about among so many (Holm)."
)
_STYLES: dict[Verdict, str] = {"holds": "green", "fails": "bold red", "undecided": "", "not measured yet": "dim"}
_HEADINGS = ("", "claim", "verdict", "what it says", "estimate", "95 % interval", "n")
_WIDE = 120  # columns; in fewer a sentence would stand one word beneath the other
_RIGHT = ("estimate", "95 % interval", "n")
_COLUMNS = (
    "claim",
    "verdict",
    "statement",
    "why",
    "spec",
    "task",
    "trajectory",
    "between",
    "step",
    "quantity",
    "scale",
    "margin",
    "expect",
    "estimate",
    "low",
    "high",
    "n",
    "used",
    "excluded",
    "lost",
    "left_out",
    "p_against",
    "comparison",
)


def tally(answers: Sequence[Answer]) -> str:
    """The answers in one line: 3 hold, 1 fails, 2 undecided, 9 not measured yet."""
    counts = {verdict: sum(answer.verdict == verdict for answer in answers) for verdict in VERDICTS}
    words = {"holds": "hold" if counts["holds"] != 1 else "holds", "fails": "fail" if counts["fails"] != 1 else "fails"}
    return ", ".join(f"{n} {words.get(verdict, verdict)}" for verdict, n in counts.items())


def render(answers: Sequence[Answer], fmt: str, *, each: bool = False) -> RenderableType:
    """The answers as they are to be printed; with `each`, a row for every comparison. CSV and JSON always have all."""
    if fmt == "csv":
        return _as_csv(answers)
    if fmt == "json":
        return to_json([_described(answer) for answer in answers])
    if fmt == "markdown":
        return as_markdown(answers, each=each)
    rows = [row for answer in answers for row in _rows(answer, each=each)]
    if fmt == "table":
        return _Table(rows, f"{LEGEND}\n\n{tally(answers)}")
    cells = [row for _, row in rows]
    layout = r"lllp{0.4\textwidth}rrr"  # sentences are longer than a line
    return latex.table(_HEADINGS, cells, caption=f"{tally(answers)}. {LEGEND}", right=_RIGHT, layout=layout)


def as_markdown(answers: Sequence[Answer], *, each: bool = False) -> str:
    cells = [row for answer in answers for _, row in _rows(answer, each=each)]
    table = markdown.table(_HEADINGS, cells, right=_RIGHT)
    return "\n\n".join((table, markdown.escaped(LEGEND), markdown.escaped(f"{tally(answers)}.")))


@dataclass(frozen=True)
class _Table:
    """A table where sentences find room in it; else a line for each row, and its sentence beneath."""

    rows: Sequence[tuple[Verdict, Row]]
    caption: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if options.max_width >= _WIDE:
            yield self._columns()
            return
        for verdict, (mark, claim, said, sentence, estimate, interval, n) in self.rows:
            numbers = "" if estimate == NONE else f"  {estimate}, {interval} (n {n})"
            name = f"{claim}  " if claim else "  "
            yield text_of(f"{mark or ' '} {name}{said}{numbers}", style=_STYLES[verdict])
            yield Padding(text_of(sentence, style="" if claim else "dim"), (0, 0, 0, 4))
        yield lines_of(f"\n{self.caption}", "italic dim")

    def _columns(self) -> Table:
        table = Table(
            box=box.SIMPLE_HEAD,
            collapse_padding=True,
            pad_edge=False,
            show_edge=False,
            caption=lines_of(self.caption),
            caption_justify="left",
        )
        for heading in _HEADINGS:
            side: Literal["left", "right"] = "right" if heading in _RIGHT else "left"
            table.add_column(heading, justify=side, no_wrap=heading not in ("what it says", "claim"), overflow="fold")
        for verdict, row in self.rows:
            table.add_row(*map(text_of, row), style=_STYLES[verdict])
        return table


def _rows(answer: Answer, *, each: bool) -> list[tuple[Verdict, Row]]:
    """One row for a claim and, if asked for, one beneath it for each comparison."""
    shown = answer.decisive
    said = f"{answer.claim.statement} {answer.why[0].upper()}{answer.why[1:]}."
    if shown is not None and not (each and len(answer.comparisons) > 1):
        said += f" Shown: {_where(shown)}."
    head = (MARKS[answer.verdict], answer.claim.name, answer.verdict, said, *_numbers(answer, shown))
    rows: list[tuple[Verdict, Row]] = [(answer.verdict, head)]
    if each and len(answer.comparisons) > 1:
        for one in answer.comparisons:
            row = (MARKS[one.verdict], "", one.verdict, _where(one), *_numbers(answer, one))
            rows.append((one.verdict, row))
    return rows


def _where(one: Comparison) -> str:
    site = one.site
    path = f" on the trajectory of {site.trajectory}" if site.trajectory else ""
    step = "" if site.step is None else f", step {site.step}"
    missing = [f"{one.excluded} of {one.used + one.excluded} left out"] if one.excluded else []
    if one.left_out:
        missing.append(f"{count(one.left_out, 'seed')} left out")
    if one.lost:
        missing.append(f"{one.lost} lost")
    said = f" ({', '.join(missing)})" if missing else ""
    return f"{one.quantity}: {site.between}, {site.task} of {site.spec}{path}{step}{said}"


def _numbers(answer: Answer, one: Comparison | None) -> tuple[str, str, str]:
    if one is None:
        return NONE, NONE, NONE
    times = "×" if answer.claim.compare is not None and answer.claim.compare.how == "ratio" else ""
    interval = NONE if math.isnan(one.low) else f"{number(one.low)} to {number(one.high)}"
    estimate = NONE if math.isnan(one.estimate) else f"{number(one.estimate)}{times}"
    return estimate, interval, str(one.n)


def _as_csv(answers: Sequence[Answer]) -> str:
    """One line for each comparison; a claim without any has one line all the same."""
    rows: list[dict[str, object]] = []
    for answer in answers:
        claim = {name: value for name, value in _described(answer).items() if name in _COLUMNS}
        rows += [claim if one is None else claim | _flat(one) for one in answer.comparisons or (None,)]
    return to_csv(_COLUMNS, rows)


def _described(answer: Answer) -> dict[str, object]:
    claim = answer.claim
    return {
        "claim": claim.name,
        "statement": claim.statement,
        "verdict": answer.verdict,
        "why": answer.why,
        "expect": claim.expect,
        "margin": None if claim.expect is None else claim.beyond,
        "scale": claim.compare.how if claim.compare else "value" if claim.rank else None,
        "comparisons": [_flat(one) for one in answer.comparisons],
    }


def _flat(one: Comparison) -> dict[str, object]:
    """A comparison under the names of the CSV; `comparison` is its own verdict."""
    site = one.site
    return {
        "spec": site.spec,
        "task": site.task,
        "trajectory": site.trajectory,
        "between": site.between,
        "step": site.step,
        "quantity": one.quantity,
        "estimate": one.estimate,
        "low": one.low,
        "high": one.high,
        "n": one.n,
        "used": one.used,
        "excluded": one.excluded,
        "lost": one.lost,
        "left_out": one.left_out,
        "p_against": one.against,
        "comparison": one.verdict,
    }
