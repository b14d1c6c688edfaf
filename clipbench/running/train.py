"""THE loop. It knows no task, optimizer or probe by name: a problem, a torch optimizer, a budget, a recorder.

A step is numbered by the steps taken before it. What is recorded at step s belongs to the weights after s steps; the
update that a probe sees at step s is the one taken from there.
"""

import math
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from clipbench import records
from clipbench.budget import Budget, Ledger, Spent, Stopwatch
from clipbench.contracts import Batch, Problem, Recorder, Snapshot
from clipbench.geometry.undisturbed import undisturbed
from clipbench.records import OWN, Measure, Measurement
from clipbench.running.equipment import Clip, trainable
from clipbench.running.equipment import Measure as ProbeMeasure
from clipbench.running.evaluation import device_of, evaluate
from clipbench.running.schedule import ScheduledRates

Look = Callable[[Batch], None]


@dataclass
class State:
    """What a run has accumulated, beside weights and optimizer state: all of it goes into a checkpoint."""

    spent: Spent = field(default_factory=Spent)
    step_seconds: list[float] = field(default_factory=list)
    loss_sum: float = 0.0  # of the mini-batches since the last evaluation
    loss_count: int = 0
    first_eval_loss: float = math.nan
    last_eval_loss: float = math.nan
    wall_seconds: float = 0.0  # of the processes that worked on this run before this one
    failed_probes: dict[str, str] = field(default_factory=dict)
    remarks: dict[str, tuple[str, ...]] = field(default_factory=dict)  # of the probes

    def remark(self, probe: str, text: str) -> None:
        said = self.remarks.get(probe, ())
        if text not in said:
            self.remarks[probe] = (*said, text)


@dataclass
class Training:
    """The live parts of one run."""

    problem: Problem
    optimizer: torch.optim.Optimizer
    clip: Clip | None
    rates: ScheduledRates
    budget: Budget
    measure: Measure
    probes: Sequence[tuple[str, ProbeMeasure]]
    record: Recorder
    watch: Stopwatch
    ledger: Ledger
    state: State = field(default_factory=State)

    @property
    def progress(self) -> float:
        return self.budget.progress(self.state.spent)

    def note(self, quantity: str, value: float, *, direction: str = "") -> None:
        spent = self.state.spent
        self.record(Measurement(spent.steps, spent.seconds, direction, quantity, value))


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
        training.rates.set(_progress_at_middle(training, batch))
        loss = _probed_step(training, batch) if _probes_are_due(training) else _step(training, batch)
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


def _progress_at_middle(training: Training, batch: Batch) -> float:
    """Progress at the middle of the coming step, where the schedule is read: neither end of a run has a zero rate.

    How long a step takes is only known from the last one; before there is one, a thousandth of the budget is assumed.
    """
    spent, budget = training.state.spent, training.budget
    seconds = training.state.step_seconds[-1] if training.state.step_seconds else budget.amount / 1000
    after = spent.after_step(batch.samples, tokens=batch.tokens or 0, seconds=seconds)
    return (budget.progress(spent) + budget.progress(after)) / 2


def _step(training: Training, batch: Batch, *, look: Look | None = None) -> float:
    """One training step on the clock; `look` sees the batch with the raw gradient in place, off the clock."""
    model, state, watch = training.problem.model, training.state, training.watch
    begin = watch.seconds
    with training.ledger.row("train"), watch.running():
        moved = batch.to(device_of(model))
        training.optimizer.zero_grad()
        loss = training.problem.loss(model, moved)
        loss.backward()  # type: ignore[no-untyped-call]
        if look:
            with watch.paused(), training.ledger.row("probes"):
                look(moved)
        training.optimizer.step()
    state.step_seconds.append(watch.seconds - begin)
    state.spent = state.spent.after_step(batch.samples, tokens=batch.tokens or 0, seconds=state.step_seconds[-1])
    return loss.item()


def _probes_are_due(training: Training) -> bool:
    """Not at step 0: there a new optimizer's averages are empty, and its update is unlike all that follow."""
    steps = training.state.spent.steps
    return steps > 0 and steps % training.measure.probe_every == 0


def _probed_step(training: Training, batch: Batch) -> float:
    """One training step, and what the probes see of it; the weights end where the step left them, bit for bit."""
    parameters = trainable(training.problem.model)
    step, seconds = training.state.spent.steps, training.state.spent.seconds
    with training.ledger.row("probes"):
        before = _copies(parameters)
    seen: list[tuple[Batch, Mapping[str, Tensor]]] = []
    loss = _step(training, batch, look=lambda moved: seen.append((moved, _gradients(parameters))))
    if not math.isfinite(loss):
        return loss
    with training.ledger.row("probes"), torch.no_grad():
        after = _copies(parameters)
        own = {name: after[name] - before[name] for name in parameters}
        moved, gradient = seen[0]
        snapshot = Snapshot(
            step=step,
            problem=training.problem,
            batch=moved,
            parameters=parameters,
            gradient=gradient,
            directions={OWN: own},
            learning_rates={OWN: training.rates.current()},
        )
        _put(parameters, before)
        try:
            for direction, quantity, value in _observations(training, snapshot):
                training.record(Measurement(step, seconds, direction, quantity, value))
        finally:
            _put(parameters, after)
    return loss


def _observations(training: Training, snapshot: Snapshot) -> Iterator[tuple[str, str, float]]:
    """What the clip did and what each probe says; a probe that fails costs its own rows, and its name is kept."""
    if training.clip is not None and training.clip.last is not None:
        last = training.clip.last
        yield "", records.CLIPPED_FRACTION, int(last.clipped) / last.n
        yield "", records.CLIP_THRESHOLD, float(last.threshold)
    for name, measure in training.probes:
        try:
            with torch.enable_grad(), undisturbed(training.problem.model):
                rows = list(measure(replace(snapshot, remark=partial(training.state.remark, name))))
        except Exception as error:  # a probe is anybody's code: whatever it raises, the run goes on
            traceback.print_exc()
            training.state.failed_probes.setdefault(name, f"at step {snapshot.step}: {type(error).__name__}: {error}")
        else:
            yield from rows


def _copies(parameters: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in parameters.items()}


def _gradients(parameters: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    return {
        name: torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.detach().clone()
        for name, parameter in parameters.items()
    }


def _put(parameters: Mapping[str, nn.Parameter], values: Mapping[str, Tensor]) -> None:
    for name, parameter in parameters.items():
        parameter.detach().copy_(values[name])
