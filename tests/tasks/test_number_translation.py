import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from clipbench.contracts import Batch, Problem
from clipbench.errors import ClipbenchError
from clipbench.networks.seeding import generator
from clipbench.tasks import number_translation
from clipbench.tasks.number_translation import LONGEST, build, dictionary, draw_numbers, loss, part_of

CPU = torch.device("cpu")
PARTS: tuple[number_translation.Part, ...] = ("training", "evaluation", "probe")
NUMBERS = [7, 80, 21, 999_999, 3_401, 100_000, 77]  # of very different lengths, so that padding matters


@pytest.fixture(scope="module")
def problem() -> Problem:
    return build(0, CPU)


@pytest.fixture
def batch() -> Batch:
    return dictionary().pairs(NUMBERS, language="fr")


def loss_and_gradients(problem: Problem, batch: Batch) -> list[Tensor]:
    value = loss(problem.model, batch)
    return [value.detach(), *torch.autograd.grad(value, list(problem.model.parameters()))]


def wider(tensor: Tensor, extra: int, *, content: int) -> Tensor:
    return functional.pad(tensor, (0, extra), value=content)


def with_other_padding(batch: Batch, *, content: int) -> Batch:
    tensors = dict(batch.tensors)
    for name, lengths in (("source", batch["source_length"]), ("target", batch["target_length"] + 1)):
        beyond = torch.arange(batch[name].shape[1]) >= lengths[:, None]
        assert beyond.any()
        tensors[name] = batch[name].masked_fill(beyond, content)
    return Batch(tensors, samples=batch.samples, tokens=batch.tokens)


@pytest.mark.parametrize("content", [1, 2, 50])
def test_what_stands_in_the_padding_changes_neither_loss_nor_gradients(
    problem: Problem, batch: Batch, content: int
) -> None:
    expected = loss_and_gradients(problem, batch)
    torch.testing.assert_close(loss_and_gradients(problem, with_other_padding(batch, content=content)), expected)


@pytest.mark.parametrize("content", [0, 50])
def test_more_padding_changes_neither_loss_nor_gradients(problem: Problem, batch: Batch, content: int) -> None:
    tensors = dict(batch.tensors)
    for name in ("source", "target"):
        tensors[name] = wider(batch[name], 9, content=content)
    padded = Batch(tensors, samples=batch.samples, tokens=batch.tokens)
    torch.testing.assert_close(loss_and_gradients(problem, padded), loss_and_gradients(problem, batch))


def test_the_loss_is_the_mean_over_the_words_of_pairs_taken_one_by_one_without_padding(
    problem: Problem, batch: Batch
) -> None:
    alone = [dictionary().pairs([number], language="fr") for number in NUMBERS]
    assert not any((pair["source"] == 0).any() or (pair["target"] == 0).any() for pair in alone)
    with torch.no_grad():
        total = sum(loss(problem.model, pair).item() * pair.weight for pair in alone)
        together = loss(problem.model, batch).item()
    assert together == pytest.approx(total / sum(pair.weight for pair in alone), rel=1e-5)


def test_tokens_are_the_french_words_and_one_end_for_each_pair() -> None:
    # sept | quatre vingts | vingt et un | deux cent mille trois
    batch = dictionary().pairs([7, 80, 21, 200_003], language="fr")
    assert batch["target_length"].tolist() == [1 + 1, 2 + 1, 3 + 1, 4 + 1]
    assert batch.tokens == 14
    assert batch.samples == 4
    # seven | eighty | twenty one | two hundred thousand and three
    assert batch["source_length"].tolist() == [1, 1, 2, 5]


def test_a_word_of_the_translation_sees_no_later_one(problem: Problem, batch: Batch) -> None:
    changed = batch["target"].clone()
    changed[:, 4] = 50
    with torch.no_grad():
        before = problem.model(batch["source"], batch["source_length"], batch["target"])
        after = problem.model(batch["source"], batch["source_length"], changed)
    torch.testing.assert_close(before[:, :4], after[:, :4])
    assert not torch.allclose(before[:, 4:], after[:, 4:])


def test_the_translation_depends_on_the_source(problem: Problem, batch: Batch) -> None:
    with torch.no_grad():
        one = problem.model(batch["source"], batch["source_length"], batch["target"])
        other = problem.model(batch["source"].flip(0), batch["source_length"].flip(0), batch["target"])
    assert not torch.allclose(one, other)


@pytest.mark.parametrize("seed", range(3))
def test_the_first_loss_is_the_logarithm_of_the_number_of_words(seed: int) -> None:
    fresh = build(seed, CPU)
    for held_out in fresh.eval_batches:
        value = fresh.loss(fresh.model, held_out).item()
        assert value == pytest.approx(math.log(dictionary().size), rel=0.05)  # 5 %: the output is tied to the input


@given(number=st.integers(0, 999_999), language=st.sampled_from(["en", "fr", "es"]))
def test_every_word_of_every_number_is_in_the_dictionary_and_fits(number: int, language: str) -> None:
    words = dictionary().spell(number, language)
    assert set(words) <= dictionary().index.keys()
    assert 1 <= len(words) < LONGEST


def test_the_dictionary_keeps_clear_of_padding_begin_and_end() -> None:
    words = dictionary()
    assert sorted(words.index.values()) == list(range(3, words.size))


@pytest.mark.parametrize("part", PARTS)
def test_numbers_of_every_length_occur_about_equally_often_in_every_part(part: number_translation.Part) -> None:
    numbers = draw_numbers(3000, part=part, draw=generator("test", part))
    assert {part_of(number) for number in numbers} == {part}
    for digits in range(1, 7):
        share = sum(len(str(number)) == digits for number in numbers) / len(numbers)
        assert share == pytest.approx(1 / 6, abs=4 * 0.007), digits  # four standard errors of 3000 draws


@pytest.mark.parametrize("part", PARTS)
def test_every_part_has_numbers_of_every_length(part: number_translation.Part) -> None:
    lengths = {len(str(number)) for number in (*range(1000), *range(1000, 1_000_000, 997)) if part_of(number) == part}
    assert lengths == set(range(1, 7))


def test_training_gets_four_fifths_of_the_numbers_and_each_other_part_a_tenth() -> None:
    parts = [part_of(number) for number in range(100_000)]
    assert [parts.count(part) / len(parts) for part in PARTS] == pytest.approx([0.8, 0.1, 0.1], abs=1e-3)


def weights(problem: Problem) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in problem.model.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[Path]]:
    """An empty cache; call it for the files that are in it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return lambda: sorted((tmp_path / "clipbench").glob("*.pt"))


def pretrained(seed: int = 0, **options: int) -> dict[str, Tensor]:
    return weights(build(seed, CPU, start="pretrained", width=16, **options))


@pytest.mark.slow
def test_pretrained_weights_are_the_same_from_the_cache_as_made_anew(kept: Callable[[], list[Path]]) -> None:
    fresh = pretrained()
    (file,) = kept()
    again = pretrained()
    file.unlink()
    remade = pretrained(seed=5)
    assert same(fresh, again)
    assert same(fresh, remade)
    assert not same(fresh, weights(build(0, CPU, width=16)))


@pytest.mark.usefixtures("kept")
def test_pretrained_weights_come_from_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = pretrained()

    def not_again(_: object) -> None:
        raise AssertionError("pre-trained a second time")

    monkeypatch.setattr(number_translation, "_pretrain", not_again)
    assert same(fresh, pretrained())


@pytest.mark.slow
def test_another_model_has_pretrained_weights_of_its_own(kept: Callable[[], list[Path]]) -> None:
    pretrained()
    pretrained(heads=2)
    assert len(kept()) == 2


@pytest.mark.slow
def test_longer_pretraining_does_not_reuse_the_shorter(
    kept: Callable[[], list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    short = pretrained()
    monkeypatch.setattr(number_translation, "PRETRAINING_STEPS", 4)
    assert not same(short, pretrained())
    assert len(kept()) == 2


@pytest.mark.usefixtures("kept")
def test_pretraining_works_on_one_thread_and_gives_the_threads_back(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def noted(*given: Any) -> Tensor:
        seen.append(torch.get_num_threads())
        return loss(*given)

    monkeypatch.setattr(number_translation, "loss", noted)
    torch.set_num_threads(2)
    try:
        pretrained()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert set(seen) == {1}


@pytest.mark.slow
def test_pretraining_learns_spanish(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(number_translation, "PRETRAINING_STEPS", 60)
    spanish = dictionary().pairs(NUMBERS, language="es")
    scratch, tuned = build(0, CPU), build(0, CPU, start="pretrained")
    with torch.no_grad():
        assert loss(tuned.model, spanish) < 0.7 * loss(scratch.model, spanish)


def test_without_num2words_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    dictionary.cache_clear()
    monkeypatch.setitem(sys.modules, "num2words", None)
    try:
        with pytest.raises(ClipbenchError, match=r"num2words.*not installed") as caught:
            build(0, CPU)
    finally:
        dictionary.cache_clear()
    assert "pip install 'clipbench[tasks]'" in str(caught.value)


@pytest.mark.parametrize("option", ["width", "layers", "heads", "batch"])
def test_an_option_that_is_not_positive_is_refused_by_name(option: str) -> None:
    none: dict[str, Any] = {option: 0}
    with pytest.raises(ValueError, match=f"{option} must be a positive number, not 0"):
        build(0, CPU, **none)


def test_a_width_that_the_heads_do_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="30 is not a multiple of 4"):
        build(0, CPU, width=30)


def test_an_unknown_start_is_refused() -> None:
    with pytest.raises(ValueError, match="'scratch' or 'pretrained', not 'warm'"):
        build(0, CPU, start="warm")  # type: ignore[arg-type]
