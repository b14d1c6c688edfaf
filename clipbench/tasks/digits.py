"""Handwritten digits of 8×8 pixels, by a small vision transformer or a small convolutional network."""

import gzip
import io
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from clipbench.contracts import Batch, Problem
from clipbench.data import sklearn_digits
from clipbench.networks.options import require_positive
from clipbench.networks.seeding import generator, in_batches, shuffled_epochs, with_weights_of
from clipbench.networks.transformer import Block, draw_weights

DATA = "sklearn_digits"
SIDE, CLASSES = 8, 10
TRAINING, EVALUATED, PROBED = 1000, 285, 512  # of 1797 images
LARGEST_BATCH = PROBED // 4


class VisionTransformer(nn.Module):
    """Patches of 2×2 as 16 tokens, pre-LN layers, the mean over tokens, a linear head (after arXiv:2010.11929)."""

    def __init__(self, *, width: int = 32, layers: int = 2, heads: int = 4, patch: int = 2) -> None:
        super().__init__()
        self.patch = patch
        self.embedding = nn.Linear(patch * patch, width)
        self.position = nn.Parameter(torch.randn((SIDE // patch) ** 2, width) * 0.02)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, CLASSES)
        draw_weights(self, depth=2 * layers)
        nn.init.normal_(self.head.weight, std=0.02)  # near-uniform first predictions

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 1, 8, 8) → logits (B, 10)."""
        patches = functional.unfold(images, self.patch, stride=self.patch).transpose(1, 2)  # (B, 16, 4)
        x = self.embedding(patches) + self.position
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.head(self.norm(x).mean(dim=1))
        return logits


class ConvolutionalNetwork(nn.Module):
    """Three 3×3 convolutions with ReLU, a max-pool after the second, the mean over pixels, a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 16, 3, padding=1)
        self.second = nn.Conv2d(16, 32, 3, padding=1)
        self.third = nn.Conv2d(32, 32, 3, padding=1)
        self.head = nn.Linear(32, CLASSES)
        for layer in (self.first, self.second, self.third):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        nn.init.normal_(self.head.weight, std=0.02)  # near-uniform first predictions
        nn.init.zeros_(self.head.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 1, 8, 8) → logits (B, 10)."""
        x = functional.relu(self.second(functional.relu(self.first(images))))
        x = functional.relu(self.third(functional.max_pool2d(x, 2)))
        logits: Tensor = self.head(x.mean(dim=(2, 3)))
        return logits


def loss(model: nn.Module, batch: Batch) -> Tensor:
    """The mean cross-entropy of the digit, in nats."""
    return functional.cross_entropy(model(batch["images"]), batch["digits"])


def split() -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
    """The images (N, 1, 8, 8) and digits (N,) for training, evaluation and probes: 1000, 285 and 512, disjoint.

    The split is one fixed shuffle, whatever the seed. Pixels are standardised by the mean and the deviation
    over all pixels of the training images; one by one would divide by zero, as some are always blank.

    Raises:
        ClipbenchError: scikit-learn is not installed.
    """
    table = np.loadtxt(io.BytesIO(gzip.decompress(sklearn_digits())), delimiter=",", dtype=np.float32)
    rows = torch.from_numpy(table)[torch.randperm(len(table), generator=generator("digits split"))]
    images, digits = rows[:, :-1].reshape(-1, 1, SIDE, SIDE), rows[:, -1].long()
    images = (images - images[:TRAINING].mean()) / images[:TRAINING].std()
    sizes = [TRAINING, EVALUATED, PROBED]
    parts = zip(torch.split(images, sizes), torch.split(digits, sizes), strict=True)
    training, evaluation, probing = ({"images": x, "digits": y} for x, y in parts)
    return training, evaluation, probing


def build(seed: int, device: torch.device, *, model: Literal["vit", "cnn"] = "vit", batch: int = 32) -> Problem:
    """Image classification in a second or two, with attention or with convolutions and ReLU.

    scikit-learn's bundled digits. The split is the same for every seed: a seed decides the initial weights and
    the order of the training images, which are shuffled anew for every pass. A sample is an image.

    Args:
        seed: of the weights and of the order.
        device: where the model goes; batches stay on the CPU.
        model: "vit", 26 thousand parameters, or "cnn", 14 thousand. The CNN has kinks: about half of its ReLUs
            are off, and with them many coordinates of its gradient are exactly zero.
        batch: images in a training batch, at most 128 (the probes need four times as many of their own).

    Raises:
        ValueError: an option makes no sense.
        ClipbenchError: scikit-learn is not installed.
    """
    require_positive(batch=batch)
    if batch > LARGEST_BATCH:
        raise ValueError(f"batch must be at most {LARGEST_BATCH}, a quarter of the images for probes, not {batch}")
    if model not in ("vit", "cnn"):
        raise ValueError(f"model must be 'vit' or 'cnn', not {model!r}")
    training, evaluation, probing = split()
    return Problem(
        model=with_weights_of(seed, VisionTransformer if model == "vit" else ConvolutionalNetwork).to(device),
        loss=loss,
        train_batches=shuffled_epochs(training, batch, seed=seed),
        eval_batches=in_batches(evaluation, EVALUATED),
        probe_batches=in_batches({name: tensor[: 4 * batch] for name, tensor in probing.items()}, batch),
    )
