"""One run over several processes: this one makes the run, and the others share the examples of each batch with it.

The first process, rank 0, is the worker as it always is: it alone steps, clips, evaluates, probes, moves ghosts,
records and keeps checkpoints. At each forward and backward pass it sends its weights θ to the others. Rank r computes
the gradient of its shard there, and the first process gets the sum

    ∇L(θ) = Σᵣ (wᵣ/W) ∇Lᵣ(θ),    wᵣ of the batch's W terms being in shard r.

Weights out and gradients back are as many bytes as the all-reduce of DistributedDataParallel moves. For them there is
one optimizer instead of N equal ones: nothing that it does, be it a random number, a closure or a rounding, can part
the processes, and only the first has anything to keep in a checkpoint.
"""

import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from multiprocessing import connection, forkserver, get_context
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from clipbench.contracts import Batch, Problem
from clipbench.errors import LOST_PROCESS, ClipbenchError
from clipbench.records import Run
from clipbench.running.exchange import Exchange, Place, present_gradients, unmoved
from clipbench.running.fingerprints import weights_sha256
from clipbench.running.rank import ASKING, enter, sight
from clipbench.running.stepping import evaluated, of_pieces, pieces_of, shards

ATTEMPTS = 3  # to meet: gloo now and then loses a connection while it is being made
GRACE = 10.0  # seconds that a run has to end by itself when one of its processes is gone
END_SECONDS = 5.0  # for a process that was killed to be gone
PRELOAD = ["clipbench.running.preload", "clipbench.cli"]  # as the engine on this machine has it


class LostProcessError(BaseException):
    """A process of the run is gone; an Exception would be taken for one of the optimizer's or the task's."""


class Pass(NamedTuple):
    """A forward and backward pass of training: the step it belongs to, and how many passes were before it."""

    step: int
    number: int


@dataclass(frozen=True)
class _Helper:
    rank: int
    process: ForkServerProcess
    talk: Connection


class Team:
    """The processes of a run as its first one has them; of a run with one process, that one alone.

    Args:
        run: what they make.
        device: of this process.
    """

    def __init__(self, run: Run, device: torch.device) -> None:
        self.device = device
        self._run, self._settings = run, run.training
        self._helpers: Sequence[_Helper] = ()
        self._folder: tempfile.TemporaryDirectory[str] | None = None  # a store may be asked for as long as the run goes
        self._exchange: Exchange | None = None
        self._numbers, self._asked = count(), -1  # of the commands; the last one's
        self._closed = threading.Event()
        self._expected = ""  # the weights that the others must have built; empty once they have

    def gather(self, problem: Problem) -> None:
        """Start the others and let each build the problem, which is as it was built here; returns before they have.

        Raises:
            ClipbenchError: the processes do not meet.
        """
        ranks = self._settings.processes
        if ranks == 1:
            return
        self._folder = tempfile.TemporaryDirectory(prefix="clipbench-")
        for attempt in range(ATTEMPTS):
            meeting = Path(self._folder.name) / str(attempt)
            self._helpers = _started(self._run, meeting)
            threading.Thread(target=self._watch, args=(self._helpers,), daemon=True).start()
            try:
                self._exchange = Exchange(Place(0, ranks, self.device), meeting)
                break
            except RuntimeError as error:
                helpers, self._helpers = self._helpers, ()
                _end(helpers)
                if attempt == ATTEMPTS - 1:
                    raise ClipbenchError(f"the {ranks} processes of the run did not meet ({error})") from error
        self._expected = weights_sha256(problem.model)
        self._tell("build")

    def draw(self, step: int, own: Callable[[], Batch]) -> Batch:
        """The batch of a step as `own` draws it, and the others as well, at the same time."""
        if not self._helpers:
            return own()
        self._require_built()
        self._tell("draw", step)
        batch = own()
        self._hear()
        return batch

    def compare(self, step: int, batch: Batch, model: nn.Module) -> list[str]:
        """Compare a step's batch, and the weights and buffers that are sent, with those of the others.

        Returns:
            What the model of another process remembers otherwise, which may be nothing but a cache; a sentence.

        Raises:
            ClipbenchError: a process has another batch or other weights.
        """
        if not self._helpers:
            return []
        self._tell("compare", step)
        self._exchanged(lambda exchange: exchange.send_weights(model))
        ours, remarks = sight(batch, model), []
        for helper, theirs in zip(self._helpers, self._hear(), strict=True):
            if theirs.batch != ours.batch:
                raise ClipbenchError(
                    f"process {helper.rank} of the run drew another batch for step {step} than the first process",
                    where="train_batches",
                    remedy="let a batch depend on the seed and the step alone, and not on what was drawn before",
                )
            if theirs.weights != ours.weights:
                message = f"process {helper.rank} of the run has other weights at step {step} than the first process"
                raise ClipbenchError(message, where="training.processes", remedy="run it in one process, and tell us")
            apart = [name for name, value in ours.remembered.items() if theirs.remembered.get(name) != value]
            if apart and step > 0:  # before it, the first process has not passed through this model
                whose = f"in process {helper.rank} than in the first: it is in no buffer"
                remarks.append(f"the model remembers another {apart[0]} {whose}")
        return remarks

    def evaluated(self, problem: Problem, batch: Batch, at: Pass, *, create_graph: bool = False) -> Tensor:
        """The loss of a batch on this process's device, whose gradient it adds to the parameters': of all shards.

        Raises:
            ClipbenchError: as of a process alone; also what another process has raised.
            LostProcessError: another process is gone.
        """
        settings, model = self._settings, problem.model
        if not self._helpers:
            return evaluated(problem, batch, settings, create_graph=create_graph)
        self._require_built()
        self._tell("evaluate", *at)
        self._exchanged(lambda exchange: exchange.send_weights(model))
        pieces = pieces_of(shards(batch, settings)[0], settings)
        with unmoved(model):
            loss = of_pieces(problem, pieces, settings, of=batch.weight)
        replies = self._hear()
        present = [any(each) for each in zip(present_gradients(model), *(there for _, there in replies), strict=True)]
        self._tell("sum", present)
        self._exchanged(lambda exchange: exchange.sum_gradients(model, present))
        return torch.tensor(float(loss.detach()) + sum(part for part, _ in replies), dtype=torch.float64)

    def close(self) -> None:
        """End the others, who have nothing to keep."""
        self._closed.set()
        helpers, self._helpers = self._helpers, ()
        _end(helpers)
        if self._exchange is not None:
            self._exchange.close()
        if self._folder is not None:
            self._folder.cleanup()

    def _require_built(self) -> None:
        """Wait until the others have built the problem.

        Raises:
            ClipbenchError: a process has built another one.
        """
        if not self._expected:
            return
        for helper, weights in zip(self._helpers, self._hear(), strict=True):
            if weights != self._expected:
                raise ClipbenchError(
                    f"process {helper.rank} of the run built other initial weights than the first process",
                    where=self._run.task.target,
                    remedy="let a task's weights depend on its seed and its options alone",
                )
        self._expected = ""

    def _tell(self, command: str, *words: Any) -> None:
        self._asked = next(self._numbers)
        for helper in self._helpers:
            try:
                helper.talk.send((self._asked, command, *words))
            except OSError:
                raise self._lost(helper) from None

    def _hear(self) -> list[Any]:
        """What each of the others answers to the last command."""
        return [self._answer_of(helper) for helper in self._helpers]

    def _answer_of(self, helper: _Helper) -> Any:
        while True:  # an answer to an earlier command may lie there, for which nobody has waited
            try:
                if helper.talk not in connection.wait([helper.talk, helper.process.sentinel]):
                    raise EOFError
                number, answer, failed = helper.talk.recv()
            except (EOFError, OSError):
                raise self._lost(helper) from None
            if number == self._asked and failed:
                raise ClipbenchError(f"process {helper.rank} of the run: {failed}")
            if number == self._asked:
                return answer

    def _exchanged(self, action: Callable[[Exchange], None]) -> None:
        assert self._exchange is not None
        try:
            action(self._exchange)
        except RuntimeError:
            gone = connection.wait([helper.process.sentinel for helper in self._helpers], END_SECONDS)
            for helper in self._helpers:
                if helper.process.sentinel in gone:
                    raise self._lost(helper) from None
            raise

    def _lost(self, helper: _Helper) -> LostProcessError:
        helper.process.join(END_SECONDS)
        code = helper.process.exitcode
        how = "is gone" if code is None else f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        ranks = self._settings.processes
        return LostProcessError(f"process {helper.rank} of the run's {ranks} (0 is the worker) {how}")

    def _watch(self, helpers: Sequence[_Helper]) -> None:
        """End this process where another is gone and it does not notice: an exchange on GPUs may wait for ever."""
        connection.wait([helper.process.sentinel for helper in helpers])
        if helpers is self._helpers and not self._closed.wait(GRACE):
            print("a process of the run is gone, and this one waits for it: it ends", flush=True)  # noqa: T201
            os._exit(LOST_PROCESS)


@contextmanager
def team(run: Run, device: torch.device) -> Iterator[Team]:
    """The processes of a run, of which this is the first; afterwards the others are gone."""
    if run.training.processes > 1:
        with _asking_blocked():
            _served()
            forkserver.ensure_running()  # it loads torch while this process begins
    several = Team(run, device)
    try:
        yield several
    finally:
        several.close()


def _served() -> ForkServerContext:
    context = get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    return context


def _started(run: Run, meeting: Path) -> list[_Helper]:
    context = _served()
    helpers = []
    for number in range(1, run.training.processes):
        talk, theirs = context.Pipe()
        with theirs, _asking_blocked():
            process = context.Process(target=enter, args=(theirs, run, number, meeting), name=f"process {number}")
            process.start()
        helpers.append(_Helper(number, process, talk))
    return helpers


@contextmanager
def _asking_blocked() -> Iterator[None]:
    """To stop is asked of this process: what is started inside hears none of it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ASKING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end(helpers: Sequence[_Helper]) -> None:
    """Kill the others and all that they have started."""
    for helper in helpers:
        helper.talk.close()
        if helper.process.pid is not None:
            with suppress(ProcessLookupError):
                os.killpg(helper.process.pid, signal.SIGKILL)
        helper.process.kill()
    for helper in helpers:
        helper.process.join(END_SECONDS)
