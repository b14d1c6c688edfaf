"""The process in which a task's arms take their first steps before any run is made; `running/trying.py` asks for them.

The problem is built once and put back after each arm. Nothing is recorded, and no folder is written.
"""

import traceback
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection

import torch

from clipbench.contracts import Problem
from clipbench.errors import reason_of
from clipbench.records import Run
from clipbench.running import liveness
from clipbench.running.environment import seed_generators, settle, this_process_alone
from clipbench.running.equipment import build_problem
from clipbench.running.grouping import taken
from clipbench.running.preparing import LiveArm, assembled, refuse_endless
from clipbench.running.train import train
from clipbench.running.trial import put_back
from clipbench.running.vigil import settings

Faults = dict[str, tuple[str, str]]  # by the name of a probe, or "" for task and arm: the reason, and the traceback
Taken = dict[str, tuple[str, ...]]  # by the group of an arm that took them: the names of parameters


LONGEST_LOG = 100_000  # characters: what an error says may be any text


def serve(run: Run, device: torch.device, talk: Connection) -> None:
    """Build the run's problem, then try each run that is sent: its arm, or its probes where it has some.

    Each is answered by Faults, empty where all went well, and by Taken. After a problem that cannot be built nothing is
    tried.
    """
    settle(run.threads)
    try:
        with this_process_alone():
            seed_generators(run.seed)
            problem = build_problem(run, device)
    except (Exception, SystemExit) as error:  # a task is anybody's code: it raises what it likes
        talk.send((_fault(error), {}))
        return
    talk.send(({}, {}))
    with suppress(EOFError):  # nobody asks any more
        while True:
            asked = talk.recv()
            with this_process_alone():
                faults = _faults(asked, problem)
            talk.send((faults, {} if faults else taken(asked.arm, problem.model)))


def _faults(run: Run, problem: Problem) -> Faults:
    try:
        if run.measure.probes:
            return _look(run, problem)
        refuse_endless(run.budget, problem)
        liveness.check(run.arm, problem)
        _train(run, problem, steps=1)
    except (Exception, SystemExit) as error:  # as above, of an optimizer
        return _fault(error)
    return {}


def _look(run: Run, problem: Problem) -> Faults:
    """Which probes fail at step 1: at step 0 none ever looks."""
    looking = replace(run, measure=replace(run.measure, probe_every=1, probe_at=(), ghosts=()))
    return {name: (reason, "") for name, reason in _train(looking, problem, steps=2).items()}


def _train(run: Run, problem: Problem, *, steps: int) -> dict[str, str]:
    """Train as a run begins, its evaluation at step 0 included, and put the problem back; the probes that failed."""
    with put_back(problem):
        training = assembled(run, problem, LiveArm((), {}, (), None, settings()))
        train(training, lambda training: training.state.spent.steps >= steps)
        return training.state.failed_probes


def _fault(error: BaseException) -> Faults:
    return {"": (reason_of(error), traceback.format_exc()[-LONGEST_LOG:])}
