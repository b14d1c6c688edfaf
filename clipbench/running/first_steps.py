"""The process in which a task's arms take their first steps before any run is made; `running/trying.py` asks for them.

The problem is built once and put back after each arm. Nothing is recorded, and no folder is written.
"""

import traceback
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Literal

import torch

from clipbench.contracts import Problem
from clipbench.errors import ClipbenchError, reason_of
from clipbench.harmless import on_one_line
from clipbench.records import Run
from clipbench.running import contract, liveness
from clipbench.running.environment import seed_generators, settle, this_process_alone
from clipbench.running.equipment import build_problem
from clipbench.running.evaluation import device_of
from clipbench.running.fingerprints import weights_sha256
from clipbench.running.grouping import taken
from clipbench.running.metrics import recorded
from clipbench.running.precision import equip
from clipbench.running.preparing import LiveArm, assembled, refuse_endless, refuse_idle
from clipbench.running.stepping import Stepping, stepping_of
from clipbench.running.train import train
from clipbench.running.training import Training
from clipbench.running.undoing import put_back
from clipbench.running.vigil import settings

# By the name of a probe, or "" for task and arm: what `FirstStepFault` in trying.py is made of.
Faults = dict[str, tuple[str, str, str, str]]
Taken = dict[str, tuple[str, ...]]  # by the group of an arm that took them: the names of parameters

Request = Literal["contract", "step", "probes", "trace"]

PROBED_STEPS = 2  # a probe looks at step 1: at step 0 none ever looks
TRACE_STEPS = 3  # the step after a probe has looked shows whether it left a trace
LONGEST_LOG = 100_000  # characters: what an error says may be any text


def serve(run: Run, device: torch.device, talk: Connection) -> None:
    """Build the run's problem, then try what is asked of each run that is sent: its task's contract, arm or probes.

    Each is answered by Faults, empty where all went well, by Taken, and by the names of what the task's evaluations
    record beside the loss. After a problem that cannot be built nothing is tried.
    """
    settle(run.threads)
    try:
        with this_process_alone():
            seed_generators(run.seed)
            problem = build_problem(run, device)
            equip(problem.model, run.training)
    except (Exception, SystemExit) as error:  # a task is anybody's code: it raises what it likes
        talk.send((_fault(error), {}, ()))
        return
    talk.send(({}, {}, recorded(problem)))
    with suppress(EOFError):  # nobody asks any more
        while True:
            asked, run = talk.recv()
            with this_process_alone():
                faults = _faults(asked, run, problem)
                took = taken(run.arm, problem.model) if asked == "step" and not faults else {}
            talk.send((faults, took, recorded(problem)))


def _faults(asked: Request, run: Run, problem: Problem) -> Faults:
    try:
        if asked in ("contract", "trace"):
            sentences = _broken(run, problem) if asked == "contract" else _trace(run, problem)
            return {sentence: (sentence, "", "raised", "") for sentence in sentences}
        if asked == "probes":
            return _look(run, problem)
        refuse_endless(run.budget, problem)
        refuse_idle(run.training, problem)
        stepping = stepping_of(run.arm, problem)
        liveness.check(run.arm, problem, stepping)
        _train(run, problem, stepping, steps=1)
    except (Exception, SystemExit) as error:  # as above, of an optimizer
        return _fault(error)
    return {}


def _broken(run: Run, problem: Problem) -> Iterator[str]:
    """The promises of the contract that the run's task breaks."""
    device = device_of(problem.model)
    last = int(run.budget.amount) - 1 if run.budget.unit == "steps" else 0
    return contract.broken(lambda seed: build_problem(replace(run, seed=seed), device), run.seed, last=last)


def _trace(run: Run, problem: Problem) -> Iterator[str]:
    """Whether the run's probes leave a trace: other weights than training has without them, where that repeats."""
    looking = replace(run, measure=replace(run.measure, probe_every=1, probe_at=(), ghosts=()))
    bare = replace(run, measure=replace(run.measure, probes=(), ghosts=()))
    device = device_of(problem.model)
    before, probed = _weights_after(bare, device), _weights_after(looking, device)
    if before != probed and before == _weights_after(bare, device):
        yield (
            f"probing leaves a trace: the weights after {TRACE_STEPS} steps are not those without probes; "
            "keep what the loss and the model remember in buffers or attributes of the model"
        )


def _weights_after(run: Run, device: torch.device) -> str:
    """The hash of the weights of a problem of its own after the first steps."""
    seed_generators(run.seed)
    problem = build_problem(run, device)
    _advanced(run, problem, stepping_of(run.arm, problem), TRACE_STEPS)
    return weights_sha256(problem.model)


def _look(run: Run, problem: Problem) -> Faults:
    """Which probes fail at the first step that they look at."""
    looking = replace(run, measure=replace(run.measure, probe_every=1, probe_at=(), ghosts=()))
    failed = _train(looking, problem, stepping_of(run.arm, problem), steps=PROBED_STEPS)
    return {name: (reason, "", "raised", "") for name, reason in failed.items()}


def _train(run: Run, problem: Problem, stepping: Stepping, *, steps: int) -> dict[str, str]:
    """Train as a run begins, its evaluation at step 0 included, and put the problem back; the probes that failed."""
    with put_back(problem):
        return _advanced(run, problem, stepping, steps).state.failed_probes


def _advanced(run: Run, problem: Problem, stepping: Stepping, steps: int) -> Training:
    live = LiveArm((), {}, (), None, settings(), stepping)
    training = assembled(run, problem, live)
    train(training, lambda training: training.state.spent.steps >= steps)
    return training


def _fault(error: BaseException) -> Faults:
    remedy = on_one_line(error.remedy) if isinstance(error, ClipbenchError) else ""
    return {"": (reason_of(error), traceback.format_exc()[-LONGEST_LOG:], "raised", remedy)}
