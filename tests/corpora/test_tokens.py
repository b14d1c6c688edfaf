from collections import Counter

import pytest
import torch

from clipbench.corpora.tokens import common_classes, numbered_tokens, tokens_of
from clipbench.data import SOURCES, python_stdlib

TEXT = b"""
# nothing of this line is a token

def f(x):
    return x + 1.5  # nor of this
"""


def test_names_and_operators_are_kept_as_written_and_the_rest_by_its_kind() -> None:
    assert tokens_of(TEXT) == (
        *("def", "f", "(", "x", ")", ":", "NEWLINE", "INDENT"),
        *("return", "x", "+", "NUMBER", "NEWLINE", "DEDENT"),
    )


def test_the_text_is_the_one_whose_fingerprint_is_in_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, before = len(numbered_tokens(50)), SOURCES["python_stdlib"].fingerprint()
    monkeypatch.setattr("clipbench.data.STDLIB_FILES", ("heapq.py",))
    assert 500 < len(numbered_tokens(50)) < whole / 20
    assert SOURCES["python_stdlib"].fingerprint() != before


def test_the_standard_library_has_200_thousand_tokens_of_which_few_make_up_half() -> None:
    text = tokens_of(python_stdlib())
    assert 150_000 < len(text) < 400_000
    frequent = {token for token, _ in Counter(text).most_common(10)}
    assert frequent >= {"NEWLINE", "(", ")", ".", ",", "self"}


@pytest.mark.parametrize("vocabulary", [2, 50, 2000])
def test_classes_are_numbered_by_a_naive_count_over_the_training_part(vocabulary: int) -> None:
    text, numbers = tokens_of(python_stdlib()), numbered_tokens(vocabulary).tolist()
    end = len(text) - 2 * int(0.05 * len(text))
    counts = [numbers[:end].count(k) for k in range(min(vocabulary, 50))]
    assert counts == sorted(counts, reverse=True)
    meant: dict[int, set[str]] = {}
    for token, number in zip(text, numbers, strict=True):
        meant.setdefault(number, set()).add(token)
    assert sorted(meant) == list(range(vocabulary))
    assert sorted(len(names) > 1 for names in meant.values()) == [False] * (vocabulary - 1) + [True]
    known = {next(iter(names)) for names in meant.values() if len(names) == 1}
    of_training = Counter(text[:end])
    others = [count for token, count in of_training.items() if token not in known]
    assert min(of_training[token] for token in known) >= max(others)


@pytest.mark.parametrize("vocabulary", [1, 10**6])
def test_a_vocabulary_that_the_text_does_not_have_is_refused(vocabulary: int) -> None:
    with pytest.raises(ValueError, match=rf"from 2 to \d+, the different tokens, not {vocabulary}"):
        numbered_tokens(vocabulary)


@pytest.mark.parametrize(("counts", "common"), [([6, 3, 3], 1), ([5, 4, 2], 2), ([1, 1, 1, 1], 2), ([4], 1)])
def test_the_common_classes_are_the_fewest_that_make_up_half(counts: list[int], common: int) -> None:
    assert common_classes(torch.tensor(counts)) == common
