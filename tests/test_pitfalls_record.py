"""Pitfalls 23 to 30 and 33, end to end: what identifies a run, what it had, and what it left behind."""

import random
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import fragile
import numpy as np
import pytest
import torch
from making import outcome_of
from oracles import flat
from reference import optimizers as reference
from torch import Tensor, nn

from clipbench import StepGeometry, spec, store
from clipbench.budget import Budget
from clipbench.contracts import Batch
from clipbench.geometry.curvature import MissingRuleError, directional_curvature
from clipbench.judging.compare import compare
from clipbench.planning.runs import plan
from clipbench.questions import Question
from clipbench.records import EVAL_LOSS, TRAINING_POINT_LOSS, Arm, Choice, Measure, Record, Run
from clipbench.running.evaluation import evaluate
from clipbench.running.fingerprints import weights_sha256
from clipbench.running.worker import work

pytestmark = pytest.mark.slow  # runs of every kind are made

STEPS = 12


def made(task: str, optimizer: str, *, lr: float = 0.01, seed: int = 0, every: int = 4) -> Run:
    def choice(target: str, **options: Any) -> Choice:
        return Choice(target, target, target, options)

    arm = Arm(f"{optimizer} {lr}", choice(optimizer, lr=lr))
    probes = (Choice("sharpness", "sharpness", "clipbench.probes.sharpness:measure"),)
    return Run("made", choice(task), arm, Budget(STEPS, "steps"), seed, Measure(every, 5, probes))


def make(run: Run, results: Path, *, stop_at: int | None = None) -> Record:
    """Make a run; with `stop_at`, it is stopped before that step and gone on with."""
    folder = store.folder_of(run, results)
    store.describe(run, folder)
    calls = iter(range(1000))
    work(folder, device="cpu", side_by_side=1, stop=lambda: stop_at is not None and next(calls) == stop_at)
    if stop_at is not None:
        assert store.read(folder).outcome is None
        work(folder, device="cpu", side_by_side=1, stop=lambda: False)
    record = store.read(folder)
    outcome = outcome_of(record)
    assert outcome.status != "failed", outcome.reason
    return record


def values(record: Record, quantity: str) -> dict[int, float]:
    return {row.step: row.value for row in record.measurements if row.quantity == quantity}


@pytest.mark.parametrize(
    ("task", "optimizer"),
    [
        ("fragile:plain", "fragile:Compiling"),
        ("fragile:plain", "fragile:CompilingWhole"),
        ("fragile:compiled", "torch.optim:SGD"),
    ],
)
def test_compiled_steps_run_compiled_though_operations_are_counted(tmp_path: Path, task: str, optimizer: str) -> None:
    """Pitfall 23: counting operations and curvature run under dispatch modes, which mark what they saw for good."""
    torch.compiler.reset()
    fragile.CALLS.clear()
    record = make(made(task, optimizer), tmp_path)
    assert values(record, "directional_sharpness")  # while it was probed
    own = [i for i, call in enumerate(fragile.CALLS) if call == "step"][-STEPS:]
    assert [fragile.CALLS[i + 1 : i + 2] for i in own] == [["compiled"]] * STEPS


def test_a_users_own_compiled_model_stays_compiled_when_a_step_of_it_is_measured() -> None:
    """Pitfall 23, in a loop of the user's own."""
    torch.compiler.reset()
    model, batch = fragile.CompiledNet(), torch.ones(4, 6)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    geometry = StepGeometry(model, lambda model, batch: model(batch).square().mean())
    for step in range(4):
        fragile.CALLS.clear()
        optimizer.zero_grad()
        model(batch).square().mean().backward()
        assert fragile.CALLS == ["step", "compiled"], f"at step {step}"
        with geometry.around(batch):
            optimizer.step()


@pytest.mark.parametrize("every", [1, 4, 12])
def test_an_optimizer_with_two_states_is_evaluated_at_the_weights_it_is_to_be_used_at(
    tmp_path: Path, every: int
) -> None:
    """Pitfall 24, by hand: the same steps, then eval(), then the evaluation; looking leaves no trace in the path."""
    record = make(made("fragile:plain", "fragile:TwoStates", every=every), tmp_path)
    problem = fragile.plain(0, torch.device("cpu"))
    optimizer = fragile.TwoStates(problem.model.parameters(), lr=0.01)
    optimizer.train()
    batches = problem.train_batches(0)
    for _ in range(STEPS):
        optimizer.zero_grad()
        problem.loss(problem.model, next(batches)).backward()
        optimizer.step()
    assert values(record, TRAINING_POINT_LOSS)[STEPS] == evaluate(problem).loss
    optimizer.eval()
    assert values(record, EVAL_LOSS)[STEPS] == evaluate(problem).loss
    assert outcome_of(record).weights_sha256 == weights_sha256(problem.model)


@pytest.mark.parametrize(
    ("task", "optimizer"),
    [
        ("fragile:plain", "torch.optim:Adam"),
        ("fragile:plain", "fragile:HalfMomentum"),
        ("fragile:plain", "fragile:DoubleMomentum"),
        ("fragile:plain", "fragile:Counting"),
        ("fragile:plain", "fragile:TwoStates"),
        ("fragile:buffered", "torch.optim:SGD"),
        ("fragile:drawing", "torch.optim:SGD"),
    ],
)
@pytest.mark.parametrize("stop_at", [1, 7])
def test_an_interruption_loses_nothing_wherever_the_state_lies(
    tmp_path: Path, task: str, optimizer: str, stop_at: int
) -> None:
    """Pitfalls 25 and 26: what no checkpoint brings back starts again from step 0, and ends the same."""
    run = made(task, optimizer)
    whole, again = make(run, tmp_path / "whole"), make(run, tmp_path / "again", stop_at=stop_at)
    assert outcome_of(whole).weights_sha256 == outcome_of(again).weights_sha256
    assert values(whole, EVAL_LOSS) == values(again, EVAL_LOSS)


def test_draws_from_python_and_numpy_are_the_seeds(tmp_path: Path) -> None:
    """Pitfall 26: whatever the process had drawn before, one seed has its draws, and another seed has others."""

    def drawn(name: str, *, seed: int, before: int) -> tuple[str, list[float]]:
        random.seed(before)
        np.random.seed(before)
        fragile.DRAWS.clear()
        record = make(made("fragile:drawing", "torch.optim:SGD", seed=seed), tmp_path / name)
        return outcome_of(record).weights_sha256, fragile.DRAWS[-STEPS:]

    first = drawn("first", seed=0, before=1)
    assert drawn("again", seed=0, before=2) == first
    assert drawn("other", seed=1, before=1)[1] != first[1]


HELPER = """\
import torch
SCALE = 1.0
class Base(torch.optim.SGD):
    pass
"""
FILES = {  # by the module that a spec names, how it comes to helper.py
    "inherits": "from helper import Base\nclass Mine(Base):\n    pass\n",
    "calls": "import torch, helper\nclass Mine(torch.optim.SGD):\n    def step(self):\n        helper.SCALE\n",
    "later": "import torch\nclass Mine(torch.optim.SGD):\n    def step(self):\n        from helper import SCALE\n",
    "through": "from between import Base\nclass Mine(Base):\n    pass\n",
    "between": "from helper import Base\n",
    "itself": "import torch\nclass Mine(torch.optim.SGD):\n    pass\n",
}
TASK = """\
import hashlib
from clipbench.tasks.quadratic import build as quadratic
def fingerprint(*, path: str) -> str:
    return hashlib.sha256(open(path, "rb").read()).hexdigest()
def build(seed, device, *, path: str):
    return quadratic(seed, device, dimension=len(open(path).read()))
"""


def keys(task: str, *modules: str) -> list[str]:
    """Of the runs of a spec in this folder, an arm for each module's Mine."""
    arms = "".join(f"  {module}: {{use: '{module}:Mine', lr: 0.1}}\n" for module in modules)
    text = f"task: {task}\noptimizers:\n{arms}budget: {{steps: 5}}\nseeds: [0]\n"
    Path("spec.yaml").write_text(text, encoding="utf-8")
    return [run.key for run in plan(spec.load(Path("spec.yaml")), device="cpu")]


def test_an_edit_of_a_file_that_decides_the_numbers_is_another_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pitfall 27: results of other code are not shown as the present code's, nor is a run lost to another file."""
    monkeypatch.chdir(tmp_path)
    for module, text in {**FILES, "helper": HELPER}.items():
        Path(f"{module}.py").write_text(text, encoding="utf-8")
    modules = ("inherits", "calls", "later", "through", "itself")
    before = keys("quadratic", *modules)
    Path("helper.py").write_text(HELPER.replace("1.0", "0.1"), encoding="utf-8")
    after = keys("quadratic", *modules)
    same = [module for module, was, now in zip(modules, before, after, strict=True) if was == now]
    assert same == ["itself"]


def test_an_edit_of_a_tasks_data_is_another_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pitfall 27, of data."""
    monkeypatch.chdir(tmp_path)
    for name, text in (("mytask.py", TASK), ("itself.py", FILES["itself"]), ("data.txt", "twenty characters ok")):
        Path(name).write_text(text, encoding="utf-8")
    before = keys("{use: 'mytask:build', path: data.txt}", "itself")
    Path("data.txt").write_text("twenty charActers ok", encoding="utf-8")
    assert keys("{use: 'mytask:build', path: data.txt}", "itself") != before


def test_seeds_that_change_nothing_are_one_observation(tmp_path: Path) -> None:
    """Pitfall 28: five copies of one run decide nothing."""
    question = Question("made", "Does the seed matter?", ("torch.optim:SGD 0.01", "torch.optim:SGD 0.0101"), "")
    question = replace(question, baseline=question.arms[0])
    runs = [made("fragile:deaf", "torch.optim:SGD", lr=lr, seed=seed) for lr in (0.01, 0.0101) for seed in range(5)]
    rows = compare([make(run, tmp_path) for run in runs], question).rows
    assert rows[1].verdict == "undecided"
    assert rows[1].difference is None or rows[1].difference.n == 1


def test_how_often_one_looks_changes_no_weight_that_a_forward_pass_writes_to(tmp_path: Path) -> None:
    """Pitfall 29: an embedding with max_norm writes to its weights in every forward pass, in evaluation as well."""
    runs = [made("fragile:bounded", "torch.optim:Adam", lr=0.5, every=every) for every in (1, 5, 12)]
    runs += [replace(runs[0], measure=replace(runs[0].measure, probes=())), replace(runs[0], measure=Measure(12, 99))]
    records = [make(run, tmp_path / str(number)) for number, run in enumerate(runs)]
    assert len({outcome_of(record).weights_sha256 for record in records}) == 1
    assert len({values(record, EVAL_LOSS)[STEPS] for record in records}) == 1


class Wave(nn.Module):
    """It goes through complex numbers where a batch is long."""

    def __init__(self) -> None:
        super().__init__()
        self.into, self.out = nn.Linear(8, 16), nn.Linear(16, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        h = torch.tanh(self.into(inputs))
        return self.out(h + torch.fft.fft(h).real if len(inputs) > 8 else h)  # type: ignore[no-any-return]


def test_a_complex_number_is_a_missing_rule_and_not_a_constant() -> None:
    """Pitfall 30, on a model that comes to complex numbers only after its engine was checked."""
    torch.manual_seed(1)
    model = Wave()
    direction = {name: torch.randn_like(p) for name, p in model.named_parameters()}

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        return model(batch["x"]).square().mean()  # type: ignore[no-any-return]

    def sharpness(rows: int, engine: Any) -> float:
        inputs = torch.randn(rows, 8, generator=torch.Generator().manual_seed(rows))
        found = directional_curvature(model, loss, [Batch({"x": inputs}, rows)], {"u": direction}, engine=engine)
        return found["u"].curvature

    sharpness(8, "auto")
    assert sharpness(16, "auto") == pytest.approx(sharpness(16, "double_backward"), rel=1e-4)
    for engine in ("jets", "adjoint"):
        with pytest.raises(MissingRuleError):
            sharpness(16, engine)


RULES: dict[str, tuple[Callable[..., list[Tensor]], dict[str, Any], dict[str, Any]]] = {
    "adafactor": (reference.adafactor, {}, {}),
    "adam": (reference.adam, {"eps": 1e-30}, {"eps": 1e-30}),
    "adamw": (reference.adam, {"eps": 1e-30}, {"eps": 1e-30, "decay": 0.01}),
    "lion": (reference.lion, {}, {"betas": (0.9, 0.99), "weight_decay": 0.0}),
    "normalized_sgd": (reference.normalized_sgd, {}, {"momentum": 0.9}),
    "sgd": (reference.sgd, {"momentum": 0.9, "dampening": 0.9}, {"momentum": 0.9}),
    "signsgd": (reference.signsgd, {}, {"momentum": 0.9}),
}


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e-6])
@pytest.mark.parametrize("name", RULES)
def test_an_arm_is_its_published_rule_whatever_the_gradients_size(name: str, scale: float) -> None:
    """Pitfall 33: a floor that a library put under a rule makes another optimizer of it where gradients are small."""
    formula, options, terms = RULES[name]
    draw = torch.Generator().manual_seed(0)
    start = [scale * torch.randn(shape, generator=draw) for shape in ((6, 4), (4,), (3, 5))]  # no step is rounded away
    steps = [[scale * torch.randn(w.shape, generator=draw) for w in start] for _ in range(6)]
    weights = {f"p{i}": nn.Parameter(w.clone()) for i, w in enumerate(start)}
    optimizer = import_module(f"clipbench.optimizers.{name}").build(weights.items(), lr=0.01, **options)
    for gradients in steps:
        for weight, gradient in zip(weights.values(), gradients, strict=True):
            weight.grad = gradient.clone()
        optimizer.step()
    ours = flat([w.detach() - w0 for w, w0 in zip(weights.values(), start, strict=True)]).double()
    theirs = flat([w - w0 for w, w0 in zip(formula(start, steps, lr=0.01, **terms), start, strict=True)])
    assert float(torch.cosine_similarity(ours, theirs, dim=0)) > 1 - 1e-6
