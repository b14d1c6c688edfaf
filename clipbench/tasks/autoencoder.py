"""Handwritten digits of 8×8 pixels squeezed through a bottleneck and drawn again, by a small autoencoder."""

import gzip
import io
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from clipbench.contracts import Batch, Problem
from clipbench.data import sklearn_digits
from clipbench.networks.options import require_positive
from clipbench.networks.seeding import generator, in_batches, shuffled_epochs, with_weights_of

DATA = "sklearn_digits"
PIXELS, BRIGHTEST = 64, 16
TRAINING, EVALUATED, PROBED = 1000, 285, 512  # of 1797 images
LARGEST_BATCH = PROBED // 4


class Autoencoder(nn.Module):
    """64 pixels → width → bottleneck → width → 64 pixels, tanh after the two wide layers."""

    def __init__(self, width: int, bottleneck: int) -> None:
        super().__init__()
        sizes = (PIXELS, width, bottleneck, width, PIXELS)
        layers = [nn.Linear(fan_in, fan_out) for fan_in, fan_out in pairwise(sizes)]
        for layer in layers:
            nn.init.xavier_normal_(layer.weight)
            nn.init.zeros_(layer.bias)
        first, code, unfold, last = layers
        self.network = nn.Sequential(first, nn.Tanh(), code, unfold, nn.Tanh(), last)

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 64), less the mean one → as they come out (B, 64)."""
        drawn: Tensor = self.network(images)
        return drawn


def loss(model: nn.Module, batch: Batch) -> Tensor:
    """The mean over images of ‖x − x̂‖², summed over pixels: at x̂ = 0 the total variance."""
    images = batch["images"]
    distances: Tensor = (model(images) - images).square().sum(dim=1)
    return distances.mean()


def unexplained(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """Σ ‖x − x̂‖² over Σ ‖x‖²: the share of the variance that is lost."""
    images = batch["images"]
    return (model(images) - images).square().sum(), images.square().sum()


def split() -> tuple[Tensor, Tensor, Tensor]:
    """The images (N, 64) for training, evaluation and probes: 1000, 285 and 512, from one fixed shuffle.

    Pixels go from 0 to 1, less the mean training image.

    Raises:
        ClipbenchError: scikit-learn is not installed.
    """
    table = np.loadtxt(io.BytesIO(gzip.decompress(sklearn_digits())), delimiter=",", dtype=np.float32)
    rows = torch.from_numpy(table)[torch.randperm(len(table), generator=generator("autoencoder split"))]
    images = rows[:, :PIXELS] / BRIGHTEST
    training, evaluation, probing = torch.split(images - images[:TRAINING].mean(dim=0), [TRAINING, EVALUATED, PROBED])
    return training, evaluation, probing


def build(seed: int, device: torch.device, *, width: int = 128, bottleneck: int = 32, batch: int = 8) -> Problem:
    """A control without classes, on which SGD with momentum is expected to keep up with Adam.

    scikit-learn's bundled digits, without their labels. The split is the same for every seed: a seed decides the
    initial weights and the order of the training images, which are shuffled anew for every pass. A sample is an image.

    The metric is the share of the variance that does not come through the bottleneck.

    Args:
        seed: of the weights and of the order.
        device: where the model goes; batches stay on the CPU.
        width: of the layer before the bottleneck and of that after it.
        bottleneck: numbers that an image is squeezed into.
        batch: images in a training batch, at most 128 (the probes need four times as many of their own).

    Raises:
        ValueError: an option makes no sense.
        ClipbenchError: scikit-learn is not installed.
    """
    require_positive(width=width, bottleneck=bottleneck, batch=batch)
    if batch > LARGEST_BATCH:
        raise ValueError(f"batch must be at most {LARGEST_BATCH}, a quarter of the images for probes, not {batch}")
    training, evaluation, probing = split()
    return Problem(
        model=with_weights_of(seed, lambda: Autoencoder(width, bottleneck)).to(device),
        loss=loss,
        train_batches=shuffled_epochs({"images": training}, batch, seed=seed),
        eval_batches=in_batches({"images": evaluation}, EVALUATED),
        probe_batches=in_batches({"images": probing[: 4 * batch]}, batch),
        metrics={"unexplained": unexplained},
        train_slice=in_batches({"images": training}, TRAINING),
    )
