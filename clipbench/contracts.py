"""READ THIS FIRST: what a task, an optimizer, a wrapper and a probe are. Put one file on a shelf and it is enrolled.

A shelf file (`clipbench/tasks/x.py`, and likewise in `optimizers`, `wrappers` and `probes`) is a module with one public
function, `build` or `measure`, of the shape below. Its keyword-only arguments are the options a spec may
set; their annotations use only bool, int, float, str, None, tuple and Literal, because the spec is checked
against the file's text, before torch is imported. The first line of the module's docstring is what
`clipbench list` prints. A literal constant QUANTITIES in the file of a task or a probe says how what it records
is read. A task that reads data from the user's disk names its source in a constant,
`DATA = "..."`, one of `clipbench.data.SOURCES`, and in FILES the options by which a spec may name files, the first in
place of DATA: what is in them is in the key of a run. The module of a task that lies elsewhere, "package:task",
may have a function `fingerprint(**options) -> str`: a text that changes with the data that the task reads.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from clipbench.errors import ClipbenchError
from clipbench.measurements import Measurement


@dataclass(frozen=True)
class Batch:
    """Named tensors, with how much of a budget they use.

    `samples` counts examples; `tokens` counts the target tokens that are in the loss (padding is not), and is
    None where a task has no tokens. `terms` says how many terms of the mean loss each example adds, on the CPU: its
    target tokens, for example. Without it each example adds one where there are no tokens; where there are, nobody
    knows, and the batch cannot be split.

    Raises:
        ValueError: `terms` are not as many as the samples, their sum is not that of the tokens, or one is negative or
            no whole number.
    """

    tensors: Mapping[str, Tensor]
    samples: int
    tokens: int | None = None
    terms: Tensor | None = None

    def __post_init__(self) -> None:
        if self.terms is None:
            return
        if tuple(self.terms.shape) != (self.samples,):
            raise ValueError(f"terms have the shape {tuple(self.terms.shape)}, for {self.samples} samples")
        if bool((self.terms < 0).any()) or (self.terms.is_floating_point() and bool((self.terms % 1 != 0).any())):
            raise ValueError("terms are counts: whole numbers, none of them negative")
        if self.tokens is not None and int(self.terms.sum()) != self.tokens:
            raise ValueError(f"terms add up to {int(self.terms.sum())}, and there are {self.tokens} tokens")

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    @property
    def weight(self) -> int:
        """How many terms the mean loss of this batch averages: its share in a mean over batches."""
        if self.terms is not None:
            return int(self.terms.sum())
        return self.samples if self.tokens is None else self.tokens

    def split(self, size: int) -> list["Batch"]:
        """The batch in pieces of at most so many examples, along the first axis; itself where it has no more.

        The loss of the batch is the mean of those of its pieces, each weighted by its `weight`. A piece without any
        term is left out, unless none has any: then nothing is split.

        Raises:
            ClipbenchError: nobody knows how many terms an example has, or a tensor has no row for each example.
        """
        if size >= self.samples:
            return [self]
        if self.terms is None and self.tokens is not None:
            raise ClipbenchError(
                "the batch has tokens, and nothing says how many each example has, so it cannot be split",
                where="Batch",
                remedy="let the task give `terms`, one number an example: Batch(..., terms=lengths)",
            )
        if odd := [name for name, tensor in self.tensors.items() if tensor.ndim == 0 or len(tensor) != self.samples]:
            raise ClipbenchError(
                f"the tensor {odd[0]!r} has no row for each of {self.samples} examples, so the batch cannot be split",
                where="Batch",
                remedy="keep what belongs to no example out of the batch",
            )
        terms = torch.ones(self.samples, dtype=torch.int64) if self.terms is None else self.terms
        pieces = [self._piece(slice(start, start + size), terms) for start in range(0, self.samples, size)]
        return [piece for piece in pieces if piece.weight] or [self]

    def _piece(self, rows: slice, terms: Tensor) -> "Batch":
        own = terms[rows]
        tensors = {name: tensor[rows] for name, tensor in self.tensors.items()}
        return Batch(tensors, len(own), None if self.tokens is None else int(own.sum()), own)

    def to(self, device: torch.device) -> "Batch":
        """The batch with its tensors on a device."""
        moved = {name: tensor.to(device, non_blocking=True) for name, tensor in self.tensors.items()}
        return replace(self, tensors=moved)


Loss = Callable[[nn.Module, Batch], Tensor]
Metric = Callable[[nn.Module, Batch], tuple[float | Tensor, float | Tensor]]  # (sum, weight) of a batch


@dataclass(frozen=True)
class Problem:
    """All that an optimizer benchmark needs of a task; `clipbench.problem` makes one of a model and two data sets.

    - `model`: on its device, float32, with its initial weights.
    - `loss(model, batch)`: the mean loss of a batch, a 0-d tensor; model and batch on one device.
    - `train_batches(start)`: the training batches from step `start` (0-based) on, without end, on the CPU; batch i
      is the same whatever was drawn before it, so that an interrupted run goes on where it stopped.
    - `eval_batches`: held-out batches for the reported loss, or the objective itself where nothing is generalised.
    - `probe_batches`: fixed batches for curvature, of a size of their own, and not used for training steps: together
      at least 32 examples, or four training batches where those are fewer. These and the former are on the CPU.
    - `metrics`: what else is read of the evaluation batches, by name: `metric(model, batch)` returns the sum over the
      batch's terms and how many they are, and the metric is the sum of the sums over the sum of the weights. Accuracy,
      for example, is the number of right answers over that of all.
    - `train_slice`: some fixed batches of the training data, on the CPU, whose loss is recorded beside the held-out
      one; empty for none.
    - `examples`: how many training examples there are, of which an epoch is made; None where nobody has counted.
    - `loaded`: what a name from a hub stood for when it was loaded, by "repository@revision" as the spec says it: the
      commit. It goes into the record.
    - `prefetch`: whether a thread may draw training batches while a step runs on a GPU: drawing touches no global
      generator, not even to put it back, and nothing that the model or the loss uses.
    """

    model: nn.Module
    loss: Loss
    train_batches: Callable[[int], Iterator[Batch]]
    eval_batches: Sequence[Batch]
    probe_batches: Sequence[Batch]
    loaded: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    train_slice: Sequence[Batch] = ()
    examples: int | None = None
    prefetch: bool = False


class Task(Protocol):
    """`clipbench/tasks/x.py` has this as `build`.

    The same seed and options give the same initial weights and the same batches, bit for bit, whichever optimizer
    uses them and whatever state the global generators were in.
    """

    def __call__(self, seed: int, device: torch.device, **options: Any) -> Problem:
        """Build the problem of a seed on a device."""


class OptimizerFactory(Protocol):
    """`clipbench/optimizers/x.py` has this as `build`.

    Names come along, for methods that treat matrices and vectors apart. An option of the wrong value raises
    ValueError before any training; the learning rate, `lr`, has no default.
    """

    def __call__(self, named_parameters: Iterable[tuple[str, nn.Parameter]], **options: Any) -> torch.optim.Optimizer:
        """Build the optimizer of these parameters."""


class Steps(Protocol):
    """What a wrapper's factory builds. A step() with a closure evaluates the loss as often as it likes.

    What it keeps for a parameter is in a mapping `state`, and what else it keeps in plain attributes: a checkpoint has
    both. Methods train() and eval(), if there are, bring the weights to train at and those to be used. One without
    `param_groups` is given the optimizer's, for the wrapper around it.
    """

    step: Callable[..., Any]


class WrapperFactory(Protocol):
    """`clipbench/wrappers/x.py` has this as `build`: what goes around an optimizer that steps the parameters."""

    def __call__(
        self, optimizer: torch.optim.Optimizer, named_parameters: Iterable[tuple[str, nn.Parameter]], **options: Any
    ) -> Steps:
        """Build the wrapper of this optimizer, whose step() hands the step on to it."""


@dataclass(frozen=True)
class Snapshot:
    """One step, held still for probes: everything is at the point BEFORE the step, θ_before.

    - `parameters`: the trainable parameters by name, each tied weight once; their values are θ_before.
    - `batch`: the mini-batch of the step, on the model's device; `gradient`: its raw gradient, before any clip.
    - `directions`: by name, the update θ_after − θ_before as a mapping from parameter name; `own` is this arm's, a
      ghost's has the name of its arm.
    - `learning_rates`: for each direction the rate of its optimizer at this step; NaN where it has none, or several.
    - `remark(text)`: a probe says by it how it measured (which engine, what was missing); the record keeps each text
      once.
    - `measured`: what one probe has had measured here, for the others; `clipbench.geometry.shared` writes and reads it.
    """

    step: int
    problem: Problem
    batch: Batch
    parameters: Mapping[str, nn.Parameter]
    gradient: Mapping[str, Tensor]
    directions: Mapping[str, Mapping[str, Tensor]]
    learning_rates: Mapping[str, float] = field(default_factory=dict)
    remark: Callable[[str], None] = lambda _: None
    measured: list[Any] = field(default_factory=list, repr=False, compare=False)


class Probe(Protocol):
    """`clipbench/probes/x.py` has this as `measure`: yields (direction, quantity, value).

    It reads only, off the clock, and leaves weights, gradients, buffers, modes and random state bit for bit as
    they were.
    """

    def __call__(self, snapshot: Snapshot, **options: Any) -> Iterable[tuple[str, str, float]]:
        """Measure at one step."""


Recorder = Callable[[Measurement], None]
