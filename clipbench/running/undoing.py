"""A model that is tried out and put back."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from torch import nn

from clipbench.contracts import Problem
from clipbench.geometry.undisturbed import undisturbed


@contextmanager
def put_back(problem: Problem) -> Iterator[None]:
    """Training mode inside; afterwards the model and the random state are as they were.

    So are the hooks of the parameters: an optimizer that steps in the backward pass would go on stepping in the run.
    """
    parameters = list(problem.model.parameters())
    hooks = {number for parameter in parameters for of_kind in _hooks(parameter) for number in of_kind}
    with undisturbed(problem.model, problem.loss):
        try:
            problem.model.train()
            yield
        finally:
            for parameter in parameters:
                for of_kind in _hooks(parameter):
                    for number in of_kind.keys() - hooks:
                        del of_kind[number]


def _hooks(parameter: nn.Parameter) -> list[dict[int, Any]]:
    """The hooks of a parameter, as torch keeps them by number: on its gradient, and on that being there."""
    both = (parameter._backward_hooks, parameter._post_accumulate_grad_hooks)
    return [cast("dict[int, Any]", hooks) for hooks in both if hooks is not None]
