"""The clock and the ledger, on a clock of our own: every second is charged once, to the row that was open."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipbench.budget import LEDGER_ROWS, UNITS, Budget, Ledger, LedgerRow, Spent, Stopwatch, Unit


class HandClock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("unit", UNITS)
def test_progress_is_the_fraction_spent_and_never_above_one(unit: Unit) -> None:
    budget = Budget(10, unit)
    assert budget.progress(Spent()) == 0.0
    assert budget.progress(Spent(**{unit: 4})) == 0.4
    assert budget.progress(Spent(**{unit: 25})) == 1.0


def test_a_step_adds_to_every_account() -> None:
    spent = Spent().after_step(8, tokens=100, seconds=0.5).after_step(8, tokens=90, seconds=0.25)
    assert spent == Spent(steps=2, samples=16, tokens=190, seconds=0.75)


def test_the_stopwatch_waits_for_the_device_before_it_reads_the_clock() -> None:
    """Pitfall 12: a slow asynchronous kernel, here work that only passes time once it is waited for."""
    clock, queued = HandClock(), [0.0]

    def wait() -> None:
        clock.now += queued[0]
        queued[0] = 0.0

    watch = Stopwatch(wait, clock)
    queued[0] = 7.0  # someone else's work, launched before: not ours to pay for
    with watch.running():
        queued[0] = 3.0  # launching costs nothing, the work takes three seconds
    assert watch.seconds == 3.0


def test_a_pause_takes_its_time_off_the_clock_and_waits_at_both_ends() -> None:
    clock, queued = HandClock(), [0.0]

    def wait() -> None:
        clock.now += queued[0]
        queued[0] = 0.0

    watch = Stopwatch(wait, clock)
    with watch.running():
        queued[0] = 2.0
        with watch.paused():
            queued[0] = 50.0
        clock.now += 1.0
    assert watch.seconds == 3.0


def test_the_stopwatch_counts_a_step_that_raises() -> None:
    clock = HandClock()
    watch = Stopwatch(clock=clock)

    def fail_after_two_seconds() -> None:
        with watch.running():
            clock.now += 2.0
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_after_two_seconds()
    assert watch.seconds == 2.0


@given(st.lists(st.tuples(st.sampled_from(LEDGER_ROWS), st.integers(0, 8), st.integers(0, 8)), max_size=20))
def test_the_rows_of_the_ledger_add_up_to_the_time_that_passed(stretches: list[tuple[LedgerRow, int, int]]) -> None:
    clock = HandClock()
    ledger = Ledger(clock)
    expected = dict.fromkeys(LEDGER_ROWS, 0.0)
    for row, inside, between in stretches:
        with ledger.row(row):
            clock.now += inside
            with ledger.row("probes"):
                clock.now += 1
        clock.now += between
        expected[row] += inside
        expected["probes"] += 1
        expected["other"] += between
    assert ledger.close() == expected
    assert sum(expected.values()) == clock.now - 100.0
