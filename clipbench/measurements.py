"""What a run measured: numbers by step, direction and quantity.

They are kept as columns, because a store is read by the million of them and a reader looks at few: a row is made when
it is asked for, and what runs of one cadence have in common (which quantity at which step) is kept once for all.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, overload


class Measurement(NamedTuple):
    """One number: at `step`, after `seconds` of training time, a `quantity` along a `direction`.

    `direction` is empty for what has none (a loss), `own` for the arm's own update, and a ghost's is its arm's name.
    """

    step: int
    seconds: float
    direction: str
    quantity: str
    value: float


SeriesName = tuple[str, str]  # direction and quantity


@dataclass(frozen=True)
class Layout:
    """What was measured when, row by row, in the order written; the numbers themselves are elsewhere."""

    steps: tuple[int, ...]
    directions: tuple[str, ...]
    quantities: tuple[str, ...]

    @cached_property
    def rows(self) -> Mapping[SeriesName, Sequence[int]]:
        """By direction and quantity, the numbers of its rows in the order of their steps."""
        rows: dict[SeriesName, list[int]] = {}
        for row, name in enumerate(zip(self.directions, self.quantities, strict=True)):
            rows.setdefault(name, []).append(row)
        return {name: sorted(of_name, key=self.steps.__getitem__) for name, of_name in rows.items()}

    @cached_property
    def along(self) -> frozenset[str]:
        """The directions."""
        return frozenset(self.directions)


class Measurements(Sequence[Measurement]):
    """Measurements in the order written, and by direction and quantity.

    Args:
        layout: what was measured when.
        seconds, values: of each of its rows.
    """

    def __init__(self, layout: Layout, seconds: Sequence[float], values: Sequence[float]) -> None:
        if not len(layout.steps) == len(seconds) == len(values):
            raise ValueError(f"{len(layout.steps)} rows have {len(seconds)} times and {len(values)} values")
        self.layout = layout
        self.seconds = seconds
        self.values = values
        self._series: dict[SeriesName, list[Measurement]] = {}

    @classmethod
    def of(cls, rows: Iterable[Measurement]) -> "Measurements":
        """The same from rows."""
        columns = list(zip(*rows, strict=True)) or [()] * len(Measurement._fields)
        steps, seconds, directions, quantities, values = columns
        return cls(Layout(steps, directions, quantities), seconds, values)

    @property
    def places(self) -> Iterable[SeriesName]:
        """The directions and quantities, in the order in which each was first written."""
        return self.layout.rows

    @property
    def along(self) -> frozenset[str]:
        """The directions, the empty one among them."""
        return self.layout.along

    def series(self, direction: str, quantity: str) -> Sequence[Measurement]:
        """The rows of a quantity along a direction, in the order of their steps; none where it was not measured."""
        name = direction, quantity
        if name not in self.layout.rows:
            return ()
        if name not in self._series:
            steps, seconds, values = self.layout.steps, self.seconds, self.values
            self._series[name] = [
                Measurement(steps[row], seconds[row], direction, quantity, values[row])
                for row in self.layout.rows[name]
            ]
        return self._series[name]

    def by_step(self, direction: str, quantity: str) -> dict[int, float]:
        """The values of a quantity along a direction, by step."""
        return {row.step: row.value for row in self.series(direction, quantity)}

    @property
    def last_step(self) -> int:
        """0 where there is nothing."""
        return max(self.layout.steps, default=0)

    def __iter__(self) -> Iterator[Measurement]:
        at = self.layout
        columns = (at.steps, self.seconds, at.directions, at.quantities, self.values)
        return map(Measurement._make, zip(*columns, strict=True))

    @overload
    def __getitem__(self, row: int) -> Measurement: ...
    @overload
    def __getitem__(self, row: slice) -> tuple[Measurement, ...]: ...
    def __getitem__(self, row: int | slice) -> Measurement | tuple[Measurement, ...]:
        if isinstance(row, slice):
            return tuple(self)[row]
        at = self.layout
        return Measurement(at.steps[row], self.seconds[row], at.directions[row], at.quantities[row], self.values[row])

    def __len__(self) -> int:
        return len(self.values)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Measurements) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return f"Measurements.of({list(self)!r})"


NOTHING = Measurements.of(())
