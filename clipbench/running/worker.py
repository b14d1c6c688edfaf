"""One process, one run: the run's folder holds its description when the worker starts and its record when it ends.

Whoever starts it, the worker is the same. It answers by exit code: DONE, the folder has an outcome; STOPPED, it was
asked to stop, and its last sign of life says so; EX_IOERR, it cannot write there, and goes on from its checkpoint once
it can. Anything else is a crash, and the supervisor says so.
"""

import errno
import math
import os
import statistics
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch

from clipbench import store
from clipbench.budget import Ledger
from clipbench.errors import DONE, LOST_PROCESS, STOPPED, StoreError, reason_of
from clipbench.geometry import keeping
from clipbench.records import RESUME, Environment, Outcome, Run
from clipbench.running import checkpoint
from clipbench.running.environment import observe, peak_bytes, settle, this_process_alone
from clipbench.running.equipment import effective_options, state_bytes
from clipbench.running.evaluation import at_evaluation_weights, change, device_of
from clipbench.running.fingerprints import comparable, weights_sha256
from clipbench.running.grouping import taken
from clipbench.running.helpers import LostProcessError
from clipbench.running.loaded import LoadedCode
from clipbench.running.opened import OpenedFiles
from clipbench.running.preparing import AskedToStop, Prepared, Witness, fingerprints, prepare
from clipbench.running.processes import Team, team
from clipbench.running.proof import PROOF_STEPS, Proof, end, judged, packed
from clipbench.running.train import Ending, train
from clipbench.running.training import State, Training

CHECKPOINT_SECONDS = 60.0
CHECKPOINT_SHARE = 50.0  # a checkpoint that takes long is taken as rarely as this, in its own time
HEARTBEAT_SECONDS = 0.25
_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE)


def work(
    folder: Path,
    *,
    device: str,
    named: str = "",
    side_by_side: int,
    stop: Callable[[], bool],
    give_up: Callable[[], bool] = lambda: False,
) -> int:
    """Make the run that `folder` describes, on `device`; an exception becomes the run's own outcome, `failed`.

    `named` is how the record calls the device, where this process sees it by another name.

    `stop` is asked before each step of training, and `give_up` where there is nothing to keep: between the steps that
    are tried before step 0, and where the run failed, as it may when the signal to stop also ends a process of its own.
    """
    folder = folder.absolute()  # a task may change the working directory
    began, started = time.time(), time.monotonic()
    ledger = Ledger()
    run = store.begin(folder)
    settle(run.threads)
    place = torch.device(device)
    try:
        environment = observe(place, threads=run.threads, side_by_side=side_by_side, training=run.training)
    except Exception as error:  # torch has no single kind for a device that it cannot reach
        traceback.print_exc()
        reason = f"the device {named or device} is not there, or not any more: {reason_of(error)}"
        store.finish(folder, Outcome("failed", reason, started=began, ledger=ledger.close()), None)
        return DONE
    environment = replace(environment, device=named or device)
    at_work = _Work(run, folder, environment, ledger, started, stop)
    try:
        with this_process_alone(), team(run, place) as processes:
            outcome = at_work.outcome(processes, give_up)
        if outcome is None:
            return STOPPED
        store.finish(folder, replace(outcome, started=began), environment)
    except AskedToStop:
        return _given_up(folder)
    except LostProcessError as error:  # a crash, which leaves the checkpoint for another try
        print(error, flush=True)  # noqa: T201
        return LOST_PROCESS
    except BaseException as error:  # whatever a task, an optimizer or the disk raises fails this run alone
        with suppress(OSError):  # a full disk has no room for the log either
            traceback.print_exc()
        if give_up():
            return _given_up(folder)
        if _cannot_write(error):
            return os.EX_IOERR
        try:
            store.finish(folder, replace(at_work.failure(error), started=began), environment)
        except StoreError:
            return os.EX_IOERR
    return DONE


def _cannot_write(error: BaseException | None) -> bool:
    """Whether a disk that is full, read-only or gone is behind an error: no fault of the run's."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _UNWRITABLE:
            return True
        error = error.__cause__ or error.__context__
    return False


def _given_up(folder: Path) -> int:
    """Stop and keep no more than the last checkpoint; a last sign of life says that this is no crash."""
    last = store.read_heartbeat(folder) or {"progress": 0.0, "step": 0, "loss": math.nan}
    with suppress(OSError):
        store.write_heartbeat(
            folder, progress=last["progress"], step=int(last["step"]), loss=last["loss"], stopping=True
        )
    return STOPPED


class _Work:
    """A run at work in this process."""

    def __init__(
        self,
        run: Run,
        folder: Path,
        environment: Environment,
        ledger: Ledger,
        started: float,
        stop: Callable[[], bool],
    ) -> None:
        self._run, self._folder, self._environment = run, folder, environment
        self._ledger, self._started, self._stop = ledger, started, stop
        self._beat_at, self._saved_at = -math.inf, time.monotonic()
        self._checkpoint_every = CHECKPOINT_SECONDS
        self._state = State()  # what there is to say of it before it trains
        self._examples: int | None = None

    def outcome(self, processes: Team, give_up: Callable[[], bool]) -> Outcome | None:
        """Train from step 0 or from a checkpoint; None if asked to stop.

        Raises:
            AskedToStop: before step 0.
            LostProcessError: another process of the run is gone.
        """
        self._witness = Witness(LoadedCode(self._run), OpenedFiles(self._run, folder=self._folder))
        with self._witness.files.watched():
            return self._trained(prepare(self._run, processes, self._ledger, self._witness, give_up))

    def _trained(self, prepared: Prepared) -> Outcome | None:
        training, recorded = self._begun(prepared)
        self._state, self._examples = training.state, training.problem.examples
        self._started -= training.state.wall_seconds  # what earlier processes spent on this run is of its wall time too
        self._writer = store.Writer(self._folder, kept=recorded)
        self._saving = _Saving(prepared, proved=bool(recorded))
        training.record = self._writer
        try:
            ending = train(training, self._between)
            if ending is None:
                return None
            self._writer.sync()
            for subject, text in self._witness.remarks():
                training.state.remark(subject, text)
            groups = taken(self._run.arm, training.problem.model)
            return replace(_outcome(training, ending, self._started), groups=groups)
        finally:
            with suppress(OSError, StoreError):
                self._writer.sync()  # also of a run that failed: the record's digest covers what it measured
            self._writer.close()

    def failure(self, error: BaseException) -> Outcome:
        """The outcome of a run that raised, with what it had come to."""
        state = self._state
        return Outcome(
            "failed",
            reason=reason_of(error),
            steps=state.spent.steps,
            samples=max(state.spent.samples, 0),  # which a task may count as it likes
            tokens=max(state.spent.tokens, 0),
            epochs=_epochs(max(state.spent.samples, 0), self._examples),
            train_seconds=state.spent.seconds,
            wall_seconds=time.monotonic() - self._started,
            ledger=self._ledger.close(),
            failed_probes=state.failed_probes,
            remarks=state.remarks,
            resumed_at=tuple(state.resumed_at),
            fingerprints=comparable(state.fingerprints, state.spent.steps),
        )

    def _begun(self, prepared: Prepared) -> tuple[Training, int]:
        """The parts where they are to go on, and how many bytes of measurements stand."""
        training, recorded = prepared.training, 0
        training.ledger = self._ledger
        if prepared.proof is None or prepared.proof.keeps:
            try:
                recorded = checkpoint.restore(
                    training, self._folder, key=self._run.key, numerics=self._environment.numerics_id
                )
            except StoreError as error:
                traceback.print_exc()
                print(f"{error.where} is of no use: the run starts again from step 0", flush=True)  # noqa: T201
                training = prepared.fresh()
                training.ledger = self._ledger
        if not recorded:
            with self._ledger.row("fingerprints"):
                training.state.fingerprints = fingerprints(self._run, training.problem)
        return training, recorded

    def _between(self, training: Training) -> bool:
        """What happens between steps, off the clock: signs of life, checkpoints, and stopping when asked."""
        now, stopping = time.monotonic(), self._stop()
        if stopping or now - self._beat_at >= HEARTBEAT_SECONDS:
            self._beat_at = now
            state = training.state
            store.write_heartbeat(
                self._folder,
                progress=training.progress,
                step=state.spent.steps,
                loss=state.last_eval_loss,
                stopping=stopping,
            )
        with training.ledger.row("proof"):
            newly_proved = self._saving.prove(training)
        with training.ledger.row("checkpoint"):
            if stopping or newly_proved or now - self._saved_at >= self._checkpoint_every:
                self._save(training)
                self._saved_at = time.monotonic()
                self._checkpoint_every = max(CHECKPOINT_SECONDS, CHECKPOINT_SHARE * (self._saved_at - now))
            elif self._writer.unsynced:
                self._writer.sync()
        return stopping

    def _save(self, training: Training) -> None:
        recorded = self._writer.sync()
        if self._saving.allowed(training):
            training.state.wall_seconds = time.monotonic() - self._started
            numerics = self._environment.numerics_id
            checkpoint.save(training, self._folder, key=self._run.key, numerics=numerics, recorded=recorded)


class _Saving:
    """Whether checkpoints may be written: they are proved, or are now, by the step that follows the first."""

    def __init__(self, prepared: Prepared, *, proved: bool) -> None:
        self._fresh = prepared.fresh
        self._proof = Proof(keeps=True) if proved else prepared.proof
        self._tried: bytes | None = None

    def allowed(self, training: Training) -> bool:
        """Before a checkpoint. Where nothing is proved yet, what it would hold is kept until after the next step."""
        if self._proof is None and training.state.spent.steps >= PROOF_STEPS:
            self._tried = packed(training)
            self._keep_updates(training, keeping=True)
        return self._proof is not None and self._proof.keeps

    def prove(self, training: Training) -> bool:
        """After the step that follows, whether it has now been proved."""
        if self._proof is not None or self._tried is None:
            return False
        generators = keeping.generators([device_of(training.problem.model)])
        self._proof = judged(end(training), self._tried, self._fresh)
        keeping.put_generators_back(generators)
        self._tried = None
        self._keep_updates(training, keeping=False)
        if self._proof.remark:
            training.state.remark(RESUME, self._proof.remark)
        return self._proof.keeps

    @staticmethod
    def _keep_updates(training: Training, *, keeping: bool) -> None:
        if training.ghosts:
            training.ghosts.keeping = keeping


def _epochs(samples: int, examples: int | None) -> float:
    return samples / examples if examples else 0.0


def _outcome(training: Training, ending: Ending, started: float) -> Outcome:
    state, problem = training.state, training.problem
    with at_evaluation_weights(training.optimizer, steps=state.spent.steps):
        weights = weights_sha256(problem.model)
    return Outcome(
        status=ending.status,
        reason=ending.reason,
        steps=state.spent.steps,
        samples=state.spent.samples,
        tokens=state.spent.tokens,
        epochs=_epochs(state.spent.samples, problem.examples),
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
        attention=training.attention,
        resumed_at=tuple(state.resumed_at),
        passes=state.passes,
        train_peak_bytes=state.peaks.training or None,
        train_reserved_bytes=state.peaks.training_reserved or None,
        peak_bytes=max(peak_bytes(device_of(problem.model)), state.peaks.everything),
        non_finite_step=ending.non_finite_step,
        change=change(problem, state.first_losses, state.last_losses),
        fingerprints=comparable(state.fingerprints, state.spent.steps),
        loaded=dict(problem.loaded),
    )
