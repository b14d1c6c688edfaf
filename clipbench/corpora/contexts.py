"""Tokens of a text with their neighbours, drawn as they come or class by class."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Classes = Literal["zipf", "uniform", "reweighted"]


@dataclass(frozen=True)
class Contexts:
    """Tokens of a text (N,), its classes, with `each_side` neighbours on each side, and how often a class counts.

    zipf: as often as in the text. uniform: every class that is there is drawn equally often. reweighted: drawn as in
    the text, and weighted by the inverse of `counts` (V,), scaled so that the mean weight is 1 where those counts hold.
    """

    text: Tensor
    counts: Tensor
    each_side: int
    classes: Classes

    def draw(self, places: Tensor, count: int, draw: torch.Generator) -> dict[str, Tensor]:
        """Some of the places, drawn with replacement: see `around`. Neighbours are places of the same stretch."""
        inner = places[self.each_side : len(places) - self.each_side]
        if self.classes == "uniform":
            targets = self.text[inner]
            chance = 1 / torch.bincount(targets)[targets].double()
            return self.around(inner[torch.multinomial(chance, count, replacement=True, generator=draw)])
        return self.around(inner[torch.randint(len(inner), (count,), generator=draw)])

    def around(self, places: Tensor) -> dict[str, Tensor]:
        """Context (B, 2c), target (B,) and class_weight (B,) at places (B,), which tell equal contexts apart."""
        offsets = torch.cat([torch.arange(-self.each_side, 0), torch.arange(1, self.each_side + 1)])
        target = self.text[places]
        weight = torch.ones(len(places))
        if self.classes == "reweighted":
            weight = self.counts.sum() / (len(self.counts) * self.counts[target])
        return {
            "context": self.text[places[:, None] + offsets],
            "target": target,
            "class_weight": weight,
            "place": places,
        }
