"""An unfinished run, put by so that it ends as if it had never been interrupted: bit for bit on the same machine."""

import traceback
from dataclasses import asdict
from pathlib import Path

import torch

from clipbench import store
from clipbench.budget import Spent
from clipbench.running.training import State, Training


def save(training: Training, folder: Path, *, recorded: int) -> None:
    """Write the checkpoint; it vouches for the first `recorded` bytes of the measurements."""
    state = training.state
    content = {
        "recorded": recorded,
        "model": training.problem.model.state_dict(),
        "optimizer": training.optimizer.state_dict(),
        "ghosts": training.ghosts.state_dict() if training.ghosts else {},
        "state": asdict(state),
        "ledger": training.ledger.close(),
        "random": torch.get_rng_state(),
        "random_cuda": _random_cuda(),
    }
    with store.replacing(folder / store.CHECKPOINT) as draft:
        torch.save(content, draft)


def restore(training: Training, folder: Path) -> int:
    """Put a run back where its checkpoint was taken; how many bytes of measurements stand, 0 for a fresh start.

    A checkpoint that cannot be read or does not fit is named in the log and the run starts again from step 0.
    """
    path = folder / store.CHECKPOINT
    if not path.exists():
        return 0
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # torch raises many kinds for a damaged file
        traceback.print_exc()
        print(f"{path} cannot be read: the run starts again from step 0", flush=True)  # noqa: T201
        return 0
    training.problem.model.load_state_dict(content["model"])
    training.optimizer.load_state_dict(content["optimizer"])
    if training.ghosts:
        training.ghosts.load_state_dict(content["ghosts"])
    saved = content["state"]
    training.state = State(**saved | {"spent": Spent(**saved["spent"])})
    training.watch.seconds = training.state.spent.seconds
    for row, seconds in content["ledger"].items():
        training.ledger.seconds[row] += seconds
    torch.set_rng_state(content["random"])
    if content["random_cuda"]:
        torch.cuda.set_rng_state_all(content["random_cuda"])
    recorded: int = content["recorded"]
    return recorded


def _random_cuda() -> list[torch.Tensor]:
    initialized: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    return torch.cuda.get_rng_state_all() if initialized else []
