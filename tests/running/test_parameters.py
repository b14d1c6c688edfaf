import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Optional

import pytest
import torch
from torch import Tensor, nn
from torch.optim.optimizer import ParamsT

from clipbench.running.parameters import described, value_type


@pytest.mark.parametrize(
    ("annotation", "default", "kind"),
    [
        ((float,), None, "float"),
        ((int,), 0, "int"),
        ((int, float), 0, "float"),
        ((bool,), False, "bool"),
        ((bool, type(None)), None, "bool"),
        ((str, type(None)), None, "str"),
        ((float, dict), 0.1, "float"),
        ((tuple[float, float],), None, "sequence"),
        ((list[int],), None, "sequence"),
        ((Sequence[float],), None, "sequence"),
        ((float, tuple[float, float]), (0.1, 0.2), "sequence"),
        ((float, tuple[float, float]), 0.1, "any"),
        ((bool, str), False, "any"),
        ((None,), 0.1, "float"),
        ((None,), 0, "int"),
        ((None,), True, "bool"),
        ((None,), (1, 2), "sequence"),
        ((None,), None, "any"),
        (("float",), 3, "int"),
        ((dict,), None, "any"),
    ],
)
def test_the_type_of_a_parameter_is_its_annotations_or_else_its_defaults(
    annotation: tuple[Any, ...], default: object, kind: str
) -> None:
    assert value_type(annotation, default) == kind


Model, Optimizer = nn.Module, torch.optim.Optimizer


@pytest.mark.parametrize(
    ("annotation", "wants"),
    [
        (ParamsT, "parameters"),
        (Iterable[nn.Parameter], "parameters"),
        (list[Tensor] | None, "parameters"),
        (nn.Sequential, "a model"),
        (Optional[nn.Module], "a model"),  # noqa: UP045
        (torch.optim.SGD, "an optimizer"),
        (type[Optimizer], "a class"),
        (type, "a class"),
        (type[Optimizer] | Optimizer, "an optimizer or a class"),
        (Callable[[int], float], "a function"),
        (Callable[..., Any] | None, "a function"),
        (list[nn.Module], "a list with a model each"),
        (Optimizer | Iterable[Tensor], ""),  # either will do, so parameters will
        (Callable[[int], float] | str, ""),
        (float | Tensor, ""),
        (tuple[float | Tensor, float | Tensor], ""),
        (Iterable[tuple[str, nn.Parameter]], ""),
        (list[float], ""),
        (dict[str, Any], ""),
        (float, ""),
        (Any, ""),
        (inspect.Parameter.empty, ""),
    ],
    ids=str,
)
def test_what_no_spec_can_say_is_told_by_its_annotation(annotation: Any, wants: str) -> None:
    parameter = inspect.Parameter("x", inspect.Parameter.KEYWORD_ONLY, annotation=annotation)
    assert described(parameter)["wants"] == wants


@pytest.mark.parametrize(("default", "unset"), [(None, True), (0.1, False), (inspect.Parameter.empty, False)])
def test_a_parameter_that_is_none_by_default_is_told_from_others(default: object, unset: bool) -> None:
    parameter = inspect.Parameter("lr", inspect.Parameter.KEYWORD_ONLY, default=default, annotation=float | None)
    assert described(parameter)["unset"] is unset
