"""Divergence: a finished run whose loss ended too far above its start counts as diverged."""

from collections.abc import Iterable
from dataclasses import replace

from clipbench.judging.words import number
from clipbench.records import Change, Outcome, Record

ERRORS = 3  # standard errors by which a rise must exceed the noise of the evaluation
# A rise beyond this multiple of the first loss is divergence, whatever its standard error.
RUNAWAY = 10


def ended(outcome: Outcome, share: float) -> Outcome:
    """The outcome, with a finished run turned into a diverged run if its loss rose too far.

    Too far means by more than `share` of the size of the first loss and by more than 3 standard errors of the change.
    With a single evaluation batch there is no standard error, and `share` alone decides. A rise of more than 10 times
    the size of the first loss is always too far. A run that did not record the change keeps its outcome.
    """
    change = outcome.change
    if outcome.status != "finished" or change is None or not _rose(change, share):
        return outcome
    beyond = change.last - change.first > ERRORS * change.error
    errors = " and three standard errors" if beyond else ""
    reason = (
        f"the evaluation loss ended at {number(change.last, 4)}, above its start at {number(change.first, 4)} by more "
        f"than {number(100 * share)} %{errors}"
    )
    return replace(outcome, status="diverged", reason=reason)


def as_read(records: Iterable[Record], share: float) -> list[Record]:
    """The records with divergence judged by `share`, the question's threshold."""
    judged = ((record, record.outcome and ended(record.outcome, share)) for record in records)
    return [record if outcome is record.outcome else replace(record, outcome=outcome) for record, outcome in judged]


def _rose(change: Change, share: float) -> bool:
    rise, size = change.last - change.first, abs(change.first)
    is_noise = rise <= ERRORS * change.error and not rise > RUNAWAY * size > 0
    return rise > share * size and not is_noise
