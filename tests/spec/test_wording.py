import math

import pytest

from clipbench.spec.wording import found, mismatch, nearest, written


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "nothing (null)"),
        (True, "true"),
        (0.5, "0.5"),
        (math.nan, "not-a-number (.nan)"),
        (-math.inf, "infinity"),
        ({"a": 1}, "a mapping"),
        ([0.1, None], "the list [0.1, null]"),
        ([*range(17)], f"the list [{', '.join(map(str, range(16)))}, … 17 in all]"),
        ("a", "the text 'a'"),
    ],
)
def test_a_value_is_named_as_the_spec_has_it(value: object, words: str) -> None:
    assert found(value) == words


def test_a_number_in_quotes_and_a_word_for_a_truth_value_are_seen_as_slips() -> None:
    assert mismatch("expected float", "1e-3") == "expected float, found the text '1e-3' (write it without quotes)"
    assert mismatch("expected bool", "No").endswith("(a word in YAML 1.2: write true or false)")
    assert mismatch("expected float", "no") == "expected float, found the text 'no'"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1"),
        (0.1, "0.1"),
        (1e-5, "1e-05"),
        (True, "true"),
        (None, "null"),
        ((0.9, 0.999), "(0.9, 0.999)"),
        ("a", "a"),
    ],
)
def test_labels_are_short_and_lose_no_digit(value: object, text: str) -> None:
    assert written(value) == text


def test_the_nearest_name_is_offered_and_all_names_where_none_is_near() -> None:
    assert nearest("admw", ["adam", "adamw", "sgd"]) == "did you mean 'adamw'?"
    assert nearest("SGD", ["adam", "sgd"]) == "did you mean 'sgd'?"
    assert nearest("zzz", ["sgd", "adam"]) == "known: adam, sgd"
    assert nearest("zzz", []) == "there are none"
