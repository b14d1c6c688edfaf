"""Fair runs made by hand, and how to make them unfair in one respect."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from judging.made import HERE, question, record, run

from clipbench.judging.audit.evidence import Effort
from clipbench.judging.audit.findings import Finding
from clipbench.judging.audit.rules import RULES, audit, audit_plan
from clipbench.questions import Question
from clipbench.records import Record, Run

ARMS = ("sgd", "adam")


def asked(records: Sequence[Record], *arms: str, **changes: Any) -> Question:
    """A question whose plan is exactly these runs."""
    keys = tuple(each.run.key for each in records)
    return replace(question(*(arms or ARMS)), keys=keys, **changes)


def fair(seeds: int = 5, **changes: Any) -> list[Record]:
    """Two arms, `seeds` seeds each, made alike."""
    return [
        record(run(arm, seed=seed, **changes), [5.0, 3.0 + 0.1 * seed + 0.01 * index])
        for seed in range(seeds)
        for index, arm in enumerate(ARMS)
    ]


def tuned(arm: str, **changes: Any) -> Effort:
    """A fair tuning: four trials of 200 steps on a seed of its own."""
    whole = Effort("code_lm", arm, 4, (1000,), ("lr",), {"steps": 800.0}, keys=(f"{arm}-trial",))
    return replace(whole, **changes)


def last(records: Sequence[Record], **changes: Any) -> list[Record]:
    """The last run described otherwise."""
    return [*records[:-1], replace(records[-1], run=replace(records[-1].run, **changes))]


def last_ended(records: Sequence[Record], **changes: Any) -> list[Record]:
    """The last run ended otherwise."""
    outcome = records[-1].outcome
    assert outcome is not None
    return [*records[:-1], replace(records[-1], outcome=replace(outcome, **changes))]


def last_elsewhere(records: Sequence[Record], **environment: Any) -> list[Record]:
    """The last run made in another environment."""
    return [*records[:-1], replace(records[-1], environment=replace(HERE, **environment))]


def found(
    rule: str, records: Sequence[Record], of: Question | None = None, *, efforts: Sequence[Effort] | None = None
) -> Finding:
    """What one rule says of some runs."""
    return by_rule(records, of or asked(records), efforts=efforts)[rule]


def by_rule(
    records: Sequence[Record], of: Question, *, efforts: Sequence[Effort] | None = None
) -> Mapping[str, Finding]:
    return {each.name: finding for each, finding in audit(records, of, efforts=efforts).findings}


def planned(rule: str, runs: Sequence[Run], of: Question, *, efforts: Sequence[Effort] | None = None) -> Finding:
    """What one rule says of a plan."""
    return {each.name: finding for each, finding in audit_plan(runs, of, efforts=efforts).findings}[rule]


def names() -> tuple[str, ...]:
    return tuple(rule.name for rule in RULES)
