"""Numbers that might leave the jets unseen: each is right, by finite differences, or an error that names where."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from reference.problems import random_direction
from torch import Tensor, nn
from torch.nn import functional

from clipbench.contracts import Batch
from clipbench.errors import ClipbenchError
from clipbench.geometry.curvature import CurvatureEngine, MissingRuleError, directional_curvature
from clipbench.geometry.objective import Objective
from clipbench.geometry.spectrum import eigenvalue
from clipbench.geometry.step import StepGeometry


class Net(nn.Module):
    def __init__(self, act: Callable[[Tensor], Tensor] = torch.tanh) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last, self.act = nn.Linear(4, 8), nn.Linear(8, 4), act
        self.double()

    def hidden(self, x: Tensor) -> Tensor:
        return self.act(self.first(x))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(self.hidden(x))
        return out


BATCH = Batch({"x": torch.randn(7, 4, generator=torch.Generator().manual_seed(1)).double()}, samples=7)
PLACES = torch.tensor([0, 2, 4])
SPARSE = torch.eye(8, dtype=torch.float64).roll(1, 0).to_sparse()
Loss = Callable[[nn.Module, Batch], Tensor]


def with_more(branch: Callable[[Tensor], Tensor]) -> Loss:
    """A loss of the hidden layer h and branch(h)."""

    def loss(m: Any, batch: Batch) -> Tensor:
        h = m.hidden(batch["x"])
        out: Tensor = m.last(h + branch(h)).square().mean()
        return out

    return loss


def into_zeros(write: Callable[[Tensor, Tensor], object]) -> Loss:
    def branch(h: Tensor) -> Tensor:
        buffer = torch.zeros(7, 8, dtype=torch.float64)
        write(buffer, h * h)
        return buffer

    return with_more(branch)


def by_finite_differences(model: nn.Module, loss: Loss, direction: dict[str, Tensor]) -> tuple[float, float]:
    weights = list(model.parameters())
    start = [w.detach().clone() for w in weights]
    length = math.sqrt(sum(float(u.abs().square().sum()) for u in direction.values()))

    def at(t: float) -> float:
        for w, origin, u in zip(weights, start, direction.values(), strict=True):
            w.data.copy_(origin + t * u / length)
        return float(loss(model, BATCH).detach())

    h = 1e-4
    below, here, above = at(-h), at(0), at(h)
    at(0)
    return (above - below) / (2 * h), (above - 2 * here + below) / h**2


def found_by(engine: CurvatureEngine, model: nn.Module, loss: Loss, *, check: bool = True) -> tuple[float, float]:
    direction = random_direction(model, seed=0)
    found = directional_curvature(model, loss, [BATCH], {"0": direction}, engine=engine, check=check)["0"]
    return found.slope, found.curvature


def found_or_refused(engine: CurvatureEngine, model: nn.Module, loss: Loss) -> tuple[float, float] | str:
    try:
        return found_by(engine, model, loss, check=False)
    except (ClipbenchError, RuntimeError) as error:
        return str(error)


COMPLEX = {
    "fft": lambda h: torch.fft.fft(h).real,
    "and its size": lambda h: torch.fft.fft(h).abs(),
    "there and back": lambda h: torch.fft.irfft(torch.fft.rfft(h) * 2, n=8),
    "view": lambda h: torch.view_as_real(torch.view_as_complex(h.view(7, 4, 2)) ** 2).reshape(7, 8),
    "cast": lambda h: (h.to(torch.complex128) * (1 + 2j)).real,
    "times a complex number": lambda h: (h * (1 + 2j)).imag,
    "times a complex tensor": lambda h: (h * torch.tensor(1 + 2j, dtype=torch.complex128)).imag,
    "polar": lambda h: torch.polar(h.abs() + 1, h).real,
    "of two": lambda h: torch.complex(h, h * h).abs(),
    "power": lambda h: torch.pow(h * h + 1, 1j).real,
    "stft": lambda h: h * torch.stft(h, 4, window=torch.ones(4).double(), return_complex=True).abs().mean(),
}
WRITES = {
    "a slice": lambda z, y: z.__setitem__((slice(None), slice(0, 4)), y[:, :4]),
    "rows": lambda z, y: z.__setitem__(PLACES, y[PLACES]),
    "index_put_": lambda z, y: z.index_put_((PLACES,), y[PLACES]),
    "index_add_": lambda z, y: z.index_add_(0, PLACES, y[PLACES]),
    "scatter_add_": lambda z, y: z.scatter_add_(0, torch.zeros(7, 8, dtype=torch.long), y),
    "scatter_": lambda z, y: z.scatter_(1, torch.zeros(7, 1, dtype=torch.long), y[:, :1]),
    "masked_scatter_": lambda z, y: z.masked_scatter_(torch.ones(7, 8, dtype=torch.bool), y),
    "copy_": lambda z, y: z.copy_(y),
    "add_": lambda z, y: z.add_(y),
    "a view of it": lambda z, y: z.view(8, 7).t().copy_(y),
}
OTHERS = {
    "sparse products": lambda h: torch.sparse.mm(SPARSE, h.T).T,
    "to sparse and back": lambda h: h.to_sparse().to_dense() ** 2,
    "written into itself": lambda h: (y := h.clone(), y.__setitem__(0, h[1] * h[1]))[0],
    "checkpointed": lambda h: torch.utils.checkpoint.checkpoint(torch.sin, h, use_reentrant=False),
}
LEAVING: dict[str, Loss] = {
    **{f"complex: {name}": with_more(branch) for name, branch in COMPLEX.items()},
    **{f"into zeros: {name}": into_zeros(write) for name, write in WRITES.items()},
    **{name: with_more(branch) for name, branch in OTHERS.items()},
    "a list of weights": lambda m, _: sum(
        (t.square().sum() for t in torch._foreach_mul(list(m.parameters()), 2.0)), start=torch.zeros(())
    ),
    "gradient of the weights": lambda m, b: m(b["x"]).square().mean() + penalty(m, b),
}


def penalty(model: nn.Module, batch: Batch) -> Tensor:
    gradient = torch.autograd.grad(model(batch["x"]).square().mean(), list(model.parameters()), create_graph=True)
    return torch.stack([g.square().sum() for g in gradient]).sum()


@pytest.mark.parametrize("case", LEAVING)
def test_what_may_leave_the_jets_is_right_or_refused_with_its_name(case: str) -> None:
    model, loss = Net(), LEAVING[case]
    right = by_finite_differences(model, loss, random_direction(model, seed=0))
    assert found_by("auto", model, loss, check=False) == pytest.approx(right, rel=1e-5, abs=1e-6)
    for engine in ("jets", "adjoint"):
        found = found_or_refused(engine, model, loss)
        if isinstance(found, str):
            assert "no rule for the operation aten." in found or "does not require grad" in found
        else:
            assert found == pytest.approx(right, rel=1e-5, abs=1e-6)
            assert "complex" not in case


def in_a_product(ps: list[nn.Parameter]) -> Loss:
    def loss(m: Any, batch: Batch) -> Tensor:
        return (m.hidden(batch["x"]) @ ps[2].T).square().mean()  # type: ignore[no-any-return]

    return loss


ELSEWHERE: dict[str, Callable[[list[nn.Parameter]], Loss]] = {
    "beside the model": lambda ps: (
        lambda m, b: m(b["x"]).square().mean() + torch.stack([p.square().sum() for p in ps]).sum()
    ),
    "in a product": in_a_product,
    "alone": lambda ps: lambda _, b: (b["x"] @ ps[0].T).square().mean(),
    "in a list": lambda ps: lambda m, b: torch.stack([m(b["x"]).square().mean(), ps[1].exp().sum()]).sum(),
}


@pytest.mark.parametrize("case", ELSEWHERE)
def test_a_weight_that_is_not_taken_from_the_model_is_not_a_constant(case: str) -> None:
    model = Net()
    loss = ELSEWHERE[case](list(model.parameters()))
    right = by_finite_differences(model, loss, random_direction(model, seed=0))
    for engine in ("jets", "adjoint"):
        with pytest.raises(MissingRuleError, match="a weight that the loss does not take from the model"):
            found_by(engine, model, loss, check=False)
    assert found_by("auto", model, loss, check=False) == pytest.approx(right, rel=1e-5, abs=1e-6)


def test_weights_of_another_model_that_require_a_gradient_are_constants() -> None:
    model, teacher = Net(), Net(torch.sin)

    def loss(m: nn.Module, batch: Batch) -> Tensor:
        return functional.mse_loss(m(batch["x"]), teacher(batch["x"]))

    right = by_finite_differences(model, loss, random_direction(model, seed=0))
    assert found_by("jets", model, loss) == pytest.approx(right, rel=1e-5, abs=1e-6)


ACTIVATIONS = [torch.sin, torch.tanh, torch.sigmoid, functional.softplus, functional.gelu, functional.silu, torch.exp]


def residual(model: nn.Module, batch: Batch) -> Tensor:
    """Of the equation u_y − u_xx + u² = 0, as a physics-informed network is trained."""
    x = batch["x"].clone().requires_grad_(True)
    u = model(x)
    [slope] = torch.autograd.grad(u.sum(), x, create_graph=True)
    [bend] = torch.autograd.grad(slope[:, 0].sum(), x, create_graph=True)
    return (slope[:, 1] - bend[:, 0] + u[:, 0] ** 2).square().mean()  # type: ignore[no-any-return]


@pytest.mark.parametrize("act", ACTIVATIONS, ids=lambda act: act.__name__)
def test_a_loss_that_differentiates_the_network_itself_is_measured(act: Callable[[Tensor], Tensor]) -> None:
    model = Net(act)
    right = by_finite_differences(model, residual, random_direction(model, seed=0))
    for check in (True, False):
        assert found_by("auto", model, residual, check=check) == pytest.approx(right, rel=1e-5, abs=1e-6)
    for engine in ("jets", "adjoint"):
        found = found_or_refused(engine, model, residual)
        if isinstance(found, str):
            assert "no rule for the operation a" in found
        else:
            assert found == pytest.approx(right, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("act", ACTIVATIONS, ids=lambda act: act.__name__)
def test_where_a_loss_differentiates_itself_and_jets_cannot_it_is_said(act: Callable[[Tensor], Tensor]) -> None:
    model = Net(act)
    found = directional_curvature(model, residual, [BATCH], {"0": random_direction(model, seed=0)})
    assert (found.engine, found.missing_operation) in (
        ("jets", None),
        ("double_backward", "autograd.grad inside the loss"),
    )


def test_a_gradient_penalty_is_measured_and_said() -> None:
    model = Net(torch.tanh)
    direction = random_direction(model, seed=0)

    def penalised(m: nn.Module, batch: Batch) -> Tensor:
        loss = m(batch["x"]).square().mean()
        gradient = torch.autograd.grad(loss, list(m.parameters()), create_graph=True)
        return loss + sum(g.square().sum() for g in gradient)  # type: ignore[no-any-return]

    found = directional_curvature(model, penalised, [BATCH], {"0": direction})
    assert found.missing_operation == "autograd.grad inside the loss"
    right = by_finite_differences(model, penalised, direction)
    assert (found["0"].slope, found["0"].curvature) == pytest.approx(right, rel=1e-5, abs=1e-6)


def test_a_branch_that_is_taken_later_is_measured_as_well() -> None:
    def loss(model: nn.Module, x: Tensor) -> Tensor:
        h = model.hidden(x)  # type: ignore[operator]
        out: Tensor = model.last(h + torch.fft.fft(h).real if len(x) > 7 else h).square().mean()  # type: ignore[operator]
        return out

    steps = {}
    for engine in ("auto", "double_backward"):
        model = Net()
        geometry = StepGeometry(model, loss, engine=engine)
        for x in (BATCH["x"], BATCH["x"].repeat(2, 1)):
            with geometry.around(x) as step, torch.no_grad():
                for p in model.parameters():
                    p.mul_(0.9)
        steps[engine] = step
    found, right = steps["auto"], steps["double_backward"]
    assert (found.slope, found.sharpness) == (right.slope, right.sharpness)
    assert found.engine == "engine double_backward, as jets have no rule for aten._fft_r2c.default"


class Spectral(nn.Module):
    """With complex weights, as a Fourier neural operator has."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(4, 8).double(), nn.Linear(8, 4).double()
        self.weight = nn.Parameter(torch.randn(5, dtype=torch.complex128))

    def forward(self, x: Tensor) -> Tensor:
        waves = torch.fft.rfft(torch.tanh(self.first(x))) * self.weight
        out: Tensor = self.last(torch.fft.irfft(waves, n=8))
        return out


def of_spectral(model: nn.Module, batch: Batch) -> Tensor:
    out: Tensor = model(batch["x"]).square().mean()
    return out


def test_complex_weights_move_in_both_of_their_parts() -> None:
    model = Spectral()
    torch.manual_seed(0)
    direction = {name: torch.randn_like(p) for name, p in model.named_parameters()}
    right = by_finite_differences(model, of_spectral, direction)
    engines: tuple[CurvatureEngine, ...] = ("auto", "double_backward")
    for engine in engines:
        found = directional_curvature(model, of_spectral, [BATCH], {"0": direction}, engine=engine)["0"]
        assert (found.slope, found.curvature) == pytest.approx(right, rel=1e-5, abs=1e-6)
    with pytest.raises(MissingRuleError, match=r"complex weights \('weight'\)"):
        found_by("jets", model, of_spectral)


def test_a_spectrum_with_complex_weights_is_that_of_their_parts() -> None:
    model = Spectral()
    model.first.requires_grad_(False)
    model.last.requires_grad_(False)
    found = eigenvalue(Objective(model, of_spectral, [BATCH]), "largest", tolerance=1e-8, products=400, seed=0)
    assert not isinstance(found, str)

    def at(flat: Tensor) -> Tensor:
        weight = torch.view_as_complex(flat.view(5, 2))
        waves = torch.fft.rfft(torch.tanh(model.first(BATCH["x"]))) * weight
        out: Tensor = model.last(torch.fft.irfft(waves, n=8)).square().mean()
        return out

    hessian: Tensor = torch.autograd.functional.hessian(at, torch.view_as_real(model.weight.detach()).flatten())
    assert found.value == pytest.approx(float(torch.linalg.eigvalsh(hessian)[-1]), rel=1e-9)
