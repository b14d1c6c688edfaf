"""Whether a task's code names `clipbench.problem`, in any of the ways that Python has."""

import sys
import types

import pytest

from clipbench.sources.calls import names


def build_of(code: str, monkeypatch: pytest.MonkeyPatch) -> types.FunctionType:
    module = types.ModuleType("calling")
    monkeypatch.setitem(sys.modules, "calling", module)
    exec(code, vars(module))
    built: types.FunctionType = module.build
    return built


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import clipbench\ndef build(seed): return clipbench.problem(seed)", True),
        ("import clipbench as cb\ndef build(seed): return cb.problem(seed)", True),
        ("from clipbench import problem\ndef build(seed): return problem(seed)", True),
        ("from clipbench import problem as make\ndef build(seed): return make(seed)", True),
        ("def build(seed):\n    from clipbench import problem\n    return problem(seed)", True),
        ("def build(seed):\n    import clipbench\n    return [clipbench.problem(s) for s in [seed]]", True),
        ("import clipbench\ndef inner(s): return clipbench.problem(s)\ndef build(seed): return inner(seed)", True),
        ("def build(seed): return build(seed)", False),
        ("import clipbench\ndef build(seed): return clipbench.load(seed)", False),
        ("def problem(seed): return seed\ndef build(seed): return problem(seed)", False),
        ("import numpy, clipbench\nx = numpy.zeros(3)\ndef build(seed): return x.problem", False),
        ("import functools\ndef build(seed): return clipbench.load(seed)\nbuild = functools.partial(build, 1)", False),
        ("import types\nmine = types.SimpleNamespace()\ndef build(seed): return mine.problem", False),
    ],
)
def test_it_is_named(code: str, expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    assert names(build_of(code, monkeypatch), "clipbench", "problem") is expected
