"""What the tests of the gate have in common: arms with a loss a seed, suites of them, and their verdicts."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from judging.made import HERE, question, record, run

from clipbench.judging.gate.check import check
from clipbench.judging.gate.report import GateReport, GateRow
from clipbench.judging.gate.rules import Rules
from clipbench.judging.gate.suite import Suite, gathered
from clipbench.records import Record

ELSEWHERE = replace(HERE, numerics_id="n2")
FIVE = {0: 3.0, 1: 3.2, 2: 3.1, 3: 2.9, 4: 3.05}


def arm(
    losses: Mapping[int, float],
    *,
    name: str = "sgd",
    outcome: Mapping[str, Any] | None = None,
    of: Mapping[str, Any] | None = None,
    **more: Any,
) -> list[Record]:
    """One run a seed, which goes from a loss of 5 to the one given."""
    made = [record(run(name, seed=seed, **(of or {})), [5.0, loss], **more) for seed, loss in losses.items()]
    return [replace(each, outcome=replace(each.outcome, **(outcome or {}))) if each.outcome else each for each in made]


def suite(records: Sequence[Record], *, target: float | None = None) -> Suite:
    return gathered([(question(target=target), records)])


def judged(
    candidate: Sequence[Record], baseline: Sequence[Record], *, target: float | None = None, rules: Rules | None = None
) -> GateReport:
    return check(suite(candidate, target=target), suite(baseline, target=target), rules or Rules())


def row(report: GateReport, metric: str, name: str = "sgd") -> GateRow:
    (found,) = [each for each in report.rows if (each.metric, each.arm) == (metric, name)]
    return found


def scaled(losses: Mapping[int, float], *factors: float) -> dict[int, float]:
    """Each loss times its factor."""
    return {seed: loss * factor for (seed, loss), factor in zip(losses.items(), factors, strict=True)}
