import ast
import math

import pytest

from clipbench.spec.annotations import evaluate, fit, spelled, takes_tuple


def typed(annotation: str, **names: str) -> object:
    return evaluate(
        ast.parse(annotation, mode="eval").body,
        {name: ast.parse(text, mode="eval").body for name, text in names.items()},
    )


@pytest.mark.parametrize(
    ("annotation", "value", "fitted"),
    [
        ("float", 1, 1.0),
        ("float", 0.5, 0.5),
        ("int", 3, 3),
        ("bool", True, True),
        ("str", "a", "a"),
        ("float | None", None, None),
        ("float | None", 2, 2.0),
        ("'float | None'", 2, 2.0),
        ("int | float", 2, 2),
        ("tuple[float, float]", [1, 0.5], (1.0, 0.5)),
        ("tuple[int, ...]", [], ()),
        ("tuple[float | None, float]", [None, 1], (None, 1.0)),
        ("tuple[float, float] | None", None, None),
        ("Literal['a', 'b']", "b", "b"),
        ("Literal[1, 2] | None", 2, 2),
        ("Literal[None, 'a']", None, None),
    ],
)
def test_a_value_of_the_type_is_taken_and_an_int_serves_as_a_float(
    annotation: str, value: object, fitted: object
) -> None:
    result = fit(typed(annotation), value)
    assert result == fitted
    assert repr(result) == repr(fitted)


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        ("float", True),
        ("float", "0.1"),
        ("float", math.nan),
        ("float", math.inf),
        ("float", 10**400),
        ("float", None),
        ("float", [0.1]),
        ("int", 0.5),
        ("int", 1.0),
        ("int", False),
        ("bool", 1),
        ("bool", "false"),
        ("str", 1),
        ("tuple[float, float]", [1]),
        ("tuple[float, float]", [1, True]),
        ("tuple[float, ...]", [math.nan]),
        ("tuple[float, ...]", 1.0),
        ("tuple[float, ...]", "ab"),
        ("Literal['a', 'b']", "c"),
        ("Literal[1, 2]", True),
        ("Literal[1, 2]", 1.0),
        ("Literal[True]", 1),
        ("float", {"a": 1}),
    ],
)
def test_a_value_of_another_type_is_refused_never_converted(annotation: str, value: object) -> None:
    with pytest.raises(ValueError, match="not of type"):
        fit(typed(annotation), value)


def test_an_alias_of_the_module_is_followed() -> None:
    assert fit(typed("Form | None", Form="Literal['a', 'b']"), "a") == "a"


@pytest.mark.parametrize(
    "annotation",
    ["dict[str, int]", "list[float]", "torch.device", "Any", "Unknown", "tuple", "3", "tuple[list[int], ...]"],
)
def test_a_type_that_a_spec_cannot_hold_is_refused(annotation: str) -> None:
    with pytest.raises(ValueError, match="is not one of bool, int, float"):
        typed(annotation)


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        ("Rate", "float | None"),
        ("tuple[float | None, ...]", "tuple[float | None, ...]"),
        ("Literal['a', 2] | None", "'a' | 2 | None"),
        ("bool", "bool"),
    ],
)
def test_a_type_is_spelled_with_its_aliases_resolved(annotation: str, words: str) -> None:
    assert spelled(typed(annotation, Rate="float | None")) == words


def test_a_tuple_of_tuples_is_refused() -> None:
    with pytest.raises(ValueError, match="tuple of tuples"):
        typed("tuple[tuple[int, int], ...]")


def test_an_alias_of_itself_is_refused() -> None:
    with pytest.raises(ValueError, match="is not one of"):
        typed("A", A="A | None")


def test_nothing_in_an_annotation_is_run() -> None:
    with pytest.raises(ValueError, match="is not one of"):
        typed("__import__('os').getcwd()")
    with pytest.raises(ValueError, match="malformed"):
        typed("Literal[print('x')]")


@pytest.mark.parametrize(
    ("annotation", "listed"),
    [("float", False), ("tuple[int, ...]", True), ("tuple[int, int] | None", True), ("str | float | None", False)],
)
def test_a_type_tells_whether_a_list_is_one_value_of_it(annotation: str, listed: bool) -> None:
    assert takes_tuple(typed(annotation)) is listed
