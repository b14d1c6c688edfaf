from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import qmc
from spec.bench import printed_elsewhere

from clipbench.questions import Space
from clipbench.spec.drawing import DIGITS, halton, radical_inverse, rounded, settings, uniform, value

RATE = Space("lr", low=1e-4, high=1e-1, log=True)
FRACTION = Space("clip.fraction", low=0.1, high=0.5)


def test_halton_points_are_those_of_scipy_without_its_first() -> None:
    """SciPy's begins at the corner of the cube, where every setting is at its lowest."""
    ours = list(islice(halton(), 200))
    theirs = qmc.Halton(8, scramble=False).random(201)[1:]
    for mine, other in zip(ours, theirs.tolist(), strict=True):
        assert mine == pytest.approx(other, abs=1e-12)


def test_a_radical_inverse_mirrors_the_digits() -> None:
    assert [radical_inverse(number, 2) for number in (1, 2, 3, 6)] == [1 / 2, 1 / 4, 3 / 4, 3 / 8]
    assert radical_inverse(0, 3) == 0.0


@pytest.mark.slow
def test_random_points_are_the_same_in_every_process_and_other_for_another_seed() -> None:
    code = (
        "from itertools import islice; from clipbench.spec.drawing import uniform; print(list(islice(uniform(7), 3)))"
    )
    assert printed_elsewhere(code) == {f"{list(islice(uniform(7), 3))}\n"}
    assert next(uniform(7)) != next(uniform(8))


def test_arms_of_more_settings_are_given_the_same_points() -> None:
    one = settings([RATE], points=halton(), trials=5)
    two = settings([RATE, FRACTION], points=halton(), trials=5)
    assert [each["lr"] for each in two] == [each["lr"] for each in one]
    assert len({each["clip.fraction"] for each in two}) == 5


def test_the_first_halton_draw_is_in_the_middle_as_the_space_counts() -> None:
    [first, *_] = settings([RATE, FRACTION], points=halton(), trials=3)
    assert first == {"lr": 0.003162, "clip.fraction": 0.2333}  # √(1e-4·1e-1), and a third of the way


@given(st.floats(0, 1, exclude_max=True), st.booleans(), st.floats(1e-6, 1e3), st.floats(1.1, 1e6))
def test_a_value_drawn_is_in_its_space_and_can_be_quoted(at: float, log: bool, low: float, factor: float) -> None:
    drawn = value(Space("x", low=low, high=low * factor, log=log), at)
    assert isinstance(drawn, float)
    assert low <= drawn <= low * factor
    assert drawn in (rounded(drawn), low, low * factor)


@pytest.mark.parametrize("log", [False, True])
def test_whole_numbers_are_drawn_from_the_lowest_to_the_highest(log: bool) -> None:
    drawn = {value(Space("every", low=1, high=4, log=log), place / 100) for place in range(100)}
    assert drawn == {1, 2, 3, 4}
    assert all(type(each) is int for each in drawn)


def test_each_value_of_a_list_has_an_equal_share() -> None:
    drawn = [value(Space("of", ("a", None, True)), place / 300) for place in range(300)]
    assert [drawn.count(each) for each in ("a", None, True)] == [100, 100, 100]


def test_no_setting_is_drawn_twice() -> None:
    space = Space("form", ("a", "b", "c"))
    assert {each["form"] for each in settings([space], points=uniform(0), trials=3)} == {"a", "b", "c"}


def test_fewer_settings_than_trials_are_an_error() -> None:
    space = Space("form", ("a", "b"))
    with pytest.raises(ValueError, match="only 2 different settings could be drawn, and 3 trials are asked for"):
        settings([space], points=halton(), trials=3)


def test_more_settings_than_a_point_has_coordinates_are_an_error() -> None:
    spaces = [Space(f"x{place}", low=0.0, high=1.0) for place in range(9)]
    with pytest.raises(ValueError, match="9 settings are left open; at most 8"):
        settings(spaces, points=halton(), trials=2)


def test_a_number_is_rounded_to_digits_that_count_whatever_its_size() -> None:
    assert [rounded(0.000123456), rounded(98765.4)] == [0.0001235, 98770.0]
    assert DIGITS == 4
