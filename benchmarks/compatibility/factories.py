"""Factories for optimizers that do not run by name, as clipbench's sentences say to write them; `mine.py` in a run."""

from collections.abc import Callable, Iterable
from types import SimpleNamespace

import pytorch_optimizer
import torch
from torch import nn

Named = Iterable[tuple[str, nn.Parameter]]
Factory = Callable[..., torch.optim.Optimizer]


def _by_flag(name: str) -> Factory:
    """The family of Muon: groups with a flag, Muon's for the matrices inside the model, AdamW's for the rest."""

    def build(named_parameters: Named, *, lr: float) -> torch.optim.Optimizer:
        hidden: list[nn.Parameter] = []
        rest: list[nn.Parameter] = []
        for parameter_name, parameter in named_parameters:
            is_hidden = parameter.dim() == 2 and parameter_name.startswith("blocks.")
            (hidden if is_hidden else rest).append(parameter)
        groups = [
            {"params": hidden, "use_muon": True, "lr": lr},
            {"params": rest, "use_muon": False, "lr": lr},
        ]
        return _class(name)(groups)

    return build


def _around_a_class(name: str) -> Factory:
    """The family of SAM: they make the optimizer inside by its class."""

    def build(named_parameters: Named, *, lr: float) -> torch.optim.Optimizer:
        return _class(name)([parameter for _, parameter in named_parameters], torch.optim.SGD, lr=lr)

    return build


def _of_a_model(name: str) -> Factory:
    """Those that only list the parameters of their model."""

    def build(named_parameters: Named, *, lr: float) -> torch.optim.Optimizer:
        named = list(named_parameters)
        listed = SimpleNamespace(
            named_parameters=lambda: named, parameters=lambda: [parameter for _, parameter in named]
        )
        return _class(name)(listed, lr=lr)

    return build


def WSAM(named_parameters: Named, *, lr: float) -> torch.optim.Optimizer:  # noqa: N802
    """Its model is for buffers of batch norm alone; there are none."""
    return _class("WSAM")(nn.Module(), [parameter for _, parameter in named_parameters], torch.optim.SGD, lr=lr)


def _class(name: str) -> Factory:
    factory: Factory = getattr(pytorch_optimizer, name)
    return factory


AdaGO, AdaMuon, DistributedMuon = _by_flag("AdaGO"), _by_flag("AdaMuon"), _by_flag("DistributedMuon")
Muon, MuonClip, NorMuon = _by_flag("Muon"), _by_flag("MuonClip"), _by_flag("NorMuon")
SAM, FriendlySAM, LookSAM = _around_a_class("SAM"), _around_a_class("FriendlySAM"), _around_a_class("LookSAM")
AdamMini, LOMO, AdaLOMO = _of_a_model("AdamMini"), _of_a_model("LOMO"), _of_a_model("AdaLOMO")
