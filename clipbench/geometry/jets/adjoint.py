"""Loss, slopes and curvatures of a batch from first derivatives alone, weighed by what a backward pass says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.overrides import enable_reentrant_dispatch
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_unflatten

from clipbench.contracts import Batch, Loss
from clipbench.errors import ClipbenchError
from clipbench.geometry.directions import UnitDirections
from clipbench.geometry.found import Carried, Rows
from clipbench.geometry.jets import selection, shapes
from clipbench.geometry.jets.chunks import Limits, in_chunks
from clipbench.geometry.jets.forward import JetObjective, moving, per_unit_length
from clipbench.geometry.jets.jet import Jet, MissingRuleError, parts, value
from clipbench.geometry.jets.pointwise import overloads
from clipbench.geometry.jets.propagation import Propagation, Watch, second_order
from clipbench.geometry.losses import WHERE, require_dependent, require_finite_scalar
from clipbench.geometry.products import widened

STRAIGHT = {
    *shapes.RULES,
    *selection.RULES,
    *overloads("add.Tensor", "sub.Tensor", "neg.default", "relu.default", "mul.Scalar", "div.Scalar"),
    *overloads("sum.default", "sum.dim_IntList", "mean.default", "mean.dim", "nll_loss_forward.default"),
}
"""Operations that bend nothing: what their outputs are worth need not be kept. To leave one out costs memory alone."""


class OtherOperationsError(ClipbenchError):
    """The loss runs other operations when it is computed again."""


NodeOutput = tuple[int, int]
"""An output: of which operation on the way, and which of its outputs."""


def by_adjoints(
    model: nn.Module, loss: Loss, batches: Sequence[Batch], units: UnitDirections, *, limits: Limits
) -> Carried:
    """The loss of each batch, for each batch (slope, curvature) along each direction, and what they went through.

    With ẋ the first derivatives of an operation's inputs along v, and λ that of the loss by its output,

        vᵀHv = Σ over operations ⟨λ, D²operation[ẋ, ẋ]⟩

    λ is the same for all directions: one backward pass. Then jets carry first derivatives alone, and what a rule makes
    of second ones is the bend of that operation. About 2 + 2K forward passes and one backward, against 1 + 3K of jets.

    Raises:
        MissingRuleError: an operation has no rule.
        ClipbenchError, NonFiniteLossError: as `directional_curvature`.
    """
    objective = JetObjective(model, loss)
    device = next(iter(units.parameters.values())).device
    losses: list[float] = []
    rows: Rows = []
    watches = [Watch(units.parameters.values()) for _ in batches]
    for i, batch in enumerate(batches if len(units) else ()):
        there = batch.to(device)
        loss_of_batch, tape = _first_pass(objective, there, units, watches[i], index=i)
        losses.append(loss_of_batch)
        measured = partial(_bends, objective, there, units, tape)
        kept = [worth for worth in tape.worths.values() if worth is not None]
        rows += in_chunks(measured, len(units), limits=limits, kept=kept)
    return Carried(losses, rows or [[] for _ in batches], [watch.operations for watch in watches])


@dataclass(frozen=True)
class Tape:
    """What the first pass tells the second: the operations in order, which of their outputs are jets, and each λ."""

    operations: Sequence[Any]
    jets: frozenset[NodeOutput]
    worths: Mapping[NodeOutput, Tensor | None]


class _First:
    """The first pass: values, with autograd's graph.

    Every output that depends on the weights is a jet that stands still, so that the model sees the same kinds of
    tensors as in the second pass, and runs the same operations.
    """

    def __init__(self) -> None:
        self.operations: list[Any] = []
        self.jets: set[NodeOutput] = set()
        self.edges: dict[NodeOutput, GradientEdge] = {}

    def __call__(self, func: Any, args: Any, kwargs: Any) -> Any:
        at = len(self.operations)
        self.operations.append(func)
        if func is torch.ops.aten._nested_tensor_from_tensor_list.default:
            raise MissingRuleError(str(func))  # torch ends the process where such a tensor has a graph
        result = _standing(func, args, kwargs)
        for i, leaf in enumerate(tree_leaves(result)):
            if isinstance(leaf, Jet):
                self.jets.add((at, i))
                if func not in STRAIGHT:
                    self.edges[at, i] = get_gradient_edge(leaf.x0)
        return result

    def worths(self, loss: Tensor) -> dict[NodeOutput, Tensor | None]:
        """λ = ∂loss/∂output for each operation that may bend; None where the loss does not depend on it."""
        with Propagation(_standing):  # a checkpointed block runs anew here, on the jets that it was given
            gradients = torch.autograd.grad(loss, list(self.edges.values()), allow_unused=True) if self.edges else ()
        return dict(zip(self.edges, gradients, strict=True))


def _first_pass(
    objective: JetObjective, batch: Batch, units: UnitDirections, watch: Watch, *, index: int
) -> tuple[float, Tape]:
    """The loss of batch `index`, and what the second pass needs."""
    first = _First()

    def backward(batch_loss: Tensor) -> tuple[float, Tape]:
        watch.require_jet(batch_loss, "the loss")
        total = value(batch_loss)
        require_finite_scalar(total, index)
        require_dependent(total, index)
        return float(total.detach()), Tape(first.operations, frozenset(first.jets), first.worths(total))

    with Propagation(first, watch=watch):
        weights = {name: _still(weight, shared=True) for name, weight in units.parameters.items()}
        taped: tuple[float, Tape] = objective.at(weights, batch, then=backward)
    return taped


def _standing(func: Any, args: Any, kwargs: Any) -> Any:
    """The operation on values, with autograd's graph; what depends on the weights is a jet that stands still."""
    with enable_reentrant_dispatch():  # where jets are taken apart, autograd has been left behind
        result = func(*tree_map(value, args), **tree_map(value, kwargs))
    leaves, structure = tree_flatten(result)
    for i, leaf in enumerate(leaves):
        if isinstance(leaf, Tensor) and leaf.requires_grad:
            if leaf.is_complex():
                raise MissingRuleError(f"{func}, of complex numbers")
            leaves[i] = _still(leaf)
    return tree_unflatten(leaves, structure)


class _Second:
    """The second pass: first derivatives are carried on, and second ones are weighed and dropped.

    Those are the second derivatives that an operation makes of the first ones; its λ weighs them. Without a λ they are
    carried on, and the result is the same.
    """

    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        self.at = -1
        self.weighed: list[Tensor] = []

    def __call__(self, func: Any, args: Any, kwargs: Any) -> Any:
        self.at += 1
        if self.tape.operations[self.at : self.at + 1] != [func]:
            raise OtherOperationsError(
                f"the loss does not run the same operations twice: {func} is new as number {self.at}",
                where=WHERE,
                remedy='engine="jets" runs it once for all directions that it carries',
            )
        args, kwargs = tree_map(_if_moving, (args, kwargs))
        moves = any(isinstance(each, Jet) for each in tree_leaves((args, kwargs)))
        result = second_order(func, args, kwargs) if moves else func(*args, **kwargs)
        leaves, structure = tree_flatten(result)
        alone = len(leaves) == 1
        return tree_unflatten(
            [self._weighed(each, (self.at, i), alone=alone) for i, each in enumerate(leaves)], structure
        )

    def _weighed(self, output: Any, place: NodeOutput, *, alone: bool) -> Any:
        if place not in self.tape.jets:
            return value(output)
        if not isinstance(output, Jet):
            return _still(output)
        if output.x2 is not None and place in self.tape.worths:
            worth = self.tape.worths[place]
            if worth is not None:
                # Not a product of matrix and vector, whose plain sum over so many numbers rounds ten times as much.
                bend = output.x2
                nobody_else_sees_it = alone and bend.is_contiguous()
                product = bend.mul_(worth) if nobody_else_sees_it else bend * worth
                self.weighed.append(product.reshape(len(bend), -1).sum(1))
            output.x2 = None
        return output


def _bends(objective: JetObjective, batch: Batch, units: UnitDirections, tape: Tape, ks: range) -> Rows:
    stacked, lengths = units.stacked(ks)
    second = _Second(tape)
    jets = {name: w if isinstance(w, Jet) else _still(w, shared=True) for name, w in moving(units, stacked).items()}
    with Propagation(second):
        _, slopes, rest = parts(objective.at(jets, batch))
    curvatures = [widened(each) for each in (*second.weighed, rest) if each is not None]
    return [per_unit_length(slopes, torch.stack(curvatures).sum(0) if curvatures else None, lengths)]


def _still(x: Tensor, *, shared: bool = False) -> Jet:
    jet = Jet(x, None, None)
    jet.shared = shared
    return jet


def _if_moving(thing: Any) -> Any:
    return thing.x0 if isinstance(thing, Jet) and thing.x1 is None and thing.x2 is None else thing
