"""Arms with groups: which parameters each takes, and that several optimizers step, clip, resume and haunt as one."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from making import make_run, outcome_of
from oracles import flat, same_bits
from running.working import made, measured_along
from torch import Tensor, nn
from torch.nn import functional

from clipbench import store
from clipbench.budget import Budget
from clipbench.clipping.hook import CoordinateClip
from clipbench.contracts import Batch, Problem
from clipbench.errors import ClipbenchError
from clipbench.records import (
    LEARNING_RATE,
    OWN,
    RATE_SHARPNESS,
    RESUME,
    TRAINING_POINT_LOSS,
    UPDATE_NORM,
    Arm,
    Choice,
    ClipScope,
    ClipSettings,
    Group,
    Measure,
    Run,
    Schedule,
)
from clipbench.running.equipment import build_optimizer, state_bytes, trainable
from clipbench.running.fingerprints import weights_sha256
from clipbench.running.grouping import shared_out
from clipbench.running.liveness import check
from clipbench.running.trial import NotLiveError

STEPS = 12
TASK = Choice("tied", "tied", f"{__name__}:tied")
MATRICES = ["blocks.0.weight", "blocks.1.weight"]
EMBEDDING, CONVOLUTION = "embed.weight", "conv.weight"
VECTORS = ["blocks.0.bias", "blocks.1.bias", "conv.bias", "norm.weight", "norm.bias", "head.bias"]
ALL = {EMBEDDING, CONVOLUTION, *MATRICES, *VECTORS}


class Tied(nn.Module):
    """A bit of everything: an embedding with its head tied to it, matrices, vectors and a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 6)
        self.blocks = nn.ModuleList([nn.Linear(6, 6), nn.Linear(6, 6)])
        self.conv = nn.Conv1d(6, 6, 3, padding=1)
        self.norm = nn.LayerNorm(6)
        self.head = nn.Linear(6, 11)
        self.head.weight = self.embed.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens)
        for block in self.blocks:
            x = x + torch.tanh(block(x))
        x = self.norm(x + self.conv(x.transpose(1, 2)).transpose(1, 2))
        scores: Tensor = self.head(x)
        return scores


def tied(seed: int, device: torch.device) -> Problem:
    """A task whose model is Tied: guess a token from itself and its neighbours."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Tied().to(device)

    def batch(number: int) -> Batch:
        tokens = torch.randint(11, (4, 8), generator=torch.Generator().manual_seed(number + 1000))
        return Batch({"tokens": tokens}, samples=4)

    def batches(start: int) -> Iterator[Batch]:
        return (batch(number) for number in count(start))

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        tokens = batch["tokens"]
        return functional.cross_entropy(model(tokens).transpose(1, 2), tokens)

    held = [batch(-number) for number in range(1, 5)]
    return Problem(model, loss, batches, held, held)


def choice(target: str, **options: Any) -> Choice:
    return Choice(target, target, target, options)


MUON = choice("torch.optim:Muon", lr=0.02)
ADAMW = choice("clipbench.optimizers.adamw:build", lr=0.003)
SGD = choice("torch.optim:SGD", lr=0.1, momentum=0.9)


def arm(*groups: Group, **changes: Any) -> Arm:
    return Arm("mixed", Choice("together", "together", ""), groups=groups, **changes)


HIDDEN = Group("hidden", MUON, kind="matrix", names=("blocks.*",))
REST = Group("rest", ADAMW)
MIXED = arm(HIDDEN, REST)


def described(of: Arm, **measure: Any) -> Run:
    return make_run(task=TASK, arm=of, budget=Budget(STEPS, "steps"), measure=Measure(4, 5, **measure))


def by_hand(clip: Callable[[list[Tensor]], None] = lambda _: None, *, cosine: bool = False) -> str:
    """Two of torch's optimizers in a plain loop; the hash of where they end."""
    problem = tied(0, torch.device("cpu"))
    model, batches = problem.model, problem.train_batches(0)
    parameters = dict(model.named_parameters())
    both: list[tuple[torch.optim.Optimizer, float]] = [
        (torch.optim.Muon([parameters[name] for name in MATRICES], lr=0.02), 0.02),
        (torch.optim.AdamW([p for name, p in parameters.items() if name not in MATRICES], lr=0.003), 0.003),
    ]
    for step in range(STEPS):
        model.zero_grad()
        problem.loss(model, next(batches)).backward()
        clip([p.grad for p in parameters.values() if p.grad is not None])
        factor = 0.5 * (1.0 + float(torch.cos(torch.tensor((step + 0.5) / STEPS * torch.pi, dtype=torch.float64))))
        for optimizer, rate in both:
            optimizer.param_groups[0]["lr"] = rate * factor if cosine else rate
            optimizer.step()
    return weights_sha256(model)


def clamp(gradients: list[Tensor], threshold: float) -> None:
    for gradient in gradients:
        gradient.clamp_(-threshold, threshold)


def clip_a_third(gradients: list[Tensor]) -> None:
    """By sorting all coordinates of both optimizers."""
    magnitudes = sorted((abs(value) for gradient in gradients for value in gradient.flatten().tolist()), reverse=True)
    clamp(gradients, magnitudes[len(magnitudes) * 3 // 10])


@pytest.mark.parametrize(
    ("changes", "clip", "cosine"),
    [
        ({}, lambda _: None, False),
        ({"schedule": Schedule("cosine")}, lambda _: None, True),
        ({"clip": ClipSettings(threshold=0.01)}, lambda gradients: clamp(gradients, 0.01), False),
        ({"clip": ClipSettings(0.3)}, clip_a_third, False),
    ],
    ids=["plain", "a schedule over both", "a threshold over both", "a fraction over both"],
)
def test_a_run_ends_where_two_optimizers_by_hand_end(
    tmp_path: Path, changes: dict[str, Any], clip: Callable[[list[Tensor]], None], cosine: bool
) -> None:
    record = made(described(replace(MIXED, **changes)), tmp_path)
    assert record.weights == by_hand(clip, cosine=cosine)


def clip_the_matrices(gradients: list[Tensor]) -> None:
    """Three tenths of what Muon steps, by sorting; `by_hand` hands the gradients in the order of the parameters."""
    names = list(dict(Tied().named_parameters()))
    clip_a_third([gradients[names.index(name)] for name in MATRICES])


@pytest.mark.parametrize(
    ("clip", "hand"),
    [
        (ClipSettings(0.3, groups=("hidden",)), clip_the_matrices),
        (
            ClipSettings(threshold=0.01, groups=("rest",)),
            lambda gradients: clamp(
                [g for g, name in zip(gradients, dict(Tied().named_parameters()), strict=True) if name not in MATRICES],
                0.01,
            ),
        ),
    ],
    ids=["a fraction of the matrices", "a threshold for the rest"],
)
def test_a_clip_of_some_groups_leaves_the_others(
    tmp_path: Path, clip: ClipSettings, hand: Callable[[list[Tensor]], None]
) -> None:
    record = made(described(replace(MIXED, clip=clip)), tmp_path)
    assert record.weights == by_hand(hand)
    assert check(replace(MIXED, clip=clip), tied(0, torch.device("cpu"))) == ()


def test_the_numerator_is_clipped_of_the_groups_that_have_one() -> None:
    clip = ClipSettings(0.3, of="numerator", groups=("rest",))
    optimizer, _ = build_optimizer(replace(MIXED, clip=clip), Tied())
    assert check(replace(MIXED, clip=clip), tied(0, torch.device("cpu"))) == ()
    assert len(optimizer.param_groups) == 2


def test_the_record_says_what_each_group_took_and_how_it_was_set(tmp_path: Path) -> None:
    outcome = outcome_of(made(described(MIXED), tmp_path))
    assert {group: set(names) for group, names in outcome.groups.items()} == {
        "hidden": set(MATRICES),
        "rest": ALL - set(MATRICES),
    }
    assert (outcome.effective["hidden.lr"], outcome.effective["rest.lr"]) == (0.02, 0.003)
    assert outcome.effective["rest.betas"] == (0.9, 0.999)
    matrices = 2 * 36 * 4
    others = (66 + 108 + 6 * 6 + 5 - 0) * 4  # of which AdamW keeps two of each, and a count
    assert outcome.state_bytes == matrices + 2 * others + 4 * (len(ALL) - len(MATRICES))


@pytest.mark.parametrize(
    ("groups", "taken"),
    [
        ((Group("a", SGD, kind="embedding"), REST), {EMBEDDING}),
        ((Group("a", SGD, names=("head.*",)), REST), {EMBEDDING, "head.bias"}),  # by the other name of what is tied
        ((Group("a", SGD, kind="vector", names=("head.*",)), REST), {"head.bias"}),
        ((Group("a", SGD, kind="matrix"), REST), set(MATRICES)),
        ((Group("a", SGD, kind="vector"), REST), set(VECTORS)),
        ((Group("a", SGD, names=("conv.*", "norm.?ias")), REST), {CONVOLUTION, "conv.bias", "norm.bias"}),
        ((Group("a", SGD, names=("BLOCKS.*", "blocks.1.*")), REST), {"blocks.1.weight", "blocks.1.bias"}),
    ],
)
def test_a_group_takes_what_fits_its_kind_and_one_of_its_names(groups: tuple[Group, ...], taken: set[str]) -> None:
    shared = shared_out(arm(*groups), Tied())
    assert set(shared["a"]) == taken
    assert set(shared["rest"]) == ALL - taken


def test_the_first_group_that_fits_takes_a_parameter() -> None:
    groups = (Group("all blocks", SGD, names=("blocks.*",)), Group("second", SGD, names=("*.1.*", "conv.*")), REST)
    shared = shared_out(arm(*groups), Tied())
    assert set(shared["second"]) == {CONVOLUTION, "conv.bias"}


def test_a_parameter_that_is_not_trained_belongs_to_no_group() -> None:
    model = Tied()
    model.conv.requires_grad_(False)
    shared = shared_out(MIXED, model)
    assert not {CONVOLUTION, "conv.bias"} & {*shared["hidden"], *shared["rest"]}


@pytest.mark.parametrize(
    ("groups", "found", "remedy"),
    [
        (
            (Group("hidden", MUON, kind="matrix", names=("block.*",)), REST),
            r"the group 'hidden' \(matrix, block.\*\) takes no parameter; there are embed.weight, blocks.0.weight",
            "mend its `kind` and `names`",
        ),
        ((Group("all", SGD, names=("*",)), REST), "the group 'rest' takes no parameter", "the first group that fits"),
        (
            (Group("hidden", MUON, kind="matrix"), Group("vectors", ADAMW, kind="vector")),
            "no group takes embed.weight, conv.weight",
            "add a last group",
        ),
    ],
)
def test_a_group_without_a_parameter_and_a_parameter_without_a_group_are_refused(
    groups: tuple[Group, ...], found: str, remedy: str
) -> None:
    with pytest.raises(ClipbenchError, match=found) as caught:
        build_optimizer(arm(*groups), Tied())
    assert remedy in str(caught.value)
    assert "arm 'mixed'" in str(caught.value)


@pytest.mark.parametrize("fraction", [0.1, 0.6])
def test_a_clip_by_group_has_a_threshold_for_each(fraction: float) -> None:
    model = Tied()
    _, clip = build_optimizer(replace(MIXED, clip=ClipSettings(fraction, scope="group")), model)
    optimizer = clip.optimizer if isinstance(clip, CoordinateClip) else None
    assert optimizer is not None
    generator = torch.Generator().manual_seed(0)
    parameters = trainable(model)
    for name, parameter in parameters.items():
        parameter.grad = torch.randn(parameter.shape, generator=generator) * (100 if name in MATRICES else 1)
    magnitudes = {
        name: parameter.grad.abs().flatten() for name, parameter in parameters.items() if parameter.grad is not None
    }
    optimizer.step()
    for names in (set(MATRICES), ALL - set(MATRICES)):
        ordered = torch.cat([magnitudes[name] for name in names]).sort(descending=True).values
        largest = max(float(grad.abs().max()) for name in names if (grad := parameters[name].grad) is not None)
        assert largest == float(ordered[int(len(ordered) * fraction)])


@pytest.mark.parametrize("scope", ["global", "group", "tensor"])
def test_the_numerator_of_all_groups_is_clipped_as_that_of_one_optimizer_with_parameter_groups(
    scope: ClipScope,
) -> None:
    def trained(optimizer: torch.optim.Optimizer, model: nn.Module, problem: Problem) -> str:
        batches = problem.train_batches(0)
        for _ in range(STEPS):
            optimizer.zero_grad()
            problem.loss(model, next(batches)).backward()
            optimizer.step()
        return weights_sha256(model)

    problem = tied(0, torch.device("cpu"))
    fast = Group("fast", choice("torch.optim:AdamW", lr=0.01), kind="matrix")
    clip = ClipSettings(0.3, of="numerator", scope=scope)
    several, _ = build_optimizer(arm(fast, REST, clip=clip), problem.model)
    ours = trained(several, problem.model, problem)
    problem = tied(0, torch.device("cpu"))
    parameters = dict(problem.model.named_parameters())
    groups = [
        {"params": [parameters[name] for name in MATRICES], "lr": 0.01},
        {"params": [p for name, p in parameters.items() if name not in MATRICES], "lr": 0.003},
    ]
    single = torch.optim.AdamW(groups)
    CoordinateClip(single, 0.3, of="numerator", scope=scope)
    assert trained(single, problem.model, problem) == ours


def test_the_numerator_is_refused_where_one_of_the_optimizers_has_none() -> None:
    with pytest.raises(ValueError, match="Muon has no numerator that is known here"):
        build_optimizer(replace(MIXED, clip=ClipSettings(0.3, of="numerator")), Tied())


@pytest.mark.parametrize("changes", [{}, {"clip": ClipSettings(0.3, of="update"), "schedule": Schedule("linear", 0.2)}])
def test_an_interrupted_run_ends_where_one_that_ran_through_ends(tmp_path: Path, changes: dict[str, Any]) -> None:
    counting = Group("vectors", choice(f"{__name__}:Counting", lr=0.01), kind="vector")
    run = described(arm(HIDDEN, counting, REST, **changes))
    through = made(run, tmp_path / "through")
    paused = made(run, tmp_path / "resumed", stop_at=7)
    assert paused.outcome is None
    assert (Path(paused.folder) / store.CHECKPOINT).exists()
    resumed = made(run, tmp_path / "resumed")
    assert RESUME not in outcome_of(resumed).remarks
    assert resumed.weights == through.weights != ""
    assert str([row[2:] for row in resumed.measurements]) == str([row[2:] for row in through.measurements])  # NaN too


class Counting(torch.optim.SGD):
    """Steps by a count in an attribute, has a state that is no parameter's, and adds to its state_dict."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, lr=lr)
        self.extra = 1.0
        self.count = 0

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        self.count += 1
        self.extra *= 0.9
        state: Any = self.state
        state.setdefault("steps", {"n": 0})["n"] += 1
        for group in self.param_groups:
            group["lr"] = self.extra / (self.count + state["steps"]["n"])
        super().step(closure)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "extra": self.extra}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.extra = state_dict["extra"]
        super().load_state_dict({name: value for name, value in state_dict.items() if name != "extra"})


@pytest.mark.parametrize("clip", [None, ClipSettings(0.3), ClipSettings(0.3, of="update", scope="group")])
def test_a_ghost_of_the_arm_goes_its_way_bit_for_bit(tmp_path: Path, clip: ClipSettings | None) -> None:
    own = replace(MIXED, clip=clip, schedule=Schedule("cosine", warmup=0.2))
    probes = (Choice("norms", "norms", "clipbench.probes.norms:measure"),)
    plain = made(described(own, probes=probes), tmp_path / "plain")
    haunted = made(described(own, probes=probes, ghosts=(replace(own, name="itself"),)), tmp_path / "haunted")
    assert outcome_of(haunted).failed_probes == {}
    assert haunted.weights == plain.weights
    assert measured_along(haunted, "itself") == measured_along(haunted, OWN) == measured_along(plain, OWN) != []


def test_a_ghost_along_another_arm_steps_as_both_optimizers_do_by_hand(tmp_path: Path) -> None:
    norms = (Choice("norms", "norms", "clipbench.probes.norms:measure"),)
    record = made(described(Arm("sgd", SGD), probes=norms, ghosts=(MIXED,)), tmp_path)
    measured = record.measurements.by_step(MIXED.name, UPDATE_NORM)
    problem = tied(0, torch.device("cpu"))
    parameters, batches = dict(problem.model.named_parameters()), problem.train_batches(0)
    muon = torch.optim.Muon([parameters[name] for name in MATRICES], lr=0.02)
    adamw = torch.optim.AdamW([p for name, p in parameters.items() if name not in MATRICES], lr=0.003)
    sgd = torch.optim.SGD(parameters.values(), lr=0.1, momentum=0.9)
    expected = {}
    for step in range(STEPS):
        problem.model.zero_grad()
        problem.loss(problem.model, next(batches)).backward()
        before = flat(list(parameters.values())).clone()
        muon.step()
        adamw.step()
        expected[step] = float((flat(list(parameters.values())) - before).double().norm())
        torch.nn.utils.vector_to_parameters(before, parameters.values())
        sgd.step()
    assert measured == {step: pytest.approx(expected[step], rel=1e-6) for step in (5, 10)}


@pytest.mark.parametrize("rates", [(0.02, 0.003), (0.003, 0.003)])
def test_a_rate_is_recorded_where_all_groups_have_the_same(tmp_path: Path, rates: tuple[float, float]) -> None:
    first, second = (
        replace(each.optimizer, options={"lr": lr}) for each, lr in zip((HIDDEN, REST), rates, strict=True)
    )
    mixed = arm(replace(HIDDEN, optimizer=first), replace(REST, optimizer=second), schedule=Schedule("linear"))
    taylor = Choice("taylor", "taylor", "clipbench.probes.taylor:measure")
    measurements = made(described(mixed, probes=(taylor,)), tmp_path).measurements
    recorded = [row.value for row in measurements.series("", LEARNING_RATE)]
    stability = measurements.series(OWN, RATE_SHARPNESS)
    if rates[0] == rates[1]:
        assert recorded[0] == 0.003
        assert recorded[1] == pytest.approx(0.003 * (1 - 3.5 / STEPS))
        assert stability
        assert mixed.learning_rate == 0.003
    else:
        assert all(value != value for value in recorded)
        assert not stability
        assert mixed.learning_rate is None


class Frozen(torch.optim.SGD):
    """Never moves."""

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        pass


def test_a_group_that_never_moves_is_dead_beside_one_that_does() -> None:
    problem = tied(0, torch.device("cpu"))
    frozen = arm(Group("hidden", choice(f"{__name__}:Frozen", lr=0.1), kind="matrix"), REST)
    with pytest.raises(NotLiveError, match="no parameter of the group 'hidden' moved in 20 steps"):
        check(frozen, problem)
    assert check(MIXED, problem) == ()


class Deaf(torch.optim.SGD):
    """Takes an option that nobody finds again."""

    def __init__(self, params: Any, lr: float, strength: float = 1.0) -> None:  # noqa: ARG002
        super().__init__(params, lr=lr)


def test_an_option_without_an_effect_is_named_by_its_group() -> None:
    deaf = Group("deaf", choice(f"{__name__}:Deaf", lr=0.1, strength=2.0), kind="vector")
    with pytest.raises(NotLiveError, match=r"the option groups\.deaf\.strength has no effect"):
        check(arm(deaf, REST), tied(0, torch.device("cpu")))


def test_a_clip_that_does_nothing_is_dead_over_all_groups() -> None:
    signs = Group("signs", choice("clipbench.optimizers.signsgd:build", lr=0.01, momentum=0.0), kind="matrix")
    others = Group("others", choice("clipbench.optimizers.signsgd:build", lr=0.01, momentum=0.0))
    with pytest.raises(NotLiveError, match="the clip does nothing"):
        check(arm(signs, others, clip=ClipSettings(0.1)), tied(0, torch.device("cpu")))


def test_weights_of_two_states_are_evaluated_where_a_member_has_them(tmp_path: Path) -> None:
    averaged, plain = (
        made(described(arm(Group("hidden", choice(target, lr=0.05), kind="matrix"), REST)), tmp_path)
        for target in ("forgetful:Averaging", "torch.optim:SGD")
    )
    assert averaged.weights != plain.weights
    assert averaged.measurements.series("", TRAINING_POINT_LOSS)
    assert not plain.measurements.series("", TRAINING_POINT_LOSS)


def test_the_state_of_all_is_one_mapping() -> None:
    model = Tied()
    optimizer, _ = build_optimizer(MIXED, model)
    for parameter in trainable(model).values():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    whose = [name for name, _ in optimizer.state]
    assert (whose.count("hidden"), whose.count("rest")) == (len(MATRICES), len(ALL) - len(MATRICES))
    assert len(optimizer.state) == len(ALL)
    assert state_bytes(optimizer) > 0
    again, _ = build_optimizer(MIXED, Tied())
    again.load_state_dict(optimizer.state_dict())
    for kept, loaded in zip(optimizer.state.values(), again.state.values(), strict=True):
        assert kept.keys() == loaded.keys()
        assert all(same_bits(kept[name], loaded[name]) for name in kept if isinstance(kept[name], Tensor))
