"""One run over several processes: this one makes the run, and the others share the examples of each batch with it.

The first process, rank 0, is the worker as it always is: it alone steps, clips, evaluates, probes, moves ghosts,
records and keeps checkpoints. At each forward and backward pass it sends its weights θ to the others. Rank r computes
the gradient of its shard there, and the first process gets the sum

    ∇L(θ) = Σᵣ (wᵣ/W) ∇Lᵣ(θ),    wᵣ of the batch's W terms being in shard r.

Weights out and gradients back are as many bytes as the all-reduce of DistributedDataParallel moves. For them there is
one optimizer instead of N equal ones: nothing that it does, be it a random number, a closure or a rounding, can part
the processes, and only the first has anything to keep in a checkpoint.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from clipbench.contracts import Batch, Problem
from clipbench.errors import ClipbenchError
from clipbench.records import Run
from clipbench.running.exchange import Exchange, Place, present_gradients, unmoved
from clipbench.running.fingerprints import weights_sha256
from clipbench.running.forking import ensure_server
from clipbench.running.helpers import Helpers
from clipbench.running.rank import sight
from clipbench.running.stepping import evaluated, of_pieces, pieces_of, shards

ATTEMPTS = 3  # to meet: gloo now and then loses a connection while it is being made


class Pass(NamedTuple):
    """A forward and backward pass of training: the step it belongs to, and how many passes were before it."""

    step: int
    number: int


class Team:
    """The processes of a run as its first one has them; of a run with one process, that one alone.

    Args:
        run: what they make.
        device: of this process.
    """

    def __init__(self, run: Run, device: torch.device) -> None:
        self.device = device
        self._run, self._settings = run, run.training
        self._helpers: Helpers | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._exchange: Exchange | None = None
        self._expected = ""  # the weights that the others must have built; empty once they have

    def gather(self, problem: Problem) -> None:
        """Start the others and let each build the problem, which is as it was built here; returns before they have.

        Raises:
            ClipbenchError: the processes do not meet, or there is no GPU for each of them.
        """
        ranks = self._settings.processes
        if ranks == 1:
            return
        if self.device.type == "cuda" and torch.cuda.device_count() < ranks:
            message = f"{ranks} processes need a GPU each, and the run was given {torch.cuda.device_count()}"
            raise ClipbenchError(message, where="training.processes", remedy="run it where there are as many")
        self._folder = tempfile.TemporaryDirectory(prefix="clipbench-")
        for attempt in range(ATTEMPTS):
            meeting = Path(self._folder.name) / str(attempt)
            helpers = self._helpers = Helpers(self._run, meeting)
            try:
                self._exchange = Exchange(Place(0, ranks, self.device), meeting)
                break
            except RuntimeError as error:
                helpers.end()
                if attempt == ATTEMPTS - 1:
                    raise ClipbenchError(f"the {ranks} processes of the run did not meet ({error})") from error
        if self.device.type == "cpu":  # NCCL may ask for it as long as the run goes
            self._folder.cleanup()
        helpers.watch()
        self._expected = weights_sha256(problem.model)
        helpers.tell("build")

    def draw(self, step: int, own: Callable[[], Batch]) -> Batch:
        """The batch of a step as `own` draws it, and the others as well, at the same time."""
        if self._helpers is None:
            return own()
        helpers = self._built()
        helpers.tell("draw", step)
        batch = own()
        helpers.hear()
        return batch

    def compare(self, step: int, batch: Batch, model: nn.Module) -> list[str]:
        """Compare a step's batch, and the weights and buffers that are sent, with those of the others.

        Returns:
            What the model of another process remembers otherwise, which may be nothing but a cache; a sentence.

        Raises:
            ClipbenchError: a process has another batch or other weights.
        """
        if self._helpers is None:
            return []
        helpers = self._built()
        helpers.tell("compare", step)
        self._exchanged(lambda exchange: exchange.send_weights(model))
        ours, remarks = sight(batch, model), []
        for number, theirs in enumerate(helpers.hear(), start=1):
            if theirs.batch != ours.batch:
                raise ClipbenchError(
                    f"process {number} of the run drew another batch for step {step} than the first process",
                    where="train_batches",
                    remedy="let a batch depend on the seed and the step alone, and not on what was drawn before",
                )
            if theirs.weights != ours.weights:
                message = f"process {number} of the run has other weights at step {step} than the first process"
                raise ClipbenchError(message, where="training.processes", remedy="run it in one process, and tell us")
            apart = [name for name, value in ours.remembered.items() if theirs.remembered.get(name) != value]
            if apart and step > 0:  # before it, the first process has not passed through this model
                whose = f"in process {number} than in the first: it is in no buffer"
                remarks.append(f"the model remembers another {apart[0]} {whose}")
        return remarks

    def evaluated(self, problem: Problem, batch: Batch, at: Pass, *, create_graph: bool = False) -> Tensor:
        """The loss of a batch on this process's device, whose gradient it adds to the parameters': of all shards.

        Raises:
            ClipbenchError: as of a process alone; also what another process has raised.
            LostProcessError: another process is gone.
        """
        settings, model = self._settings, problem.model
        if self._helpers is None:
            return evaluated(problem, batch, settings, create_graph=create_graph)
        helpers = self._built()
        helpers.tell("evaluate", *at)
        self._exchanged(lambda exchange: exchange.send_weights(model))
        pieces = pieces_of(shards(batch, settings)[0], settings)
        with unmoved(model):
            loss = of_pieces(problem, pieces, settings, of=batch)
        replies = helpers.hear()
        present = [any(each) for each in zip(present_gradients(model), *(there for _, there in replies), strict=True)]
        helpers.tell("sum", present)
        self._exchanged(lambda exchange: exchange.sum_gradients(model, present))
        return torch.tensor(float(loss.detach()) + sum(part for part, _ in replies), dtype=torch.float64)

    def close(self) -> None:
        """End the others."""
        if self._helpers is not None:
            self._helpers.end()
        if self._exchange is not None:
            self._exchange.close()
        if self._folder is not None:
            self._folder.cleanup()

    def _built(self) -> Helpers:
        """The others, once they have built the problem.

        Raises:
            ClipbenchError: a process has built another one.
        """
        assert self._helpers is not None
        if self._expected:
            for number, weights in enumerate(self._helpers.hear(), start=1):
                if weights != self._expected:
                    raise ClipbenchError(
                        f"process {number} of the run built other initial weights than the first process",
                        where=self._run.task.target,
                        remedy="let a task's weights depend on its seed and its options alone",
                    )
            self._expected = ""
        return self._helpers

    def _exchanged(self, action: Callable[[Exchange], None]) -> None:
        assert self._exchange is not None
        assert self._helpers is not None
        try:
            action(self._exchange)
        except RuntimeError:
            self._helpers.require_all()
            raise


@contextmanager
def team(run: Run, device: torch.device) -> Iterator[Team]:
    """The processes of a run, of which this is the first; afterwards the others are gone."""
    if run.training.processes > 1:
        ensure_server()
    several = Team(run, device)
    try:
        yield several
    finally:
        several.close()
