from pathlib import Path

import pytest

from clipbench.sources.imports import closure, named


@pytest.mark.parametrize(
    ("code", "modules"),
    [
        ("import a, b.c as d", ["a", "b.c"]),
        ("from a.b import c, d as e", ["a.b", "a.b.c", "a.b.d"]),
        ("from a import *", ["a"]),
        ("from . import a", ["top.pkg", "top.pkg.a"]),
        ("from .a import b", ["top.pkg.a", "top.pkg.a.b"]),
        ("from ..a import b", ["top.a", "top.a.b"]),
        ("from ... import b", []),
        ("def f():\n    class C:\n        import a", ["a"]),
        ("try:\n    import a\nexcept ImportError:\n    a = None", ["a"]),
        ("import_module('a.b')", ["a.b"]),
        ("importlib.import_module('.a', __package__)", ["top.pkg.a"]),
        ("importlib.import_module(name='a')", ["a"]),
        ("__import__('a')", ["a"]),
        ("import_module(a)\nimport_module(1)\nimport_module()\nother('a')", []),
        ("import a; import a", ["a"]),
        ("not python", []),
    ],
)
def test_a_file_names_these_modules(tmp_path: Path, code: str, modules: list[str]) -> None:
    path = tmp_path / "module.py"
    path.write_text(code)
    assert named(path, "top.pkg.module") == modules


def test_a_package_counts_from_itself(tmp_path: Path) -> None:
    path = tmp_path / "__init__.py"
    path.write_text("from . import a\nfrom .. import b")
    assert named(path, "top.pkg") == ["top.pkg", "top.pkg.a", "top", "top.b"]


def test_a_circle_of_imports_ends_and_packages_come_along(tmp_path: Path) -> None:
    files = {"a": "import b.c", "b": "", "b.c": "import a, torch"}
    for name, text in files.items():
        (tmp_path / f"{name}.py").write_text(text)
    found = closure(["a"], lambda name: tmp_path / f"{name}.py" if name in files else None)
    assert found == {name: tmp_path / f"{name}.py" for name in files}
