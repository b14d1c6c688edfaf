"""One measurement of curvature: which engine makes it, and whether it is believed."""

import traceback
import weakref
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import nn

from clipbench.contracts import Batch, Loss
from clipbench.geometry.choosing import adjoint_is_faster
from clipbench.geometry.directions import UnitDirections
from clipbench.geometry.double_backward import by_double_backward
from clipbench.geometry.fitting import Carry, Fit, in_words, within_memory
from clipbench.geometry.found import Carried, Measured, RunEngine
from clipbench.geometry.jets.adjoint import OtherOperationsError, by_adjoints
from clipbench.geometry.jets.chunks import Limits
from clipbench.geometry.jets.forward import by_jets
from clipbench.geometry.jets.jet import MissingRuleError
from clipbench.geometry.memory import TooFewBytesError
from clipbench.geometry.selfcheck import EnginesDisagreeError, SelfCheck, require_agreement, require_repeatable

CurvatureEngine = Literal["auto", "jets", "adjoint", "double_backward"]
TOGETHER = 4
"""Directions in one pass. What they share is one forward pass of 1 + 3K (jets) or 1 + 2K: more at once save little."""

_FOREIGN = (RuntimeError, TypeError, NotImplementedError)
"""What foreign code raises when it is handed a jet where it wants a tensor's memory."""

_fits: "weakref.WeakKeyDictionary[nn.Module, dict[tuple[object, ...], Fit]]" = weakref.WeakKeyDictionary()
"""By model, what earlier measurements of the same kind had to come down to: none of them tries more than that again."""


@dataclass(frozen=True)
class Measuring:
    """A measurement before the choice of an engine; the fields are those of `directional_curvature`."""

    model: nn.Module
    loss: Loss
    batches: Sequence[Batch]
    units: UnitDirections
    chunk: int | None
    memory: int | None
    check: bool

    def by(self, engine: CurvatureEngine) -> Measured:
        """What an engine finds.

        Raises:
            ClipbenchError: as `directional_curvature`.
        """
        if engine in ("jets", "adjoint"):
            return self._by_jets(engine)
        missing = disagreement = None
        if engine == "auto":
            if adjoint_is_faster(self.model, self.loss, self.batches[0], len(self.units)):
                with suppress(
                    EnginesDisagreeError, MissingRuleError, OtherOperationsError, TooFewBytesError, *_FOREIGN
                ):
                    return self._by_jets("adjoint")
            try:
                return self._by_jets("jets")
            except EnginesDisagreeError as error:
                if error.ordinary is None:
                    raise
                disagreement = error
            except (MissingRuleError, *_FOREIGN) as error:
                missing = _missing(error)
        carried, remarks = self._double_backward()
        quantity = None
        if disagreement is not None:
            require_repeatable(self.model, self.loss, self.units, disagreement)
            quantity = disagreement.quantity
        return Measured(carried.losses, carried.rows, "double_backward", missing, quantity, remarks)

    def _by_jets(self, engine: Literal["jets", "adjoint"]) -> Measured:
        by = by_jets if engine == "jets" else by_adjoints

        def carry(batches: Sequence[Batch], chunk: int | None) -> Carried:
            return by(self.model, self.loss, batches, self.units, limits=Limits(chunk, self.memory))

        carried, fit, remarks = self._fitting(carry, engine)
        if self.check and carried.losses:
            check = SelfCheck(self.model, self.loss, self.units, engine, partial(carry, chunk=fit.chunk))
            unchecked = require_agreement(check, self.batches, carried)
            remarks += (unchecked,) if unchecked else ()
        return Measured(carried.losses, carried.rows, engine, remarks=remarks)

    def _double_backward(self) -> tuple[Carried, tuple[str, ...]]:
        def carry(batches: Sequence[Batch], _: int | None) -> Carried:
            return by_double_backward(self.model, self.loss, batches, self.units)

        carried, _, remarks = self._fitting(carry, "double_backward")
        return carried, remarks

    def _fitting(self, carry: Carry, engine: RunEngine) -> tuple[Carried, Fit, tuple[str, ...]]:
        """What is found within memory, how it fitted, and a remark if that is not as asked."""
        known = _fits.setdefault(self.model, {})
        kind = (engine, self.chunk, self.memory, len(self.units), *(batch.samples for batch in self.batches))
        asked = Fit(TOGETHER if self.chunk is None and self.memory is None else self.chunk)
        carried, known[kind] = within_memory(carry, self.model, self.loss, self.batches, known.get(kind, asked))
        words = in_words(known[kind], asked, self.batches)
        return carried, known[kind], (words,) if words else ()


def _missing(error: BaseException) -> str:
    """What has no rule: an operation that fails on jets, or a derivative that the loss itself takes."""
    codes = {frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)}
    if codes & {torch.autograd.grad.__code__, torch.autograd.backward.__code__}:
        return "autograd.grad inside the loss"
    return error.operation if isinstance(error, MissingRuleError) else f"{type(error).__name__}: {error}"
