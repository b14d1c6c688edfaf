"""A run's live parts before step 0: built, tried for life, and a checkpoint of them proved.

What was tried is thrown away, and the parts to train are built anew: nothing that a trial leaves behind can be in them.
Only where building takes long do the same parts serve for both, and the proof waits for the first checkpoint.
"""

import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from clipbench.budget import Budget, Ledger, Stopwatch
from clipbench.contracts import Batch, Problem
from clipbench.errors import ClipbenchError, in_one_line
from clipbench.records import (
    CODE,
    DATA,
    EVALUATION_BATCHES,
    GHOST,
    INITIAL_WEIGHTS,
    LIFE,
    PROBE_BATCHES,
    RESUME,
    Arm,
    Run,
    TrainingSettings,
)
from clipbench.running import attention, liveness
from clipbench.running.environment import seed_generators, synchronize, this_process_alone
from clipbench.running.equipment import build_optimizer, build_probes, build_problem, next_batch, standing_for
from clipbench.running.evaluation import device_of
from clipbench.running.fingerprints import batches_sha256, weights_sha256
from clipbench.running.ghosts import Ghosts
from clipbench.running.loaded import LoadedCode
from clipbench.running.opened import OpenedFiles
from clipbench.running.precision import equip
from clipbench.running.prefetch import pin_for
from clipbench.running.processes import Pass, Team
from clipbench.running.proof import Proof, prove
from clipbench.running.schedule import ScheduledRates
from clipbench.running.stepping import Stepping, pieces_of, shards, stepping_of
from clipbench.running.training import State, Training
from clipbench.running.trial import first_gradients
from clipbench.running.undoing import put_back
from clipbench.running.vigil import Settings, Vigil, settings

SLOW_TO_BUILD = 5.0  # seconds


class AskedToStop(BaseException):
    """Raised between the steps that are tried; an Exception would be taken for one of the optimizer's or the task's."""


@dataclass(frozen=True)
class Witness:
    """What of the user's own a run has loaded and opened."""

    code: LoadedCode
    files: OpenedFiles

    def remarks(self) -> Iterator[tuple[str, str]]:
        """What the key does not know, as (subject, sentence)."""
        yield from ((CODE, text) for text in self.code.unknown())
        yield from ((DATA, text) for text in self.files.unknown())


@dataclass(frozen=True)
class LiveArm:
    """What trying an arm and its ghosts has shown: the ghosts that are alive, and why the others are not.

    `stepping` says how the arm's optimizer is stepped, and `attention` by which kernels torch computes that of a step;
    empty where the model has none of torch's. `since` is what torch was to compute with before anybody's code ran.
    """

    ghosts: tuple[Arm, ...]
    failed: Mapping[str, str]
    remarks: tuple[str, ...]
    flops: int | None
    since: Settings
    stepping: Stepping = "gradient"
    attention: str = ""


@dataclass(frozen=True)
class Prepared:
    """Parts to train from step 0; `proof` is None where it waits, and `fresh` builds such parts once more."""

    training: Training
    proof: Proof | None
    fresh: Callable[[], Training]


def prepare(
    run: Run, team: Team, ledger: Ledger, witness: Witness, stop: Callable[[], bool] = lambda: False
) -> Prepared:
    """Build a run's parts and try them; `stop` is asked between the steps that are tried.

    The other processes of the run build its problem meanwhile, once it was built here: what a task fetches is there.

    Raises:
        NotLiveError: the arm does not do what its spec says.
        ClipbenchError: code of the user's was edited since the run was planned, or the budget would never be spent.
        AskedToStop: `stop` said so.
        Exception: whatever a task or an optimizer raises.
    """
    since, begin = settings(), time.perf_counter()
    with ledger.row("data"):
        problem = _problem(run, team.device)
        refuse_endless(run.budget, problem)
        refuse_idle(run.training, problem)
        slow = time.perf_counter() - begin > SLOW_TO_BUILD
        team.gather(problem)
    with ledger.row("life"):
        tried = _tried(run, _interruptible(problem, stop), since)
    fresh = partial(_fresh, run, team, tried)
    used = assembled(run, problem, tried, team)
    witness.code.refuse_changed()  # now that all of it is loaded
    proof, training = None, used
    if not slow:
        with ledger.row("proof"):
            proof = prove(_with_stops(used, stop), lambda: _with_stops(fresh(), stop))
        with ledger.row("data"):
            training = fresh()
        if proof.remark:
            training.state.remark(RESUME, proof.remark)
    if run.training.compile:
        with ledger.row("compile"):
            _warm_up(training)
    return Prepared(training, proof, fresh)


def _warm_up(training: Training) -> None:
    """A forward and a backward pass of the first batch, which compile the model, and leave no other trace."""
    problem = training.problem
    with put_back(problem):
        batch = next_batch(problem.train_batches(0), 0).to(device_of(problem.model))
        training.team.evaluated(problem, batch, Pass(0, 0), create_graph=training.create_graph)


def fingerprints(run: Run, problem: Problem) -> dict[str, str]:
    """Of the weights and batches that a run begins with; the first training batches follow as they are drawn."""
    of_what = {
        INITIAL_WEIGHTS: weights_sha256(problem.model),
        EVALUATION_BATCHES: batches_sha256(problem.eval_batches),
    }
    return of_what | ({PROBE_BATCHES: batches_sha256(problem.probe_batches)} if run.measure.probes else {})


def refuse_endless(budget: Budget, problem: Problem) -> None:
    """Raises ClipbenchError where the first batch shows that the task does not count what the budget is in."""
    if budget.unit == "epochs" and not problem.examples:
        message = "the budget is in epochs, and the task does not say how many training examples there are"
        raise ClipbenchError(message, remedy="use samples or steps, or let the task give Problem(..., examples=N)")
    budget = budget.of(problem.examples)
    if budget.unit not in ("samples", "tokens"):
        return
    counted = getattr(next_batch(iter(problem.train_batches(0)), 0), budget.unit)
    if counted is None:
        raise ClipbenchError(f"the budget is in {budget.unit} and the task counts none: use samples or steps")
    if not counted > 0:
        message = f"the budget is in {budget.unit} and the task counts {counted} in its first batch: use steps"
        raise ClipbenchError(message)


def refuse_idle(settings: TrainingSettings, problem: Problem) -> None:
    """Raises ClipbenchError where the first batch has no example for one of the processes."""
    if settings.processes > 1:
        samples = next_batch(iter(problem.train_batches(0)), 0).samples
        if samples < settings.processes:
            message = f"{settings.processes} processes cannot share a batch of {samples}, as the task's first one"
            raise ClipbenchError(message, where="training.processes", remedy="give at most as many as a batch has")


def _interruptible(problem: Problem, stop: Callable[[], bool]) -> Problem:
    """The same problem; each of its losses may raise AskedToStop."""

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        if stop():
            raise AskedToStop
        return problem.loss(model, batch)

    return replace(problem, loss=standing_for(problem.loss, loss))


def _first_pieces(problem: Problem, settings: TrainingSettings) -> Problem:
    """The same problem; of each training batch only the first piece, which tells as much of an arm's life."""
    if settings.micro_batch is None and settings.processes == 1:
        return problem

    def first(batch: Batch) -> Batch:
        return pieces_of(shards(batch, settings)[0], settings)[0]

    return replace(problem, train_batches=lambda start: map(first, problem.train_batches(start)))


def _with_stops(training: Training, stop: Callable[[], bool]) -> Training:
    return replace(training, problem=_interruptible(training.problem, stop))


def _problem(run: Run, device: torch.device) -> Problem:
    seed_generators(run.seed)
    problem = build_problem(run, device)
    equip(problem.model, run.training)
    return problem


def _fresh(run: Run, team: Team, tried: LiveArm) -> Training:
    return assembled(run, _problem(run, team.device), tried, team)


def assembled(run: Run, problem: Problem, tried: LiveArm, team: Team | None = None) -> Training:
    """The parts to train a problem with, from step 0; without a `team` in this process alone."""
    optimizer, clip = build_optimizer(run.arm, problem.model)
    ghosts = Ghosts(tried.ghosts, problem.model) if tried.ghosts else None
    seed_generators(run.seed)  # what training itself draws, such as dropout
    state = State(failed_probes=dict(tried.failed))
    for sentence in tried.remarks:
        state.remark(LIFE, sentence)
    return Training(
        problem=problem,
        optimizer=optimizer,
        clip=clip,
        rates=ScheduledRates(optimizer, run.arm.schedule),
        budget=run.budget.of(problem.examples),
        measure=run.measure,
        probes=build_probes(run),
        record=lambda _: None,
        watch=Stopwatch(partial(synchronize, next(problem.model.parameters()).device)),
        ledger=Ledger(),
        vigil=Vigil(problem.model, run.seed, tried.since),
        team=team or Team(run, device_of(problem.model)),
        ghosts=ghosts,
        step_flops=tried.flops,
        attention=tried.attention,
        stepping=tried.stepping,
        create_graph=run.arm.create_graph,
        settings=run.training,
        pin=pin_for(problem, run.task),
        state=state,
    )


def _tried(run: Run, problem: Problem, since: Settings) -> LiveArm:
    """Check that the arm is alive, and which of its ghosts are: one that is not costs its own rows and not the run."""
    stepping, whole = stepping_of(run.arm, problem), problem
    problem = _first_pieces(problem, run.training)
    remarks = list(liveness.check(run.arm, problem, stepping))
    with attention.observed() as kernels:
        flops = liveness.step_flops(run.arm, whole, stepping, run.training)
    alive: list[Arm] = []
    failed: dict[str, str] = {}
    gradients = first_gradients(problem) if run.measure.ghosts else []
    for ghost in run.measure.ghosts:
        try:
            with this_process_alone():
                remarks += [
                    f"{GHOST}{ghost.name}: {sentence}"
                    for sentence in liveness.check_ghost(ghost, problem, gradients) or ()
                ]
        except Exception as error:  # an optimizer is anybody's code: whatever it raises, the run goes on
            traceback.print_exc()
            failed[f"{GHOST}{ghost.name}"] = f"before step 0: {in_one_line(error)}"
        else:
            alive.append(ghost)
    return LiveArm(tuple(alive), failed, tuple(remarks), flops, since, stepping, ", ".join(sorted(kernels)))
