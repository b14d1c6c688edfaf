"""Classes of images by a ResNet or a vision transformer; of handwritten digits where no data is given."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from clipbench.contracts import Batch, Problem
from clipbench.corpora.drawing import drawn
from clipbench.corpora.pictures import digits, in_folders
from clipbench.networks import hub
from clipbench.networks.options import require_positive

DATA = "sklearn_digits"
FILES = ("data", "model")
QUANTITIES = {"accuracy": ("linear", "higher", "last")}


def logits(model: nn.Module, batch: Batch) -> Tensor:
    """The logits (B, classes)."""
    found: Tensor = model(pixel_values=batch["images"]).logits
    return found


def loss(model: nn.Module, batch: Batch) -> Tensor:
    """The mean cross-entropy of the class, in nats."""
    return functional.cross_entropy(logits(model, batch), batch["label"])


def accuracy(model: nn.Module, batch: Batch) -> tuple[Tensor, int]:
    """How many images have the largest logit at their class, and how many they are."""
    return (logits(model, batch).argmax(dim=1) == batch["label"]).sum(), batch.samples


def build(
    seed: int,
    device: torch.device,
    *,
    architecture: Literal["resnet18", "resnet50", "vit"] = "resnet18",
    model: str = "",
    pretrained: bool = False,
    size: Literal["tiny", "full"] = "tiny",
    data: str = "",
    side: int = 8,
    batch: int = 16,
    dropout: float | None = 0.0,
) -> Problem:
    """Image classification by a residual network (arXiv:1512.03385) or a vision transformer (arXiv:2010.11929).

    Without data, the images are scikit-learn's handwritten digits. 90 % of the images are for training, the same for
    every seed; none is cropped or turned. A seed decides their order, dropout and, from scratch, the initial weights;
    the weights of the classifier's head are always drawn. A sample is an image.

    Args:
        seed: of the order of the images and of drawn weights.
        device: where the model goes; batches stay on the CPU.
        architecture: of the model that has no name.
        model: a name on the hub, `owner/name@revision`, or a folder; empty for an architecture of a size.
        pretrained: with its weights; otherwise the seed draws them.
        size: of the architecture that has no name: `full` is as published.
        data: a folder with a folder of images for each class; empty for handwritten digits.
        side: every image is scaled to so many pixels each way.
        batch: images in a training batch.
        dropout: its probability in a vision transformer; None for the model's own.

    Raises:
        ValueError: an option makes no sense.
        ClipbenchError: a package, the model or the data is missing, or they do not fit together.
    """
    require_positive(side=side, batch=batch)
    images, labels = in_folders(data, side) if data else digits(side)
    channels, classes = images.shape[1], int(labels.max()) + 1
    settings = {"num_labels": classes, "num_channels": channels}
    own = {"image_size": side} if architecture == "vit" else {}
    made, loaded = hub.build_model(hub.ModelChoice(architecture, model, pretrained, size, dropout, settings, own), seed)
    if (taken := hub.config(made).num_channels) != channels:
        raise ValueError(f"the model takes {taken} channels, and the images have {channels}")
    shown = images.float()
    mean, deviation = shown.mean(dim=(0, 2, 3), keepdim=True), shown.std(dim=(0, 2, 3), keepdim=True)
    deviation = deviation.clamp(min=1e-6)  # a channel may be the same everywhere

    def collate(numbers: Tensor, _: torch.Generator) -> Batch:
        standardised = (images[numbers].float() - mean) / deviation
        return Batch({"images": standardised, "label": labels[numbers]}, samples=len(numbers))

    return Problem(
        model=made.to(device),
        loss=loss,
        metrics={"accuracy": accuracy},
        loaded=loaded,
        **drawn(len(images), batch, seed, collate).fields(),
    )
