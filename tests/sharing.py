"""Tasks and optimizers for the tests of runs over several processes, each of which imports them by name."""

import multiprocessing
import os
import time
from collections.abc import Iterable, Iterator
from itertools import count
from multiprocessing import current_process
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional

from clipbench.contracts import Batch, Problem

LENGTHS = (1, 23, 3, 40, 7)  # of a batch's examples, which nobody's share of it has equally many terms of
WORDS = 11


class Layered(nn.Module):
    """A small model over tokens, with whatever a test asks for."""

    def __init__(self, *, dropout: float, normed: bool, unused: bool, max_norm: float | None, sparse: bool) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, 8, max_norm=max_norm, sparse=sparse)
        self.hidden = nn.Linear(8, 8)
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.BatchNorm1d(8) if normed else nn.Identity()
        self.rare = nn.Linear(8, 8) if unused else None
        self.head = nn.Linear(8, WORDS)

    def forward(self, tokens: Tensor) -> Tensor:
        x = torch.tanh(self.hidden(self.dropout(self.embed(tokens))))
        x = self.norm(x.flatten(0, 1)).view_as(x)
        if self.rare is not None and len(tokens) == 2:  # as the last of two shares of five examples alone
            x = x + self.rare(x)
        scores: Tensor = self.head(x)
        return scores


def ragged(
    seed: int,
    device: torch.device,
    *,
    double: bool = False,
    sizes: tuple[int, ...] = (5,),
    dropout: float = 0.0,
    normed: bool = False,
    unused: bool = False,
    max_norm: float | None = None,
    sparse: bool = False,
    terms: bool = True,
    drawn: str = "purely",
    failing: int = 0,
    seconds: float = 0.0,
    waiting: str = "",
) -> Problem:
    """Sequences of very unlike lengths, padded; the loss averages over all that is not padding.

    Batches have the `sizes` in turn. `drawn`: "in a row" and "by nobody's seed" break the contract. The loss fails on
    so many examples as `failing`, takes some `seconds`, and waits in the first process while a file `waiting` is there.
    """
    drawn_before = count()

    def batch(number: int, size: int) -> Batch:
        if drawn == "in a row":
            number = 100 * next(drawn_before)
        if drawn == "by nobody's seed":
            number = os.getpid()
        tokens = torch.randint(1, WORDS, (size, max(LENGTHS)), generator=torch.Generator().manual_seed(number + 1000))
        lengths = torch.tensor([LENGTHS[(number + i) % len(LENGTHS)] for i in range(size)])
        mask = torch.arange(max(LENGTHS)) < lengths[:, None]
        return Batch({"tokens": tokens * mask}, size, int(lengths.sum()), lengths if terms else None)

    def batches(start: int) -> Iterator[Batch]:
        return (batch(number, sizes[number % len(sizes)]) for number in count(start))

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        if batch.samples == failing and model.training:
            raise ValueError("nobody can have so many examples")
        if model.training:
            time.sleep(seconds)
            while waiting and Path(waiting).exists() and not current_process().name.startswith("process "):
                Path(waiting).with_suffix(".there").touch()
                time.sleep(0.1)
        tokens = batch["tokens"]
        return functional.cross_entropy(model(tokens).transpose(1, 2), tokens, ignore_index=0)

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Layered(dropout=dropout, normed=normed, unused=unused, max_norm=max_norm, sparse=sparse)
    held = [batch(-number, 5) for number in range(1, 5)] if drawn == "purely" else [batch(1, 5)]
    return Problem((model.double() if double else model).to(device), loss, batches, held, held)


class Alone(torch.optim.SGD):
    """Asks torch whether there are other processes, as an optimizer does that would share its work with them."""

    def step(self) -> None:  # type: ignore[override]
        if dist.is_initialized():
            raise RuntimeError("others would have to step with it")
        super().step()


class InBackward(torch.optim.SGD):
    """Steps each parameter as soon as its gradient is there."""

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float) -> None:
        parameters = list(parameters)
        super().__init__(parameters, lr=lr)
        for parameter in parameters:
            parameter.register_post_accumulate_grad_hook(self._move)

    @torch.no_grad()
    def _move(self, parameter: nn.Parameter) -> None:
        assert parameter.grad is not None
        parameter.sub_(parameter.grad, alpha=self.param_groups[0]["lr"])

    def step(self) -> None: ...  # type: ignore[override]


def pooled(seed: int, device: torch.device, how: str) -> Problem:
    """Asks a pool of processes while it is built, and waits until they have ended, as they are told to."""
    with multiprocessing.get_context(how).Pool(2) as pool:
        assert pool.map(abs, range(-4, 0)) == [4, 3, 2, 1]
    return ragged(seed, device)
