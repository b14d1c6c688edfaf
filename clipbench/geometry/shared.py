"""What several probes need of one snapshot, measured once for all of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import is_
from typing import Any

from clipbench.contracts import Batch, Snapshot
from clipbench.geometry.curvature import TOGETHER, Curvatures, directional_curvature


@dataclass(frozen=True)
class _Measurement:
    """What was measured, and what came of it: two are the same if they are of the same objects, in the same way."""

    inputs: tuple[Any, ...]  # model, loss and updates; kept by reference, not by a number that another may get later
    names: tuple[str, ...]
    chunk: int
    batches: tuple[Batch, ...]
    curvatures: Curvatures

    def answers(self, inputs: tuple[Any, ...], names: tuple[str, ...], chunk: int, batches: Sequence[Batch]) -> bool:
        """Whether it is of all that is asked for, or has the batches that are asked for at its head.

        Of a head only what jets or adjoints found: whether double backward must stand in depends on the batches.
        """
        alike = (names, chunk) == (self.names, self.chunk) and all(map(is_, inputs, self.inputs))
        whole = len(batches) == len(self.batches)
        head = 0 < len(batches) < len(self.batches) and self.curvatures.engine != "double_backward"
        return alike and (whole or head) and all(map(is_, batches, self.batches))


def curvatures(snapshot: Snapshot, batches: Sequence[Batch], *, chunk: int | None = None) -> Curvatures:
    """Slope and curvature of these batches along every direction of the snapshot, as `directional_curvature` has them.

    The first probe that asks has them measured, the next ones are given the same numbers; so are those who ask for the
    first few of the batches. What differs in its directions, its batches or its chunk, which may round otherwise, is
    measured for itself.

    Args:
        snapshot: the step, with the weights where they were before it.
        batches: the problem's probe batches, or the first of them; or the step's own alone.
        chunk: as of `directional_curvature`.

    Raises:
        ClipbenchError: as `directional_curvature`, to everyone who asks.
        NonFiniteLossError: the loss of a batch is NaN or infinite.
    """
    problem, directions = snapshot.problem, snapshot.directions
    inputs, names = (problem.model, problem.loss, *directions.values()), tuple(directions)
    at_once = TOGETHER if chunk is None else chunk
    for known in snapshot.measured:
        if known.answers(inputs, names, at_once, batches):
            of_head: Curvatures = known.curvatures.of_first(len(batches))
            return of_head
    measured = directional_curvature(problem.model, problem.loss, batches, directions, chunk=at_once)
    snapshot.measured.append(_Measurement(inputs, names, at_once, tuple(batches), measured))
    return measured
