"""A run made in this process, as its worker makes it, and what it measured along a direction."""

from itertools import count
from pathlib import Path

from clipbench import store
from clipbench.records import Record, Run
from clipbench.running.worker import work


def made(run: Run, results: Path, *, stop_at: int | None = None) -> Record:
    """The record of a run; interrupted where its worker asks for the `stop_at`-th time whether to stop."""
    folder = store.folder_of(run, results)
    store.describe(run, folder)
    calls = count()
    work(folder, device="cpu", side_by_side=1, stop=lambda: stop_at is not None and next(calls) >= stop_at)
    return store.read(folder)


def measured_along(record: Record, direction: str) -> list[tuple[int, str, float]]:
    """Step, quantity and value of all that was measured along a direction, but what its clip did."""
    found = [(row.step, row.quantity, row.value) for row in record.measurements if row.direction == direction]
    return [row for row in found if not row[1].startswith("clip")]
