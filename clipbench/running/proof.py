"""Does a run that is interrupted end where it would have ended? Tried by behaviour, on parts that are thrown away.

Two steps, a checkpoint, and one more step, by the parts that made it and by freshly built ones that it was read into:
weights, buffers, all that every optimizer and the model keep, and the next random draws must be equal bit for bit. What
lives where no checkpoint reaches (an iterator inside a task, an object an optimizer hides) shows as a difference.
"""

import io
import math
import re
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from clipbench.errors import reason_of
from clipbench.running import checkpoint
from clipbench.running.equipment import as_given, next_batch
from clipbench.running.evaluation import at_evaluation_weights
from clipbench.running.fingerprints import tensor_sha256
from clipbench.running.grouping import parts
from clipbench.running.held import held
from clipbench.running.train import take_step
from clipbench.running.training import Training

PROOF_STEPS = 2  # before the checkpoint: the fewest after which an average differs from its first value

# Where repeats differ, so do their differences: a kernel without a deterministic form is off by its rounding, which
# varies by a small factor from one try to the next, and what is lost shows at the size of an update, far above.
_ALLOWED = 10.0
_REPEATS = 3  # of which the largest difference counts: a single one may be small by chance

_AGAIN = "interrupted, it starts again from step 0"
RANDOM, WEIGHTS = "random draws", "weights"

Build = Callable[[], Training]


@dataclass(frozen=True)
class Proof:
    """Whether a checkpoint is to be used, and what its record must say of it; empty where it is bit for bit."""

    keeps: bool
    remark: str = ""


@dataclass(frozen=True)
class _Hash:
    """What stands for a tensor that is only asked whether it is the same."""

    sha256: str


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
        _advance(used, PROOF_STEPS)
        saved = packed(used)
        through = _after_one_more(used)
    except Exception as error:  # a task and an optimizer are anybody's code: the run itself may still go well
        return _starts_again(error)
    if _has_idle_optimizer(used.optimizer):
        return Proof(keeps=False, remark=f"{_AGAIN}: it holds an optimizer that has not stepped yet")
    return judged(through, saved, build)


def _has_idle_optimizer(optimizer: torch.optim.Optimizer) -> bool:
    """Whether there is one inside whose state is still to come, so that nothing can be said of it."""
    known = parts(optimizer)  # whose state is in the checkpoint, be there any or not
    holders = [optimizer, *known]
    inside = [value for holder in holders for each in vars(holder).values() for value in _listed(each)]
    return any(isinstance(each, torch.optim.Optimizer) and not each.state and each not in known for each in inside)


def _listed(thing: object) -> list[object]:
    return thing if isinstance(thing, list) else [thing]


def judged(through: End, saved: bytes, build: Build) -> Proof:
    """Whether freshly built parts that read the checkpoint `saved` get in one step where `through` got."""
    try:
        resumed = _gone_on(build(), saved)
        apart = differing(through, resumed)
        if not apart:
            return Proof(keeps=True)
        repeats = [_gone_on(build(), saved) for _ in range(_REPEATS)]
    except Exception as error:  # as above
        return _starts_again(error)
    repeatable = not any(differing(resumed, each) for each in repeats)
    for name in apart:
        if repeatable or not _is_noise(
            through.parts[name], resumed.parts[name], [each.parts[name] for each in repeats]
        ):
            return Proof(keeps=False, remark=f"{_AGAIN}: from a checkpoint its next step gives other {name}")
    if WEIGHTS in apart:
        return Proof(keeps=True, remark="not bit for bit if interrupted, nor is a plain repeat on this machine")
    return Proof(keeps=True)


def _is_noise(through: Any, resumed: Any, repeats: Sequence[Any]) -> bool:
    """Whether a part of an end differs by no more than it does where the same is done again."""
    if isinstance(through, dict) and isinstance(resumed, dict):
        return all(each.keys() == through.keys() for each in (resumed, *repeats)) and all(
            _is_noise(through[name], resumed[name], [each[name] for each in repeats]) for name in through
        )
    if isinstance(through, list) and isinstance(resumed, list):
        return all(len(each) == len(through) for each in (resumed, *repeats)) and all(
            _is_noise(first, second, others) for first, second, *others in zip(through, resumed, *repeats, strict=True)
        )
    if _same(through, resumed):
        return True
    if isinstance(through, Tensor) and isinstance(resumed, Tensor):
        rounding = torch.finfo(resumed.dtype).eps if resumed.is_floating_point() else 0.0
        return _gap(through, resumed) <= _ALLOWED * max(rounding, *(_gap(resumed, each) for each in repeats))
    # Of an attribute the hash is known alone; what is counted is no rounding.
    return isinstance(through, float | _Hash) and not all(_same(resumed, each) for each in repeats)


def _starts_again(error: Exception) -> Proof:
    traceback.print_exc()
    kind = re.search(r"GLOBAL (\S+)", str(error)) if isinstance(error, UnpicklingError) else None
    if kind:
        why = f"a {kind.group(1).rpartition('.')[2]} in its state cannot be read back without running code"
    else:
        why = f"trying a checkpoint failed with {reason_of(error)}"
    return Proof(keeps=False, remark=f"{_AGAIN}: {why}")


def packed(training: Training) -> bytes:
    """A checkpoint's content, written as a checkpoint is."""
    written = io.BytesIO()
    torch.save(checkpoint.content(training), written)
    return written.getvalue()


def _gone_on(fresh: Training, saved: bytes) -> End:
    checkpoint.put_back(fresh, checkpoint.load(io.BytesIO(saved)))
    return _after_one_more(fresh)


def _after_one_more(training: Training) -> End:
    if training.ghosts:
        training.ghosts.keeping = True
    _advance(training, 1)
    return end(training)


def end(training: Training) -> End:
    """Where training stands, copied to the CPU; of ghosts their latest updates as well, where they are kept."""
    content = checkpoint.content(training)
    with at_evaluation_weights(training.optimizer, steps=training.state.spent.steps):
        used = _copied(dict(training.problem.model.named_parameters()))
    parts = {
        RANDOM: content["random"],
        WEIGHTS: content["model"],
        "buffers": content["buffers"],
        "optimizer state": content["optimizer"]["state_dict"],
        "optimizer states of ghosts": {name: ghost["state_dict"] for name, ghost in content["ghosts"].items()},
        "updates of ghosts": training.ghosts.latest if training.ghosts else {},
        "weights by optimizer.eval()": used,
        **dict(_hidden(training)),
    }
    return End({name: _copied(part) for name, part in parts.items()})


def _hidden(training: Training) -> Iterator[tuple[str, dict[str, object]]]:
    """What is kept in attributes, in objects of its own and in code, by whom: tensors by their hash."""
    problem = training.problem
    ghosts = training.ghosts.optimizers if training.ghosts else {}
    roots: dict[str, object] = {"the optimizer": _own(training.optimizer), "the model": problem.model}
    roots |= {"the loss": as_given(problem.loss), "train_batches": as_given(problem.train_batches)}
    roots |= {f"the ghost {name}": _own(ghost) for name, ghost in ghosts.items()}
    trained = [*problem.model.parameters(), *problem.model.buffers()]  # which are compared by themselves
    for whose, root in roots.items():
        leaves = held({whose: root}, trained=trained)
        yield (
            f"attributes in {whose}",
            {way: _Hash(tensor_sha256(leaf)) if isinstance(leaf, Tensor) else leaf for way, leaf in leaves.items()},
        )


def _own(optimizer: torch.optim.Optimizer) -> dict[str, object]:
    """What is an optimizer's own, beside what its state_dict has."""
    of_state_dict = ("defaults", "param_groups", "state")
    return {name: value for name, value in vars(optimizer).items() if name not in of_state_dict} | {
        "class": type(optimizer)
    }


def differing(first: End, second: End) -> list[str]:
    """The names of the parts that are not equal bit for bit."""
    return [name for name, part in first.parts.items() if not _same(part, second.parts.get(name))]


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


def _gap(first: Tensor, second: Tensor) -> float:
    """The largest difference, relative to the largest number; infinite by NaN."""
    if first.shape != second.shape:
        return math.inf
    first, second = first.double(), second.double()
    gap = float((first - second).abs().max() / second.abs().max().clamp(min=1e-30)) if first.numel() else 0.0
    return math.inf if math.isnan(gap) else gap
