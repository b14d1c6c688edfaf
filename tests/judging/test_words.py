import math

from clipbench.judging.words import brief, count, factor, fold, listing, number


def test_numbers_have_significant_digits_and_infinity_its_sign() -> None:
    assert [number(x) for x in (0.012345, 1234.0, -1e6, math.inf, -math.inf, math.nan)] == [
        "0.0123",
        "1230",
        "-1e+06",
        "∞",
        "-∞",
        "nan",
    ]


def test_a_ratio_that_is_not_1_is_not_shown_as_1() -> None:
    assert (fold(1.0031, 1.1), fold(0.9, 0.9996), fold(1.0, 2.0)) == ("1.003–1.1", "0.9–0.9996", "1–2")
    assert (factor(1 + 1e-9), factor(1.25, 3), factor(0.999, 3)) == ("1.000000001", "1.25", "0.999")


def test_lists_read_as_prose_and_long_ones_are_cut() -> None:
    assert listing([]) == ""
    assert listing(["a"]) == "a"
    assert listing(["a", "b", "c"]) == "a, b and c"
    assert listing(range(5), limit=2) == "0, 1 and 3 more"


def test_one_is_singular() -> None:
    assert (count(1, "seed"), count(2, "seed"), count(0, "seed")) == ("1 seed", "2 seeds", "0 seeds")


def test_a_traceback_is_cut_to_its_cause() -> None:
    text = 'Traceback (most recent call last):\n  File "x.py", line 1\nValueError: bad\n\n'
    assert brief(text) == "ValueError: bad"
    assert brief("x" * 300, width=10) == "xxxxxxxxx…"
    assert brief("\n ") == ""
    assert brief("  indented\n  all over\n") == "all over"


def test_an_error_with_its_remedy_is_cut_to_the_error() -> None:
    assert brief("NotLiveError: the option unused has no effect\n  take it out") == (
        "NotLiveError: the option unused has no effect"
    )
