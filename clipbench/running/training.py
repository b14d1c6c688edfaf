"""The live parts of one run, and what it has accumulated: what the loop works on and a checkpoint keeps."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from clipbench.budget import Budget, Ledger, Spent, Stopwatch
from clipbench.contracts import Batch, Problem, Recorder
from clipbench.measurements import Measurement
from clipbench.records import AS_WRITTEN, Measure, TrainingSettings
from clipbench.running.equipment import AttachedClip, ProbeMeasure
from clipbench.running.ghosts import Ghosts
from clipbench.running.memory import Peaks
from clipbench.running.prefetch import Pin
from clipbench.running.processes import Team
from clipbench.running.schedule import ScheduledRates
from clipbench.running.stepping import Stepping
from clipbench.running.vigil import Vigil


@dataclass
class State:
    """What a run has accumulated, beside weights and optimizer state: all of it goes into a checkpoint."""

    spent: Spent = field(default_factory=Spent)
    passes: int = 0  # forward and backward passes of the steps; an optimizer with a closure takes several a step
    step_seconds: list[float] = field(default_factory=list)
    loss_sum: float = 0.0  # of the mini-batches since the last evaluation
    loss_count: int = 0
    first_losses: list[float] = field(default_factory=list)  # of the evaluation batches at step 0
    last_losses: list[float] = field(default_factory=list)
    last_eval_loss: float = math.nan
    peaks: Peaks = field(default_factory=Peaks)
    wall_seconds: float = 0.0  # of the processes that worked on this run before this one
    resumed_at: list[int] = field(default_factory=list)  # the steps at which a process went on with it
    points_probed: int = 0  # of `probe_at`
    failed_probes: dict[str, str] = field(default_factory=dict)
    remarks: dict[str, tuple[str, ...]] = field(default_factory=dict)
    fingerprints: dict[str, str] = field(default_factory=dict)

    def remark(self, about: str, text: str) -> None:
        """Keep a sentence once; it is about a probe, or about one of the subjects that records.py names."""
        present = self.remarks.get(about, ())
        if text not in present:
            self.remarks[about] = (*present, text)


@dataclass
class Training:
    """The live parts of one run."""

    problem: Problem
    optimizer: torch.optim.Optimizer
    clip: AttachedClip | None
    rates: ScheduledRates
    budget: Budget
    measure: Measure
    probes: Sequence[tuple[str, ProbeMeasure]]
    record: Recorder
    watch: Stopwatch
    ledger: Ledger
    vigil: Vigil
    team: Team
    ghosts: Ghosts | None = None
    step_flops: int | None = None
    attention: str = ""  # the kernels of it
    stepping: Stepping = "gradient"
    create_graph: bool = False
    settings: TrainingSettings = AS_WRITTEN
    pin: Pin | None = None  # with it the next batches are drawn while a step runs
    last_batch: Batch | None = None  # of the latest step; a checkpoint has its hash
    state: State = field(default_factory=State)

    @property
    def progress(self) -> float:
        """The fraction of the budget that is spent."""
        return self.budget.progress(self.state.spent)

    def note(self, quantity: str, value: float, *, direction: str = "") -> None:
        """Record one number at this step."""
        spent = self.state.spent
        self.record(Measurement(spent.steps, spent.seconds, direction, quantity, value))

    def progress_after(self, batch: Batch) -> float:
        """Progress at the end of a coming step on `batch`.

        How long a step takes is only known from the last one; before there is one, a thousandth of the budget is
        assumed.
        """
        state, budget = self.state, self.budget
        seconds = state.step_seconds[-1] if state.step_seconds else budget.amount / 1000
        return budget.progress(state.spent.after_step(batch.samples, tokens=batch.tokens or 0, seconds=seconds))
