"""The clip in Lightning: attach it in configure_optimizers."""

import os
from typing import Any

import pytest
import torch
from integrations.twin import FRACTION, Net, adamw, batches, batches_seen_by, check, plain_loop, watch
from torch import Tensor

from clipbench.clipping.hook import CoordinateClip

os.environ["HF_HUB_OFFLINE"] = "1"
lightning = pytest.importorskip("lightning", reason="not installed: lightning")

# Lightning's own: a name of torch's that it uses is deprecated, and it would have more workers, or SLURM's.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:The `srun` command is available"),
]


class Module(lightning.LightningModule):  # type: ignore[misc, name-defined]
    """The net with its optimizer, whose step Lightning calls with a closure."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Net()
        self.seen: list[Any] = []

    def training_step(self, batch: dict[str, Tensor], _: int) -> Tensor:
        loss: Tensor = self.net(**batch)["loss"]
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        optimizer = adamw(self.net)
        self.seen = watch(optimizer, CoordinateClip(optimizer, FRACTION, of="numerator"))
        return optimizer


@pytest.mark.parametrize("accumulate", [1, 2])
def test_lightning_trains_what_a_plain_loop_trains(accumulate: int) -> None:
    module = Module()
    given = batches_seen_by(module.net)
    trainer = lightning.Trainer(
        max_epochs=1,
        accelerator="cpu",
        accumulate_grad_batches=accumulate,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, batches())
    assert len(given) == 8
    expected, without = (plain_loop(Net(), given, accumulate=accumulate, clipped=clipped) for clipped in (True, False))
    check(module.net, module.seen, like=expected, unlike=without, steps=8 // accumulate)


def test_the_wrapper_around_an_optimizer_is_refused_and_never_left_unclipped_in_silence() -> None:
    """What LightningModule.optimizers() gives passes for a torch optimizer and shares the hooks of the one within."""
    wrapper: Any = lightning.pytorch.core.optimizer.LightningOptimizer(adamw(Net()))
    within = wrapper.optimizer
    assert isinstance(wrapper, torch.optim.Optimizer)
    with pytest.raises(TypeError, match=r"LightningAdamW is a wrapper around it \(AdamW\): pass its \.optimizer"):
        CoordinateClip(wrapper, FRACTION)
    assert CoordinateClip(within, FRACTION).last is None
