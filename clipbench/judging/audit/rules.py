"""All rules of fairness, and the audit that asks each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from clipbench.judging.audit import completeness, conditions, selection, timing
from clipbench.judging.audit.evidence import Effort, Evidence
from clipbench.judging.audit.findings import Finding, Verdict
from clipbench.judging.audit.grids import grids
from clipbench.judging.audit.recorded import recorded
from clipbench.judging.current import in_force
from clipbench.judging.tuning.trials import has_crashed
from clipbench.questions import Question
from clipbench.records import Record, Run


@dataclass(frozen=True)
class Rule:
    """One demand of a fair comparison: its name, what it demands, and how that is judged."""

    name: str
    demand: str
    judge: Callable[[Evidence], Finding]


@dataclass(frozen=True)
class Audit:
    """What each rule found of one spec's runs, or of a spec that was not run yet."""

    spec: str
    findings: tuple[tuple[Rule, Finding], ...]

    def of(self, verdict: Verdict) -> tuple[str, ...]:
        """The names of the rules with this verdict."""
        return tuple(rule.name for rule, finding in self.findings if finding.verdict == verdict)


RULES: tuple[Rule, ...] = (
    Rule(
        "choice on record",
        "How each arm's settings were chosen can be seen in the results.",
        selection.choice_on_record,
    ),
    Rule("baseline tuned", "Where any arm was tuned, so was the baseline.", selection.baseline_tuned),
    Rule("equal trials", "Every arm was tuned with the same number of trials.", selection.equal_trials),
    Rule("equal tuning compute", "Every arm's tuning cost the same.", selection.equal_compute),
    Rule("twins tuned alike", "A clipped arm and its twin were tuned alike.", selection.twins_tuned_alike),
    Rule("bracketed", "No arm's best value is the outermost one that was tried.", selection.bracketed),
    Rule("fresh seeds", "No seed that settings were chosen on is reported.", selection.fresh_seeds),
    Rule("selection apart", "No number that chose a setting is reported as its result.", selection.selection_apart),
    Rule(
        "same task",
        "All arms on a task have the same batches, data and code of the task, and start from the same weights.",
        conditions.same_task,
    ),
    Rule("same budget", "All runs on a task may use the same budget.", conditions.same_budget),
    Rule("same schedule", "All arms on a task follow the same learning-rate schedule.", conditions.same_schedule),
    Rule("schedule complete", "No finished run ended before its budget was spent.", conditions.schedule_complete),
    Rule("same precision", "All arms are computed on one kind of device in one precision.", conditions.same_precision),
    Rule("same cadence", "All runs on a task are evaluated at the same steps.", conditions.same_cadence),
    Rule(
        "nothing dropped",
        "Every planned run and trial is here and ended; failures are shown.",
        completeness.nothing_dropped,
    ),
    Rule("same seeds", "All arms on a task have the same seeds.", completeness.same_seeds),
    Rule(
        "enough seeds",
        "There are seeds enough to show the effect that is declared, and no two of an arm end with the same weights.",
        completeness.enough_seeds,
    ),
    Rule("one machine", "Times that are compared come from one machine and device.", timing.one_machine),
    Rule("uncontended timing", "Every run was timed alone, or all with the same company.", timing.uncontended),
)


def audit(records: Sequence[Record], question: Question, *, efforts: Sequence[Effort] | None = None) -> Audit:
    """Whether the runs of one spec make a fair comparison.

    Args:
        records: the spec's runs.
        question: what they were made for.
        efforts: how the settings were chosen; None finds it in the question and the runs: trials, or a grid's points.

    Raises:
        UndecidedError: two different runs claim the same task, arm and seed.
    """
    reported, _ = in_force(records, question)
    evidence = Evidence(question, tuple(record.run for record in reported), tuple(reported))
    if efforts is None and question.tuning is not None:
        runs = {record.identity: record.run for record in records}
        crashed = {record.identity for record in records if has_crashed(record)}
        efforts = recorded(question.tuning, runs, crashed=crashed)
    return _asked(evidence, efforts)


def audit_plan(
    runs: Sequence[Run], question: Question, *, trials: Sequence[Run] = (), efforts: Sequence[Effort] | None = None
) -> Audit:
    """What can be said of a spec before anything is run, from the runs to report and the trials before them."""
    if efforts is None and question.tuning is not None:
        efforts = recorded(question.tuning, {run.key: run for run in trials})
    return _asked(Evidence(question, tuple(runs), made=False), efforts)


def _asked(bare: Evidence, efforts: Sequence[Effort] | None) -> Audit:
    evidence = replace(bare, efforts=grids(bare) if efforts is None else tuple(efforts))
    return Audit(evidence.question.spec, tuple((rule, rule.judge(evidence)) for rule in RULES))
