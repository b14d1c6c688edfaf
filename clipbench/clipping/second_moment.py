"""The paper's rule: the clipped gradient in the numerator, the raw gradient in the second moment below it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from clipbench.clipping.coordinates import Bound, clamp_, kernels_fit, runs
from clipbench.factored import Adafactor, mean_squares, take_step

ParameterGroup = dict[str, Any]
Hidden = list[tuple[nn.Parameter, Tensor]]

WHAT_WORKS = (
    "of='numerator' works with torch.optim's Adam, AdamW, NAdam, RAdam, RMSprop (not centered), Adadelta, Adagrad and "
    "Adafactor, single, foreach or fused, where the second moment's decay is above 0 and any weight decay is "
    "decoupled; of='gradient' and of='update' work with any optimizer"
)


@dataclass(frozen=True)
class _Kind:
    """Where an optimizer keeps its second moment.

    - `key`: its name in the state of a parameter.
    - `decay`: the option of a group that is β in v ← βv + (1−β)g²; None for a plain sum, v ← v + g².
    - `lists`: how many lists its `_init_group` fills.
    """

    key: str
    decay: Callable[[ParameterGroup], tuple[str, float]] | None
    lists: int


def _beta2(group: ParameterGroup) -> tuple[str, float]:
    return "betas[1]", float(group["betas"][1])


_KINDS: dict[type[torch.optim.Optimizer], _Kind] = {
    torch.optim.Adam: _Kind("exp_avg_sq", _beta2, 6),
    torch.optim.AdamW: _Kind("exp_avg_sq", _beta2, 6),
    torch.optim.NAdam: _Kind("exp_avg_sq", _beta2, 6),
    torch.optim.RAdam: _Kind("exp_avg_sq", _beta2, 5),
    torch.optim.RMSprop: _Kind("square_avg", lambda group: ("alpha", float(group["alpha"])), 6),
    torch.optim.Adadelta: _Kind("square_avg", lambda group: ("rho", float(group["rho"])), 5),
    torch.optim.Adagrad: _Kind("sum", None, 4),
}


def check_numerator(optimizer: torch.optim.Optimizer) -> None:
    """Refuse what the rule cannot be right for.

    Raises:
        ValueError: the optimizer is not exactly one of those known, or one of its parameter groups has a second
            moment without memory, one that is centered, or a weight decay that is added to the gradient. The
            message says what works.
    """
    name, known = type(optimizer).__name__, type(optimizer) in _KINDS
    if not known and type(optimizer) not in (torch.optim.Adafactor, Adafactor):
        raise ValueError(f"{name} has no numerator that is known here: {WHAT_WORKS}")
    for group in optimizer.param_groups:
        if not known:
            if float(group["beta2_decay"]) == 0.0:
                raise ValueError(f"beta2_decay is 0, which leaves no second moment to keep apart: {WHAT_WORKS}")
            continue  # Adafactor's weight decay is decoupled
        decay = _KINDS[type(optimizer)].decay
        if decay is not None and decay(group)[1] == 0.0:
            raise ValueError(f"{decay(group)[0]} is 0, which leaves no second moment to keep apart: {WHAT_WORKS}")
        if group.get("centered"):
            raise ValueError(f"centered is set, and the mean it takes off is the numerator's: {WHAT_WORKS}")
        if group["weight_decay"] != 0 and not group.get("decoupled_weight_decay"):
            raise ValueError(
                f"weight_decay={group['weight_decay']} would be added to the clipped gradient: {WHAT_WORKS}"
            )


def clip_numerator(
    optimizer: torch.optim.Optimizer, group: ParameterGroup, *, parameters: Sequence[nn.Parameter], limit: Bound
) -> Hidden:
    """Arrange that the coming step has the clipped gradient in its numerator only.

    With g the gradient, c = sign(g)·min(|g|, τ) and v the second moment, the step computes v ← βv + (1−β)c² from
    what it finds in `.grad`. Beforehand

        v ← v + ((1−β)/β)·(g² − c²),    .grad ← c

    makes that βv + (1−β)g², as in Pan and Li (2023), arXiv:2306.00204; where v is a plain sum, the factor is 1. It
    is done as v ← v + κg², then v ← v − κc², without a copy of the gradient: neither term exceeds what v will be
    over β, so rounding stays at a few units of v's own dtype; on a GPU as v + κ(g − c)(g + c), in one pass, rounded
    once. The maximum that amsgrad keeps is taken after v is
    complete, so it is right as well. The sign of g cancels, so `maximize` is right, too.

    Args:
        optimizer: one that `check_numerator` accepts.
        group: one of its parameter groups.
        parameters: those of the group that share the threshold; each has a gradient.
        limit: τ.

    Returns:
        The parameters that were stepped here already, with their clipped gradients: `.grad` is None until the
        optimizer's own step, which passes them by, is over. Adafactor's are.
    """
    _make_state(optimizer, group, parameters)
    if isinstance(optimizer, torch.optim.Adafactor):
        return clip_factored(optimizer, group, parameters=parameters, limit=limit)
    kind = _KINDS[type(optimizer)]
    beta = 0.5 if kind.decay is None else kind.decay(group)[1]
    weight = (1.0 - beta) / beta  # 1 for a plain sum
    everything = [_gradient(parameter) for parameter in parameters]
    if isinstance(limit, Tensor) and limit.dtype != torch.float64:
        every_moment = [optimizer.state[parameter][kind.key] for parameter in parameters]
        if kernels_fit([*everything, *every_moment, limit]):
            from clipbench.clipping.triton_clip import clip_on_gpu  # takes a while, and only a GPU needs it

            clip_on_gpu(everything, limit, moments=every_moment, weight=weight)
            return []
    start = 0
    for gradients in runs(everything):
        of_run = parameters[start : start + len(gradients)]
        start += len(gradients)
        moments = [optimizer.state[parameter][kind.key] for parameter in of_run]
        torch._foreach_addcmul_(moments, gradients, gradients, weight)
        clamp_(gradients, limit)
        torch._foreach_addcmul_(moments, gradients, gradients, -weight)
    return []


def _gradient(parameter: nn.Parameter) -> Tensor:
    assert parameter.grad is not None  # of those that were looked at only
    return parameter.grad


def _make_state(optimizer: torch.optim.Optimizer, group: ParameterGroup, parameters: Sequence[nn.Parameter]) -> None:
    if all(optimizer.state.get(parameter) for parameter in parameters):
        return
    # An optimizer makes its state at the first step; v must be there before it. Its own initialisation is private,
    # but only it knows the state's keys, dtypes and devices, and it leaves state that exists alone.
    initialise: Any = optimizer._init_group  # type: ignore[attr-defined]
    lists = 6 if isinstance(optimizer, torch.optim.Adafactor) else _KINDS[type(optimizer)].lists
    initialise(group, *([] for _ in range(lists)))


def clip_factored(
    optimizer: torch.optim.Adafactor, group: Mapping[str, Any], *, parameters: Sequence[nn.Parameter], limit: Bound
) -> list[tuple[nn.Parameter, Tensor]]:
    """Take the coming step here, with the clipped gradient above its factored second moment only.

    The optimizer would square what it finds in `.grad`, and nothing that its state could hold beforehand makes up for
    that: at the first step it forgets its state.

    Args:
        optimizer: its state is there for all the parameters.
        group: the parameters' group, with beta2_decay below 0.
        parameters: each has a gradient.
        limit: τ.

    Returns:
        The parameters and their clipped gradients; `.grad` is None, so that the optimizer passes them by, until
        somebody puts it back.

    Source: Pan and Li (2023), arXiv:2306.00204; Shazeer and Stern (2018), arXiv:1804.04235.
    """
    stepped = []
    for parameter in parameters:
        gradient = parameter.grad
        assert gradient is not None  # of those that were looked at only
        squares = mean_squares(gradient)
        clamp_([gradient], limit)
        take_step(optimizer, group, parameter, squares=squares, numerator=gradient)
        stepped.append((parameter, gradient))
        parameter.grad = None
    return stepped
