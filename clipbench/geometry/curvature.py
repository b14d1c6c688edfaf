"""Slope and curvature of a loss along given directions, exactly, by one of three engines, which give the same numbers.

- Jets: one forward pass that carries first and second derivatives along several directions, without a graph.
- Adjoint: one backward pass, and a forward pass that carries first derivatives alone; the fastest for four directions
  or more where tensors are large, with the memory of a training step.
- Double backward: one gradient with its graph, differentiated once more for each direction.

Jets and adjoints are checked against ordinary differentiation: the first time that they measure a model object with a
loss, and whenever a batch takes them through an operation that they have not been checked with.

The mean of (w·x)² over x = (1, 0) and (0, 2) is (w₁² + 4w₂²)/2, whose curvature along w₂ is 4 at any w:

>>> model = nn.Linear(2, 1, bias=False)
>>> examples = Batch({"x": torch.tensor([[1.0, 0.0], [0.0, 2.0]])}, samples=2)
>>> along = {"second": {"weight": torch.tensor([[0.0, 7.0]])}}
>>> measured = directional_curvature(model, lambda m, batch: m(batch["x"]).square().mean(), [examples], along)
>>> measured["second"].curvature, measured["second"].norm
(4.0, 7.0)
"""

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import get_args

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from clipbench.contracts import Batch, Loss
from clipbench.errors import ClipbenchError
from clipbench.geometry.averages import AverageGroup, averaged, shared_fate
from clipbench.geometry.contexts import eager, float32_as_asked, math_attention, rounds, without_autocast
from clipbench.geometry.directions import Direction, UnitDirections, unit_directions
from clipbench.geometry.double_backward import NoSecondDerivativeError
from clipbench.geometry.found import Curvatures, DirectionalCurvature, Measured
from clipbench.geometry.jets.jet import MissingRuleError
from clipbench.geometry.losses import WHERE, NonFiniteLossError
from clipbench.geometry.measuring import TOGETHER, CurvatureEngine, Measuring
from clipbench.geometry.memory import TooFewBytesError, keep_what_is_freed
from clipbench.geometry.selfcheck import EnginesDisagreeError
from clipbench.geometry.undisturbed import undisturbed

__all__ = [
    "TOGETHER",
    "CurvatureEngine",
    "Curvatures",
    "Direction",
    "DirectionalCurvature",
    "EnginesDisagreeError",
    "MissingRuleError",
    "NoSecondDerivativeError",
    "NonFiniteLossError",
    "TooFewBytesError",
    "directional_curvature",
]


def directional_curvature(
    model: nn.Module,
    loss: Loss,
    batches: Sequence[Batch],
    directions: Mapping[str, Direction],
    *,
    engine: CurvatureEngine = "auto",
    chunk: int | None = None,
    memory: int | None = None,
    check: bool = True,
    group: AverageGroup = None,
) -> Curvatures:
    """How steep the loss is along each direction, and how it bends: the first two derivatives at the present weights.

    With v = u/‖u‖ over all trainable parameters at once, and L the mean of the loss over all terms of all batches
    (each batch weighted by `Batch.weight`),

        slope = ∇L(θ)ᵀv,    curvature = vᵀ∇²L(θ)v = the directional sharpness uᵀHu/‖u‖²

    All in evaluation mode, uncompiled, without autocast, with the MATH attention kernel, in the parameters' own
    dtype; sums over batches are in float64. Without TF32, but inside `contexts.curvature_in("tf32")`: the check is in
    float32 there, too. The model is left bit for bit as it was. Probes of a snapshot go by
    `clipbench.geometry.shared`, which measures once for all of them.

    Args:
        model: its weights are the point θ. A tied weight counts once, under its first name.
        loss: `loss(model, batch)`, a 0-d mean over the batch's terms.
        batches: at least one; they are moved to the model's device. They are the unit of memory and of the
            standard error.
        directions: by name, u as a mapping from the name of every trainable parameter to a tensor of its shape, or as
            a callable from such a name to such a tensor. A callable is called several times, parameter by parameter,
            and must give the same tensor every time; at most two of its tensors are kept at a time. The engines hold
            copies in the parameters' dtype: jets and adjoint of a `chunk` of directions, double backward of one.
        engine: "jets", "adjoint", "double_backward", or "auto": jets where every operation has a rule and they pass
            their check, else double backward. On a CPU adjoint before jets for 12 directions and more of a model of
            large tensors (`geometry.choosing`).
        chunk: directions that jets carry at once, 4 unless given. 1 takes the least memory; more is faster where the
            model is so small that the number of operations counts, not their size. Where memory is short it is halved,
            and then the batches are, if their examples are terms of the loss (`geometry.splitting`).
        memory: bytes that jets may hold beside weights and batches (adjoint: in its forward pass). The first direction
            goes alone and is counted, then as many as fit, at most `chunk` if that is given.
        check: whether jets and adjoints check themselves, for a model object and a loss once, and again on each batch
            that takes them through an operation that they have not been checked with. It costs a gradient and a product
            of double backward on two examples of the batch; on all of them where two say too little. Where even one
            does not fit into memory it is left out, and a remark says so.
        group: processes that measure together, each along the same directions on batches of its own: the means and
            their errors are those of all batches, by one all-reduce. `torch.distributed.group.WORLD`, or a part of it.

    Returns:
        Curvatures, with one DirectionalCurvature for each direction under its name.

    Raises:
        ClipbenchError: no batches, a batch without terms, no trainable parameter, a direction with missing or
            unknown names or a wrong shape, a chunk or memory below 1, an unknown engine, a loss that is not a scalar or
            does not depend on the weights, an operation whose second derivative torch is known to get wrong, or another
            process of the group that failed.
        NonFiniteLossError: the loss of a batch is NaN or infinite.
        MissingRuleError: with "jets" or "adjoint", an operation that has no rule, by name.
        NoSecondDerivativeError: with double backward, an operation that torch cannot differentiate twice, by name.
        EnginesDisagreeError: jets or adjoints did not pass their check, and were asked for by name; or the loss is
            another one each time that it is computed, or nothing can check them. Nothing is reported.
        TooFewBytesError: one direction at a time does not fit into memory, on batches that cannot be cut any further.

    Source: directional sharpness, Pan and Li (2023), arXiv:2306.00204; Hessian-vector products by differentiating
    the gradient, Pearlmutter (1994), Neural Computation 6; Taylor-mode differentiation, Griewank and Walther (2008).
    """
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    device, k = next((p.device for p in parameters.values()), torch.device("cpu")), len(directions)
    with shared_fate(group, quantities=1 + 2 * k, same=k, device=device):
        _require_sense(model, parameters, batches, engine=engine, chunk=chunk, memory=memory)
        units, norms = unit_directions(directions, parameters)
        measuring = Measuring(model, loss, batches, units, chunk, memory, check)
        keep_what_is_freed()
        plain = (undisturbed(model, loss), eager(), math_attention(), float32_as_asked(), torch.enable_grad())
        with ExitStack() as stack:
            for context in plain:
                stack.enter_context(context)
            opened = stack.enter_context(without_autocast(device))
            measured = measuring.by(engine)
    if opened:
        measured = replace(measured, remarks=(*measured.remarks, "without the autocast that the loss opens"))
    if rounds() and device.type == "cuda":
        measured = replace(measured, remarks=(*measured.remarks, "products in TF32"))
    return _found(measured, units, norms, tuple(batch.weight for batch in batches), group=group)


def _found(
    measured: Measured,
    units: UnitDirections,
    norms: Mapping[str, float],
    weights: tuple[int, ...],
    *,
    group: AverageGroup,
) -> Curvatures:
    """Means over the batches, of every process if there are several."""
    unknown = (math.nan,) * len(weights)
    of_batches = dict.fromkeys(norms, (unknown, unknown))
    for k, name in enumerate(units.names):
        slopes, curvatures = zip(*(row[k] for row in measured.rows), strict=True)
        of_batches[name] = slopes, curvatures
    quantities = [measured.losses or unknown, *(values for both in of_batches.values() for values in both)]
    device = next(iter(units.parameters.values())).device
    (loss, _), *means = averaged(quantities, weights, same=list(norms.values()), group=group, device=device)
    along = {}
    for name, slope, curvature in zip(norms, means[::2], means[1::2], strict=True):
        slopes, curvatures = of_batches[name] if name in units.names else ((), ())
        along[name] = DirectionalCurvature(
            slope[0], curvature[0], norms[name], slopes, curvatures, slope_error=slope[1], curvature_error=curvature[1]
        )
    return Curvatures(
        along,
        loss,
        weights,
        measured.engine,
        measured.missing_operation,
        tuple(measured.losses),
        measured.disagreement,
        measured.remarks,
    )


def _require_sense(
    model: nn.Module,
    parameters: Mapping[str, nn.Parameter],
    batches: Sequence[Batch],
    *,
    engine: str,
    chunk: int | None,
    memory: int | None,
) -> None:
    if isinstance(model, DistributedDataParallel):
        raise ClipbenchError(
            "the model is wrapped in DistributedDataParallel, which is made for one backward pass",
            where=WHERE,
            remedy="give the model inside, model.module, and the processes as group=",
        )
    if not parameters:
        raise ClipbenchError("the model has no trainable parameter", where=WHERE)
    if not batches:
        raise ClipbenchError("there are no batches to measure on", where=WHERE)
    for i, batch in enumerate(batches):
        if batch.weight <= 0:
            raise ClipbenchError(
                f"batch {i} has no terms in its loss (weight {batch.weight})",
                where=WHERE,
                remedy="leave it out, or correct its count of samples or tokens",
            )
    if engine not in get_args(CurvatureEngine):
        raise ClipbenchError(
            f"there is no engine {engine!r}", where=WHERE, remedy=f"one of {get_args(CurvatureEngine)}"
        )
    if chunk is not None and chunk < 1:
        raise ClipbenchError(f"a chunk of {chunk} directions", where=WHERE, remedy="at least 1")
    if memory is not None and memory < 1:
        raise ClipbenchError(f"a memory of {memory} bytes", where=WHERE, remedy="at least 1, or None for no limit")
