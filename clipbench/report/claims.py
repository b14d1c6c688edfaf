"""Answers to claims: a row for each claim; with --each also a row for every comparison behind it."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from clipbench.judging.claims.answers import VERDICTS, Answer, ClaimComparison, ClaimVerdict
from clipbench.judging.words import count, number
from clipbench.report.columns import if_any
from clipbench.report.numbers import NONE
from clipbench.report.table import CellValue, Column, Document, Paragraph, Table, text_column

MARKS: dict[ClaimVerdict, str] = {"holds": "+", "fails": "x", "undecided": "~", "not measured": ""}
LEGEND = (
    "A claim's row shows the comparison that speaks most against it, with its 95 % confidence interval over n seeds "
    "(not corrected for the number of comparisons). A claim holds if all its comparisons hold. A claim fails if any "
    "comparison fails even after Holm's correction for all of them."
)
_STYLES: dict[ClaimVerdict, str] = {"holds": "green", "fails": "bold red", "undecided": "", "not measured": "dim"}


class _Shown(NamedTuple):
    """A claim, or a comparison behind it, as people read it."""

    claim: str
    verdict: ClaimVerdict
    sentence: str
    comparison: ClaimComparison | None
    times: str  # × after an estimate that is a ratio


_Line = tuple[Answer, ClaimComparison | None]  # of the CSV; a claim without comparisons has a single line


def tally(answers: Sequence[Answer]) -> str:
    """The answers in one line: 3 hold, 1 fails, 2 undecided, 9 not measured."""
    counts = {verdict: sum(answer.verdict == verdict for answer in answers) for verdict in VERDICTS}
    words = {"holds": "hold" if counts["holds"] != 1 else "holds", "fails": "fail" if counts["fails"] != 1 else "fails"}
    return ", ".join(f"{n} {words.get(verdict, verdict)}" for verdict, n in counts.items())


def document(answers: Sequence[Answer], *, each: bool = False) -> Document:
    """The answers; with `each`, people read every comparison. CSV and JSON always have all."""
    shown = Table(
        name="claims",
        columns=_SHOWN,
        rows=[row for answer in answers for row in _rows(answer, each=each)],
        note=LEGEND,
        caption=f"{tally(answers)}. {LEGEND}",
        style=lambda row: _STYLES[row.verdict],
    )
    lines = [(answer, comparison) for answer in answers for comparison in answer.comparisons or (None,)]
    return Document(
        (shown, Paragraph(f"{tally(answers)}.", captioned=True)),
        lines=Table("claims", _LINES, lines),
        data=lambda: [_data(answer) for answer in answers],
    )


def _rows(answer: Answer, *, each: bool) -> list[_Shown]:
    """One row for a claim and, if asked for, one beneath it for each comparison."""
    times = "×" if answer.claim.compare is not None and answer.claim.compare.how == "ratio" else ""
    decisive, all_of_them = answer.decisive, each and len(answer.comparisons) > 1
    sentence = f"{answer.claim.statement} {answer.why[0].upper()}{answer.why[1:]}."
    if decisive is not None and not all_of_them:
        sentence += f" Shown: {_where(decisive)}."
    behind = answer.comparisons if all_of_them else ()
    return [
        _Shown(answer.claim.name, answer.verdict, sentence, decisive, times),
        *(_Shown("", comparison.verdict, _where(comparison), comparison, times) for comparison in behind),
    ]


def _where(comparison: ClaimComparison) -> str:
    site = comparison.site
    path = f" on the trajectory of {site.trajectory}" if site.trajectory else ""
    step = "" if site.step is None else f", step {site.step}"
    excluded, used = comparison.excluded, comparison.used
    missing = [f"{excluded} of {used + excluded} left out"] if excluded else []
    if comparison.left_out:
        missing.append(f"{count(comparison.left_out, 'seed')} left out")
    if comparison.lost:
        missing.append(f"{comparison.lost} lost")
    absent = f" ({', '.join(missing)})" if missing else ""
    return f"{comparison.quantity}: {site.between}, {site.task} of {site.spec}{path}{step}{absent}"


def _estimate(row: _Shown) -> str:
    shown = row.comparison
    return NONE if shown is None or math.isnan(shown.estimate) else f"{number(shown.estimate)}{row.times}"


def _interval(row: _Shown) -> str:
    shown = row.comparison
    return NONE if shown is None or math.isnan(shown.low) else f"{number(shown.low)} to {number(shown.high)}"


def _data(answer: Answer) -> dict[str, object]:
    """A claim, with its comparisons beneath it."""
    [claim] = Table("claims", _LINES, [(answer, None)]).records()
    lines = Table("claims", _LINES, [(answer, comparison) for comparison in answer.comparisons]).records()
    comparisons = [{name: value for name, value in line.items() if name not in _OF_CLAIM} for line in lines]
    return {name: claim[name] for name in _OF_CLAIM} | {"comparisons": comparisons}


def _scale(answer: Answer) -> CellValue:
    claim = answer.claim
    return claim.compare.how if claim.compare else "value" if claim.rank else None


def _margin(answer: Answer) -> CellValue:
    return None if answer.claim.expect is None else answer.claim.beyond


def _claim(name: str, meaning: str, value: Callable[[Answer], CellValue]) -> Column[_Line]:
    return Column(name, meaning, lambda line: value(line[0]))


def _compared(name: str, meaning: str, value: Callable[[ClaimComparison], CellValue]) -> Column[_Line]:
    return Column(name, meaning, if_any(lambda line: line[1], value))


_OF_CLAIM = ("claim", "statement", "verdict", "why", "expect", "margin", "scale")
_LINES: tuple[Column[_Line], ...] = (
    _claim("claim", "the claim's name", lambda answer: answer.claim.name),
    _claim("verdict", "holds, fails, undecided or not measured", lambda answer: answer.verdict),
    _claim("statement", "the claim in words", lambda answer: answer.claim.statement),
    _claim("why", "the reason for the verdict", lambda answer: answer.why),
    _compared("spec", "the spec of the runs", lambda comparison: comparison.site.spec),
    _compared("task", "the task of the runs", lambda comparison: comparison.site.task),
    _compared(
        "trajectory",
        "the arm whose trajectory has the points; empty for own paths",
        lambda comparison: comparison.site.trajectory,
    ),
    _compared("between", "the arms that are compared", lambda comparison: comparison.site.between),
    _compared("step", "the step; empty for a mean over all steps", lambda comparison: comparison.site.step),
    _compared("quantity", "the quantity that is compared", lambda comparison: comparison.quantity),
    _claim("scale", "ratio, difference or value", _scale),
    _claim("margin", "the value beyond which the estimate must lie", _margin),
    _claim("expect", "the side of the margin on which the estimate must lie", lambda answer: answer.claim.expect),
    _compared("estimate", "mean over seeds", lambda comparison: comparison.estimate),
    _compared("low", "lower end of the 95 % confidence interval", lambda comparison: comparison.low),
    _compared("high", "upper end of the 95 % confidence interval", lambda comparison: comparison.high),
    _compared("n", "number of seeds in the mean", lambda comparison: comparison.n),
    _compared("used", "number of values in the mean", lambda comparison: comparison.used),
    _compared(
        "excluded", "number of values left out because they are not positive", lambda comparison: comparison.excluded
    ),
    _compared("lost", "number of seeds on which only the first arm's run broke", lambda comparison: comparison.lost),
    _compared(
        "left_out", "number of seeds left out because they lack a finished run", lambda comparison: comparison.left_out
    ),
    _compared(
        "p_against", "two-sided p-value against the claim; 1 on the claimed side", lambda comparison: comparison.against
    ),
    _compared("comparison", "verdict of this comparison alone", lambda comparison: comparison.verdict),
)
_SHOWN: tuple[Column[_Shown], ...] = (
    text_column("mark", "+ holds, x fails, ~ undecided", lambda row: MARKS[row.verdict], ""),
    text_column("claim", "the claim's name", lambda row: row.claim),
    text_column("verdict", "verdict of the claim or of the comparison", lambda row: row.verdict),
    text_column("sentence", "what it says", lambda row: row.sentence, "what it says", wraps=True),
    Column("estimate", "the mean over seeds", shown=lambda row: (_estimate(row),), heading="estimate"),
    Column(
        "interval",
        "95 % confidence interval of the estimate",
        shown=lambda row: (_interval(row),),
        heading="95 % interval",
        stacked=("95 %", "interval"),
    ),
    Column("n", "seeds", lambda row: row.comparison.n if row.comparison else None, "n"),
)
