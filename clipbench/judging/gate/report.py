"""The gate's report: a row for each task, arm and metric, caveats, and the exit code."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import get_args

from clipbench.errors import DONE, FINDING, UNDECIDED
from clipbench.judging.gate.rules import GateVerdict, Metric, Rules
from clipbench.judging.words import count

GRAVITY: tuple[GateVerdict, ...] = get_args(GateVerdict)
ArmPlace = tuple[str, str, str]


@dataclass(frozen=True)
class GateRow:
    """One metric of one arm on one task, candidate against baseline.

    `change` is how much worse (above 0) the candidate is: the mean of ln(candidate / baseline), or a share of what the
    detail names. `low` and `high` are its one-sided bounds, each at the level at which it is judged; NaN where a metric
    has no statistics. `seeds` counts the pairs; `misses`: on some the candidate alone missed the target. `seeds_needed`
    is how many would decide an undecided row in 80 % of cases; None where that is not known or beyond reason.
    """

    spec: str
    task: str
    arm: str
    metric: Metric
    verdict: GateVerdict
    detail: str
    change: float = math.nan
    low: float = math.nan
    high: float = math.nan
    seeds: int = 0
    tolerance: float | None = None
    seeds_needed: int | None = None
    misses: bool = False

    @property
    def place(self) -> ArmPlace:
        """The spec, the task and the arm."""
        return self.spec, self.task, self.arm


@dataclass(frozen=True)
class GateReport:
    """The verdicts, the gravest first."""

    rows: tuple[GateRow, ...]
    caveats: tuple[str, ...]
    rules: Rules

    def fails(self, row: GateRow) -> bool:
        """Whether the gate fails on this row."""
        return self.rules.fail(row.verdict, row.metric)

    @property
    def failing(self) -> tuple[GateRow, ...]:
        """The rows that the gate fails on."""
        return tuple(filter(self.fails, self.rows))

    @cached_property  # each row of a JUnit file asks for them
    def open_rows(self) -> tuple[GateRow, ...]:
        """The rows that leave their arm undecided.

        It lacks what the baseline has, it or one of its metrics is not comparable, some of its runs cannot be read or
        have no result, it misses a target that the baseline reached, or neither weights nor loss decide it, and none of
        its seeds broke. That bits have changed does not say whether the loss has. Where the rules fail on some metrics
        alone, no other metric is asked.
        """
        decided = {row.place for row in self.rows if _decides(row)}
        asked = self.rules.metrics
        return tuple(
            row
            for row in self.rows
            if _is_open(row, decided=row.place in decided) and (not asked or row.metric in ("arm", "seeds", *asked))
        )

    @property
    def undecided(self) -> tuple[ArmPlace, ...]:
        """The arms of these rows."""
        return tuple(dict.fromkeys(row.place for row in self.open_rows))

    @property
    def exit_code(self) -> int:
        """FINDING if a row fails, else UNDECIDED if an arm is undecided or no arm is on both sides, else DONE."""
        if self.failing:
            return FINDING
        shared = any(row.metric != "arm" for row in self.rows)
        return UNDECIDED if self.undecided or not shared else DONE

    @property
    def sentence(self) -> str:
        """The whole in one line: 2 regressed, 40 ok: the gate fails."""
        counts = {verdict: sum(row.verdict == verdict for row in self.rows) for verdict in GRAVITY}
        summary = ", ".join(f"{n} {verdict}" for verdict, n in counts.items() if n) or "no rows"
        if self.exit_code == FINDING:
            return f"{summary}: the gate fails on {count(len(self.failing), 'row')}"
        if self.exit_code == UNDECIDED:
            arms = ", ".join(f"{arm} on {task}" for _, task, arm in self.undecided) or "no arm is on both sides"
            return f"{summary}: not decided ({arms})"
        return f"{summary}: the gate passes"


def _is_open(row: GateRow, *, decided: bool) -> bool:
    if row.verdict == "undecided":
        open_ = row.metric in ("arm", "seeds", "outcome") or row.misses
        return open_ or (row.metric == "loss" and not decided)
    return row.verdict in ("missing", "not comparable")


def _decides(row: GateRow) -> bool:
    passed = row.metric in ("weights", "loss") and row.verdict in ("improved", "ok")
    return passed or (row.metric in ("outcome", "loss") and row.verdict == "regressed")
