"""All checks, what they find of a spec's runs, and the caveats of a table."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from clipbench.judging.checks import completeness, seeds, setup, timing, tuning
from clipbench.judging.checks.efforts import grids, recorded
from clipbench.judging.checks.evidence import Check, Evidence, Finding, Judge, Severity
from clipbench.judging.current import InForce, select
from clipbench.questions import Question
from clipbench.records import Record, Run

CHECKS: tuple[Check, ...] = (
    *tuning.CHECKS,
    *setup.CHECKS,
    *completeness.CHECKS,
    *seeds.CHECKS,
    *timing.CHECKS,
)
JUDGES: tuple[Judge, ...] = tuple(check.judge for check in CHECKS)

AuditVerdict = Literal["pass", "warn", "fail", "not applicable"]
_VERDICTS: dict[Severity, AuditVerdict] = {  # the gravest first
    "fail": "fail",
    "warn": "warn",
    "not applicable": "not applicable",
    "ok": "pass",
    "note": "pass",
}


@dataclass(frozen=True)
class CheckAnswer:
    """A check's findings together: the gravest verdict, all sentences of notes or worse, and the runs at fault."""

    verdict: AuditVerdict
    what: str
    runs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Audit:
    """The answer of each check about one spec's runs, or about a spec that was not run yet."""

    spec: str
    findings: tuple[tuple[Check, CheckAnswer], ...]

    def of(self, verdict: AuditVerdict) -> tuple[str, ...]:
        """The names of the checks with this verdict."""
        return tuple(check.name for check, answer in self.findings if answer.verdict == verdict)


def caveats(evidence: Evidence, judges: Iterable[Judge] = JUDGES) -> list[str]:
    """Caveats about how runs were made: each finding once, the gravest first."""
    findings = [finding for judge in judges for finding in evidence.facts(judge)]
    findings = [finding for finding in findings if finding.severity in ("fail", "warn", "note")]
    return list(dict.fromkeys(finding.sentence for finding in sorted(findings, key=_gravity)))


def audit(records: Sequence[Record], question: Question) -> Audit:
    """Whether the runs of one spec, trials among them, make a fair comparison.

    Raises:
        UndecidedError: two different runs claim the same task, arm and seed.
    """
    return audited(evidence_of(records, select(records, question)))


def audit_plan(runs: Sequence[Run], question: Question, *, trials: Sequence[Run] = ()) -> Audit:
    """The audit of a spec before anything is run, from its planned runs and trials."""
    tuning = question.tuning
    efforts = grids(runs, ()) if tuning is None else recorded(tuning, {run.key: run for run in trials})
    return audited(Evidence(question, tuple(runs), efforts=efforts))


def evidence_of(records: Sequence[Record], reported: InForce) -> Evidence:
    """What there is to judge of a spec's runs: those that are reported, and the trials among all its records."""
    runs = tuple(record.run for cell in reported.cells for record in cell.records)
    tuning = reported.question.tuning
    if tuning is None:
        efforts = grids(runs, reported.cells)
    else:
        crashed = {record.identity for record in records if record.status == "failed"}
        efforts = recorded(tuning, {each.identity: each.run for each in records}, crashed=crashed)
    return Evidence(reported.question, runs, reported.cells, efforts, reported.at)


def audited(evidence: Evidence) -> Audit:
    """The answer of every check to the evidence."""
    return Audit(evidence.question.spec, tuple((check, _answer(check.findings(evidence))) for check in CHECKS))


def _answer(findings: Sequence[Finding]) -> CheckAnswer:
    ordered = sorted(findings, key=_gravity)
    grave = [each for each in ordered if each.severity in ("fail", "warn")]
    shown = [*grave, *(each for each in ordered if each.severity == "note")] if grave else ordered
    about = dict.fromkeys(str(name) for each in grave for name in each.about)
    sentences = dict.fromkeys(each.sentence for each in shown)
    return CheckAnswer(_VERDICTS[shown[0].severity], " ".join(sentences), tuple(about))


def _gravity(finding: Finding) -> int:
    return list(_VERDICTS).index(finding.severity)
