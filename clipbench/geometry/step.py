"""The geometry of one step in anybody's training loop."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from clipbench.contracts import Batch
from clipbench.errors import ClipbenchError
from clipbench.geometry import said
from clipbench.geometry.curvature import CurvatureEngine, NonFiniteLossError, directional_curvature
from clipbench.geometry.objective import Objective
from clipbench.geometry.products import norm
from clipbench.geometry.taylor import TaylorLedger, taylor_ledgers

WHERE = "StepGeometry"
STEP = "step"


class ObservedStep:
    """What one step bought; there once the block that it was taken in has ended."""

    _measured: tuple[TaylorLedger, str] | None = None

    @property
    def ledger(self) -> TaylorLedger:
        """All that was measured: the terms of the model, the losses, the best step and decrease, the rounding."""
        return self._found()[0]

    @property
    def engine(self) -> str:
        """Which engine measured the curvature, and why if not jets; empty where there was nothing to measure."""
        return self._found()[1]

    @property
    def slope(self) -> float:
        """gᵀu/‖u‖."""
        return self.ledger.slope

    @property
    def sharpness(self) -> float:
        """uᵀHu/‖u‖², the directional sharpness."""
        return self.ledger.sharpness

    @property
    def cosine(self) -> float:
        """−gᵀu/(‖g‖‖u‖): 1 is straight down, below 0 is up."""
        return self.ledger.cosine

    @property
    def predicted_change(self) -> float:
        """gᵀu + ½uᵀHu."""
        return self.ledger.predicted_change

    @property
    def observed_change(self) -> float:
        """L(θ + u) − L(θ)."""
        return self.ledger.observed_change

    def __repr__(self) -> str:
        if self._measured is None:
            return "ObservedStep(not measured yet)"
        names = ("slope", "sharpness", "cosine", "predicted_change", "observed_change")
        return f"ObservedStep({', '.join(f'{name}={getattr(self, name):.4g}' for name in names)})"

    def _found(self) -> tuple[TaylorLedger, str]:
        if self._measured is None:
            raise ClipbenchError(
                "the step has not been measured",
                where=WHERE,
                remedy="read it after the with block, whose end measures; a block that raised measured nothing",
            )
        return self._measured


class StepGeometry:
    """How steep, how sharp and how good the steps of a training loop are, on batches of your choice.

    For example::

        geometry = StepGeometry(model, loss)
        with geometry.around(batch) as step:
            optimizer.step()
        print(step.slope, step.sharpness, step.cosine, step.predicted_change, step.observed_change)

    The step u = θ_after − θ_before is whatever the block does to the trainable weights: by a closure, by several
    optimizers, a GradScaler, a clip. All quantities are of L at θ_before, in evaluation mode (no dropout) and without
    autocast. No trace is left: weights are bit for bit those of the step; gradients, buffers, modes and random states
    are as they were. An exception in the block passes through, and nothing is measured. A step of zero, or a loss that
    is not finite, gives NaN and no error.

    It costs about 5 forward passes for the curvature, 3 for the gradient and 2 for the losses, and memory for about
    seven copies of the weights. On a small transformer and a CPU a watched step takes as long as six others. The first
    also checks the engine.

    Args:
        model: the module itself, not a compiled one; not a sharded one.
        loss: `loss(model, batch)`, the mean over the batch's terms, a 0-d tensor. It must use the model it is handed.
        engine: as of `directional_curvature`.
    """

    def __init__(
        self, model: nn.Module, loss: Callable[[nn.Module, Any], Tensor], *, engine: CurvatureEngine = "auto"
    ) -> None:
        self.model = model
        self.engine: CurvatureEngine = engine
        self._given: tuple[Any, ...] = ()
        # One object for all steps, by which the engine knows that it has been checked with this loss.
        self._loss = lambda model, batch: loss(model, self._given[int(batch["place"])])

    @contextmanager
    def around(self, *batches: Any, weights: Sequence[int] | None = None) -> Iterator[ObservedStep]:
        """Take one step inside the block; its end measures it.

        Args:
            batches: what the loss takes, on the device where it takes it: the batch of the step for the same-batch
                quantities, or others.
            weights: how many terms of the mean each batch has, such as the tokens of each micro-batch; they count
                alike unless given.

        Raises:
            ClipbenchError: no batch, not a weight of at least 1 for each, no trainable parameter, or what
                `directional_curvature` refuses.
        """
        if not batches:
            raise ClipbenchError("there is no batch to measure on", where=WHERE, remedy="around(batch)")
        terms = [1] * len(batches) if weights is None else list(weights)
        if len(terms) != len(batches) or any(not each >= 1 or int(each) != each for each in terms):
            message = f"there are {len(batches)} batches and the weights {terms}"
            raise ClipbenchError(message, where=WHERE, remedy="give each batch a whole number of terms, at least 1")
        parameters = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        before = {name: p.detach().clone() for name, p in parameters.items()}
        step = ObservedStep()
        yield step
        with torch.no_grad():
            after = {name: p.detach().clone() for name, p in parameters.items()}
            update = {name: after[name] - before[name] for name in parameters}
            try:
                for name, p in parameters.items():
                    p.copy_(before[name])
                self._given = batches
                step._measured = self._measure(update, [int(each) for each in terms])
            finally:
                self._given = ()
                for name, p in parameters.items():
                    p.copy_(after[name])

    def _measure(self, update: Mapping[str, Tensor], terms: Sequence[int]) -> tuple[TaylorLedger, str]:
        places = [Batch({"place": torch.tensor(i)}, samples=each) for i, each in enumerate(terms)]
        objective = Objective(self.model, self._loss, places)
        directions = {STEP: update}
        try:
            curvatures = directional_curvature(self.model, self._loss, places, directions, engine=self.engine)
            return taylor_ledgers(objective, directions, curvatures)[STEP], said.engine(curvatures)
        except NonFiniteLossError:
            nothing = math.nan
            return TaylorLedger(nothing, nothing, norm(update.values()), nothing, nothing, nothing, nothing), ""
