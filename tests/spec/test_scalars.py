import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipbench.spec.scalars import scalar


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1.0e4", 1e4),
        (".5", 0.5),
        ("3.", 3.0),
        ("-2.5E+3", -2500.0),
        ("-.inf", -math.inf),
        ("+.INF", math.inf),
        ("12", 12),
        ("-7", -7),
        ("017", 17),
        ("0o17", 15),
        ("0x1F", 31),
        ("true", True),
        ("FALSE", False),
        ("", None),
        ("~", None),
        ("null", None),
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("off", "off"),
        ("10:30", "10:30"),
        ("1_000", "1_000"),
        ("2026-01-01", "2026-01-01"),
        ("inf", "inf"),
        ("nan", "nan"),
        ("1e", "1e"),
        (".", "."),
        ("-", "-"),
        ("tRue", "tRue"),
        ("-0x1F", "-0x1F"),
    ],
)
def test_a_plain_scalar_means_what_yaml_1_2_says(text: str, value: object) -> None:
    assert scalar(text) == value
    assert type(scalar(text)) is type(value)


def test_nan_is_a_number_that_is_none() -> None:
    value = scalar(".nan")
    assert isinstance(value, float)
    assert math.isnan(value)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_float_as_python_writes_it_is_read_back(value: float) -> None:
    assert scalar(repr(value)) == value
    assert scalar(f"{value:.17e}") == value


@given(st.integers())
def test_every_integer_is_read_back(value: int) -> None:
    assert scalar(str(value)) == value


def test_a_number_of_too_many_digits_stays_text() -> None:
    digits = "9" * 5000
    assert scalar(digits) == digits
