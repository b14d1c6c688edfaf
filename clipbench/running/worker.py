"""One process, one run: the run's folder holds its description when the worker starts and its record when it ends.

Whoever starts it, the worker is the same. It answers by exit code: DONE, the folder has an outcome; STOPPED, it was
asked to stop and has left a checkpoint; EX_IOERR, it failed and could not even write that. Anything else is a crash,
and the supervisor says so.
"""

import hashlib
import os
import statistics
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import nn

from clipbench import store
from clipbench.budget import Ledger, Stopwatch
from clipbench.contracts import Problem
from clipbench.errors import DONE, STOPPED, StoreError, in_one_line
from clipbench.records import GHOST, Arm, Outcome, Run
from clipbench.running import checkpoint, liveness
from clipbench.running.environment import observe, peak_bytes, settle, synchronize
from clipbench.running.equipment import build_optimizer, build_probes, build_problem, effective_options, state_bytes
from clipbench.running.ghosts import Ghosts
from clipbench.running.schedule import ScheduledRates
from clipbench.running.train import Ending, train
from clipbench.running.training import State, Training
from clipbench.running.trial import first_gradients

CHECKPOINT_SECONDS = 60.0
HEARTBEAT_SECONDS = 0.25


def work(folder: Path, *, device: str, side_by_side: int, stop: Callable[[], bool]) -> int:
    """Make the run that `folder` describes, on `device`; an exception becomes the run's own outcome, `failed`."""
    began, started = time.time(), time.monotonic()
    ledger = Ledger()
    run = store.begin(folder)
    settle(run.threads)
    place = torch.device(device)
    environment = observe(place, threads=run.threads, side_by_side=side_by_side)
    writer = None
    try:
        training = _prepare(run, place, ledger)
        recorded = checkpoint.restore(training, folder)
        started -= training.state.wall_seconds  # what earlier processes spent on this run is part of its wall time
        writer = store.Writer(folder, kept=recorded)
        training.record = writer
        ending = train(training, _Between(folder, writer, started, stop))
        if ending is None:
            return STOPPED
        writer.sync()
        outcome = replace(_outcome(training, ending, started), peak_bytes=peak_bytes(place), started=began)
        store.finish(folder, outcome, environment)
    except Exception as error:  # whatever a task, an optimizer or the disk raises fails this run, not the suite
        with suppress(OSError):  # a full disk has no room for the log either
            traceback.print_exc()
        with suppress(OSError, StoreError):  # what was measured before, while the record's digest can still cover it
            if writer is not None:
                writer.sync()
        try:
            store.finish(folder, _failure(error, ledger, started), environment)
        except StoreError:
            return os.EX_IOERR
    finally:
        if writer is not None:
            with suppress(OSError):  # rows that were not brought to the disk before are of no use
                writer.close()
    return DONE


def _prepare(run: Run, device: torch.device, ledger: Ledger) -> Training:
    """Build the run's parts, the seed's own random state included, and check that the arm is alive."""
    with ledger.row("data"):
        problem = build_problem(run, device)
    liveness.check(run.arm, problem)
    flops = liveness.step_flops(run.arm, problem)
    optimizer, clip = build_optimizer(run.arm, problem.model)
    with ledger.row("ghosts"):
        alive, failed = _ghosts_alive(run, problem)
        ghosts = Ghosts(alive, problem.model) if alive else None
    torch.manual_seed(run.seed)  # what training itself draws, such as dropout
    return Training(
        problem=problem,
        optimizer=optimizer,
        clip=clip,
        rates=ScheduledRates(optimizer, run.arm.schedule),
        budget=run.budget,
        measure=run.measure,
        probes=build_probes(run),
        record=lambda _: None,
        watch=Stopwatch(partial(synchronize, device)),
        ledger=ledger,
        ghosts=ghosts,
        step_flops=flops,
        state=State(failed_probes=failed),
    )


def _ghosts_alive(run: Run, problem: Problem) -> tuple[list[Arm], dict[str, str]]:
    """The ghosts that are what they say, and why the others are not: those cost their own rows and not the run."""
    alive: list[Arm] = []
    failed: dict[str, str] = {}
    gradients = first_gradients(problem) if run.measure.ghosts else []
    for ghost in run.measure.ghosts:
        try:
            liveness.check_ghost(ghost, problem, gradients)
        except Exception as error:  # an optimizer is anybody's code: whatever it raises, the run goes on
            traceback.print_exc()
            failed[f"{GHOST}{ghost.name}"] = f"before step 0: {in_one_line(error)}"
        else:
            alive.append(ghost)
    return alive, failed


class _Between:
    """What happens between steps, off the clock: signs of life, checkpoints, and stopping when asked."""

    def __init__(self, folder: Path, writer: store.Writer, started: float, stop: Callable[[], bool]) -> None:
        self._folder, self._writer, self._started, self._stop = folder, writer, started, stop
        self._beat_at = self._saved_at = time.monotonic()

    def __call__(self, training: Training) -> bool:
        now, state = time.monotonic(), training.state
        if now - self._beat_at >= HEARTBEAT_SECONDS:
            self._beat_at = now
            store.write_heartbeat(
                self._folder, progress=training.progress, step=state.spent.steps, loss=state.last_eval_loss
            )
        stopping = self._stop()
        with training.ledger.row("checkpoint"):
            if stopping or now - self._saved_at >= CHECKPOINT_SECONDS:
                self._saved_at = now
                recorded = self._writer.sync()
                state.wall_seconds = time.monotonic() - self._started
                checkpoint.save(training, self._folder, recorded=recorded)
            elif self._writer.unsynced:
                self._writer.sync()
        return stopping


def _outcome(training: Training, ending: Ending, started: float) -> Outcome:
    state, weights = training.state, weights_sha256(training.problem.model)
    return Outcome(
        status=ending.status,
        reason=ending.reason,
        steps=state.spent.steps,
        samples=state.spent.samples,
        tokens=state.spent.tokens,
        train_seconds=state.spent.seconds,
        step_seconds=statistics.median(state.step_seconds) if state.step_seconds else 0.0,
        first_step_seconds=state.step_seconds[0] if state.step_seconds else 0.0,
        wall_seconds=time.monotonic() - started,
        weights_sha256=weights,
        ledger=training.ledger.close(),
        effective=effective_options(training.optimizer),
        failed_probes=state.failed_probes,
        remarks=state.remarks,
        state_bytes=state_bytes(training.optimizer),
        step_flops=training.step_flops,
    )


def _failure(error: Exception, ledger: Ledger, started: float) -> Outcome:
    reason = f"{type(error).__name__}: {error}"
    return Outcome("failed", reason=reason, wall_seconds=time.monotonic() - started, ledger=ledger.close())


def weights_sha256(model: nn.Module) -> str:
    """SHA-256 over every parameter and buffer, by name, with dtype, shape and bytes: equal means equal bit for bit."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
