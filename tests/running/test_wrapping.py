"""What goes around an optimizer: that it steps, clips, resumes and haunts with it, against naive re-derivations."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from making import make_run, outcome_of
from running.working import made, measured_along
from torch import Tensor, nn

from clipbench import store
from clipbench.budget import Budget
from clipbench.errors import ClipbenchError
from clipbench.records import (
    OWN,
    RESUME,
    TRAINING_POINT_LOSS,
    Arm,
    Choice,
    ClipSettings,
    Group,
    Measure,
    Run,
    Schedule,
)
from clipbench.running.equipment import build_optimizer, state_bytes
from clipbench.running.fingerprints import weights_sha256
from clipbench.running.liveness import check
from clipbench.tasks.code_lm import build as code_lm
from clipbench.tasks.quadratic import build as quadratic

CPU = torch.device("cpu")
STEPS = 12
SMALL = {"width": 16, "layers": 1, "heads": 2, "context": 16, "batch": 4}
TASK = Choice("code_lm", "code_lm", "clipbench.tasks.code_lm:build", SMALL)
NORMS = (Choice("norms", "norms", "clipbench.probes.norms:measure"),)


def choice(target: str, **options: Any) -> Choice:
    target = target if ":" in target else f"{__name__}:{target}"
    return Choice(target.rpartition(":")[2], target, target, options)


def own(name: str, **options: Any) -> Choice:
    return Choice(name, name, f"clipbench.wrappers.{name}:build", options)


class Foreign(torch.optim.Optimizer):
    """As libraries write it: it shares the groups, keeps a state of its own, counts, and saves nothing of it."""

    def __init__(self, optimizer: torch.optim.Optimizer, decay: float = 0.5) -> None:
        super().__init__([p for group in optimizer.param_groups for p in group["params"]], {"decay": decay})
        self.optimizer, self.calls = optimizer, 0

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # noqa: ARG002
        self.optimizer.step()
        self.calls += 1
        for p in self.param_groups[0]["params"]:
            state = self.state[p]
            before = state.setdefault("before", p.clone())
            p.lerp_(before, self.param_groups[0]["decay"] / (1 + self.calls))
            before.copy_(p)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None: ...


class Sharing(Foreign):
    """The same, with the very list of groups of what is inside."""

    def __init__(self, optimizer: torch.optim.Optimizer, decay: float = 0.5) -> None:
        super().__init__(optimizer, decay)
        self.param_groups = optimizer.param_groups
        self.param_groups[0].setdefault("decay", decay)


class OverGroups(Foreign):
    """The same, over the groups of what is inside in a list of its own."""

    def __init__(self, optimizer: torch.optim.Optimizer, decay: float = 0.5) -> None:
        torch.optim.Optimizer.__init__(self, optimizer.param_groups, {"decay": decay})
        self.optimizer, self.calls = optimizer, 0

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        super().step(closure)
        for group in self.param_groups:
            group["decay"] = 0.1 + group["lr"]


class InItsState:
    """Keeps what it needs in the state of what is inside, or by numbers of its own."""

    def __init__(self, optimizer: torch.optim.Optimizer, decay: float = 0.5, numbered: bool = False) -> None:
        self.optimizer, self.decay = optimizer, decay
        self.parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self.state: Any = optimizer.state
        self.keys: list[Any] = list(range(len(self.parameters))) if numbered else self.parameters
        if numbered:
            self.state = {key: {} for key in self.keys}

    @torch.no_grad()
    def step(self) -> None:
        assert len(self.state) <= len(self.keys)
        for key, p in zip(self.keys, self.parameters, strict=True):
            if p.grad is not None:
                p.grad.add_(self.state[key].setdefault("mean", torch.zeros_like(p)).lerp_(p.grad, self.decay))
        self.optimizer.step()


class Whole:
    """Has two states, and in its own the tensors themselves; what it is made of has names that ours have."""

    def __init__(self, optimizer: torch.optim.Optimizer, decay: float = 0.5) -> None:
        self.wrapped, self.members, self.decay, self.evaluating = optimizer, [optimizer], decay, False
        self.state = {p: p.detach().clone() for group in optimizer.param_groups for p in group["params"]}

    @torch.no_grad()
    def step(self) -> None:
        self.wrapped.step()
        for p, mean in self.state.items():
            mean.lerp_(p, self.decay)

    def eval(self) -> None:
        self._swap()
        self.evaluating = True

    def train(self) -> None:
        if self.evaluating:
            self._swap()
        self.evaluating = False

    def _swap(self) -> None:
        for p, mean in self.state.items():
            p.data, self.state[p] = mean, p.data


class Composed(torch.optim.Optimizer):
    """An optimizer that is made of others, by names that ours have."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, {"lr": lr})
        self.wrapped = torch.optim.SGD(self.param_groups, lr=lr)
        self.members = [self.wrapped]

    def step(self) -> None:  # type: ignore[override]
        self.wrapped.step()


class Regrouping:
    """Puts other groups in the place of the optimizer's at its first step, one or one for each parameter."""

    def __init__(self, optimizer: torch.optim.Optimizer, each: bool) -> None:
        self.optimizer, self.each, self.done = optimizer, each, False

    def step(self) -> None:
        if not self.done:
            [group] = self.optimizer.param_groups
            shares = [[p] for p in group["params"]] if self.each else [group["params"]]
            self.optimizer.param_groups = [{**group, "params": share} for share in shares]
            self.done = True
        self.optimizer.step()


class Averaged:
    """Trains where the optimizer goes, and is used at the mean of all points; no torch optimizer."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer, self.n, self.training = optimizer, 0, True
        self.state: dict[Tensor, dict[str, Tensor]] = {
            p: {"mean": torch.zeros_like(p)} for group in optimizer.param_groups for p in group["params"]
        }

    @torch.no_grad()
    def step(self) -> None:
        self.optimizer.step()
        self.n += 1
        for p, state in self.state.items():
            state["mean"].lerp_(p, 1 / self.n)

    def _swap(self) -> None:
        for p, state in self.state.items():
            kept = p.detach().clone()
            p.data.copy_(state["mean"])
            state["mean"].copy_(kept)

    def train(self) -> None:
        if not self.training:
            self._swap()
            self.training = True

    def eval(self) -> None:
        if self.training:
            self._swap()
            self.training = False


class Idle:
    """Hands the step on, and takes an option."""

    def __init__(self, optimizer: torch.optim.Optimizer, strength: float = 1.0) -> None:
        self.optimizer, self.strength = optimizer, strength

    def step(self) -> None:
        self.optimizer.step()


def nothing(_: torch.optim.Optimizer, __: Any) -> str:
    return "nothing"


SGD = choice("torch.optim:SGD", lr=0.3, momentum=0.9)
ADAMW = choice("torch.optim:AdamW", lr=0.003)
LOOKAHEAD = Arm("lookahead", SGD, wrap=(own("lookahead", k=3, alpha=0.4),))
SAM = Arm("sam", SGD, wrap=(own("sam", rho=0.1),))
BOTH = Arm("both", SGD, wrap=(own("lookahead", k=2, alpha=0.5), own("sam", rho=0.1)))
MIXED = Arm(
    "mixed",
    Choice("together", "together", ""),
    groups=(Group("hidden", choice("torch.optim:Muon", lr=0.02), kind="matrix"), Group("rest", ADAMW)),
    wrap=(own("lookahead", k=3, alpha=0.4),),
)
WRAPPED = [
    LOOKAHEAD,
    SAM,
    BOTH,
    MIXED,
    *(Arm(kind, SGD, wrap=(choice(kind, decay=0.3),)) for kind in ("Foreign", "Sharing", "OverGroups", "InItsState")),
    Arm("numbered", SGD, wrap=(choice("InItsState", decay=0.3, numbered=True),)),
]
EACH = pytest.mark.parametrize("arm", WRAPPED, ids=lambda arm: arm.name)


def described(of: Arm, **measure: Any) -> Run:
    return make_run(task=TASK, arm=of, budget=Budget(STEPS, "steps"), measure=Measure(4, 5, **measure))


Gradients = Callable[[], list[Tensor]]


Step = Callable[[list[nn.Parameter], torch.optim.Optimizer, Gradients, int], None]


def trained(step: Step, *, double: bool = True) -> list[Tensor]:
    """Where the weights end in a plain loop of `step` with SGD."""
    problem = code_lm(0, CPU, **SMALL)
    if double:
        problem.model.double()
    parameters, batches = list(problem.model.parameters()), problem.train_batches(0)
    optimizer = torch.optim.SGD(parameters, lr=0.3, momentum=0.9)
    for number in range(STEPS):
        batch = next(batches)

        def gradients(batch: Any = batch) -> list[Tensor]:
            optimizer.zero_grad()
            problem.loss(problem.model, batch).backward()
            return [p.grad.clone() for p in parameters if p.grad is not None]

        step(parameters, optimizer, gradients, number)
    return [p.detach() for p in parameters]


def weights_of(record_arm: Arm) -> list[Tensor]:
    """Where an arm's own steps lead, in a plain loop over the whole of it, in float64."""
    problem = code_lm(0, CPU, **SMALL)
    problem.model.double()
    optimizer, _ = build_optimizer(record_arm, problem.model)
    batches = problem.train_batches(0)
    for _ in range(STEPS):
        batch = next(batches)

        def closure(batch: Any = batch) -> Tensor:
            optimizer.zero_grad()
            loss = problem.loss(problem.model, batch)
            loss.backward()
            return loss

        if record_arm is SAM:
            optimizer.step(closure)  # type: ignore[arg-type]
        else:
            closure()
            optimizer.step()
    return [p.detach() for p in problem.model.parameters()]


def close(first: list[Tensor], second: list[Tensor]) -> bool:
    """To the rounding of float64 over a few steps: the order of operations is another."""
    return all(torch.allclose(a, b, rtol=0, atol=1e-12) for a, b in zip(first, second, strict=True))


def test_lookahead_goes_back_every_third_step() -> None:
    slow: list[Tensor] = []

    def step(parameters: Any, optimizer: Any, gradients: Gradients, number: int) -> None:
        if not slow:
            slow.extend(p.detach().clone() for p in parameters)
        gradients()
        optimizer.step()
        if number % 3 == 2:
            with torch.no_grad():
                for place, p in enumerate(parameters):
                    slow[place] = 0.6 * slow[place] + 0.4 * p
                    p.copy_(slow[place])

    assert close(trained(step), weights_of(LOOKAHEAD))


def test_sam_steps_by_the_gradient_of_a_point_further_up() -> None:
    def step(parameters: Any, optimizer: Any, gradients: Gradients, _: int) -> None:
        first = gradients()
        norm = torch.cat([g.flatten() for g in first]).double().norm().item()
        before = [p.detach().clone() for p in parameters]
        with torch.no_grad():
            for p, g in zip(parameters, first, strict=True):
                p.copy_(p + 0.1 / norm * g)
        gradients()
        with torch.no_grad():
            for p, b in zip(parameters, before, strict=True):
                p.copy_(b)
        optimizer.step()

    assert close(trained(step), weights_of(SAM))


@EACH
def test_an_interrupted_run_ends_where_one_that_ran_through_ends(tmp_path: Path, arm: Arm) -> None:
    run = described(replace(arm, schedule=Schedule("cosine")))
    through = made(run, tmp_path / "through")
    assert outcome_of(through).status == "finished"
    paused = made(run, tmp_path / "resumed", stop_at=7)
    assert paused.outcome is None
    assert (Path(paused.folder) / store.CHECKPOINT).exists()
    resumed = made(run, tmp_path / "resumed")
    assert RESUME not in outcome_of(resumed).remarks
    assert resumed.weights == through.weights != ""


@pytest.mark.parametrize("clip", [None, ClipSettings(0.3), ClipSettings(0.3, of="update")])
@pytest.mark.parametrize("arm", [arm for arm in WRAPPED if "sam" not in str(arm.wrap)], ids=lambda arm: arm.name)
def test_a_ghost_of_the_arm_goes_its_way_bit_for_bit(tmp_path: Path, arm: Arm, clip: ClipSettings | None) -> None:
    own_arm = replace(arm, clip=clip, schedule=Schedule("linear"))
    plain = made(described(own_arm, probes=NORMS), tmp_path / "plain")
    haunted = made(described(own_arm, probes=NORMS, ghosts=(replace(own_arm, name="itself"),)), tmp_path / "haunted")
    assert outcome_of(haunted).failed_probes == {}
    assert haunted.weights == plain.weights
    assert measured_along(haunted, "itself") == measured_along(haunted, OWN) == measured_along(plain, OWN) != []


def test_a_clip_is_inside_the_wrapper_and_a_schedule_reaches_what_steps(tmp_path: Path) -> None:
    clipped = made(described(replace(LOOKAHEAD, clip=ClipSettings(0.2), schedule=Schedule("linear"))), tmp_path)
    slow: list[Tensor] = []

    def step(parameters: Any, optimizer: Any, gradients: Gradients, number: int) -> None:
        if not slow:
            slow.extend(p.detach().clone() for p in parameters)
        magnitudes = torch.cat([g.abs().flatten() for g in gradients()]).sort(descending=True).values
        limit = float(magnitudes[int(len(magnitudes) * 0.2)])
        for p in parameters:
            p.grad.clamp_(-limit, limit)
        optimizer.param_groups[0]["lr"] = 0.3 * (1 - (number + 0.5) / STEPS)
        optimizer.step()
        if number % 3 == 2:
            with torch.no_grad():
                for p, own_slow in zip(parameters, slow, strict=True):
                    own_slow.lerp_(p, 0.4)
                    p.copy_(own_slow)

    problem = code_lm(0, CPU, **SMALL)
    for p, value in zip(problem.model.parameters(), trained(step, double=False), strict=True):
        p.data.copy_(value)
    assert clipped.weights == weights_sha256(problem.model)


def test_weights_of_two_states_are_evaluated_where_a_wrapper_has_them(tmp_path: Path) -> None:
    averaged = made(described(Arm("averaged", SGD, wrap=(choice("Averaged"),))), tmp_path / "averaged")
    plain = made(described(Arm("plain", SGD)), tmp_path / "plain")
    assert averaged.weights != plain.weights
    at_training = [row.value for row in averaged.measurements.series("", TRAINING_POINT_LOSS)]
    assert at_training == [row.value for row in plain.measurements.series("", "eval_loss")]  # it trains where SGD goes
    assert not plain.measurements.series("", TRAINING_POINT_LOSS)


def test_a_state_of_two_states_may_hold_tensors_themselves(tmp_path: Path) -> None:
    inside = (own("lookahead", k=2, alpha=0.5), choice("Whole", decay=0.3))  # the shelf's has its parameters, too
    whole = made(described(Arm("whole", SGD, wrap=inside)), tmp_path)
    plain = made(described(Arm("plain", SGD, wrap=inside[:1])), tmp_path)
    assert outcome_of(whole).status == "finished"
    at_training = [row.value for row in whole.measurements.series("", TRAINING_POINT_LOSS)]
    assert at_training == [row.value for row in plain.measurements.series("", "eval_loss")]
    assert at_training[-1] != whole.measurements.series("", "eval_loss")[-1].value


def test_attributes_of_a_strangers_optimizer_may_have_the_names_of_ours(tmp_path: Path) -> None:
    rate = {"lr": 0.3}
    ends = {
        made(described(Arm("one", choice(use, **rate))), tmp_path / use.strip(":")).weights
        for use in ("Composed", "torch.optim:SGD")
    }
    assert len(ends - {""}) == 1


def test_a_schedule_reaches_groups_that_a_wrapper_puts_in_the_place_of_the_optimizers(tmp_path: Path) -> None:
    falling = Arm("plain", choice("torch.optim:SGD", lr=0.3), schedule=Schedule("linear"))
    one, many = (replace(falling, wrap=(choice("Regrouping", each=each),), liveness="warn") for each in (False, True))
    assert made(described(one), tmp_path).weights == made(described(falling), tmp_path).weights != ""
    assert "had 1 parameter groups, and has" in outcome_of(made(described(many), tmp_path)).reason


def test_its_state_counts_and_its_options_are_checked_for_life() -> None:
    problem = quadratic(0, CPU, dimension=8)
    arm = Arm("lookahead", choice("torch.optim:SGD", lr=0.001), wrap=(own("lookahead", k=7, alpha=0.5),))
    optimizer, _ = build_optimizer(arm, problem.model)
    assert state_bytes(optimizer) == 8 * 4
    assert check(arm, problem) == ()
    assert arm.options == {"lr": 0.001, "wrap.lookahead.k": 7, "wrap.lookahead.alpha": 0.5}


@pytest.mark.parametrize(
    ("wrapper", "remarks"),
    [
        (choice("Idle", strength=2.0), ("its wrapper 'Idle' has no effect in 20 steps",)),
        (own("lookahead", k=3, alpha=1.0), ("its wrapper 'lookahead' has no effect in 20 steps",)),
        (choice("Averaged"), ()),  # which is used at other weights than it trains at
    ],
    ids=lambda case: case.name if isinstance(case, Choice) else "",
)
def test_a_wrapper_without_an_effect_is_a_remark(wrapper: Choice, remarks: tuple[str, ...]) -> None:
    problem = quadratic(0, CPU, dimension=8)
    arm = Arm("wrapped", choice("torch.optim:SGD", lr=0.001), wrap=(wrapper,))
    assert check(arm, problem) == remarks


@pytest.mark.parametrize("arm", [LOOKAHEAD, replace(MIXED, wrap=()), MIXED, replace(LOOKAHEAD, clip=ClipSettings(0.3))])
def test_a_deep_copy_of_the_model_and_the_optimizer_goes_its_own_way_alike(arm: Arm) -> None:
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 4))
    optimizer, _ = build_optimizer(arm, model)

    def step(model: nn.Module, optimizer: torch.optim.Optimizer, number: int) -> None:
        generator = torch.Generator().manual_seed(number)
        for p in model.parameters():
            p.grad = torch.randn(p.shape, generator=generator)
        optimizer.step()

    step(model, optimizer, 0)
    copied_model, copied = copy.deepcopy((model, optimizer))
    for number in range(1, 4):
        step(model, optimizer, number)
    before = weights_sha256(copied_model)
    for number in range(1, 4):
        step(copied_model, copied, number)
    assert weights_sha256(copied_model) == weights_sha256(model) != before


def test_lookahead_may_stand_around_what_takes_a_closure(tmp_path: Path) -> None:
    """SAM inside it: the slow step comes after SAM's own, as in a plain loop of the two."""
    arm = Arm("both", SGD, wrap=(own("sam", rho=0.1), own("lookahead", k=2, alpha=0.5)))
    record = made(described(arm), tmp_path)
    assert outcome_of(record).passes == 2 * STEPS
    problem = code_lm(0, CPU, **SMALL)
    parameters, batches = list(problem.model.parameters()), problem.train_batches(0)
    inner, _ = build_optimizer(Arm("sam", SGD, wrap=arm.wrap[:1]), problem.model)
    slow = [p.detach().clone() for p in parameters]
    for number in range(STEPS):
        batch = next(batches)

        def closure(batch: Any = batch) -> Tensor:
            inner.zero_grad()
            loss = problem.loss(problem.model, batch)
            loss.backward()
            return loss

        inner.step(closure)  # type: ignore[arg-type]
        if number % 2:
            with torch.no_grad():
                for p, kept in zip(parameters, slow, strict=True):
                    p.copy_(kept.lerp_(p, 0.5))
    assert record.weights == weights_sha256(problem.model)


def test_a_wrapper_finds_the_parameters_in_the_wrapper_inside_it() -> None:
    arm = Arm("over", SGD, wrap=(own("lookahead", k=2, alpha=0.5), choice("Foreign", decay=0.3)))
    optimizer, _ = build_optimizer(arm, nn.Linear(2, 2))
    inside, outside = optimizer.members.values()  # type: ignore[attr-defined]
    assert inside.param_groups is optimizer.param_groups
    assert len(outside.param_groups[0]["params"]) == 2


def test_what_cannot_step_is_no_wrapper() -> None:
    arm = Arm("wrapped", SGD, wrap=(choice("nothing"),))
    with pytest.raises(ClipbenchError, match="built a str, which has no step"):
        build_optimizer(arm, quadratic(0, CPU, dimension=8).model)


@pytest.mark.parametrize(
    ("name", "options", "found"),
    [
        ("lookahead", {"k": 0}, "k is 0: it must be at least 1"),
        ("lookahead", {"alpha": 0.0}, "alpha is 0.0: it must be above 0"),
        ("lookahead", {"alpha": 1.5}, "at most 1"),
        ("sam", {"rho": -0.1}, "rho is -0.1: it must be at least 0"),
        ("sam", {"rho": float("nan")}, "must be at least 0"),
    ],
)
def test_a_value_outside_its_bounds_is_refused(name: str, options: dict[str, Any], found: str) -> None:
    with pytest.raises(ValueError, match=found):
        build_optimizer(Arm("wrapped", SGD, wrap=(own(name, **options),)), quadratic(0, CPU, dimension=8).model)


def test_sam_stands_still_where_the_gradient_is_zero() -> None:
    model = nn.Linear(2, 1)
    before = weights_sha256(model)
    optimizer, _ = build_optimizer(Arm("sam", choice("torch.optim:SGD", lr=0.1), wrap=(own("sam", rho=0.1),)), model)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss: Tensor = 0.0 * model(torch.ones(1, 2)).sum()
        loss.backward()
        return loss

    optimizer.step(closure)  # type: ignore[arg-type]
    assert weights_sha256(model) == before
