from itertools import islice
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from clipbench.contracts import Batch
from clipbench.tasks.quadratic import Correlation, Quadratic, Spectrum, build, eigenvalues

CPU = torch.device("cpu")
SPECTRA: tuple[Spectrum, ...] = ("linear", "geometric", "one_bad")
CORRELATIONS: tuple[Correlation, ...] = ("aligned", "opposed", "none")


def model_of(seed: int = 0, **options: Any) -> Quadratic:
    model = build(seed, CPU, **options).model
    assert isinstance(model, Quadratic)
    return model


def gradient_of(model: Quadratic) -> Tensor:
    return model.hessian() @ model.x.detach().double()


def sharpness(model: Quadratic, along: Tensor) -> float:
    return float(along @ model.hessian() @ along / (along @ along))


def clipped(gradient: Tensor, fraction: float) -> Tensor:
    threshold = gradient.abs().sort(descending=True).values[int(fraction * len(gradient))].item()
    return gradient.clamp(-threshold, threshold)


def test_the_spectra_are_what_their_names_say() -> None:
    assert eigenvalues("linear", 4, condition=10).tolist() == pytest.approx([1, 4, 7, 10])
    assert eigenvalues("geometric", 3, condition=100).tolist() == pytest.approx([1, 10, 100])
    assert eigenvalues("one_bad", 4, condition=50).tolist() == [1, 1, 1, 50]


@given(spectrum=st.sampled_from(SPECTRA), dimension=st.integers(2, 60), condition=st.floats(1, 1e6, allow_nan=False))
def test_a_spectrum_rises_from_one_to_the_condition_number(
    spectrum: Spectrum, dimension: int, condition: float
) -> None:
    values = eigenvalues(spectrum, dimension, condition=condition)
    assert values.shape == (dimension,)
    assert (values.diff() >= -1e-9 * condition).all()
    assert values[0].item() == pytest.approx(1)
    assert values[-1].item() == pytest.approx(condition)


@given(
    spectrum=st.sampled_from(SPECTRA),
    correlation=st.sampled_from(CORRELATIONS),
    rotated=st.booleans(),
    seed=st.integers(0, 2**40),
)
def test_the_start_has_the_loss_one(spectrum: Spectrum, correlation: Correlation, rotated: bool, seed: int) -> None:
    problem = build(seed, CPU, spectrum=spectrum, correlation=correlation, rotated=rotated, dimension=12)
    assert problem.loss(problem.model, problem.eval_batches[0]).item() == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize("rotated", [False, True])
def test_value_gradient_and_hessian_agree_with_the_closed_forms(rotated: bool) -> None:
    problem = build(3, CPU, dimension=20, rotated=rotated, correlation="none")
    model = problem.model.double()
    assert isinstance(model, Quadratic)
    batch = Batch({"noise": torch.zeros(1, 20, dtype=torch.float64)}, samples=1)
    value = problem.loss(model, batch)
    (gradient,) = torch.autograd.grad(value, model.x, create_graph=True)
    rows = [torch.autograd.grad(part, model.x, retain_graph=True)[0] for part in gradient]
    x, hessian = model.x.detach(), model.hessian()
    # Everything is float64, but λ and Q came through float32: only their products are compared.
    torch.testing.assert_close(torch.stack(rows), hessian)
    torch.testing.assert_close(gradient.detach(), hessian @ x)
    torch.testing.assert_close(value.detach(), 0.5 * x @ hessian @ x)


@pytest.mark.parametrize("spectrum", SPECTRA)
def test_a_rotation_keeps_the_spectrum_and_leaves_no_diagonal_matrix(spectrum: Spectrum) -> None:
    plain, rotated = model_of(spectrum=spectrum), model_of(spectrum=spectrum, rotated=True)
    expected = eigenvalues(spectrum, 100, condition=100.0)
    # Q is rounded to float32, hence 1e-5.
    torch.testing.assert_close(torch.linalg.eigvalsh(rotated.hessian()), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(plain.hessian(), expected.diag(), rtol=1e-6, atol=0)
    off_diagonal = rotated.hessian() - rotated.hessian().diag().diag()
    assert off_diagonal.norm() > 0.5


def test_the_start_correlates_gradient_and_curvature_as_asked() -> None:
    found = {}
    for correlation in CORRELATIONS:
        model = model_of(correlation=correlation)
        magnitudes = gradient_of(model).abs()
        found[correlation] = torch.corrcoef(torch.stack([magnitudes, model.curvatures.double()]))[0, 1].item()
    assert found["aligned"] == pytest.approx(1)
    assert found["opposed"] < -0.5
    assert abs(found["none"]) < 0.3  # three standard errors of a correlation of 100 independent pairs


@pytest.mark.parametrize("fraction", [0.1, 0.3, 0.5, 0.9])
def test_clipping_lowers_the_sharpness_of_an_aligned_start_and_raises_it_for_an_opposed_one(fraction: float) -> None:
    for correlation, sign in (("aligned", 1), ("opposed", -1)):
        model = model_of(correlation=correlation)
        gradient = gradient_of(model)
        assert sign * sharpness(model, clipped(gradient, fraction)) < sign * sharpness(model, gradient)


def test_a_rotation_leaves_the_sharpness_of_the_gradient_alone_and_changes_that_of_the_clipped_one() -> None:
    plain, rotated = model_of(), model_of(rotated=True)
    assert sharpness(rotated, gradient_of(rotated)) == pytest.approx(sharpness(plain, gradient_of(plain)), rel=1e-5)
    before, after = (sharpness(model, clipped(gradient_of(model), 0.5)) for model in (plain, rotated))
    assert after > 1.1 * before


def test_without_noise_every_batch_is_the_function_itself() -> None:
    problem = build(0, CPU)
    for batch in (*islice(problem.train_batches(0), 3), *problem.probe_batches):
        assert not batch["noise"].any()


def test_noise_is_added_to_the_gradient_and_to_nothing_else() -> None:
    problem = build(0, CPU, dimension=30, noise=0.5, batch=4)
    batch = next(problem.train_batches(7))
    (gradient,) = torch.autograd.grad(problem.loss(problem.model, batch), list(problem.model.parameters()))
    assert isinstance(problem.model, Quadratic)
    expected = gradient_of(problem.model) + batch["noise"].double().mean(dim=0)
    torch.testing.assert_close(gradient, expected.float())


def test_the_noise_has_the_standard_deviation_asked_for() -> None:
    batch = next(build(0, CPU, noise=0.5, batch=200).train_batches(0))
    assert batch["noise"].std().item() == pytest.approx(0.5, rel=0.02)  # four standard errors of 20,000 draws
    assert abs(batch["noise"].mean().item()) < 4 * 0.5 / 20_000**0.5


def test_the_rotation_is_the_same_for_every_seed() -> None:
    assert torch.equal(model_of(0, rotated=True).hessian(), model_of(1, rotated=True).hessian())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dimension": 0}, "dimension must be a positive number"),
        ({"dimension": 1}, "dimension must be at least 2"),
        ({"condition": 0.5}, "condition at least 1"),
        ({"condition": float("nan")}, "condition must be a positive number"),
        ({"condition": float("inf")}, "condition must be a positive number"),
        ({"batch": 0}, "batch must be a positive number"),
        ({"noise": -0.1}, "noise must be a finite number of at least 0"),
        ({"noise": float("nan")}, "noise must be a finite number of at least 0"),
        ({"spectrum": "flat"}, "spectrum must be one of"),
        ({"correlation": "some"}, "correlation one of"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(0, CPU, **options)
