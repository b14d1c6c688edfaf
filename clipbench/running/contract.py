"""What a task promises, proved on the problems that it builds.

`clipbench validate --build` and the tests of the shelf ask the same function, `broken`. `clipbench/contracts.py` and
`docs/task.md` say what is promised.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from clipbench.contracts import Batch, Problem
from clipbench.errors import ClipbenchError
from clipbench.geometry.undisturbed import undisturbed
from clipbench.problems import FEWEST, PROBED
from clipbench.running.environment import seed_generators
from clipbench.running.equipment import next_batch
from clipbench.running.evaluation import device_of, evaluate
from clipbench.running.fingerprints import batch_sha256, batches_sha256, weights_sha256
from clipbench.running.metrics import value_of

STEPS = 6  # training batches that are drawn
PATIENCE = 60.0  # seconds to the last batch of a run, for a task that draws all before it
ROUNDING = 1e-4  # by which two losses in float32 may differ, relative to the larger

BuildSeed = Callable[[int], Problem]  # of a seed


@dataclass(frozen=True)
class Bits:
    """What a problem begins with, each part by its hash; training batches one by one."""

    weights: str
    training: Sequence[str]
    evaluation: str
    probes: str
    train_slice: str


def broken(build: BuildSeed, seed: int, *, steps: int = STEPS, last: int = 0) -> Iterator[str]:
    """The promises that a task breaks, a sentence each with what to do about it.

    Args:
        build: builds the task's problem of a seed, and raises what it likes.
        seed: to build it with; the next one is the other seed.
        steps: how many training batches to draw.
        last: the step of the last batch of a run, where it is known.
    """
    seed_generators(1)
    problem = build(seed)
    try:
        begin = time.perf_counter()
        batches = _drawn(problem, steps)
        seconds = (time.perf_counter() - begin) / steps
        first = _bits(problem, batches)
        yield from _first_of(_of_seeds(build, seed, first, steps), _of_order(problem, first.training))
        if last * seconds < PATIENCE:
            next_batch(problem.train_batches(last), last)
    except ClipbenchError as error:
        yield f"{error.message}; {error.remedy}" if error.remedy else error.message
        return
    yield from _of_probes(problem, batches[0])
    yield from _first_of(_of_shape(problem, batches[0]), _of_evaluation(problem, first), _of_mean(problem, batches))
    for name in problem.metrics:
        yield from _of_metric(problem, name)


def _first_of(*proofs: Iterator[str]) -> Iterator[str]:
    """What the first proof that fails says: the next ones rest on it."""
    return next((iter(sentences) for proof in proofs if (sentences := list(proof))), iter(()))


def _drawn(problem: Problem, steps: int) -> list[Batch]:
    iterator = problem.train_batches(0)
    return [next_batch(iterator, step) for step in range(steps)]


def _bits(problem: Problem, batches: Sequence[Batch]) -> Bits:
    return Bits(
        weights_sha256(problem.model),
        [batch_sha256(batch) for batch in batches],
        batches_sha256(problem.eval_batches),
        batches_sha256(problem.probe_batches),
        batches_sha256(problem.train_slice),
    )


def _of_seeds(build: BuildSeed, seed: int, first: Bits, steps: int) -> Iterator[str]:
    """The same seed gives the same bits, whatever state the global generators are in, and another gives other bits."""

    def again(seed: int) -> Bits:
        seed_generators(2)
        problem = build(seed)
        return _bits(problem, _drawn(problem, steps))

    second = again(seed)
    differing = [
        what
        for what, before, after in (
            ("initial weights", first.weights, second.weights),
            ("training batches", first.training, second.training),
            ("evaluation batches", first.evaluation, second.evaluation),
            ("probe batches", first.probes, second.probes),
            ("batches of train_slice", first.train_slice, second.train_slice),
        )
        if before != after
    ]
    if differing:
        mend = (
            "draw from a generator that starts from the seed, or inside torch.random.fork_rng() with manual_seed(seed)"
        )
        what = " and the ".join(differing)
        yield f"the {what} do not follow the seed: built twice with seed {seed} they differ; {mend}"
        return
    other = again(seed + 1)
    if (other.weights, other.training) == (first.weights, first.training):
        mend = "draw the initial weights and the order of the examples from it"
        seeds = f"seeds {seed} and {seed + 1}"
        yield f"the seed changes nothing: {seeds} have the same weights and training batches; {mend}"


def _of_order(problem: Problem, training: Sequence[str]) -> Iterator[str]:
    """Batch i is the same whatever was drawn before it."""
    for step in sorted({0, 1, len(training) // 2, len(training) - 1}):
        if batch_sha256(next_batch(problem.train_batches(step), step)) != training[step]:
            yield (
                f"training batch {step} depends on what was drawn before it, so that an interrupted run cannot go on; "
                "let train_batches(start) begin with batch `start`, drawn from the seed and that number"
            )
            return


def _of_probes(problem: Problem, batch: Batch) -> Iterator[str]:
    probed = sum(each.samples for each in problem.probe_batches)
    needed = min(PROBED * batch.samples, FEWEST)
    if probed < needed:
        yield f"probe_batches have {probed} samples, and a curvature needs {needed} at least; add held-out batches"


def _of_shape(problem: Problem, batch: Batch) -> Iterator[str]:
    [loss] = _losses(problem, batch)
    if not isinstance(loss, Tensor) or loss.ndim:
        what = f"tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
        yield f"the loss is a {what}, not a 0-d tensor; average over the batch, and return the tensor itself"


def _losses(problem: Problem, *batches: Batch) -> list[Any]:
    device = device_of(problem.model)
    with undisturbed(problem.model, problem.loss), torch.no_grad():
        return [problem.loss(problem.model, batch.to(device)) for batch in batches]


def _of_evaluation(problem: Problem, first: Bits) -> Iterator[str]:
    """An evaluation, and a gradient on a probe batch, leave no trace."""
    losses = [evaluate(problem).loss for _ in range(2)]
    if problem.probe_batches:
        with undisturbed(problem.model, problem.loss):
            problem.loss(problem.model, problem.probe_batches[0].to(device_of(problem.model))).backward()
    after = _bits(problem, [])
    if (after.evaluation, after.probes) != (first.evaluation, first.probes):
        yield "the loss changes its batch; compute from the batch's tensors without writing into them"
    elif after.weights != first.weights:
        yield "an evaluation changes the model; let it write into nothing that its parameters and buffers share"
    elif not math.isclose(*losses, rel_tol=ROUNDING) and all(map(math.isfinite, losses)):
        yield (
            f"two evaluations of the same weights give {losses[0]:.6g} and {losses[1]:.6g}; "
            "let the loss draw nothing at random where the model is in evaluation mode"
        )


def _of_metric(problem: Problem, name: str) -> Iterator[str]:
    """A metric is a number, the same whatever state the global generators are in, and leaves its batches alone."""
    before, values = batches_sha256(problem.eval_batches), []
    try:
        for number in (1, 2):
            seed_generators(number)
            values.append(value_of(problem, name))
    except ClipbenchError as error:
        yield f"{error.message}; {error.remedy}"
        return
    if batches_sha256(problem.eval_batches) != before:
        yield f"the metric {name!r} changes its batch; compute from the batch's tensors without writing into them"
    elif not math.isclose(*values, rel_tol=ROUNDING) and not all(map(math.isnan, values)):
        yield (
            f"the metric {name!r} is {values[0]:.6g}, and {values[1]:.6g} when repeated at the same weights; "
            "let it draw nothing at random"
        )


def _of_mean(problem: Problem, batches: Sequence[Batch]) -> Iterator[str]:
    """The loss is a mean over what `Batch.weight` counts: two batches together have the mean of both, by weight."""
    first, second = _to_join([*batches[:STEPS], *problem.eval_batches[:STEPS], *problem.probe_batches[:STEPS]])
    joined = _joined(first, second)
    one, other, whole = (float(loss) for loss in _losses(problem, first, second, joined))
    expected = (one * first.weight + other * second.weight) / joined.weight
    if not math.isclose(whole, expected, rel_tol=ROUNDING, abs_tol=ROUNDING**2) and math.isfinite(expected):
        counted = "samples" if joined.tokens is None else "tokens"
        yield (
            f"the loss is no mean over {counted}: two batches together have {whole:.6g}, and their mean is "
            f"{expected:.6g}; average over the samples, or over the tokens that Batch.tokens counts, without padding"
        )


def _to_join(batches: Sequence[Batch]) -> tuple[Batch, Batch]:
    """Of the batches that can be joined, the two whose weights differ the most; else a batch and itself."""
    pairs = [(first, second) for first, second in combinations(batches, 2) if _fit(first, second)]
    return max(pairs, key=lambda pair: abs(pair[0].weight - pair[1].weight), default=(batches[0], batches[0]))


def _fit(first: Batch, second: Batch) -> bool:
    """Whether each has a row for each sample in every tensor, and the rows are of the same shapes."""
    return _rows(first) == _rows(second) is not None


def _rows(batch: Batch) -> Mapping[str, tuple[torch.dtype, torch.Size]] | None:
    if any(not tensor.ndim or len(tensor) != batch.samples for tensor in batch.tensors.values()):
        return None
    return {name: (tensor.dtype, tensor.shape[1:]) for name, tensor in batch.tensors.items()}


def _joined(first: Batch, second: Batch) -> Batch:
    tokens = None if first.tokens is None or second.tokens is None else first.tokens + second.tokens
    if not _fit(first, second):  # a batch and itself, of tensors that cannot be joined
        return first
    tensors = {name: torch.cat([tensor, second[name]]) for name, tensor in first.tensors.items()}
    return Batch(tensors, samples=first.samples + second.samples, tokens=tokens)
