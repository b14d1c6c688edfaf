from collections import Counter

import pytest
import torch
from torch import Tensor

from clipbench.corpora.contexts import Classes, Contexts

# Class 0 sixty times, class 1 thirty, class 2 ten, shuffled, without a place for class 3.
TEXT = torch.tensor([0] * 60 + [1] * 30 + [2] * 10)[torch.randperm(100, generator=torch.Generator().manual_seed(1))]
COUNTS = torch.tensor([60, 30, 10, 0])
DRAWS = 6000


def drawn(classes: Classes, *, each_side: int = 1, places: Tensor | None = None) -> dict[str, Tensor]:
    among = torch.arange(100) if places is None else places
    return Contexts(TEXT, COUNTS, each_side, classes).draw(among, DRAWS, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("classes", ["zipf", "uniform", "reweighted"])
def test_a_context_is_the_tokens_around_its_target_within_the_stretch(classes: Classes) -> None:
    batch = drawn(classes, each_side=2, places=torch.arange(20, 60))
    text = TEXT.tolist()
    for context, target, place in zip(
        batch["context"].tolist(), batch["target"].tolist(), batch["place"].tolist(), strict=True
    ):
        assert 22 <= place < 58
        assert target == text[place]
        assert context == text[place - 2 : place] + text[place + 1 : place + 3]
    assert batch["place"].min() == 22
    assert batch["place"].max() == 57


def test_zipf_draws_each_class_as_often_as_the_text_has_it_and_weighs_none() -> None:
    batch = drawn("zipf")
    counts = Counter(batch["target"].tolist())
    for target, expected in Counter(TEXT[1:-1].tolist()).items():
        assert counts[target] / DRAWS == pytest.approx(expected / 98, abs=0.03)  # five standard errors of 0.006
    assert batch["class_weight"].eq(1).all()


def test_uniform_draws_every_class_that_is_there_equally_often_and_every_place_of_a_class() -> None:
    batch = drawn("uniform")
    counts = Counter(batch["target"].tolist())
    assert sorted(counts) == [0, 1, 2]
    for count in counts.values():
        assert count / DRAWS == pytest.approx(1 / 3, abs=0.03)
    assert set(batch["place"].tolist()) == set(range(1, 99))
    assert batch["class_weight"].eq(1).all()


def test_reweighted_draws_as_zipf_and_weighs_so_that_every_class_adds_as_much() -> None:
    batch, plain = drawn("reweighted"), drawn("zipf")
    assert torch.equal(batch["place"], plain["place"])
    naive = {0: 100 / (4 * 60), 1: 100 / (4 * 30), 2: 100 / (4 * 10)}
    expected = torch.tensor([naive[target] for target in batch["target"].tolist()])
    torch.testing.assert_close(batch["class_weight"], expected)
    of_text = Contexts(TEXT, COUNTS, 0, "reweighted").around(torch.arange(100))
    added = [of_text["class_weight"][k == TEXT].sum().item() for k in range(3)]
    assert added == pytest.approx([25, 25, 25])
