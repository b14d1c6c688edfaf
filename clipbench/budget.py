"""What counts against a budget, and what does not: the clock runs over training steps and nothing else."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Literal, get_args

Unit = Literal["steps", "samples", "tokens", "epochs", "seconds"]
UNITS: tuple[Unit, ...] = get_args(Unit)

LedgerRow = Literal[
    "data", "life", "proof", "fingerprints", "compile", "train", "evaluation", "probes", "ghosts", "checkpoint", "other"
]
LEDGER_ROWS: tuple[LedgerRow, ...] = get_args(LedgerRow)

Clock = Callable[[], float]


@dataclass(frozen=True)
class Spent:
    """What a run has used so far. `seconds` is training time by the Stopwatch, not wall time.

    `epochs` are passes through the training examples, for a run that has ended; while it trains, samples are counted.
    """

    steps: int = 0
    samples: int = 0
    tokens: int = 0
    seconds: float = 0.0
    epochs: float = 0.0

    def after_step(self, samples: int, *, tokens: int, seconds: float) -> "Spent":
        """What is used after one step more, of so many samples, tokens and seconds."""
        return Spent(self.steps + 1, self.samples + samples, self.tokens + tokens, self.seconds + seconds)


@dataclass(frozen=True, slots=True)
class Budget:
    """How much a run may use: `amount` in `unit` (steps, samples, tokens, epochs, or seconds of training time)."""

    amount: float
    unit: Unit

    def progress(self, spent: Spent) -> float:
        """The fraction of the budget that is spent, from 0 to 1; 1 means it is used up.

        >>> Budget(2000, "tokens").progress(Spent(steps=3, tokens=500))
        0.25
        """
        used: float = getattr(spent, self.unit)
        return min(1.0, used / self.amount)

    def of(self, examples: int | None) -> "Budget":
        """The same budget of a task with so many training examples, which are what a training loop can count.

        >>> str(Budget(2.5, "epochs").of(1000))
        '2500 samples'
        """
        return Budget(self.amount * examples, "samples") if self.unit == "epochs" and examples else self

    def __str__(self) -> str:
        return f"{self.amount:g} {self.unit}"


def nothing_to_wait_for() -> None:
    """The synchronisation of a device that works synchronously."""


@dataclass
class Stopwatch:
    """Time over what an optimizer costs its user: batch transfer, forward, backward and step.

    `synchronize` waits for the device. It is called before the clock is read at either end: GPU work is
    asynchronous, and a clock read early has timed the launch, not the work.
    """

    synchronize: Callable[[], None] = nothing_to_wait_for
    clock: Clock = time.perf_counter
    seconds: float = 0.0

    def running(self) -> AbstractContextManager[None]:
        """A stretch that counts."""
        return self._stretch(sign=1)

    def paused(self) -> AbstractContextManager[None]:
        """Inside `running`, a stretch that does not count."""
        return self._stretch(sign=-1)

    @contextmanager
    def _stretch(self, *, sign: int) -> Iterator[None]:
        self.synchronize()
        begin = self.clock()
        try:
            yield
            self.synchronize()
        finally:
            self.seconds += sign * (self.clock() - begin)


@dataclass
class Ledger:
    """Where the wall time of a run went, in seconds a row; whatever is in no row's care is `other`.

    Time is charged as it passes, so a row opened inside another takes over until it closes, and the rows
    add up to the time from the ledger's making to its `close`.
    """

    clock: Clock = time.perf_counter
    seconds: dict[LedgerRow, float] = field(default_factory=lambda: dict.fromkeys(LEDGER_ROWS, 0.0))
    _row: LedgerRow = "other"
    _since: float = field(default=-1.0)

    def __post_init__(self) -> None:
        self._since = self.clock()

    def _charge(self) -> None:
        now = self.clock()
        self.seconds[self._row] += now - self._since
        self._since = now

    @contextmanager
    def row(self, name: LedgerRow) -> Iterator[None]:
        """Inside, the time that passes is charged to this row."""
        self._charge()
        outer, self._row = self._row, name
        try:
            yield
        finally:
            self._charge()
            self._row = outer

    def close(self) -> dict[LedgerRow, float]:
        """Charge what has passed until now and return seconds by row."""
        self._charge()
        return dict(self.seconds)
