"""Which rule an operation goes by, and what happens to those that have none."""

from collections.abc import Callable
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


class Propagation(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Inside, operations on jets give jets.

    What a model computes under no_grad, or detaches, is a constant, as it is for a gradient.

    Args:
        by: `by(func, args, kwargs)`, what an operation gives where some of its arguments are jets; `second_order`
            unless given.
    """

    def __init__(self, by: Callable[[Any, Any, Any], Any] | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.by = second_order if by is None else by

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not any(map(is_jet, args)) and not tree_any(is_jet, (args, kwargs)):  # which takes long
            return func(*args, **kwargs)
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
    """An operation goes by its rule; without one, by torch's own definition of it in simpler operations; one that gives
    no real numbers (a comparison, a shape) sees values alone. Anything else is a MissingRuleError that names it.
    """
    rule = RULES.get(func)
    if rule is not None:
        return rule(func, *args, **kwargs)
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
    if any(isinstance(each, Tensor) and each.is_floating_point() for each in tree_leaves(plain)):
        raise MissingRuleError(str(func))
    return plain


def is_jet(thing: Any) -> bool:
    return isinstance(thing, Jet)


def _out_of_place(func: Any) -> Any:
    """add for add_: the operation of the same name and overload that changes nothing."""
    packet, _, overload = str(func).removeprefix("aten.").partition(".")
    if not packet.endswith("_"):
        return None
    return getattr(getattr(torch.ops.aten, packet[:-1], None), overload, None)
