import math

import pytest
import torch

from clipbench.contracts import Batch
from clipbench.tasks.masked_tokens import build, mask

CPU = torch.device("cpu")
MASK = 2000


def masks(batch: Batch) -> torch.Tensor:
    return batch["tokens"] == MASK


@pytest.mark.parametrize("seed", range(3))
def test_the_first_loss_is_the_logarithm_of_the_vocabulary(seed: int) -> None:
    problem = build(seed, CPU)
    for batch in (*problem.eval_batches, *problem.train_slice):
        assert problem.loss(problem.model, batch).item() == pytest.approx(math.log(2000), rel=0.02)


def test_masks_hide_what_is_to_be_predicted_and_nothing_else() -> None:
    draw = torch.Generator().manual_seed(0)
    tokens = torch.arange(60).reshape(5, 12)
    batch = mask(tokens, 3, by=99, draw=draw)
    for window, row in enumerate(batch["tokens"].tolist()):
        places = batch["places"][window].tolist()
        assert len(set(places)) == 3
        assert [place for place, token in enumerate(row) if token == 99] == sorted(places)
        assert batch["hidden"][window].tolist() == [int(tokens[window, place]) for place in places]
        for place in set(range(12)) - set(places):
            assert row[place] == tokens[window, place]
    assert (batch.samples, batch.tokens) == (5, 15)


def test_every_place_is_masked_equally_often() -> None:
    batch = mask(torch.zeros(6000, 8, dtype=torch.int64), 2, by=1, draw=torch.Generator().manual_seed(0))
    shares = batch["tokens"].double().mean(dim=0)
    assert (shares - 0.25).abs().max() < 0.03  # five standard errors of 0.0056


def test_masks_change_with_seed_and_step_and_not_otherwise() -> None:
    one, again, other = build(0, CPU), build(0, CPU), build(1, CPU)
    first, second = next(one.train_batches(3)), next(one.train_batches(4))
    assert torch.equal(masks(first), masks(next(again.train_batches(3))))
    assert not torch.equal(masks(first), masks(second))
    assert not torch.equal(masks(first), masks(next(other.train_batches(3))))
    for mine, theirs in zip(one.eval_batches, other.eval_batches, strict=True):
        assert torch.equal(masks(mine), masks(theirs))


def test_the_loss_is_the_mean_over_masked_tokens_written_out() -> None:
    problem = build(0, CPU, vocabulary=40, batch=3)
    batch = next(problem.train_batches(0))
    terms = []
    with torch.no_grad():
        everywhere = torch.arange(16).expand(3, 16)
        logits = problem.model(batch["tokens"], everywhere).double()
    for window in range(3):
        for place, hidden in zip(batch["places"][window].tolist(), batch["hidden"][window].tolist(), strict=True):
            row = logits[window, place]
            terms.append(math.log(row.exp().sum().item()) - row[hidden].item())
    assert len(terms) == batch.tokens == 6
    assert problem.loss(problem.model, batch).item() == pytest.approx(sum(terms) / 6, rel=1e-5)
    total, weight = problem.metrics["accuracy"](problem.model, batch)
    best = logits.argmax(dim=2).gather(1, batch["places"])
    assert (int(total), weight) == (int((best == batch["hidden"]).sum()), 6)


def test_a_prediction_sees_both_sides() -> None:
    model = build(0, CPU, vocabulary=40).model
    tokens = torch.arange(16)[None]
    for changed in (2, 12):
        others = tokens.clone()
        others[0, changed] = 30
        with torch.no_grad():
            before, after = (model(each, torch.tensor([[7]])) for each in (tokens, others))
        assert not torch.allclose(before, after)


@pytest.mark.parametrize(("masked", "context", "count"), [(0.15, 16, 2), (0.01, 16, 1), (0.5, 8, 4)])
def test_the_share_of_masked_tokens_is_an_option(masked: float, context: int, count: int) -> None:
    batch = next(build(0, CPU, vocabulary=40, masked=masked, context=context, batch=2).train_batches(0))
    assert batch["places"].shape == (2, count)


@pytest.mark.parametrize("option", ["vocabulary", "width", "layers", "heads", "context", "masked", "batch"])
def test_an_option_that_is_not_positive_is_refused_by_name(option: str) -> None:
    with pytest.raises(ValueError, match=f"{option} must be .* not 0"):
        build(0, CPU, **{option: 0})


def test_a_width_that_the_heads_do_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="30 is not a multiple of 4"):
        build(0, CPU, width=30)


def test_a_window_of_masks_alone_is_refused() -> None:
    with pytest.raises(ValueError, match=r"masked must leave one of 16 tokens to see, and 1\.0 hides 16"):
        build(0, CPU, masked=1.0)
