"""A step that is tried and undone: any optimizer's update at a point, without moving from there."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Self

import torch
from torch import Tensor, nn
from torch.autograd.grad_mode import _unsafe_preserve_version_counter

from clipbench.geometry.finely import in_float64

Update = dict[str, Tensor]


class HeldPoint:
    """Weights, gradients and random state of one point, from which any number of optimizers may step and be undone.

    One copy of the weights and one of the gradients serve them all, and every later point: `hold` writes over it.

    Args:
        parameters: the trainable parameters by name, each tied weight once.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter]) -> None:
        self._parameters = dict(parameters)
        self._weights = [torch.empty_like(p, requires_grad=False) for p in self._parameters.values()]
        self._gradients: dict[str, Tensor] = {}  # copies, kept for the next point
        self._present: dict[str, Tensor | None] = {}  # the parameters' own

    def hold(self) -> Self:
        """Take the point where the parameters are now, with the gradients that they have."""
        self._present = {name: parameter.grad for name, parameter in self._parameters.items()}
        with torch.no_grad():
            for name, gradient in self._given():
                self._gradients.setdefault(name, torch.empty_like(gradient))
            torch._foreach_copy_(self._weights, list(self._parameters.values()))
            _copy([self._gradients[name] for name, _ in self._given()], [gradient for _, gradient in self._given()])
        return self

    @property
    def weights(self) -> dict[str, Tensor]:
        """θ by parameter name: the copy itself, which the next `hold` writes over."""
        return dict(zip(self._parameters, self._weights, strict=True))

    @property
    def gradient(self) -> dict[str, Tensor]:
        """The gradient by parameter name: the copy as well, and zero for a parameter that has none."""
        held = dict(self._given())
        return {
            name: self._gradients[name] if name in held else torch.zeros_like(w) for name, w in self.weights.items()
        }

    def _given(self) -> list[tuple[str, Tensor]]:
        return [(name, gradient) for name, gradient in self._present.items() if gradient is not None]

    def tried(self, optimizer: torch.optim.Optimizer, *, home: torch.device | None = None) -> Update:
        """The update θ_after − θ_before of one step of `optimizer` from the held point, which is undone.

        Weights and gradients are put back bit for bit, also where the step raises, and so is the random state: all
        that remains of the step is in the optimizer's own state.

        Args:
            optimizer: over some or all of the parameters; its step() takes no closure.
            home: the device to keep the update on; the parameters' own unless given.
        """
        with self._put_back(), torch.no_grad():
            optimizer.step()
            held = zip(self._parameters.items(), self._weights, strict=True)
            moved = {name: parameter.detach() - weight for (name, parameter), weight in held}
            return moved if home is None else {name: update.to(home) for name, update in moved.items()}

    def tried_in_float64(
        self,
        optimizer: torch.optim.Optimizer,
        members: Sequence[torch.optim.Optimizer] = (),
        *,
        home: torch.device | None = None,
    ) -> Update:
        """The update of one step of `optimizer`, computed in float64 and rounded once, to float32.

        Nothing remains of the step, not even in the optimizer's state: it is for reading alone.

        Args:
            optimizer: over float32 parameters; `can_be_stepped_in_float64` says of which this can be asked.
            members: those that it hands the step on to, if it has no parameters of its own.
            home: as of `tried`.
        """
        names = {id(parameter): name for name, parameter in self._parameters.items()}
        update = {name: torch.zeros_like(weight) for name, weight in self.weights.items()}
        with self._put_back(), torch.no_grad(), ExitStack() as wide:
            own = members or [optimizer]
            for each in own:
                wide.enter_context(in_float64(each))
            parameters = [p for each in own for group in each.param_groups for p in group["params"]]
            before = [p.detach().clone() for p in parameters]
            optimizer.step()
            for p, start in zip(parameters, before, strict=True):
                update[names[id(p)]] = (p.detach() - start).float()
        return update if home is None else {name: each.to(home) for name, each in update.items()}

    def passed(self, optimizer: torch.optim.Optimizer) -> None:
        """One step of `optimizer` for its state alone: as `tried`, but the update is not read."""
        with self._put_back():
            optimizer.step()

    @contextmanager
    def _put_back(self) -> Iterator[None]:
        """Inside, whoever likes steps; afterwards all is as it was, and a graph of the gradient can still be used."""
        written = (*self._parameters.values(), *(gradient for _, gradient in self._given()))
        devices = sorted({p.device.index for p in self._parameters.values() if p.device.type == "cuda"})
        with torch.random.fork_rng(devices=devices), _unsafe_preserve_version_counter(written):
            try:
                yield
            finally:
                with torch.no_grad():
                    torch._foreach_copy_(list(self._parameters.values()), self._weights)
                    # The same objects: what an optimizer did to a gradient, or put in its place, is undone.
                    for name, parameter in self._parameters.items():
                        parameter.grad = self._present[name]
                    _copy([g for _, g in self._given()], [self._gradients[name] for name, _ in self._given()])


def _copy(into: list[Tensor], values: list[Tensor]) -> None:
    if into:  # torch refuses an empty list
        torch._foreach_copy_(into, values)
