"""What an optimizer takes and no spec can say is a fault at its line and column, with what to write for it."""

from pathlib import Path

import pytest

from clipbench.errors import SpecError
from clipbench.spec import load

pytestmark = pytest.mark.slow  # a user's modules are loaded in processes of their own

WANTS = """
from collections.abc import Callable, Iterable
from torch import Tensor, nn
from torch.optim import Optimizer

class Around:
    def __init__(self, optimizer: Optimizer, k: int = 5): ...

class Model:
    def __init__(self, model: nn.Module, lr: float = 0.1): ...

class Sam:
    def __init__(
        self, params: Iterable[Tensor], base_optimizer: type[Optimizer], lr: float, hook: Callable | None = None
    ): ...

class Free:
    def __init__(self, params: Iterable[Tensor], lr: float | None = None): ...

class Rated:
    def __init__(self, params: Iterable[Tensor], lr: float | None = 0.1): ...
"""
MINE = "def build(named_parameters, *, lr): ...\n"
FACTORY = (
    'write a factory in mine.py beside the spec, `def build(named_parameters, *, lr): ...`, and `use: "mine:build"`'
)
WRAP = '{use: adamw, lr: 0.001, wrap: [{use: "wants:Around"}]}'
FAULTS = {
    '{use: "wants:Around"}': (
        13,
        ".use: the optimizer 'wants:Around' cannot be used: it goes around an optimizer: "
        f"write it under `wrap`, as in `{WRAP}`",
    ),
    '{use: "wants:Model", lr: 1}': (
        13,
        ".use: the optimizer 'wants:Model' cannot be used: it takes a model, and clipbench hands over parameters: "
        + FACTORY,
    ),
    '{use: "wants:Sam", lr: 1}': (
        3,
        ": 'wants:Sam' needs 'base_optimizer', a class, which a spec cannot write: " + FACTORY,
    ),
    '{use: "wants:Sam", lr: 1, base_optimizer: sgd}': (
        49,
        ".base_optimizer: 'base_optimizer' takes a class, which a spec cannot write: " + FACTORY,
    ),
    '{use: sgd, lr: 1, wrap: [{use: "wants:Free"}]}': (
        38,
        ".wrap.0.use: the wrapper 'wants:Free' cannot be used: it takes parameters and not an optimizer: "
        "it is the `use` of an arm",
    ),
    '{use: "wants:Rated"}': (3, ": the arm has no learning rate; give it its own `lr`"),
    # A rate that is null by default need not be given.
    '{use: "wants:Free"}': None,
    # What the sentences say to write.
    WRAP: None,
    '{use: "mine:build", lr: 1}': None,
}


def test_it_is_refused_with_what_to_write_and_that_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one spec, an arm a line, from line 4 on."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wants.py").write_text(WANTS)
    (tmp_path / "mine.py").write_text(MINE)
    lines = "".join(f"  a{number}: {arm}\n" for number, arm in enumerate(FAULTS))
    (tmp_path / "race.yaml").write_text(f"# ?\ntask: quadratic\noptimizers:\n{lines}budget: {{steps: 2}}\nseeds: [0]\n")
    with pytest.raises(SpecError) as caught:
        load(tmp_path / "race.yaml")
    assert [(fault.line, fault.column, fault.message) for fault in caught.value.faults] == [
        (4 + number, fault[0], f"optimizers.a{number}{fault[1]}")
        for number, fault in enumerate(FAULTS.values())
        if fault is not None
    ]
