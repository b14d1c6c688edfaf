"""An unfinished run, put by so that it ends as if it had never been interrupted: bit for bit on the same machine.

What no state_dict holds is kept as well, as far as it is plain: attributes of modules and of optimizers, buffers that
are not persistent, generators, and state in another dtype than its parameter's, which torch would cast.
`clipbench.running.proof` tries whether that is all.
"""

import random
from collections.abc import Mapping
from dataclasses import asdict, astuple
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from pydantic import TypeAdapter
from torch import Tensor

from clipbench import store
from clipbench.errors import StoreError
from clipbench.geometry import keeping
from clipbench.records import RESUME
from clipbench.running.equipment import next_batch
from clipbench.running.evaluation import device_of
from clipbench.running.fingerprints import batch_sha256
from clipbench.running.training import State, Training
from clipbench.store.sound import LARGEST

Content = dict[str, Any]
_STATE = TypeAdapter(State)


def content(training: Training) -> Content:
    """All that decides how training goes on, by reference: whoever keeps it past the next step makes a copy."""
    model = training.problem.model
    return {
        "model": model.state_dict(),
        "buffers": dict(model.named_buffers()),
        "attributes": {name: kept for name, module in model.named_modules() if (kept := keeping.attributes(module))},
        "optimizer": _optimizer(training.optimizer),
        "ghosts": {name: _optimizer(each) for name, each in _ghosts(training).items()},
        "random": keeping.generators([device_of(model)]),
        "state": asdict(training.state),
    }


def put_back(training: Training, saved: Content) -> None:
    """Bring freshly built parts to where `saved` was taken. Where it does not fit: any error, and spoilt parts."""
    model = training.problem.model
    model.load_state_dict(saved["model"])
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            buffer.copy_(saved["buffers"][name])
    for name, module in model.named_modules():
        if name in saved["attributes"]:
            keeping.put_back(module, saved["attributes"][name])
    _load(training.optimizer, saved["optimizer"])
    if training.ghosts:
        training.ghosts.keep_only(saved["ghosts"])
    for name, optimizer in _ghosts(training).items():
        _load(optimizer, saved["ghosts"][name])
    training.state = _STATE.validate_python(saved["state"])
    training.watch.seconds = training.state.spent.seconds
    keeping.put_generators_back(saved["random"])


def load(file: BinaryIO) -> Any:
    """What a checkpoint's file holds, read without running code: tensors, numbers, texts and containers of them."""
    return torch.load(file, map_location="cpu", weights_only=True)


def save(training: Training, folder: Path, *, key: str, numerics: str, recorded: int) -> None:
    """Write the checkpoint of the run with this key; it vouches for the first `recorded` bytes of the measurements."""
    written = {"key": key, "numerics": numerics, "recorded": recorded, "ledger": training.ledger.close()}
    written["recorded_sha256"] = store.recorded_sha256(folder, recorded)
    written["last_batch"] = batch_sha256(training.last_batch) if training.last_batch else ""
    # By a file of Python's, whose error says that the disk is full: torch's own says only that writing failed.
    with store.replacing(folder / store.CHECKPOINT) as draft, draft.open("wb") as file:
        torch.save(written | {"content": content(training)}, file)


def restore(training: Training, folder: Path, *, key: str, numerics: str) -> int:
    """Bring a run back to where its checkpoint was taken; how many bytes of measurements stand, 0 for a fresh start.

    Raises:
        StoreError: the checkpoint cannot be read, is another run's, or does not fit. The parts may be spoilt then.
    """
    path = folder / store.CHECKPOINT
    if not path.exists():
        return 0
    try:
        with store.reading(path) as file:
            saved = load(file)
        recorded = int(saved["recorded"])
        if saved["key"] != key:
            raise ValueError(f"it is of the run {saved['key']}, not {key}")
        if not store.has_recorded(folder, recorded):
            raise ValueError(f"it vouches for {recorded} bytes of measurements, which are not there")
        if saved["recorded_sha256"] != store.recorded_sha256(folder, recorded):
            raise ValueError("the measurements are not those that it vouches for")
        put_back(training, saved["content"])
        state = training.state
        if state.spent.steps != len(state.step_seconds):
            raise ValueError(f"it has {state.spent.steps} steps and the times of {len(state.step_seconds)}")
        counts = (state.passes, *astuple(state.peaks), *state.resumed_at)
        of_task = (state.spent.samples, state.spent.tokens)  # which may count as it likes
        if not all(0 <= count < LARGEST for count in (*counts, *map(abs, of_task))):  # its record could not be read
            raise ValueError("it counts what no run has")
        _require_batch(training, str(saved["last_batch"]))
        for row in training.ledger.seconds:
            training.ledger.seconds[row] += float(saved["ledger"].get(row, 0.0))
    except Exception as error:  # torch raises many kinds for a damaged file, and a file of a stranger may hold anything
        raise StoreError(f"this checkpoint does not fit ({type(error).__name__}: {error})", where=str(path)) from error
    training.state.resumed_at.append(training.state.spent.steps)
    if saved["numerics"] != numerics:
        training.state.remark(RESUME, f"went on at step {state.spent.steps} under another numerical set-up")
    return recorded


def _require_batch(training: Training, sha256: str) -> None:
    """The step before the checkpoint has the batch that it had: a task's batches go by the step and by nothing else.

    A task that draws from the global generators cannot be asked: their state is that of a step later.
    """
    step, before = training.state.spent.steps - 1, _drawn()
    if not sha256:
        return
    generators = keeping.generators([device_of(training.problem.model)])
    again = batch_sha256(next_batch(training.problem.train_batches(step), step))
    from_generators = _drawn() != before
    keeping.put_generators_back(generators)
    if again != sha256 and not from_generators:
        raise ValueError(f"the batch of step {step} is another one when it is drawn again")


def _drawn() -> tuple[object, ...]:
    """How far the global generators are."""
    return torch.get_rng_state().numpy().tobytes(), random.getstate(), str(np.random.get_state(legacy=False))


def _ghosts(training: Training) -> Mapping[str, torch.optim.Optimizer]:
    return training.ghosts.optimizers if training.ghosts else {}


def _optimizer(optimizer: torch.optim.Optimizer) -> Content:
    return {"state_dict": optimizer.state_dict(), "attributes": keeping.attributes(optimizer)}


def _load(optimizer: torch.optim.Optimizer, saved: Content) -> None:
    optimizer.load_state_dict(saved["state_dict"])
    present = optimizer.state_dict().get("state", {})  # the optimizer's own dicts, not copies
    for key, state in saved["state_dict"].get("state", {}).items():
        if isinstance(state, dict):
            for name, value in state.items():
                present[key][name] = _in_dtype(value, present[key][name])
    keeping.put_back(optimizer, saved["attributes"])


def _in_dtype(saved: Any, loaded: Any) -> Any:
    """What torch has loaded, but in the dtype that was saved: it casts floating-point state to its parameter's."""
    if isinstance(saved, Tensor) and isinstance(loaded, Tensor):
        return saved.to(loaded.device) if saved.dtype != loaded.dtype else loaded
    if isinstance(saved, dict) and isinstance(loaded, dict):
        return {name: _in_dtype(value, loaded[name]) for name, value in saved.items()}
    if isinstance(saved, list | tuple) and isinstance(loaded, list | tuple) and type(saved) in (list, tuple):
        return type(saved)(_in_dtype(a, b) for a, b in zip(saved, loaded, strict=True))
    return loaded
