"""How a run's end is read: whether one that finished above its start counts as diverged."""

from collections.abc import Iterable
from dataclasses import replace

from clipbench.judging.words import number
from clipbench.records import Change, Outcome, Record

ERRORS = 3  # standard errors by which a rise must exceed the noise of the evaluation
# Times its first loss's size: a rise beyond is no noise, though one batch alone may make it and so its error as large.
RUNAWAY = 10


def ended(outcome: Outcome, share: float) -> Outcome:
    """The outcome as it is read: a run that finished counts as diverged where its loss rose too far.

    Too far is by more than `share` of the first loss's size, and by more than 3 standard errors of the change; where
    there is no error, since the evaluation is of one batch, the share alone decides, and a rise of more than 10 times
    that size no error excuses. A run that did not record the change says itself how it ended.
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
    """The records with their outcomes as they are read; `share` is the question's."""
    return [record if record.outcome is None else _read(record, record.outcome, share) for record in records]


def _read(record: Record, outcome: Outcome, share: float) -> Record:
    found = ended(outcome, share)
    return record if found is outcome else replace(record, outcome=found)


def _rose(change: Change, share: float) -> bool:
    rise, size = change.last - change.first, abs(change.first)
    is_noise = rise <= ERRORS * change.error and not rise > RUNAWAY * size > 0
    return rise > share * size and not is_noise
