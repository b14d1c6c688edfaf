import math

import pytest

from clipbench.report.numbers import seconds, with_error, with_factor


@pytest.mark.parametrize(
    ("mean", "error", "shown"),
    [
        (2.96088, 0.0123, "2.961 ± 0.012"),
        (2.96088, 0.0054, "2.961 ± 0.005"),
        (2.96088, 0.0096, "2.961 ± 0.010"),
        (123.4, 45.0, "123 ± 45"),
        (12.0, 0.0, "12 ± 0"),
        (0.1, 1e-17, "0.1 ± 0"),
        (2.5, math.nan, "2.5 ± ?"),
        (math.nan, math.nan, "nan"),
        (math.inf, math.nan, "∞"),
        (1e23, 1e22, "1e+23 ± 1e+22"),
        (3e-8, 1e-8, "3e-08 ± 1e-08"),
    ],
)
def test_a_mean_has_the_digits_its_error_allows(mean: float, error: float, shown: str) -> None:
    assert " ".join(with_error(mean, error)) == shown


def test_a_difference_shows_its_sign_and_a_unit_comes_last() -> None:
    assert " ".join(with_error(0.1333, 0.033, signed=True)) == "+0.13 ± 0.03"
    assert " ".join(with_error(-0.1333, 0.033, signed=True)) == "-0.13 ± 0.03"
    assert [with_error(mean, 0.033, signed=True)[0] for mean in (0.004, -0.004)] == ["0.00", "0.00"]
    assert " ".join(with_error(10.0, 0.25, unit=" %")) == "10.0 ± 0.2 %"
    assert " ".join(with_error(10.0, math.nan, unit=" %")) == "10 ± ? %"


def test_a_geometric_mean_shows_its_factor() -> None:
    assert " ".join(with_factor(0.31234, 1.2123)) == "0.312 ×/÷ 1.21"
    assert " ".join(with_factor(0.31234, math.nan)) == "0.312 ×/÷ ?"
    assert with_factor(math.inf, math.nan) == ("∞",)
    assert with_factor(0.3, 1.0004)[1] == "×/÷ 1.0004"


def test_durations_are_for_people() -> None:
    assert [seconds(x) for x in (0.42, 12.345, 59.9, 200.0, 3725.0)] == [
        "0.42 s",
        "12.3 s",
        "59.9 s",
        "3 min 20 s",
        "1 h 2 min",
    ]
