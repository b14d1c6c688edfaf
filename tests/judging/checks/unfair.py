"""Fair runs made by hand, and how to make them unfair in one respect."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from judging.made import HERE, ending, question, record, run

from clipbench.judging.checks.audit import Audit, CheckAnswer, audit_plan, audited, evidence_of
from clipbench.judging.checks.evidence import Effort
from clipbench.judging.compare import compare
from clipbench.judging.current import select
from clipbench.questions import Question
from clipbench.records import Record, Run

ARMS = ("sgd", "adam")
LAST = ("code_lm/adam/seed 4",)  # the last run of five seeds


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
    return [*records[:-1], ending(records[-1], **changes)]


def last_elsewhere(records: Sequence[Record], **environment: Any) -> list[Record]:
    """The last run made in another environment."""
    return [*records[:-1], replace(records[-1], environment=replace(HERE, **environment))]


def as_task(name: str, records: Iterable[Record]) -> list[Record]:
    """The same runs of another task."""
    return [replace(each, run=replace(each.run, task=replace(each.run.task, name=name))) for each in records]


def judged(records: Sequence[Record], of: Question, efforts: Sequence[Effort] | None = None) -> Audit:
    """The audit of some runs, if need be with other efforts than those on record."""
    evidence = evidence_of(records, select(records, of))
    return audited(evidence if efforts is None else replace(evidence, efforts=tuple(efforts)))


def found(
    check: str, records: Sequence[Record], of: Question | None = None, *, efforts: Sequence[Effort] | None = None
) -> CheckAnswer:
    """What one check says of some runs. Where that is grave, the table says it in the same words."""
    of = of or asked(records)
    answer = answers(judged(records, of, efforts))[check]
    if efforts is None and answer.verdict in ("warn", "fail"):
        assert any(caveat in answer.what for caveat in compare(records, of).caveats)
    return answer


def planned(check: str, runs: Sequence[Run], of: Question) -> CheckAnswer:
    """What one check says of a plan."""
    return answers(audit_plan(runs, of))[check]


def answers(audit: Audit) -> Mapping[str, CheckAnswer]:
    return {check.name: answer for check, answer in audit.findings}


def caveats(records: Sequence[Record], of: Question | None = None) -> list[str]:
    """What stands under the table of some runs, and not under that of fair ones."""
    fine = fair()
    usual = compare(fine, asked(fine)).caveats
    return [each for each in compare(records, of or asked(records)).caveats if each not in usual]
