"""Does a run that is interrupted end where it would have ended? Tried by behaviour, on parts that are thrown away.

Two steps, a checkpoint, and one more step, by the parts that made it and by freshly built ones that it was read into:
weights, buffers, the state of every optimizer and the next random draws must be equal bit for bit. What lives where no
checkpoint reaches (an iterator inside a task, an object an optimizer hides) shows as a difference.
"""

import io
import math
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from clipbench.errors import in_one_line
from clipbench.running import checkpoint
from clipbench.running.equipment import next_batch
from clipbench.running.train import take_step
from clipbench.running.training import Training

STEPS = 2  # before the checkpoint: the fewest after which an average differs from its first value

# Where repeats differ, so do their differences: a kernel without a deterministic form is off by its rounding, which
# varies by a small factor from one try to the next, and what is lost shows at the size of an update, far above.
_ALLOWED = 10.0

_AGAIN = "interrupted, it starts again from step 0"
RANDOM, WEIGHTS = "random draws", "weights"

Build = Callable[[], Training]


@dataclass(frozen=True)
class Proof:
    """Whether a checkpoint is to be used, and what its record must say of it; empty where it is bit for bit."""

    keeps: bool
    remark: str = ""


@dataclass(frozen=True)
class End:
    """Where some steps have led, by value: what must come back, by its name in words."""

    parts: dict[str, Any]


def prove(used: Training, build: Build) -> Proof:
    """Try a checkpoint.

    Args:
        used: parts at step 0, which are spent afterwards.
        build: makes the same parts anew.
    """
    try:
        _advance(used, STEPS)
        saved = packed(used)
        through = _after_one_more(used)
    except Exception as error:  # a task and an optimizer are anybody's code: the run itself may still go well
        return _starts_again(error)
    return judged(through, saved, build)


def judged(through: End, saved: bytes, build: Build) -> Proof:
    """Whether freshly built parts that read the checkpoint `saved` get in one step where `through` got."""
    try:
        resumed = _gone_on(build(), saved)
        lost = differing(through, resumed)
        if not lost:
            return Proof(keeps=True)
        again = _gone_on(build(), saved)
    except Exception as error:  # as above
        return _starts_again(error)
    if (
        differing(resumed, again)
        and lost != RANDOM
        and _distance(through, resumed) <= _ALLOWED * _distance(resumed, again)
    ):
        return Proof(keeps=True, remark="not bit for bit if interrupted, nor is a plain repeat on this machine")
    return Proof(keeps=False, remark=f"{_AGAIN}: from a checkpoint its next step gives other {lost}")


def _starts_again(error: Exception) -> Proof:
    traceback.print_exc()
    return Proof(keeps=False, remark=f"{_AGAIN}: trying a checkpoint failed with {in_one_line(error)}")


def packed(training: Training) -> bytes:
    """A checkpoint's content, written as a checkpoint is."""
    written = io.BytesIO()
    torch.save(checkpoint.content(training), written)
    return written.getvalue()


def _gone_on(fresh: Training, saved: bytes) -> End:
    checkpoint.put_back(fresh, torch.load(io.BytesIO(saved), map_location="cpu", weights_only=True))
    return _after_one_more(fresh)


def _after_one_more(training: Training) -> End:
    if training.ghosts:
        training.ghosts.keeping = True
    _advance(training, 1)
    return end(training)


def end(training: Training) -> End:
    """Where training stands, copied to the CPU; of ghosts their latest updates as well, where they are kept."""
    held = checkpoint.content(training)
    optimizers = {"optimizer state": held["optimizer"]}
    optimizers |= {f"optimizer state of the ghost {name}": ghost for name, ghost in held["ghosts"].items()}
    parts = {
        RANDOM: held["random"],
        WEIGHTS: held["model"],
        "buffers": held["buffers"],
        **{name: each["state_dict"].get("state", {}) for name, each in optimizers.items()},
        "updates of ghosts": training.ghosts.latest if training.ghosts else {},
    }
    return End({name: _copied(part) for name, part in parts.items()})


def differing(first: End, second: End) -> str:
    """The name of the first part that is not equal bit for bit; empty where all are."""
    return next((name for name, part in first.parts.items() if not _same(part, second.parts.get(name))), "")


def _advance(training: Training, steps: int) -> None:
    training.problem.model.train()
    batches = training.problem.train_batches(training.state.spent.steps)
    for _ in range(steps):
        take_step(training, next_batch(batches, training.state.spent.steps))


def _copied(thing: Any) -> Any:
    if isinstance(thing, Tensor):
        return thing.detach().cpu().clone()
    if isinstance(thing, dict):
        return {name: _copied(value) for name, value in thing.items()}
    return [_copied(value) for value in thing] if isinstance(thing, list | tuple) else thing


def _same(first: Any, second: Any) -> bool:
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return (first.dtype, first.shape) == (second.dtype, second.shape) and _equal(first, second)
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(_same(first[name], second[name]) for name in first)
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(map(_same, first, second))
    return type(first) is type(second) and bool(first == second or first != first)


def _equal(first: Tensor, second: Tensor) -> bool:
    return torch.equal(first, second) or bool(((first == second) | ((first != first) & (second != second))).all())


def _distance(first: End, second: End) -> float:
    """The largest difference of the weights, relative to the largest weight of its tensor."""
    pairs = zip(_tensors(first.parts), _tensors(second.parts), strict=False)
    gaps = [float((a - b).abs().max() / b.abs().max().clamp(min=1e-30)) for a, b in pairs if a.numel()]
    return max((math.inf if math.isnan(gap) else gap for gap in gaps), default=0.0)


def _tensors(parts: dict[str, Any]) -> Iterator[Tensor]:
    weights = parts[WEIGHTS]
    return (tensor.double() for tensor in weights.values() if isinstance(tensor, Tensor) and tensor.is_floating_point())
