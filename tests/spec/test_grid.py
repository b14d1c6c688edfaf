from math import prod

from hypothesis import given
from hypothesis import strategies as st

from clipbench.questions import Space
from clipbench.spec.grid import label, points, size


def test_without_spaces_there_is_one_point_without_a_label() -> None:
    assert points([]) == [{}]
    assert label({}) == ""


def test_a_label_has_values_as_yaml_would_have_them() -> None:
    assert label({"lr": 1.0, "nesterov": True, "betas": (0.9, 0.99)}) == "[lr=1,nesterov=true,betas=(0.9, 0.99)]"


def test_the_first_setting_changes_slowest() -> None:
    spaces = [Space("a", (2, 1)), Space("b", ("x", None))]
    assert [label(point) for point in points(spaces)] == ["[a=2,b=x]", "[a=2,b=null]", "[a=1,b=x]", "[a=1,b=null]"]


def test_a_range_has_no_part_in_a_grid() -> None:
    spaces = [Space("a", (2, 1)), Space("b", low=0.0, high=1.0)]
    assert points(spaces) == [{"a": 2}, {"a": 1}]
    assert size(spaces) == 2


@given(st.lists(st.lists(st.integers(), min_size=1, max_size=4, unique=True), max_size=3))
def test_a_grid_has_each_combination_once(values: list[list[int]]) -> None:
    spaces = [Space(f"x{place}", tuple(of_one)) for place, of_one in enumerate(values)]
    found = points(spaces)
    assert len(found) == size(spaces) == prod(len(of_one) for of_one in values)
    assert len({label(point) for point in found}) == len(found)
