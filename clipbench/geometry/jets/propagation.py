"""Which rule an operation goes by, and what happens to those that have none."""

import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch._decomp import decomposition_table  # torch's own definitions of operations by simpler ones
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_any, tree_leaves, tree_map

from clipbench.geometry.jets import pointwise, products, reductions, selection, shapes, softmax, standardised
from clipbench.geometry.jets.jet import Jet, MissingRuleError, Rule, value

RULES: dict[Any, Rule] = {
    **shapes.RULES,
    **pointwise.RULES,
    **products.RULES,
    **reductions.RULES,
    **selection.RULES,
    **softmax.RULES,
    **standardised.RULES,
}


_APPLY = torch.autograd.Function.apply.__func__.__code__  # type: ignore[attr-defined]


@dataclass
class Watch:
    """What is seen of one batch on its way from the weights to the loss.

    - `weights`: the parameters in whose places jets are. What comes from them themselves goes past the jets.
    - `operations`: what jets went through; for what saw values alone, with the autograd.Function that it was done in.
    """

    weights: Collection[Tensor]
    operations: set[Any] = field(default_factory=set)

    def note(self, func: Any, args: Any) -> None:
        """An operation on jets.

        Raises:
            MissingRuleError: another of its arguments comes from the weights, and is no jet.
        """
        if not torch.is_grad_enabled():
            self.operations.add((func, _custom_function()))
            return
        self.operations.add(func)
        for thing in args:
            for item in thing if isinstance(thing, list | tuple) else (thing,):
                if isinstance(item, Tensor):
                    self.require_jet(item, str(func))

    def require_jet(self, tensor: Tensor, what: str) -> None:
        """Raises MissingRuleError for a tensor that comes from the weights themselves, and is no jet."""
        if tensor.requires_grad and not is_jet(tensor) and _comes_from(tensor, self.weights):
            raise MissingRuleError(f"{what} of a weight that the loss does not take from the model")


class Propagation(TorchDispatchMode):
    """Inside, operations on jets give jets.

    What a model computes under no_grad, or detaches, is a constant, as it is for a gradient.

    Args:
        by: `by(func, args, kwargs)`, what an operation gives where some of its arguments are jets; `second_order`
            unless given.
        watch: what is told of every operation on jets.
    """

    def __init__(self, by: Callable[[Any, Any, Any], Any] | None = None, *, watch: Watch | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.by = second_order if by is None else by
        self.watch = watch

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not any(map(is_jet, args)) and not tree_any(is_jet, (args, kwargs)):  # which takes long
            return func(*args, **kwargs)
        if self.watch is not None:
            self.watch.note(func, args)
        if func._schema.is_mutable and func not in RULES:
            return self._in_place(func, args, kwargs)
        if not torch.is_grad_enabled():
            return func(*tree_map(value, args), **tree_map(value, kwargs))
        result = self.by(func, args, kwargs)
        if func.is_view:
            for thing in tree_leaves((args[0], result)):
                if is_jet(thing):
                    thing.shared = True
        return result

    def _in_place(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Computed aside and put in the jet's place, which nobody can see but through this jet."""
        target, twin = args[0], _out_of_place(func)
        if not is_jet(target) or target.shared or twin is None or not torch.is_grad_enabled():
            raise MissingRuleError(f"{func}, in place")
        result = self.by(twin, args, kwargs)
        if result.shape != target.shape or result.dtype != target.dtype:
            raise MissingRuleError(f"{func}, in place")
        target.x0, target.x1, target.x2 = (result.x0, result.x1, result.x2) if is_jet(result) else (result, None, None)
        return target


def second_order(func: Any, args: Any, kwargs: Any) -> Any:
    """The result of an operation on jets: by its rule, or by torch's own definition of it in simpler operations.

    An operation that gives no numbers that could move (a comparison, a shape) sees values alone.

    Raises:
        MissingRuleError: there is no way to follow the operation, which it names; nor one that gives complex numbers.
    """
    rule = RULES.get(func)
    if rule is not None:
        if any(map(_is_complex, args)) or _is_complex(result := rule(func, *args, **kwargs)):
            raise MissingRuleError(f"{func}, of complex numbers")
        return result
    try:
        with Propagation():
            composite = func.decompose(*args, **kwargs)
            if composite is not NotImplemented:
                return composite
            if func in decomposition_table:
                return decomposition_table[func](*args, **kwargs)
    except MissingRuleError as error:
        raise MissingRuleError(str(func)) from error
    plain = func(*tree_map(value, args), **tree_map(value, kwargs))
    if any(map(_may_move, tree_leaves(plain))):
        raise MissingRuleError(str(func))
    return plain


def _is_complex(thing: Any) -> bool:
    return isinstance(thing, complex) or (isinstance(thing, Tensor) and thing.is_complex())


def _may_move(thing: Any) -> bool:
    """Whether it holds numbers that have derivatives."""
    return isinstance(thing, Tensor) and (thing.is_floating_point() or thing.is_complex())


def is_jet(thing: Any) -> bool:
    """Whether it is a value that moves."""
    return isinstance(thing, Jet)


def _out_of_place(func: Any) -> Any:
    """add for add_: the operation of the same name and overload that changes nothing."""
    packet, _, overload = str(func).removeprefix("aten.").partition(".")
    if not packet.endswith("_"):
        return None
    return getattr(getattr(torch.ops.aten, packet[:-1], None), overload, None)


def _custom_function() -> str:
    """The autograd.Function in whose forward pass this runs, which gets values alone; empty outside of one."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_code is _APPLY:
            return str(frame.f_locals["cls"])
        frame = frame.f_back
    return ""


def _comes_from(tensor: Tensor, weights: Collection[Tensor]) -> bool:
    """Whether there is a way back from the tensor to one of the weights, in autograd's graph."""
    leaves = {id(weight) for weight in weights}
    nodes, seen = [tensor.grad_fn], {tensor.grad_fn}
    while nodes:
        node = nodes.pop()
        if id(getattr(node, "variable", None)) in leaves:
            return True
        further = {parent for parent, _ in node.next_functions} - seen if node is not None else set()
        seen |= further
        nodes += further
    return id(tensor) in leaves
