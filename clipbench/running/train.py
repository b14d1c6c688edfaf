"""THE loop. It knows no task, optimizer or probe by name: a problem, a torch optimizer, a budget, a recorder.

A step is numbered by the steps taken before it. What is recorded at step s belongs to the weights after s steps; the
update that a probe sees at step s is the one taken from there.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from clipbench import records
from clipbench.contracts import Batch, Snapshot
from clipbench.geometry.ghosts import HeldPoint, Update
from clipbench.measurements import Measurement
from clipbench.records import OWN
from clipbench.running import probing
from clipbench.running.equipment import trainable
from clipbench.running.evaluation import device_of, evaluate
from clipbench.running.training import State, Training

Look = Callable[[Batch, Mapping[str, Update]], None]


@dataclass(frozen=True)
class Ending:
    status: Literal["finished", "diverged"]
    reason: str = ""


def train(training: Training, between: Callable[[Training], bool]) -> Ending | None:
    """Train until the budget is spent or the run diverges; None if `between` asked to stop.

    `between` is called before each step with everything at rest: the place for checkpoints and signs of life.
    """
    problem, state = training.problem, training.state
    problem.model.train()
    batches = problem.train_batches(state.spent.steps)
    while not between(training):
        over = training.progress >= 1.0
        if over or state.spent.steps % training.measure.evaluate_every == 0:
            _evaluate(training)
        if over or not math.isfinite(state.last_eval_loss):
            return _verdict(state)
        with training.ledger.row("data"):
            batch = next(batches)
        _set_rates(training, batch)
        loss = _probed_step(training, batch) if probing.are_due(training, batch) else _step(training, batch)
        if not math.isfinite(loss):
            return Ending("diverged", f"the loss was {loss} at step {state.spent.steps - 1}")
        state.loss_sum += loss
        state.loss_count += 1
    return None


def _evaluate(training: Training) -> None:
    state = training.state
    with training.ledger.row("evaluation"):
        state.last_eval_loss = evaluate(training.problem)
    if state.spent.steps == 0:
        state.first_eval_loss = state.last_eval_loss
    training.note(records.EVAL_LOSS, state.last_eval_loss)
    training.note(records.LEARNING_RATE, training.rates.current())
    if state.loss_count:
        training.note(records.TRAIN_LOSS, state.loss_sum / state.loss_count)
        state.loss_sum, state.loss_count = 0.0, 0


def _verdict(state: State) -> Ending:
    """Diverged is non-finite, or an end above the start; a spike that came down again is neither."""
    first, last = state.first_eval_loss, state.last_eval_loss
    if not math.isfinite(last):
        return Ending("diverged", f"the evaluation loss was {last} at step {state.spent.steps}")
    if last > first:
        return Ending("diverged", f"the evaluation loss ended at {last:.4g}, above its start at {first:.4g}")
    return Ending("finished")


def _set_rates(training: Training, batch: Batch) -> None:
    """The schedule is read at the middle of the coming step: neither end of a run has a zero rate."""
    middle = (training.progress + training.progress_after(batch)) / 2
    training.rates.set(middle)
    if training.ghosts:
        training.ghosts.set_rates(middle)


def _step(training: Training, batch: Batch, *, look: Look | None = None) -> float:
    """One training step on the clock; off it, while the raw gradient is in place, ghosts step and `look` sees all."""
    model, state, watch = training.problem.model, training.state, training.watch
    begin = watch.seconds
    with training.ledger.row("train"), watch.running():
        moved = batch.to(device_of(model))
        training.optimizer.zero_grad()
        loss = training.problem.loss(model, moved)
        loss.backward()  # type: ignore[no-untyped-call]
        if look or training.ghosts:
            with watch.paused():
                updates = _let_ghosts_step(training, read=look is not None)
                if look:
                    with training.ledger.row("probes"):
                        look(moved, updates)
        training.optimizer.step()
    state.step_seconds.append(watch.seconds - begin)
    state.spent = state.spent.after_step(batch.samples, tokens=batch.tokens or 0, seconds=state.step_seconds[-1])
    return loss.item()


def _let_ghosts_step(training: Training, *, read: bool) -> dict[str, Update]:
    ghosts, state = training.ghosts, training.state
    if ghosts is None:
        return {}
    with training.ledger.row("ghosts"):
        updates = ghosts.step(read=read)
    if ghosts.offloaded:
        state.remark("ghosts", "states and updates are kept in the host's memory, as they would fill the device's")
    for name, reason in ghosts.failed.items():
        state.failed_probes.setdefault(f"{records.GHOST}{name}", f"at step {state.spent.steps}: {reason}")
    return updates


def _probed_step(training: Training, batch: Batch) -> float:
    """One training step, and what the probes see of it; the weights end where the step left them, bit for bit."""
    parameters, ghosts = trainable(training.problem.model), training.ghosts
    step, seconds = training.state.spent.steps, training.state.spent.seconds
    seen: list[tuple[Batch, HeldPoint, Mapping[str, Update]]] = []

    def look(moved: Batch, updates: Mapping[str, Update]) -> None:
        seen.append((moved, ghosts.point if ghosts else HeldPoint(parameters).hold(), updates))

    loss = _step(training, batch, look=look)
    if not math.isfinite(loss):
        return loss
    with training.ledger.row("probes"), torch.no_grad():
        [(moved, point, updates)] = seen
        before = point.weights
        after = {name: parameter.detach().clone() for name, parameter in parameters.items()}
        rates = ghosts.learning_rates if ghosts else {}
        snapshot = Snapshot(
            step=step,
            problem=training.problem,
            batch=moved,
            parameters=parameters,
            gradient=point.gradient,
            directions={OWN: {name: after[name] - before[name] for name in parameters}, **updates},
            learning_rates={OWN: training.rates.current(), **rates},
        )
        _put(parameters, before)
        try:
            for direction, quantity, value in probing.observations(training, snapshot):
                training.record(Measurement(step, seconds, direction, quantity, value))
        finally:
            _put(parameters, after)
    return loss


def _put(parameters: Mapping[str, nn.Parameter], values: Mapping[str, Tensor]) -> None:
    for name, parameter in parameters.items():
        parameter.detach().copy_(values[name])
