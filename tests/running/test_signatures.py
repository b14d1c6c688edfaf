import json
import subprocess
import sys
import types

import pytest

from clipbench.running.signatures import describe


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    made = types.ModuleType("made_for_signatures")
    monkeypatch.setitem(sys.modules, made.__name__, made)
    return made


def test_parameters_are_described_in_their_order(module: types.ModuleType) -> None:
    def build(parameters: object, lr: float, *rest: int, mode: "str | None" = "a", **more: int) -> None: ...

    module.build = build  # type: ignore[attr-defined]  # made here
    found = describe("made_for_signatures:build")["parameters"]
    assert [(one["name"], one["kind"], one["required"], one["type"], one["optional"]) for one in found] == [
        ("parameters", "POSITIONAL_OR_KEYWORD", True, "any", False),
        ("lr", "POSITIONAL_OR_KEYWORD", True, "float", False),
        ("rest", "VAR_POSITIONAL", True, "int", False),
        ("mode", "KEYWORD_ONLY", False, "str", True),
        ("more", "VAR_KEYWORD", True, "int", False),
    ]


def test_an_annotation_that_names_nothing_is_no_obstacle(module: types.ModuleType) -> None:
    def build(parameters: "Unknown", lr: "Missing" = 0.1) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    module.build = build  # type: ignore[attr-defined]  # made here
    assert [one["type"] for one in describe("made_for_signatures:build")["parameters"]] == ["any", "float"]


def test_what_hides_its_parameters_says_so(module: types.ModuleType) -> None:
    module.iterate = iter  # type: ignore[attr-defined]  # made here
    assert "does not tell its parameters" in describe("made_for_signatures:iterate")["fault"]


def test_an_attribute_of_an_attribute_can_be_named(module: types.ModuleType) -> None:
    module.inner = types.SimpleNamespace(build=isinstance)  # type: ignore[attr-defined]  # made here
    assert len(describe("made_for_signatures:inner.build")["parameters"]) == 2


def test_a_missing_attribute_comes_with_the_callables_that_are_there(module: types.ModuleType) -> None:
    module.build, module.number = print, 3  # type: ignore[attr-defined]  # made here
    assert describe("made_for_signatures:biuld")["names"] == ["build"]


def test_an_installed_package_is_known_by_its_version_and_pythons_own_by_no_version() -> None:
    assert describe("fractions:Fraction")["packages"] == ["python"]
    assert describe("math:sqrt")["packages"] == ["python"]
    found = describe("pytest:raises")
    assert (found["packages"], found["files"]) == ([f"pytest=={pytest.__version__}"], {})


@pytest.mark.slow
def test_the_answer_is_one_line_of_json_whatever_else_is_printed() -> None:
    child = subprocess.run(
        [sys.executable, "-m", "clipbench.running.signatures", "this:d", "fractions:Fraction"],
        capture_output=True,
        text=True,
        check=True,
    )
    answer = json.loads(child.stdout)
    assert set(answer) == {"this:d", "fractions:Fraction"}
    assert "of type dict, not a class" in answer["this:d"]["fault"]
    assert "Beautiful is better than ugly" in child.stderr
