"""An arm whose parameters are shared out among several optimizers, which step as one."""

from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

from clipbench.errors import ClipbenchError
from clipbench.geometry import keeping
from clipbench.records import Arm, Group
from clipbench.running.evaluation import has_two_states, is_composed

Parameters = dict[str, nn.Parameter]

_SHOWN = 6  # names of parameters in an error


def shared_out(arm: Arm, model: nn.Module) -> dict[str, Parameters]:
    """What each group of an arm takes of a model's trainable parameters: the first group that fits takes a parameter.

    Raises:
        ClipbenchError: a group takes nothing, or a parameter is taken by none.
    """
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding | nn.EmbeddingBag)}
    names: dict[int, list[str]] = {}  # a tied weight goes by any of its names
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    shares: dict[str, Parameters] = {group.name: {} for group in arm.groups}
    left: list[str] = []
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    for name, parameter in trained.items():
        kind = _kind(parameter, is_embedding=id(parameter) in embeddings)
        fitting = (group for group in arm.groups if _fits(group, names[id(parameter)], kind))
        if (first := next(fitting, None)) is not None:
            shares[first.name][name] = parameter
        else:
            left.append(name)
    for group in arm.groups:
        if not shares[group.name]:
            fits = f" ({group.matcher})" if group.matcher else ""
            raise ClipbenchError(
                f"the group '{group.name}'{fits} takes no parameter; there are {_listed(list(trained))}",
                where=f"arm '{arm.name}'",
                remedy="mend its `kind` and `names`, or leave it out: the first group that fits takes a parameter",
            )
    if left:
        raise ClipbenchError(
            f"no group takes {_listed(left)}",
            where=f"arm '{arm.name}'",
            remedy="add a last group without `kind` and `names`, which takes the rest",
        )
    return shares


def taken(arm: Arm, model: nn.Module) -> dict[str, tuple[str, ...]]:
    """The names of the parameters that each group of an arm takes; nothing for an arm without groups."""
    groups = shared_out(arm, model) if arm.groups else {}
    return {group: tuple(parameters) for group, parameters in groups.items()}


def _kind(parameter: nn.Parameter, *, is_embedding: bool) -> str | None:
    """Which of the kinds of records.Group a parameter is of; None for more than two dimensions."""
    if is_embedding:
        return "embedding"
    return "vector" if parameter.dim() < 2 else "matrix" if parameter.dim() == 2 else None


def _fits(group: Group, names: Sequence[str], kind: str | None) -> bool:
    if group.kind is not None and group.kind != kind:
        return False
    return not group.names or any(fnmatchcase(name, pattern) for name in names for pattern in group.names)


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


class GroupedOptimizer(torch.optim.Optimizer):
    """Several optimizers as one: each steps its own parameters, in their order.

    `param_groups` are those of all members, the very dicts, so that a schedule or a clip reaches each. A member knows
    nothing of the others; its state, its groups and its plain attributes are in the one state_dict.

    Args:
        members: the optimizers by the names of their groups, over different parameters.
    """

    def __init__(self, members: Mapping[str, torch.optim.Optimizer]) -> None:
        super().__init__([parameter for each in members.values() for parameter in _parameters(each)], {})
        self.members = dict(members)
        self._gather()

    def _gather(self) -> None:
        self.param_groups = [group for each in self.members.values() for group in each.param_groups]
        self.state = States(self.members)  # type: ignore[assignment]

    def __getstate__(self) -> dict[str, Any]:
        return dict(vars(self))  # torch copies the state and the groups alone

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Let every member step.

        Raises:
            TypeError: with a closure, which each member would evaluate for itself.
        """
        if closure is not None:
            raise TypeError("optimizers in groups step without a closure")
        for each in self.members.values():
            each.step()

    def state_dict(self) -> dict[str, Any]:
        """`state` by the name of a member and its own key; `members` has what else each one's state_dict has."""
        saved = {name: each.state_dict() for name, each in self.members.items()}
        return {
            "state": {(name, key): state for name, own in saved.items() for key, state in own.get("state", {}).items()},
            "members": {name: {key: own[key] for key in own if key != "state"} for name, own in saved.items()},
            "attributes": {name: keeping.attributes(each) for name, each in self.members.items()},
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Give every member what was its own."""
        for name, each in self.members.items():
            state = {key: value for (whose, key), value in state_dict["state"].items() if whose == name}
            each.load_state_dict({**state_dict["members"][name], "state": state})
            keeping.put_back(each, state_dict["attributes"][name])
        self._gather()


class GroupedInTwoStates(GroupedOptimizer):
    """The same, with a member that has weights to train at and others to be used."""

    def train(self) -> None:
        """Bring the weights to train at."""
        for each in filter(has_two_states, self.members.values()):
            each.train()  # type: ignore[attr-defined]

    def eval(self) -> None:
        """Bring the weights to be used."""
        for each in filter(has_two_states, self.members.values()):
            each.eval()  # type: ignore[attr-defined]


def grouped(members: Mapping[str, torch.optim.Optimizer]) -> GroupedOptimizer:
    """The members as one optimizer, which has two states where a member has."""
    return (GroupedInTwoStates if any(map(has_two_states, members.values())) else GroupedOptimizer)(members)


def by_group(optimizer: torch.optim.Optimizer) -> dict[str, torch.optim.Optimizer]:
    """The optimizers by the names of their groups; the only one under an empty name. Wrappers are left out."""
    optimizer = innermost(optimizer)
    return optimizer.members if isinstance(optimizer, GroupedOptimizer) else {"": optimizer}


def parts(optimizer: torch.optim.Optimizer) -> list[Any]:
    """The optimizers and wrappers of an arm, in the order of `Arm.parts`."""
    wrappers = optimizer.members.values() if innermost(optimizer) is not optimizer else ()  # type: ignore[attr-defined]
    return [*by_group(optimizer).values(), *wrappers]


def innermost(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """What a WrappedOptimizer goes around; any other optimizer itself."""
    base = getattr(optimizer, "wrapped", None) if is_composed(optimizer) else None
    return base if isinstance(base, torch.optim.Optimizer) else optimizer


def _parameters(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


class States(MutableMapping[tuple[str, Any], Any]):
    """The states of all members, by the name of a member and its own key."""

    def __init__(self, members: Mapping[str, torch.optim.Optimizer]) -> None:
        self._members = members

    def __getitem__(self, key: tuple[str, Any]) -> Any:
        return self._members[key[0]].state[key[1]]

    def __setitem__(self, key: tuple[str, Any], value: Any) -> None:
        self._members[key[0]].state[key[1]] = value

    def __delitem__(self, key: tuple[str, Any]) -> None:
        del self._members[key[0]].state[key[1]]

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return iter([(name, key) for name, each in self._members.items() for key in each.state])

    def __len__(self) -> int:
        return sum(len(each.state) for each in self._members.values())
