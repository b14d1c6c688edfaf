"""An optimizer with what goes around it: the outermost wrapper steps, and each hands the step on to what is inside."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from clipbench.geometry import keeping
from clipbench.running.evaluation import has_two_states
from clipbench.running.grouping import States


@dataclass(frozen=True)
class _Shared:
    """What a wrapper has in common with the innermost optimizer: torch makes both anew where it loads a state.

    `groups`: the very list of them. `places`: single groups, by their place in the wrapper's own list and in the
    optimizer's. `state`: the very mapping.
    """

    groups: bool
    places: tuple[tuple[int, int], ...]
    state: bool


def _shared(wrapper: Any, wrapped: torch.optim.Optimizer) -> _Shared:
    groups = getattr(wrapper, "param_groups", [])
    inside = {id(group): place for place, group in enumerate(wrapped.param_groups)}
    places = ((place, inside[id(group)]) for place, group in enumerate(groups) if id(group) in inside)
    is_list = groups is wrapped.param_groups
    return _Shared(is_list, () if is_list else tuple(places), getattr(wrapper, "state", None) is wrapped.state)


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
        self._shared = {name: _shared(each, wrapped) for name, each in wrappers.items()}
        self._gather()

    def _gather(self) -> None:
        self.param_groups = self.wrapped.param_groups
        for name, each in self.members.items():
            shared = self._shared[name]
            if shared.groups and each.param_groups is not self.param_groups:
                each.param_groups = self.param_groups
            for own, inside in shared.places:
                each.param_groups[own] = self.param_groups[inside]
            if shared.state and each.state is not self.wrapped.state:
                each.state = self.wrapped.state
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
        loss = outermost.step() if closure is None else outermost.step(closure)
        self.param_groups = self.wrapped.param_groups  # a wrapper may have put others in their place
        return loss

    def state_dict(self) -> dict[str, Any]:
        """As the innermost optimizer has it; `wrappers` has what each wrapper keeps, a parameter by its number."""
        numbers = {id(parameter): number for number, parameter in enumerate(self._parameters())}
        with_states = self._with_states()
        kept = {
            name: {
                "attributes": keeping.attributes(each),
                "state": [
                    (
                        *((True, numbers[id(key)]) if isinstance(key, Tensor) else (False, key)),
                        keeping.kept_value(dict(value) if isinstance(value, Mapping) else value),
                    )
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
            for of_parameter, key, value in state_dict["wrappers"][name]["state"]:
                place = parameters[key] if of_parameter else key
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
