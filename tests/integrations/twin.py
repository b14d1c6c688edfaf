"""What a framework trains, trained again in a plain loop: the clip must make of both the same."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader

from clipbench.clipping.hook import CoordinateClip
from clipbench.clipping.report import Clipped

FRACTION = 0.3
CLASSES = 4


class Net(nn.Module):
    """Two layers; takes a loss along, as Hugging Face's models do."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.layers = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, CLASSES))

    def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
        logits = self.layers(x)
        return {"loss": functional.cross_entropy(logits, labels), "logits": logits}


def examples(count: int = 32) -> list[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(count, 6, generator=generator)
    labels = torch.randint(CLASSES, (count,), generator=generator)
    return [{"x": one, "labels": label} for one, label in zip(x, labels, strict=True)]


def adamw(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=0.01)


def watch(optimizer: torch.optim.Optimizer, clip: CoordinateClip) -> list[Clipped | None]:
    """What the clip says after each step from now on."""
    seen: list[Clipped | None] = []
    optimizer.register_step_post_hook(lambda *_: seen.append(clip.last))
    return seen


def batches() -> DataLoader[dict[str, Tensor]]:
    """The examples, four at a time."""
    dataset: Any = examples()  # a list is as good as a Dataset
    return DataLoader(dataset, batch_size=4)


def batches_seen_by(model: nn.Module) -> list[dict[str, Tensor]]:
    """What the model is given in training from now on, in its order."""
    seen: list[dict[str, Tensor]] = []

    def note(module: nn.Module, _: tuple[object, ...], given: dict[str, Any]) -> None:
        if module.training:
            seen.append({name: tensor.clone() for name, tensor in given.items() if isinstance(tensor, Tensor)})

    model.register_forward_pre_hook(note, with_kwargs=True)
    return seen


def in_groups(batches: Iterable[dict[str, Tensor]], size: int) -> Iterator[list[dict[str, Tensor]]]:
    listed = list(batches)
    for start in range(0, len(listed), size):
        yield listed[start : start + size]


def plain_loop(
    model: nn.Module,
    batches: Iterable[dict[str, Tensor]],
    *,
    accumulate: int = 1,
    make: Callable[[nn.Module], torch.optim.Optimizer] = adamw,
    clipped: bool = True,
) -> nn.Module:
    """Train as torch's own tutorials do, with the clip of the numerator or without."""
    model.train()
    optimizer = make(model)
    if clipped:
        CoordinateClip(optimizer, FRACTION, of="numerator")
    for group in in_groups(batches, accumulate):
        optimizer.zero_grad()
        for batch in group:
            (model(**batch)["loss"] / len(group)).backward()
        optimizer.step()
    return model


def check(trained: nn.Module, seen: list[Clipped | None], *, like: nn.Module, unlike: nn.Module, steps: int) -> None:
    """The trained model is the one, far from the other, and the clip clipped what was asked at each of the steps."""
    n = sum(parameter.numel() for parameter in trained.parameters())
    assert [last and (int(last.clipped), last.n) for last in seen] == [(int(n * FRACTION), n)] * steps
    assert len({float(last.threshold) for last in seen if last is not None}) == steps
    for ours, theirs in zip(trained.parameters(), like.parameters(), strict=True):
        # A framework may scale its loss in another order, which Adam's first steps magnify from float32's last bit.
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    apart = [a.detach() - b.detach() for a, b in zip(trained.parameters(), unlike.parameters(), strict=True)]
    assert max(float(difference.abs().max()) for difference in apart) > 1e-3
