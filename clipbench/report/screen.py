"""The first screen of `compare`: the question, the answers, a line for each arm, and what to do next."""

import math
import re
import shlex

from clipbench.harmless import on_one_line, shortened
from clipbench.judging.comparison import Comparison, Row
from clipbench.judging.words import count, goal, listing, named_goal
from clipbench.report import training
from clipbench.report.answers import answers, over_tasks
from clipbench.report.audit import summary
from clipbench.report.compare import sections
from clipbench.report.further import Origin, advice
from clipbench.report.screen_tables import of_arms
from clipbench.report.screen_tasks import of_tasks
from clipbench.report.table import AnyTable, Document, Paragraph

__all__ = ["Origin", "document"]

_WARNINGS, _CLAUSE = 5, 120  # how many, and characters of each
_SAYS = 7  # words of a clause that can be understood alone; fewer are a name or a heading
_INDENT = "  "  # before a command
_WIDTH, _LINES = 100, 22  # at this width a screen has so many lines, beside a heading and two empty lines


def document(comparison: Comparison, source: Origin, *, is_sorted: bool = False) -> Document:
    """The screen of a comparison. With `is_sorted` the rows of a task keep their order; else the best comes first."""
    several = len(comparison.tasks) > 1
    rows = comparison.rows if is_sorted or several else _best_first(comparison)
    sentences = over_tasks(comparison) if several else answers(comparison, rows)
    table = of_tasks(comparison) if several else of_arms(comparison, rows)
    question, context, warnings, more = (
        comparison.question,
        _context(comparison),
        _warnings(comparison),
        _more(comparison, source),
    )
    next_step, command = advice(comparison, rows, source)
    others = (question, context, _note(table), warnings, next_step, command and _INDENT + command, more)
    left = _LINES - sum(map(_long, others)) - len(table.rows)
    parts = (
        Paragraph(question, style="bold", most=2),
        Paragraph(context, close=True, most=2),
        Paragraph("\n".join(map(on_one_line, sentences)), preformatted=True, most=max(left, 3)),
        table,
        Paragraph(warnings, style="yellow", close=True, most=2),
        Paragraph(next_step, close=True, most=2),
        Paragraph(command, close=True, indent=len(_INDENT), whole=True),
        Paragraph(more, style="dim", close=True, whole=True),
    )
    return Document([part for part in parts if not isinstance(part, Paragraph) or part.text])


def _long(text: str) -> int:
    """In how many lines a text is shown."""
    return min(-(-len(text) // _WIDTH), 2)


def _note(table: AnyTable) -> str:
    return table.fitted(_WIDTH).note if table.fitted else table.note


def _best_first(comparison: Comparison) -> list[Row]:
    """By the mean of the metric; broken arms, and arms without a value, come last."""
    sign = -1 if comparison.metric.quantity.better == "higher" else 1

    def place(row: Row) -> tuple[bool, float]:
        mean = row.others[str(comparison.metric)].mean
        return row.verdict == "broken" or math.isnan(mean), 0.0 if math.isnan(mean) else sign * mean

    return sorted(comparison.rows, key=place)


def _context(comparison: Comparison) -> str:
    """Task, budget, seeds, baseline, target, training and machine."""
    heads, totals = comparison.tasks, sorted({row.seeds.total for row in comparison.rows})
    budgets = dict.fromkeys(budget.partition(" a run")[0] for head in heads for budget in head.budgets)
    targets = [head.target for head in heads if head.target]
    of_losses = all(not target.quantity for target in targets)
    goals = dict.fromkeys(goal(target) if of_losses else named_goal(target) for target in targets)
    settings = [each for head in heads for each in head.training]
    threads = listing(dict.fromkeys(count(n, "thread") for head in heads for n in head.threads), 2)
    budget = listing(budgets, 2)
    if comparison.at is not None:
        moment = str(comparison.at)
        budget = f"at {moment.replace('the budget', budget)}"
    parts = (
        heads[0].name if len(heads) == 1 else count(len(heads), "task"),
        budget,
        count(totals[0], "seed") if len(totals) == 1 else f"{totals[0]}–{totals[-1]} seeds",
        f"against {comparison.baseline}",
        f"target {'loss ' if of_losses else ''}{listing(goals, 3)}" if goals else "",
        listing(training.ways(settings), 2),
        listing(dict.fromkeys(device for head in heads for device in head.devices), 2),
        training.threads(threads, settings),
    )
    return " · ".join(filter(None, parts))


def _warnings(comparison: Comparison) -> str:
    """What was left out, and the findings that weaken the comparison, each in short; the gravest first."""
    findings = comparison.audit.findings
    sentences = [
        *comparison.left_out,
        *(what.what for grave in ("fail", "warn") for _, what in findings if what.verdict == grave),
    ]
    clauses = list(dict.fromkeys(shortened(_in_short(each), _CLAUSE) for each in sentences))
    if len(clauses) > _WARNINGS:
        clauses[_WARNINGS - 1 :] = [f"{len(clauses) - _WARNINGS + 1} more"]
    return f"{summary(comparison.audit)}: {' · '.join(clauses)}" if clauses else ""


def _in_short(finding: str) -> str:
    """The first clause if it says something by itself, or else the first sentence; without figures where it is long."""
    sentence = re.split(r"\.(?: |$)", finding, maxsplit=1)[0]
    clause = re.split(r"[;:] |, and no ", sentence, maxsplit=1)[0]
    clause = clause if len(clause.split()) >= _SAYS else sentence
    return clause if len(clause) <= _CLAUSE else re.sub(r" \([^()]*\)", "", clause)


def _more(comparison: Comparison, source: Origin) -> str:
    """Where the rest is."""
    given = list(map(str, source.results))
    names = "|".join(table.name for table in sections(comparison))
    tasks = [head.name for head in comparison.tasks]
    of_task = [f"--task {'|'.join(map(shlex.quote, tasks))}"] if len(tasks) > 1 else []
    page = shlex.join(["clipbench", "report", *given, "-o", "page.html"])
    return "more: " + ", ".join([*of_task, "--full", *([f"--section {names}"] if names else []), page])
