from itertools import islice

import numpy as np
import pytest
import torch
from torch import nn

from clipbench.contracts import Batch, Problem
from clipbench.tasks.autoencoder import build, split

CPU = torch.device("cpu")


def end(problem: Problem, optimizer: torch.optim.Optimizer, steps: int) -> float:
    for batch in islice(problem.train_batches(0), steps):
        optimizer.zero_grad()
        problem.loss(problem.model, batch).backward()
        optimizer.step()
    with torch.no_grad():
        return problem.loss(problem.model, problem.eval_batches[0]).item()


def test_the_parts_are_disjoint_and_centred_by_the_training_images() -> None:
    training, evaluation, probing = split()
    assert (len(training), len(evaluation), len(probing)) == (1000, 285, 512)
    assert training.mean(dim=0).abs().max() < 1e-6
    rows = [{row.tobytes() for row in part.numpy()} for part in (training, evaluation, probing)]
    assert rows[0].isdisjoint(rows[1] | rows[2])
    assert rows[1].isdisjoint(rows[2])
    total = torch.cat([training, evaluation, probing])
    spread = total.amax(dim=0) - total.amin(dim=0)
    assert spread.max() == pytest.approx(1)  # from black to white


def test_an_output_of_zero_loses_the_total_variance_and_all_of_it() -> None:
    problem = build(0, CPU)
    for parameter in problem.model.parameters():
        nn.init.zeros_(parameter)
    (batch,) = problem.train_slice
    variance = np.var(batch["images"].numpy().astype(float), axis=0).sum()
    assert problem.loss(problem.model, batch).item() == pytest.approx(variance, rel=1e-5)
    with torch.no_grad():
        lost, whole = problem.metrics["unexplained"](problem.model, batch)
    assert float(lost) == pytest.approx(float(whole))


def test_an_autoencoder_of_small_principal_components_loses_the_rest_of_the_variance() -> None:
    problem = build(0, CPU)
    (batch,) = problem.train_slice
    images = batch["images"].double().numpy()
    values, vectors = np.linalg.eigh(images.T @ images / len(images))
    scale = 1e-3  # where tanh is the identity but for a part in a million
    basis = torch.from_numpy(vectors[:, -32:].T).float()
    with torch.no_grad():
        for module in problem.model.modules():
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.weight)
                nn.init.zeros_(module.bias)
        weights = [parameter for parameter in problem.model.parameters() if parameter.ndim == 2]
        weights[0][:32] = scale * basis
        weights[1][:, :32] = torch.eye(32)
        weights[2][:32] = torch.eye(32)
        weights[3][:, :32] = basis.T / scale
    assert problem.loss(problem.model, batch).item() == pytest.approx(values[:-32].sum(), rel=1e-3)
    with torch.no_grad():
        lost, whole = problem.metrics["unexplained"](problem.model, batch)
    assert float(lost) / float(whole) == pytest.approx(values[:-32].sum() / values.sum(), rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_sgd_with_momentum_keeps_up_with_adam_where_both_are_tuned(seed: int) -> None:
    sgd, adam = build(seed, CPU), build(seed, CPU)
    ours = end(sgd, torch.optim.SGD(sgd.model.parameters(), lr=0.0178, momentum=0.9), 400)
    theirs = end(adam, torch.optim.Adam(adam.model.parameters(), lr=0.00178), 400)
    assert ours < 1.05 * theirs


def test_sizes_are_options() -> None:
    problem = build(0, CPU, width=5, bottleneck=2, batch=3)
    shapes = [tuple(parameter.shape) for parameter in problem.model.parameters() if parameter.ndim == 2]
    assert shapes == [(5, 64), (2, 5), (5, 2), (64, 5)]
    assert next(problem.train_batches(0))["images"].shape == (3, 64)
    assert [batch.samples for batch in problem.probe_batches] == [3] * 4


@pytest.mark.parametrize("option", ["width", "bottleneck", "batch"])
def test_an_option_that_is_not_positive_is_refused_by_name(option: str) -> None:
    with pytest.raises(ValueError, match=f"{option} must be a positive number, not 0"):
        build(0, CPU, **{option: 0})


def test_a_batch_that_leaves_too_few_images_for_probes_is_refused() -> None:
    with pytest.raises(ValueError, match="batch must be at most 128"):
        build(0, CPU, batch=129)


def test_the_loss_is_the_squared_distance_in_the_mean_over_images() -> None:
    problem = build(0, CPU)
    images = problem.eval_batches[0]["images"][:5]
    with torch.no_grad():
        each = [float(((problem.model(image[None]) - image) ** 2).sum()) for image in images]
        whole = problem.loss(problem.model, Batch({"images": images}, samples=5)).item()
    assert whole == pytest.approx(sum(each) / 5, rel=1e-5)
