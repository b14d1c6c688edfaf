"""The tasks of the paper's size, tiny: which numbers count, what each model sees, and its curvature by every engine."""

import math
from dataclasses import replace
from itertools import islice
from typing import Any

import pytest
import torch
from reference.problems import random_direction
from tasks.papers import (
    ENGINES,
    MODELS,
    PADDED,
    build,
    every_language_model,
    every_model,
    first,
    gradient,
    logits,
    of_unequal_lengths,
)
from torch import Tensor
from torch.nn import functional

from clipbench.contracts import Batch
from clipbench.corpora.tokenizers import tokenizer
from clipbench.geometry.curvature import directional_curvature
from clipbench.networks import hub
from clipbench.networks.counted import mean_cross_entropy, right
from clipbench.records import TrainingSettings
from clipbench.running.precision import equip
from clipbench.tasks.masked_lm import hide
from clipbench.tasks.seq2seq import predicted

pytestmark = pytest.mark.slow  # heavy packages, and models of theirs

pytest.importorskip("transformers", reason="not installed: transformers")


def with_other_padding(name: str, batch: Batch) -> Batch:
    """Every padded token, and every label there, is another."""
    tensors = dict(batch.tensors)
    for part in PADDED[name]:
        lengths = batch[f"{part}_length" if name == "T5" else "length"]
        beyond = torch.arange(tensors[part].shape[1]) >= lengths[:, None]
        assert beyond.any()
        other = ~tensors[part] if tensors[part].dtype == torch.bool else (tensors[part] + 17) % 256
        tensors[part] = torch.where(beyond, other, tensors[part])
    return replace(batch, tensors=tensors)


@every_model
def test_twenty_steps_are_trained_and_every_loss_is_finite(name: str) -> None:
    problem = build(name, dropout=0.1)
    optimizer = torch.optim.Adam(problem.model.parameters(), lr=0.003)
    for batch in islice(problem.train_batches(0), 20):
        optimizer.zero_grad()
        loss = problem.loss(problem.model, batch)
        loss.backward()
        optimizer.step()
        assert loss.isfinite()


@every_model
def test_the_loss_begins_near_that_of_a_guess(name: str) -> None:
    problem = build(name)
    classes = hub.config(problem.model).num_labels if name in ("DistilBERT", "ResNet", "ViT") else 320
    losses = [problem.loss(problem.model, batch).item() for batch in problem.eval_batches]
    # T5's embedding has a variance of 1, and its logits with it, which adds half a nat on average.
    expected = math.log(classes) + (0.5 if name == "T5" else 0.0)
    assert sum(losses) / len(losses) == pytest.approx(expected, abs=0.3)


@every_model
def test_jets_and_adjoints_are_double_backward(name: str) -> None:
    problem = build(name)
    directions = {str(seed): random_direction(problem.model, seed=seed) for seed in range(2)}
    batches = [first(problem)]
    plain, *others = (
        directional_curvature(problem.model, problem.loss, batches, directions, engine=engine) for engine in ENGINES
    )
    for found in others:
        assert found.loss == pytest.approx(plain.loss, rel=1e-5)
        for seed in directions:
            assert found[seed].slope == pytest.approx(plain[seed].slope, rel=1e-3, abs=1e-5)
            assert found[seed].curvature == pytest.approx(plain[seed].curvature, rel=1e-3, abs=1e-5)


@every_language_model
def test_no_bit_depends_on_what_the_padding_is(name: str) -> None:
    problem = build(name)
    batch = of_unequal_lengths(name, problem)
    other = with_other_padding(name, batch)
    assert problem.loss(problem.model, batch) == problem.loss(problem.model, other)
    ours, theirs = gradient(problem, batch), gradient(problem, other)
    assert all(torch.equal(ours[part], theirs[part]) for part in ours)
    directions = {"": random_direction(problem.model, seed=0)}
    for engine in ENGINES:
        found, again = (
            directional_curvature(problem.model, problem.loss, [each], directions, engine=engine)[""]
            for each in (batch, other)
        )
        assert (found.slope, found.curvature) == (again.slope, again.curvature), engine


@every_language_model
def test_a_token_of_the_text_does_count(name: str) -> None:
    problem = build(name)
    batch = of_unequal_lengths(name, problem)
    part = PADDED[name][0]
    changed = batch[part].clone()
    changed[:, 2] = (changed[:, 2] + 17) % 256
    assert problem.loss(problem.model, batch) != problem.loss(
        problem.model, replace(batch, tensors={**batch.tensors, part: changed})
    )


@pytest.mark.parametrize("size", [1, 2, 3])
@every_model
def test_micro_batches_have_the_gradient_of_the_whole(name: str, size: int) -> None:
    problem = build(name)
    if name == "ResNet":
        problem.model.eval()  # its norm is over the batch in training
    batch = of_unequal_lengths(name, problem) if name in PADDED else first(problem)
    whole = gradient(problem, batch)
    pieces = [(piece.weight, gradient(problem, piece)) for piece in batch.split(size)]
    assert sum(weight for weight, _ in pieces) == batch.weight
    for part, expected in whole.items():
        found = sum((weight / batch.weight * each[part] for weight, each in pieces), torch.zeros_like(expected))
        assert (found - expected).norm() <= 1e-5 * expected.norm() + 1e-7, part
    if name == "T5":  # the plain mean of the pieces is another gradient
        biased = sum(each["shared.weight"] for _, each in pieces) / len(pieces)
        assert (biased - whole["shared.weight"]).norm() > 1e-3 * whole["shared.weight"].norm()


@every_model
def test_recomputing_changes_neither_the_loss_nor_the_gradient(name: str) -> None:
    """Nor what dropout draws: the random state is the same before both."""
    batch = first(build(name))
    found = []
    for settings in (TrainingSettings(), TrainingSettings(recompute=True)):
        problem = build(name, dropout=0.1)
        equip(problem.model, settings)
        problem.model.train()
        torch.manual_seed(0)
        with torch.no_grad():
            loss = problem.loss(problem.model, batch)
        torch.manual_seed(0)
        found.append((loss, gradient(problem, batch)))
    torch.testing.assert_close(found[1], found[0], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["T5", "GPT-Neo"])
def test_a_decoder_sees_no_token_that_it_is_yet_to_predict(name: str) -> None:
    problem = build(name)
    batch = first(problem)
    part = "target" if name == "T5" else "tokens"
    changed = batch[part].clone()
    changed[:, 8] = (changed[:, 8] + 17) % 256
    before = logits(name, problem, batch)
    after = logits(name, problem, replace(batch, tensors={**batch.tensors, part: changed}))
    # T5's place k predicts token k; of the others place k predicts token k + 1, and has seen token k.
    unseen = 9 if name == "T5" else 8
    assert torch.equal(before[:, :unseen], after[:, :unseen])
    assert not torch.equal(before[:, unseen:], after[:, unseen:])


def test_t5_begins_with_its_start_token_and_is_given_each_token_after_it_has_predicted_it() -> None:
    problem = build("T5")
    batch = first(problem)
    entered: list[Tensor] = []
    problem.model.get_decoder().register_forward_pre_hook(  # type: ignore[operator]
        lambda _, __, given: entered.append(given["input_ids"]), with_kwargs=True
    )
    problem.loss(problem.model, batch)
    start = hub.config(problem.model).decoder_start_token_id
    assert start == 256  # no byte
    assert (entered[0][:, 0] == start).all()
    assert torch.equal(entered[0][:, 1:], batch["target"][:, :-1])


def test_a_local_layer_of_gpt_neo_sees_its_window_and_no_token_before() -> None:
    problem = build("GPT-Neo")
    config = hub.config(problem.model)
    assert config.attention_layers == ["global", "local"]
    local = problem.model.transformer.h[1].attn  # type: ignore[union-attr, index]
    x = torch.randn(1, 24, config.hidden_size, generator=torch.Generator().manual_seed(0))
    moved = x.clone()
    moved[:, 4] += 1
    with torch.no_grad():
        before, after = local(x)[0], local(moved)[0]
    changed = (before != after).any(dim=2)[0]
    seen = [place for place in range(24) if changed[place]]
    assert seen == list(range(4, 4 + config.window_size))


@every_language_model
def test_byte_0_is_a_byte_like_others(name: str) -> None:
    """It is learned from, it is predicted, and it is told from padding, which has the same number."""
    problem = build(name)
    batch = of_unequal_lengths(name, problem)
    part = PADDED[name][0]
    zeros = batch[part].clone()
    zeros[:, 1] = 0
    with_zeros = replace(batch, tensors={**batch.tensors, part: zeros})
    embedding: Any = problem.model.get_input_embeddings()  # type: ignore[operator]
    problem.model.zero_grad()
    problem.loss(problem.model, with_zeros).backward()
    assert embedding.weight.grad[0].any()


def test_a_vocabulary_beyond_the_tokenizer_leaves_the_loss_a_cross_entropy_over_all_of_it() -> None:
    problem = build("GPT-Neo")
    batch = first(problem)
    found = logits("GPT-Neo", problem, batch)
    assert found.shape[2] == 320 > 260
    expected = -functional.log_softmax(found.double(), dim=2).gather(2, batch["tokens"][:, 1:, None]).mean()
    assert problem.loss(problem.model, batch).item() == pytest.approx(expected.item(), rel=1e-6)


def test_a_label_of_minus_100_does_not_count() -> None:
    problem = build("T5")
    batch = first(problem)
    output, expected, counted = predicted(problem.model, batch)
    left_out = expected.clone()
    left_out[0] = -100
    kept = mean_cross_entropy(replace(output, hidden=output.hidden[1:]), expected[1:], counted[1:])
    assert torch.allclose(mean_cross_entropy(output, left_out, counted), kept)
    assert right(output, left_out, counted)[1] == counted[1:].sum()


def test_masks_are_on_a_share_of_every_text_and_its_padding_has_none() -> None:
    texts = [list(range(100)), list(range(7)), [5]]
    batch = hide(texts, tokenizer("bytes"), 0.15, torch.Generator().manual_seed(0))
    assert batch.terms is not None
    assert batch.terms.tolist() == [15, 1, 1] == batch["chosen"].sum(dim=1).tolist()
    kept = ~batch["chosen"]
    assert torch.equal(batch["tokens"][kept], batch["hidden"][kept])
    assert batch["hidden"][0].tolist() == texts[0]
    shown = [hide([list(range(200))], tokenizer("bytes"), 0.5, torch.Generator().manual_seed(i)) for i in range(20)]
    masked = sum(int((each["tokens"] == 258).sum()) for each in shown) / sum(each.weight for each in shown)
    assert masked == pytest.approx(0.8, abs=0.03)


def test_predictions_that_are_right_are_counted() -> None:
    for name in MODELS:
        problem = build(name)
        number, of = problem.metrics["accuracy"](problem.model, first(problem))
        assert 0 <= number <= of == first(problem).weight
