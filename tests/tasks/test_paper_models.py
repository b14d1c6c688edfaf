"""The tasks of the paper's size, tiny: which numbers count, what each model sees, and its curvature by every engine."""

import math
from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from itertools import islice
from typing import Any

import pytest
import torch
from reference.problems import random_direction
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from clipbench.contracts import Batch, Problem
from clipbench.corpora.tokenizers import tokenizer
from clipbench.geometry.curvature import CurvatureEngine, directional_curvature
from clipbench.geometry.memory import MemoryTally
from clipbench.networks import counted as counting
from clipbench.networks import hub
from clipbench.networks.counted import Output, mean_cross_entropy, right
from clipbench.tasks.masked_lm import hide
from clipbench.tasks.seq2seq import predicted

pytestmark = pytest.mark.slow  # heavy packages, and models of theirs

pytest.importorskip("transformers", reason="not installed: transformers")

CPU = torch.device("cpu")
# With few examples in a batch, and texts of different lengths where there can be some.
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "T5": ("seq2seq", {"batch": 4}),
    "GPT-Neo": ("causal_lm", {"batch": 4, "length": 24}),
    "RoBERTa": ("masked_lm", {"batch": 4, "length": 24}),
    "DistilBERT": ("text_classification", {"batch": 4, "length": 24}),
    "ResNet": ("images", {"batch": 4}),
    "ViT": ("images", {"batch": 4, "architecture": "vit"}),
}
PADDED = {
    "T5": ("source", "target"),
    "GPT-Neo": ("tokens",),
    "RoBERTa": ("tokens", "hidden", "chosen"),
    "DistilBERT": ("tokens",),
}
ENGINES: tuple[CurvatureEngine, ...] = ("double_backward", "jets", "adjoint")
every_model = pytest.mark.parametrize("name", MODELS)
every_language_model = pytest.mark.parametrize("name", PADDED)


def build(name: str, **options: Any) -> Problem:
    task, own = MODELS[name]
    problem: Problem = import_module(f"clipbench.tasks.{task}").build(3, CPU, **{**own, **options})
    return problem


def first(problem: Problem) -> Batch:
    return next(problem.train_batches(0))


def of_unequal_lengths(name: str, problem: Problem) -> Batch:
    """The first batch; its examples but the first are cut at different places, and what is beyond is padding."""
    batch = first(problem)
    if name == "T5":
        return batch  # pairs are of different lengths
    width = batch["tokens"].shape[1]
    lengths = torch.tensor([width, width - 7, 11, 5])
    tensors = {**batch.tensors, "length": lengths}
    if name == "GPT-Neo":
        return Batch(tensors, 4, int(lengths.sum()) - 4, lengths - 1)
    if name == "RoBERTa":
        chosen = batch["chosen"].clone()
        chosen[:, 0] = True
        terms = (chosen & (torch.arange(width) < lengths[:, None])).sum(dim=1)
        return Batch({**tensors, "chosen": chosen}, 4, int(terms.sum()), terms)
    return replace(batch, tensors=tensors)


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


def gradient(problem: Problem, batch: Batch) -> dict[str, Tensor]:
    problem.model.zero_grad()
    problem.loss(problem.model, batch).backward()
    return {name: p.grad.clone() for name, p in problem.model.named_parameters() if p.grad is not None}


def logits(name: str, problem: Problem, batch: Batch) -> Tensor:
    task = import_module(f"clipbench.tasks.{MODELS[name][0]}")
    with torch.no_grad():
        output: Output = task.predicted(problem.model, batch)[0]
    return output.head(output.hidden)


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


LANGUAGE_MODELS = [name for name in PADDED if name != "DistilBERT"]


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_an_output_layer_after_the_model_gives_the_models_own_logits(name: str) -> None:
    problem = build(name)
    batch = first(problem)
    asked: list[Mapping[str, Any]] = []
    hook = problem.model.register_forward_pre_hook(lambda _, __, given: asked.append(given), with_kwargs=True)
    found = logits(name, problem, batch)
    hook.remove()
    with torch.no_grad():
        own = problem.model(**asked[0]).logits
    assert found.shape[2] == own.shape[2] == 320
    assert torch.allclose(found, own, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_a_model_that_may_do_more_with_its_logits_keeps_its_output_layer(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = build(name)
    batch = first(problem)
    expected = problem.loss(problem.model, batch)
    monkeypatch.setattr(hub, "_HEAD_LAST", ())
    output, *_ = import_module(f"clipbench.tasks.{MODELS[name][0]}").predicted(problem.model, batch)
    assert output.hidden.shape[2] == output.classes == 320
    torch.testing.assert_close(problem.loss(problem.model, batch), expected)


class _LargestOfClasses(TorchDispatchMode):
    """The largest tensor whose last axis is the classes."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for each in tree_leaves(result):
            if isinstance(each, Tensor) and each.ndim and each.shape[-1] == 320:
                self.largest = max(self.largest, each.numel())
        return result


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_logits_never_exist_all_at_once_where_they_are_more_than_a_block(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither in a training step nor in a metric; and every number is the same to rounding."""
    problem = build(name)
    batch = of_unequal_lengths(name, problem)
    direction = {"": random_direction(problem.model, seed=0)}

    def numbers() -> tuple[Tensor, dict[str, Tensor], list[float], int]:
        largest = _LargestOfClasses()
        with largest:
            slopes = gradient(problem, batch)
            of_metric = problem.metrics["accuracy"](problem.model, batch)
        found = [
            directional_curvature(problem.model, problem.loss, [batch], direction, engine=engine)[""].curvature
            for engine in ENGINES
        ]
        return problem.loss(problem.model, batch), slopes, [*map(float, of_metric), *found], largest.largest

    loss, slopes, others, all_logits = numbers()
    monkeypatch.setattr(counting, "BLOCK", 40 * 320)
    in_blocks = numbers()
    torch.testing.assert_close(in_blocks[0], loss)
    for part, slope in slopes.items():
        torch.testing.assert_close(in_blocks[1][part], slope, rtol=1e-4, atol=1e-6)
    assert in_blocks[2] == pytest.approx(others, rel=1e-4)
    assert in_blocks[3] == 40 * 320 < all_logits


def test_a_training_step_needs_less_memory_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = build("GPT-Neo", length=100, batch=8)
    batch = first(problem)
    peaks = []
    for block in (counting.BLOCK, 50 * 320):
        monkeypatch.setattr(counting, "BLOCK", block)
        with MemoryTally() as tally:
            problem.loss(problem.model, batch).backward()
        peaks.append(tally.peak)
    all_logits = 4 * 8 * 100 * 320
    assert peaks[0] - peaks[1] > all_logits


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("name", [name for name in MODELS if name != "ResNet"])  # whose norm is over the batch
def test_micro_batches_have_the_gradient_of_the_whole(name: str, size: int) -> None:
    problem = build(name)
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
