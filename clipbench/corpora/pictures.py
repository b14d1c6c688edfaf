"""Images with their classes: scikit-learn's digits, or a folder that has a folder for each class."""

import gzip
import io
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from clipbench.data import sklearn_digits
from clipbench.errors import ClipbenchError

_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".ppm", ".webp")


def digits(side: int) -> tuple[Tensor, Tensor]:
    """1,797 images (N, 1, side, side) of the values 0 to 16, scaled from 8 × 8, and their digits (N,).

    Raises:
        ClipbenchError: scikit-learn is not installed.
    """
    table = torch.from_numpy(np.loadtxt(io.BytesIO(gzip.decompress(sklearn_digits())), delimiter=",", dtype=np.float32))
    images = table[:, :-1].reshape(-1, 1, 8, 8)
    if side != 8:
        images = functional.interpolate(images, (side, side), mode="bilinear")
    return images, table[:, -1].long()


def in_folders(data: str, side: int) -> tuple[Tensor, Tensor]:
    """Images (N, 3, side, side) of bytes, and their classes (N,), numbered in the order of the folders' names.

    Raises:
        ClipbenchError: there are fewer than two folders with images, one of them cannot be read, or Pillow is missing.
    """
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        message = "images need the package 'pillow', which is not installed"
        raise ClipbenchError(message, remedy="pip install 'clipbench[hf]'") from error
    folder = Path(data).expanduser()
    named = sorted(file for file in folder.glob("*/*") if file.suffix.lower() in _ENDINGS)
    classes = {name: place for place, name in enumerate(sorted({file.parent.name for file in named}))}
    if len(classes) < 2:
        remedy = "give a folder with a folder of images for each class"
        raise ClipbenchError(f"{len(classes)} of its folders have images", where=data, remedy=remedy)
    images = torch.empty((len(named), 3, side, side), dtype=torch.uint8)
    for place, file in enumerate(named):
        try:
            with Image.open(file) as image:
                shown = np.asarray(image.convert("RGB").resize((side, side)))
        except (OSError, UnidentifiedImageError) as error:
            raise ClipbenchError(f"no image: {error}", where=str(file), remedy="mend it or take it away") from error
        images[place] = torch.from_numpy(shown.copy()).permute(2, 0, 1)
    return images, torch.tensor([classes[file.parent.name] for file in named])
