import math

import pytest
import torch

from clipbench.contracts import Batch
from clipbench.data import python_stdlib
from clipbench.tasks.code_lm import CodeModel, build, loss

CPU = torch.device("cpu")


@pytest.mark.parametrize("seed", range(3))
def test_the_first_loss_is_the_logarithm_of_256(seed: int) -> None:
    problem = build(seed, CPU)
    for batch in problem.eval_batches:
        # 5 %: the output shares the embedding, so the byte just read starts a little more likely than others.
        assert problem.loss(problem.model, batch).item() == pytest.approx(math.log(256), rel=0.05)


def test_the_default_model_has_about_120_thousand_parameters_each_counted_once() -> None:
    model = build(0, CPU).model
    embeddings, layer, last_norm = 256 * 64 + 64 * 64, 12 * 64**2 + 2 * 2 * 64, 2 * 64
    assert sum(parameter.numel() for parameter in model.parameters()) == embeddings + 2 * layer + last_norm


def test_the_loss_is_that_of_the_byte_after_each_window_position() -> None:
    problem = build(0, CPU)
    batch = next(problem.train_batches(0))
    terms = []
    with torch.no_grad():
        for window in batch["tokens"]:
            logits = problem.model(window[None, :-1])[0].double()
            for place, byte in enumerate(window[1:].tolist()):
                terms.append(math.log(logits[place].exp().sum().item()) - logits[place, byte].item())
    assert len(terms) == batch.tokens == 8 * 64
    assert loss(problem.model, batch).item() == pytest.approx(sum(terms) / len(terms), rel=1e-5)


def test_a_prediction_sees_no_later_byte() -> None:
    torch.manual_seed(0)
    model = CodeModel(width=16, layers=2, heads=2, context=12)
    tokens = torch.arange(12)[None]
    changed = tokens.clone()
    changed[0, 7] = 200
    with torch.no_grad():
        before, after = model(tokens), model(changed)
    torch.testing.assert_close(before[:, :7], after[:, :7])
    assert not torch.allclose(before[:, 7:], after[:, 7:])


def test_windows_come_from_their_own_part_of_the_text() -> None:
    problem, text = build(0, CPU), python_stdlib()
    held_out = int(0.05 * len(text))
    training, evaluation, probing = text[: -2 * held_out], text[-2 * held_out : -held_out], text[-held_out:]

    def windows(batch: Batch) -> list[bytes]:
        return [bytes(window.tolist()) for window in batch["tokens"]]

    assert all(window in training for window in windows(next(problem.train_batches(0))))
    assert all(window in evaluation for batch in problem.eval_batches for window in windows(batch))
    assert all(window in probing for batch in problem.probe_batches for window in windows(batch))


def test_the_evaluation_does_not_change_with_the_training_batch() -> None:
    small, large = build(0, CPU, batch=2), build(0, CPU, batch=64)
    for one, other in zip(small.eval_batches, large.eval_batches, strict=True):
        assert torch.equal(one["tokens"], other["tokens"])


@pytest.mark.parametrize("option", ["width", "layers", "heads", "context", "batch"])
@pytest.mark.parametrize("value", [0, -4])
def test_an_option_that_is_not_positive_is_refused_by_name(option: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"{option} must be a positive number, not {value}"):
        build(0, CPU, **{option: value})


def test_a_width_that_the_heads_do_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="30 is not a multiple of 4"):
        build(0, CPU, width=30)


def test_a_window_longer_than_the_held_out_text_is_refused() -> None:
    with pytest.raises(ValueError, match="context must be below"):
        build(0, CPU, context=10**6)
