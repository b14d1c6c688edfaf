"""THE loop. It knows no task, optimizer or probe by name: a problem, a torch optimizer, a budget, a recorder.

A step is numbered by the steps taken before it. What is recorded at step s belongs to the weights after s steps; the
update that a probe sees at step s is the one taken from there.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from clipbench import records
from clipbench.contracts import Batch, Snapshot
from clipbench.errors import ClipbenchError
from clipbench.geometry.ghosts import HeldPoint, Update
from clipbench.measurements import Measurement
from clipbench.records import OWN, TrainingSettings
from clipbench.running import memory, probing
from clipbench.running.environment import this_process_alone
from clipbench.running.equipment import next_batch, trainable
from clipbench.running.evaluation import at_evaluation_weights, device_of, evaluate, has_two_states
from clipbench.running.fingerprints import FIRST, followed_by
from clipbench.running.metrics import readings
from clipbench.running.prefetch import drawing, prefetched
from clipbench.running.processes import Pass
from clipbench.running.stepping import take
from clipbench.running.training import Training

MOST_IDLE = 1000  # steps one after the other that may spend nothing of the budget

Look = Callable[[Batch, Mapping[str, Update]], None]


@dataclass(frozen=True)
class Ending:
    """How training ended: its budget is spent or, at `non_finite_step`, a loss was not finite."""

    reason: str = ""
    non_finite_step: int | None = None

    @property
    def status(self) -> Literal["finished", "diverged"]:
        """How the record calls it."""
        return "finished" if self.non_finite_step is None else "diverged"


def train(training: Training, between: Callable[[Training], bool]) -> Ending | None:
    """Train until the budget is spent or a loss is not finite; None if `between` asked to stop.

    `between` is called before each step with everything at rest: the place for checkpoints and signs of life.

    Raises:
        ClipbenchError: the task's training batches end, or spend nothing of the budget for MOST_IDLE steps.
    """
    batches = training.problem.train_batches(training.state.spent.steps)
    with prefetched(batches, training.pin, training.ledger) as drawn:
        return _train(training, between, drawn)


def _train(training: Training, between: Callable[[Training], bool], batches: Iterator[Batch]) -> Ending | None:
    state = training.state
    furthest, idle = training.progress, 0
    training.problem.model.train()
    while not between(training):
        over = training.progress >= 1.0
        if over or state.spent.steps % training.measure.evaluate_every == 0:
            _evaluate(training)
        if not math.isfinite(state.last_eval_loss):
            step = state.spent.steps
            return Ending(f"the evaluation loss was {state.last_eval_loss} at step {step}", non_finite_step=step)
        if over:
            return Ending()
        batch = _next_batch(training, batches)
        if probing.are_due(training, batch):
            loss = _probed_step(training, batch)
        else:
            with drawing(batches):
                loss = take_step(training, batch)
        if not math.isfinite(loss):
            step = state.spent.steps - 1
            return Ending(f"the loss was {loss} at step {step}", non_finite_step=step)
        state.loss_sum += loss
        state.loss_count += 1
        furthest, idle = (training.progress, 0) if training.progress > furthest else (furthest, idle + 1)
        if idle == MOST_IDLE:
            message = f"the last {MOST_IDLE} steps spent nothing of the budget of {training.budget}"
            raise ClipbenchError(message, remedy="give it in steps, or mend what the task's batches count")
    return None


def _evaluate(training: Training) -> None:
    state, problem = training.state, training.problem
    with training.ledger.row("evaluation"):
        if has_two_states(training.optimizer):
            training.note(records.TRAINING_POINT_LOSS, evaluate(problem).loss)
        with at_evaluation_weights(training.optimizer, steps=state.spent.steps):
            evaluation = evaluate(problem)
            beside = readings(problem) if math.isfinite(evaluation.loss) else {}
        for sentence in training.vigil.look(state.spent.steps):
            state.remark(records.LIFE, sentence)
    state.last_losses, state.last_eval_loss = list(evaluation.losses), evaluation.loss
    if state.spent.steps == 0:
        state.first_losses = state.last_losses
    training.note(records.EVAL_LOSS, state.last_eval_loss)
    for name, value in beside.items():
        training.note(name, value)
    training.note(records.LEARNING_RATE, training.rates.current())
    if state.loss_count:
        training.note(records.TRAIN_LOSS, state.loss_sum / state.loss_count)
        state.loss_sum, state.loss_count = 0.0, 0


def _next_batch(training: Training, batches: Iterator[Batch]) -> Batch:
    """The coming step's batch; the first few go into the record's fingerprint."""
    state = training.state
    step = state.spent.steps
    with training.ledger.row("data"):
        batch = training.team.draw(step, lambda: next_batch(batches, step))
    if step < FIRST or step % training.measure.evaluate_every == 0:
        with training.ledger.row("fingerprints"):
            for sentence in training.team.compare(step, batch, training.problem.model):
                state.remark(records.TRAINING, sentence)
    training.last_batch = batch
    if step < FIRST:
        with training.ledger.row("fingerprints"):
            before = state.fingerprints.get(records.FIRST_BATCHES, "")
            state.fingerprints[records.FIRST_BATCHES] = followed_by(before, batch)
    return batch


def _set_rates(training: Training, batch: Batch) -> None:
    """The schedule is read at the middle of the coming step: neither end of a run has a zero rate."""
    middle = (training.progress + training.progress_after(batch)) / 2
    training.rates.set(middle)
    if training.ghosts:
        training.ghosts.set_rates(middle)


def _parts(settings: TrainingSettings, batch: Batch) -> Iterator[str]:
    """What the parts change in which a batch goes through the model."""
    if settings.micro_batch is not None and batch.samples > settings.micro_batch:
        yield f"batches are cut into pieces of {settings.micro_batch}: dropout and batch statistics go by piece"
    if settings.processes > 1:
        shared = f"batches are shared among {settings.processes} processes: dropout and batch statistics go by share"
        yield f"{shared}, and buffers such as running statistics are those of the first"


@this_process_alone()
def take_step(training: Training, batch: Batch, *, look: Look | None = None) -> float:
    """One training step on the clock; off it, while the raw gradient is in place, ghosts step and `look` sees all.

    Of an optimizer that evaluates several gradients in a step it is the first, and so is the loss.
    """
    _set_rates(training, batch)
    for text in _parts(training.settings, batch):
        training.state.remark(records.TRAINING, text)
    model, state, watch = training.problem.model, training.state, training.watch
    losses: list[Tensor] = []
    memory.before_step(state.peaks, device_of(model))
    begin = watch.seconds
    with training.ledger.row("train"), watch.running():
        moved = batch.to(device_of(model))

        def evaluate() -> Tensor:
            with torch.enable_grad():
                if losses:
                    training.optimizer.zero_grad()
                at = Pass(state.spent.steps, state.passes)
                loss = training.team.evaluated(training.problem, moved, at, create_graph=training.create_graph)
                if not losses and (look or training.ghosts):
                    with watch.paused():
                        updates = _let_ghosts_step(training, read=look is not None)
                        if look:
                            with training.ledger.row("probes"):
                                look(moved, updates)
            losses.append(loss.detach())
            state.passes += 1  # here, since an optimizer may evaluate a closure of an earlier step
            return loss

        training.optimizer.zero_grad()
        take(training.optimizer, training.stepping, evaluate, training.clip)
    if not losses:
        raise ClipbenchError(
            "the optimizer took a step without evaluating its closure", where="optimizer.step(closure)"
        )
    memory.after_step(state.peaks, device_of(model), alone=look is None and training.ghosts is None)
    state.step_seconds.append(watch.seconds - begin)
    state.spent = state.spent.after_step(batch.samples, tokens=batch.tokens or 0, seconds=state.step_seconds[-1])
    return losses[0].item()


def _let_ghosts_step(training: Training, *, read: bool) -> dict[str, Update]:
    ghosts, state = training.ghosts, training.state
    if ghosts is None:
        return {}
    with training.ledger.row("ghosts"):
        updates = ghosts.step(read=read)
    if ghosts.offloaded:
        few = (
            f"{len(ghosts.offloaded)} of {len(ghosts.optimizers)}"
            if len(ghosts.offloaded) < len(ghosts.optimizers)
            else ""
        )
        whose = f"of {few} ghosts, states" if few else "states"
        state.remark("ghosts", f"{whose} and updates are kept in the host's memory, as they would fill the device's")
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

    loss = take_step(training, batch, look=look)
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
