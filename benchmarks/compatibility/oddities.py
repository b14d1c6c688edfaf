"""Six optimizers that do what optimizers rarely do; `oddities.py` beside a spec."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

Parameters = Iterable[nn.Parameter]
Closure = Callable[[], Tensor] | None


def _evaluated(closure: Closure) -> Tensor | None:
    if closure is None:
        return None
    with torch.enable_grad():
        return closure()


class Silent(torch.optim.Optimizer):
    """Gradient descent whose step() takes no closure and returns nothing."""

    def __init__(self, params: Parameters, lr: float) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.sub_(parameter.grad, alpha=group["lr"])


class Hoarder(torch.optim.Optimizer):
    """A momentum that is kept in an attribute and not in the state."""

    def __init__(self, params: Parameters, lr: float, momentum: float = 0.9) -> None:
        super().__init__(params, {"lr": lr})
        self.momentum = momentum
        self.buffers = [torch.zeros_like(parameter) for group in self.param_groups for parameter in group["params"]]

    @torch.no_grad()
    def step(self, closure: Closure = None) -> Tensor | None:  # type: ignore[override]
        loss = _evaluated(closure)
        parameters = [(parameter, group["lr"]) for group in self.param_groups for parameter in group["params"]]
        for (parameter, lr), buffer in zip(parameters, self.buffers, strict=True):
            if parameter.grad is not None:
                buffer.mul_(self.momentum).add_(parameter.grad)
                parameter.sub_(buffer, alpha=lr)
        return loss


class EverySecond(torch.optim.Optimizer):
    """Adds gradients up, and moves at every second call by their mean."""

    def __init__(self, params: Parameters, lr: float) -> None:
        super().__init__(params, {"lr": lr})
        self.calls = 0

    @torch.no_grad()
    def step(self, closure: Closure = None) -> Tensor | None:  # type: ignore[override]
        loss = _evaluated(closure)
        self.calls += 1
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                own = self.state[parameter]
                own["sum"] = own.get("sum", 0.0) + parameter.grad
                if self.calls % 2 == 0:
                    parameter.sub_(own.pop("sum"), alpha=0.5 * group["lr"])
        return loss


class GroupEach(torch.optim.Optimizer):
    """Gradient descent with a parameter group for each parameter."""

    def __init__(self, params: Parameters, lr: float) -> None:
        super().__init__([{"params": [parameter], "size": parameter.numel()} for parameter in params], {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Closure = None) -> Tensor | None:  # type: ignore[override]
        loss = _evaluated(closure)
        for group in self.param_groups:
            [parameter] = group["params"]
            if parameter.grad is not None:
                parameter.sub_(parameter.grad, alpha=group["lr"])
        return loss


class HalfState(torch.optim.Optimizer):
    """A momentum in bfloat16 for parameters in float32."""

    def __init__(self, params: Parameters, lr: float, momentum: float = 0.9) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Closure = None) -> Tensor | None:  # type: ignore[override]
        loss = _evaluated(closure)
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                own = self.state[parameter]
                before: Tensor = own.get("momentum", torch.zeros_like(parameter, dtype=torch.bfloat16))
                now = before.float().mul_(group["momentum"]).add_(parameter.grad)
                own["momentum"] = now.bfloat16()
                parameter.sub_(now, alpha=group["lr"])
        return loss


class TwoStates(torch.optim.Optimizer):
    """Gradient descent whose weights to be used are the mean of those that it trained at, by eval() and train()."""

    def __init__(self, params: Parameters, lr: float) -> None:
        super().__init__(params, {"lr": lr, "steps": 0, "training": True})

    def train(self) -> None:
        self._swap(training=True)

    def eval(self) -> None:
        self._swap(training=False)

    @torch.no_grad()
    def _swap(self, *, training: bool) -> None:
        for group in self.param_groups:
            if group["training"] == training:
                continue
            group["training"] = training
            for parameter in group["params"]:
                if own := self.state[parameter]:
                    held = parameter.clone()
                    parameter.copy_(own["other"])
                    own["other"].copy_(held)

    @torch.no_grad()
    def step(self, closure: Closure = None) -> Tensor | None:  # type: ignore[override]
        loss = _evaluated(closure)
        for group in self.param_groups:
            group["steps"] += 1
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                parameter.sub_(parameter.grad, alpha=group["lr"])
                own = self.state[parameter]
                own.setdefault("other", torch.zeros_like(parameter)).lerp_(parameter, 1 / group["steps"])
        return loss
