import pytest

from clipbench.networks.options import require_heads, require_positive


@pytest.mark.parametrize("value", [0, -1, 0.0, float("nan"), float("inf"), float("-inf")])
def test_the_first_option_that_is_not_positive_is_named(value: float) -> None:
    with pytest.raises(ValueError, match=f"layers must be a positive number, not {value}"):
        require_positive(width=1, layers=value, heads=-3)


def test_positive_options_pass() -> None:
    require_positive(width=1, rate=1e-300)
    require_heads(64, 4)


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(ValueError, match="64 is not a multiple of 5"):
        require_heads(64, 5)
