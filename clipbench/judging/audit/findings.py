"""What a rule of fairness says of the evidence: a verdict, a sentence, and the runs that it is about."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from clipbench.records import Run

Verdict = Literal["pass", "warn", "fail", "not applicable"]


@dataclass(frozen=True)
class Finding:
    """A rule's answer: `what` is a clause or two, `runs` names the runs at fault, or the arms where it is theirs."""

    verdict: Verdict
    what: str
    runs: tuple[str, ...] = ()


def passed(what: str) -> Finding:
    return Finding("pass", what)


def warned(what: str, about: Iterable[Run | str] = ()) -> Finding:
    return Finding("warn", what, tuple(map(str, about)))


def failed(what: str, about: Iterable[Run | str] = ()) -> Finding:
    return Finding("fail", what, tuple(map(str, about)))


def not_applicable(why: str) -> Finding:
    return Finding("not applicable", why)


NOTHING_RUN = not_applicable("nothing was run yet")


def gravest(findings: Sequence[Finding], *, otherwise: Finding) -> Finding:
    """Several findings of one rule as one: the gravest verdict, with the sentences and runs of all that are no pass."""
    grave = [finding for finding in findings if finding.verdict in ("warn", "fail")]
    if not grave:
        return otherwise
    verdict: Verdict = "fail" if any(finding.verdict == "fail" for finding in grave) else "warn"
    grave.sort(key=lambda finding: finding.verdict != "fail")
    runs = dict.fromkeys(run for finding in grave for run in finding.runs)
    return Finding(verdict, "; ".join(finding.what for finding in grave), tuple(runs))
