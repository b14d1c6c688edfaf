"""An optimizer with what goes around it: the outermost wrapper steps, and each hands the step on to what is inside."""

from collections.abc import Callable, Mapping
from typing import Any

import torch

from clipbench.geometry import keeping
from clipbench.running.evaluation import has_two_states
from clipbench.running.grouping import States


class WrappedOptimizer(torch.optim.Optimizer):
    """An optimizer and its wrappers as one optimizer.

    `param_groups` are those of the innermost, the very list, so that a schedule reaches what steps. What the wrappers
    keep (their state for each parameter, and plain attributes) is saved by value, whatever their own state_dict leaves
    out.

    Args:
        wrapped: the innermost optimizer, with its clip.
        wrappers: what goes around it by name, innermost first; each has a step().
    """

    def __init__(self, wrapped: torch.optim.Optimizer, wrappers: Mapping[str, Any]) -> None:
        super().__init__([parameter for group in wrapped.param_groups for parameter in group["params"]], {})
        self.wrapped = wrapped
        self.members: dict[str, Any] = dict(wrappers)
        self._sharing = [each for each in wrappers.values() if getattr(each, "param_groups", 0) is wrapped.param_groups]
        self._gather()

    def _gather(self) -> None:
        self.param_groups = self.wrapped.param_groups
        for each in self._sharing:
            if each.param_groups is not self.param_groups:  # torch makes a new list where it loads a state
                each.param_groups = self.param_groups
        self.state = States({"": self.wrapped, **self._with_states()})  # type: ignore[assignment]

    def _with_states(self) -> dict[str, Any]:
        """The wrappers that keep a state of their own for parameters."""
        return {
            name: each
            for name, each in self.members.items()
            if isinstance(getattr(each, "state", None), Mapping) and each.state is not self.wrapped.state
        }

    def __getstate__(self) -> dict[str, Any]:
        return dict(vars(self))  # torch copies the state and the groups alone

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Let the outermost wrapper step."""
        *_, outermost = self.members.values()
        return outermost.step() if closure is None else outermost.step(closure)

    def state_dict(self) -> dict[str, Any]:
        """As the innermost optimizer has it; `wrappers` has what each wrapper keeps, a parameter by its number."""
        numbers = {parameter: number for number, parameter in enumerate(self._parameters())}
        with_states = self._with_states()
        kept = {
            name: {
                "attributes": keeping.attributes(each),
                "state": [
                    (numbers.get(key, key), keeping.kept_value(dict(value) if isinstance(value, Mapping) else value))
                    for key, value in (each.state.items() if name in with_states else ())
                ],
                "groups": [keeping.kept_value(_settings(group)) for group in self._own_groups(each)],
            }
            for name, each in self.members.items()
        }
        wrapped = {"attributes": keeping.attributes(self.wrapped)}
        return {**self.wrapped.state_dict(), "wrapped": wrapped, "wrappers": kept}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Give the innermost optimizer and every wrapper what was its own."""
        apart = ("wrapped", "wrappers")
        self.wrapped.load_state_dict({name: value for name, value in state_dict.items() if name not in apart})
        keeping.put_back(self.wrapped, state_dict["wrapped"]["attributes"])
        self._gather()
        parameters = self._parameters()
        for name, each in self.members.items():
            keeping.put_back(each, state_dict["wrappers"][name]["attributes"])
            for group, kept in zip(self._own_groups(each), state_dict["wrappers"][name]["groups"], strict=True):
                group.update(keeping.restored_value(_settings(group), kept))
            for key, value in state_dict["wrappers"][name]["state"]:
                place = parameters[key] if isinstance(key, int) else key
                each.state[place] = keeping.restored_value(each.state.get(place), value)
        self._gather()

    def _own_groups(self, wrapper: Any) -> list[dict[str, Any]]:
        """A wrapper's parameter groups, where they are not those of what is inside."""
        groups = getattr(wrapper, "param_groups", [])
        inside = [id(group) for group in self.param_groups]
        return [group for group in groups if id(group) not in inside]

    def _parameters(self) -> list[Any]:
        return [parameter for group in self.wrapped.param_groups for parameter in group["params"]]


def _settings(group: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in group.items() if name != "params"}


class WrappedInTwoStates(WrappedOptimizer):
    """The same, where the innermost or a wrapper has weights to train at and others to be used."""

    def train(self) -> None:
        """Bring the weights to train at."""
        self._with_modes().train()

    def eval(self) -> None:
        """Bring the weights to be used."""
        self._with_modes().eval()

    def _with_modes(self) -> Any:
        """The outermost that has the two: what is inside it is its business."""
        return next(each for each in (*reversed(self.members.values()), self.wrapped) if has_two_states(each))


def wrapped(optimizer: torch.optim.Optimizer, wrappers: Mapping[str, Any]) -> WrappedOptimizer:
    """An optimizer in its wrappers, which has two states where it or one of them has."""
    kind = WrappedInTwoStates if any(map(has_two_states, (optimizer, *wrappers.values()))) else WrappedOptimizer
    return kind(optimizer, wrappers)
