from math import prod

from hypothesis import given
from hypothesis import strategies as st

from clipbench.spec.grid import Axis, points


def test_without_axes_there_is_one_point_without_a_label() -> None:
    [point] = points([])
    assert (point.label, point.options) == ("", {})


def test_only_what_is_swept_is_in_the_label() -> None:
    axes = [Axis("lr", (0.1, 1.0), swept=True), Axis("momentum", (0.9,)), Axis("nesterov", (True,), swept=True)]
    assert [(point.label, dict(point.options)) for point in points(axes)] == [
        ("[lr=0.1,nesterov=true]", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
        ("[lr=1,nesterov=true]", {"lr": 1.0, "momentum": 0.9, "nesterov": True}),
    ]


def test_the_first_axis_changes_slowest() -> None:
    axes = [Axis("a", (2, 1), swept=True), Axis("b", ("x", None), swept=True)]
    assert [point.label for point in points(axes)] == ["[a=2,b=x]", "[a=2,b=null]", "[a=1,b=x]", "[a=1,b=null]"]


@given(st.lists(st.lists(st.integers(), min_size=1, max_size=4, unique=True), max_size=3))
def test_a_grid_has_each_combination_once(values: list[list[int]]) -> None:
    axes = [Axis(f"x{place}", tuple(of_one), swept=True) for place, of_one in enumerate(values)]
    found = points(axes)
    assert len(found) == prod(len(of_one) for of_one in values)
    assert len({point.label for point in found}) == len(found)
