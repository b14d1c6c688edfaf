import math
from itertools import islice
from typing import Any

import pytest
import torch

from clipbench.contracts import Problem
from clipbench.corpora.contexts import Classes
from clipbench.corpora.tokens import numbered_tokens
from clipbench.running.contract import broken
from clipbench.tasks import code_tokens
from clipbench.tasks.code_tokens import build

CPU = torch.device("cpu")


def metric(problem: Problem, name: str) -> float:
    with torch.no_grad():
        pairs = [problem.metrics[name](problem.model, batch) for batch in problem.eval_batches]
    return float(sum(total for total, _ in pairs)) / float(sum(weight for _, weight in pairs))


def train(problem: Problem, optimizer: torch.optim.Optimizer, steps: int) -> None:
    for batch in islice(problem.train_batches(0), steps):
        optimizer.zero_grad()
        problem.loss(problem.model, batch).backward()
        optimizer.step()


@pytest.mark.parametrize("classes", ["zipf", "uniform"])
@pytest.mark.parametrize("vocabulary", [100, 2000])
def test_the_first_loss_is_the_logarithm_of_the_vocabulary(classes: Classes, vocabulary: int) -> None:
    problem = build(0, CPU, classes=classes, vocabulary=vocabulary)
    for batch in (*problem.eval_batches, *problem.train_slice):
        assert problem.loss(problem.model, batch).item() == pytest.approx(math.log(vocabulary), rel=0.01)


def test_the_first_reweighted_loss_is_the_mean_weight_times_that_logarithm() -> None:
    problem = build(0, CPU, classes="reweighted")
    for batch in problem.eval_batches:
        expected = batch["class_weight"].mean().item() * math.log(2000)
        assert problem.loss(problem.model, batch).item() == pytest.approx(expected, rel=0.01)


def test_the_loss_is_that_of_a_softmax_of_the_mean_embedding_written_out() -> None:
    problem = build(0, CPU, vocabulary=50, batch=7, classes="reweighted")
    batch = next(problem.train_batches(0))
    parameters = {name: value.detach().double() for name, value in problem.model.named_parameters()}
    terms = []
    for context, target, weight in zip(batch["context"], batch["target"], batch["class_weight"], strict=True):
        mean = torch.stack([parameters["embedding.weight"][token] for token in context]).mean(dim=0)
        scores = [
            math.fsum((row * mean).tolist()) + bias.item()
            for row, bias in zip(parameters["output.weight"], parameters["output.bias"], strict=True)
        ]
        terms.append(weight.item() * (math.log(math.fsum(map(math.exp, scores))) - scores[int(target)]))
    assert problem.loss(problem.model, batch).item() == pytest.approx(sum(terms) / 7, rel=1e-5)


def test_common_and_rare_classes_part_the_text_in_halves_and_their_losses_make_the_whole() -> None:
    problem = build(0, CPU)
    train(problem, torch.optim.Adam(problem.model.parameters(), lr=0.01), 30)
    weights: dict[str, int] = {}
    total = 0.0
    with torch.no_grad():
        for name in ("loss_common", "loss_rare"):
            pairs = [problem.metrics[name](problem.model, batch) for batch in problem.eval_batches]
            weights[name] = int(sum(weight for _, weight in pairs))
            total += float(sum(part for part, _ in pairs))
        losses = [problem.loss(problem.model, batch).item() for batch in problem.eval_batches]
    assert sum(weights.values()) == sum(batch.samples for batch in problem.eval_batches)
    assert total / sum(weights.values()) == pytest.approx(sum(losses) / len(losses), rel=1e-5)
    assert weights["loss_common"] / sum(weights.values()) == pytest.approx(0.53, abs=0.05)
    assert metric(problem, "loss_common") < metric(problem, "loss_rare") - 1


def test_accuracy_is_the_share_of_the_right_answers() -> None:
    problem = build(0, CPU, vocabulary=50)
    right = [
        int(problem.model(batch["context"][i : i + 1]).argmax() == batch["target"][i])
        for batch in problem.eval_batches
        for i in range(batch.samples)
    ]
    assert metric(problem, "accuracy") == pytest.approx(sum(right) / len(right))


def test_targets_come_from_their_own_part_of_the_text() -> None:
    problem, length = build(0, CPU, context=2), len(numbered_tokens(2000))
    held_out = int(0.05 * length)
    ends = [0, length - 2 * held_out, length - held_out, length]
    training = [next(problem.train_batches(0)), *problem.train_slice]
    for part, batches in enumerate((training, problem.eval_batches, problem.probe_batches)):
        for batch in batches:
            assert batch["place"].min() >= ends[part] + 2
            assert batch["place"].max() < ends[part + 1] - 2


@pytest.mark.parametrize("classes", ["zipf", "uniform", "reweighted"])
def test_the_full_batch_is_one_set_for_every_seed_and_step_and_is_what_is_evaluated(
    classes: Classes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(code_tokens, "FULL", 64)

    def full(seed: int) -> Problem:
        return build(seed, CPU, batch="full", vocabulary=100, classes=classes)

    evaluated = sorted(torch.cat([batch["place"] for batch in full(0).eval_batches]).tolist())
    assert len(evaluated) == 64
    for seed in (0, 1):
        for batch in islice(full(seed).train_batches(0), 2):
            assert sorted(batch["place"].tolist()) == evaluated
    assert not full(0).train_slice
    assert list(broken(full, 0)) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_on_the_full_batch_adam_is_ahead_of_sgd_and_most_of_all_on_rare_classes(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(code_tokens, "FULL", 1024)
    sgd, adam = build(seed, CPU, batch="full"), build(seed, CPU, batch="full")
    train(sgd, torch.optim.SGD(sgd.model.parameters(), lr=3.16, momentum=0.9), 40)
    train(adam, torch.optim.Adam(adam.model.parameters(), lr=0.1), 40)
    ahead = {name: metric(sgd, name) - metric(adam, name) for name in ("loss_common", "loss_rare")}
    assert ahead["loss_rare"] > max(1, ahead["loss_common"])


@pytest.mark.parametrize("option", ["vocabulary", "width", "context", "batch"])
def test_an_option_that_is_not_positive_is_refused_by_name(option: str) -> None:
    options: dict[str, Any] = {option: 0}
    with pytest.raises(ValueError, match=f"{option} must be .* not 0"):
        build(0, CPU, **options)


@pytest.mark.parametrize("option", [{"classes": "flat"}, {"batch": "half"}])
def test_an_unknown_choice_is_refused(option: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"classes must be one of .*batch a number or 'full', not"):
        build(0, CPU, **option)


def test_a_context_longer_than_the_held_out_text_is_refused() -> None:
    with pytest.raises(ValueError, match="context must be below"):
        build(0, CPU, context=10**6)
